/** spec.labels and spec.annotations of trees: none is managed here, so that each is refused with HNC's words. Pure. */
import type { ManagedMetadata } from '#component-helpers/hierarchy/names.ts';
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { validateLabelValue, validateQualifiedName } from '#machinery/names.ts';

export function validateManagedMetadata({
  labels = [],
  annotations = [],
}: ManagedMetadata = {}): FieldError[] {
  return [
    ...labels.flatMap(({ key, value }) => {
      const problems = validateLabelValue(value);
      const field = `spec.labels[${key}]`;
      return [
        ...keyErrors('label', { field: 'spec.labels', key }),
        ...(problems.length > 0 ? [fieldErrors.invalid(field, value, problems.join('; '))] : []),
      ];
    }),
    ...annotations.flatMap(({ key }) => keyErrors('annotation', { field: 'spec.annotations', key })),
  ];
}

function keyErrors(
  what: 'label' | 'annotation',
  { field, key }: { readonly field: string; readonly key: string },
): FieldError[] {
  const problems = validateQualifiedName(key);
  const why = problems.length > 0 ? problems.join('; ') : `not a managed ${what} and cannot be configured`;
  return [fieldErrors.invalid(field, key, why)];
}
