/** ResourceClaimTemplate: immutable, one claim is created from it for every pod. */
import type { ResourceClaimTemplate } from '#api/types.ts';
import { isGiven } from '#machinery/given-empty.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import { validateAnnotations, validateLabels } from '#machinery/metadata-validation.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkAdminAccess } from './admin-access.ts';
import { convertClaimTemplate } from './conversion.ts';
import { selectorsOfTemplate, withSelectorErrors } from './device-selectors.ts';
import { checkClaimRequests, defaultClaimRequests } from './requests.ts';

export const resourceclaimtemplates = defineResource<ResourceClaimTemplate>({
  group: 'resource.k8s.io',
  plural: 'resourceclaimtemplates',
  convert: convertClaimTemplate,
  applyDefaults: (template) => defaultClaimRequests(template.spec?.spec),
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (template, context) => {
    const errors = new Errors();
    checkAdminAccess(template.spec?.spec, template, context, errors);
    return withSelectorErrors([...errors.list, ...validate(template)], selectorsOfTemplate(template));
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    return withSelectorErrors(
      [...validate(next), ...errors.list],
      selectorsOfTemplate(next),
      selectorsOfTemplate(previous),
    );
  },
  table: {
    columns: columns('Name', 'Age'),
    row: (template, context) => [nameOf(template), formatAge(template, context)],
  },
});

function validate({ spec }: ResourceClaimTemplate): Errors['list'] {
  const errors = new Errors();
  checkTemplateMetadata(spec?.metadata, SPEC.child('metadata'), errors);
  checkClaimRequests(spec?.spec, SPEC.child('spec'), errors);
  return errors.list;
}

/** Upstream makes the names in errors of Go's. */
const NOT_OF_TEMPLATES = [
  ['name'],
  ['generateName'],
  ['namespace'],
  ['selfLink'],
  ['uid', 'uID'],
  ['resourceVersion'],
  ['generation'],
  ['creationTimestamp'],
  ['deletionTimestamp'],
  ['deletionGracePeriodSeconds'],
  ['ownerReferences'],
  ['finalizers'],
  ['managedFields'],
] as const;

/** A claim gets only labels and annotations from its template. */
function checkTemplateMetadata(metadata: ObjectMeta | undefined, path: Path, errors: Errors): void {
  if (!metadata) return;
  const labelsAt = path.child('labels').toString(),
    annotationsAt = path.child('annotations').toString();
  errors.add([
    ...validateAnnotations(metadata.annotations, annotationsAt),
    ...validateLabels(metadata.labels, labelsAt),
  ]);
  for (const [field, shown = field] of NOT_OF_TEMPLATES) {
    const value = metadata[field];
    if (isGiven(metadata, field) && value !== '' && !(field === 'generation' && value === 0))
      errors.forbidden(path.child(shown), 'cannot be set');
  }
}
