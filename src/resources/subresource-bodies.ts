/** Bodies of subresources that are no resources of their own: Scale, Binding. Messages are upstream's. */
import type { Binding, Scale } from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import { NEGATIVE } from './checks.ts';
import { Errors, METADATA, Path, SPEC } from './field-path.ts';

export function validateScale(scale: Scale): FieldError[] {
  const errors = new Errors(),
    replicas = scale.spec?.replicas ?? 0;
  if (!scale.metadata?.name) errors.required(METADATA.child('name'), 'name or generateName is required');
  if (replicas < 0) errors.invalid(SPEC.child('replicas'), replicas, NEGATIVE);
  return errors.list;
}

export function validateBinding(binding: Binding): FieldError[] {
  const errors = new Errors(),
    target = Path.root('target');
  const { kind, name } = binding.target ?? {};
  if (kind && kind !== 'Node') errors.notSupported(target.child('kind'), kind, ['<empty>', 'Node']);
  if (!name) errors.required(target.child('name'));
  return errors.list;
}
