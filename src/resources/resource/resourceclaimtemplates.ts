/** ResourceClaimTemplate: immutable, one claim is made of it for every pod. */
import type { ResourceClaimTemplate } from '#api/types.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { convertClaimTemplate } from './conversion.ts';
import { checkClaimRequests, defaultClaimRequests } from './requests.ts';

export const resourceclaimtemplates = defineResource<ResourceClaimTemplate>({
  group: 'resource.k8s.io',
  plural: 'resourceclaimtemplates',
  convert: convertClaimTemplate,
  applyDefaults: (template) => defaultClaimRequests(template.spec?.spec),
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (template) => {
    const errors = new Errors();
    checkClaimRequests(template.spec?.spec, SPEC.child('spec'), errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    return errors.list;
  },
  table: { columns: columns('Name', 'Age'), row: (template, context) => [nameOf(template), ageOf(template, context)] },
});
