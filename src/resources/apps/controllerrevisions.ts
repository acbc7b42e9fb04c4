/** ControllerRevision: an immutable snapshot. */
import type { ControllerRevision } from '#api/types.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { checkImmutable, checkNonNegative } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const ROOT = Path.root('');

export const controllerrevisions = defineResource<ControllerRevision>({
  group: 'apps',
  plural: 'controllerrevisions',
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (revision) => {
    const errors = new Errors(),
      path = Path.root('data');
    checkNonNegative(revision.revision, ROOT, 'revision', errors);
    if (revision.data === undefined || revision.data === null) errors.required(path, 'data is mandatory');
    else if (typeof revision.data !== 'object' || Array.isArray(revision.data))
      errors.required(path, 'data must be a valid JSON object');
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkNonNegative(next.revision, ROOT, 'revision', errors);
    checkImmutable(next.data, previous.data, Path.root('data'), errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Controller', 'Revision', 'Age'),
    row: (revision, context) => [
      nameOf(revision),
      controllerText(revision),
      revision.revision,
      formatAge(revision, context),
    ],
  },
});

function controllerText(revision: ControllerRevision): string {
  const owner = findController(revision);
  if (!owner) return '<none>';
  const group = owner.apiVersion.includes('/') ? `.${owner.apiVersion.split('/')[0]}` : '';
  return `${owner.kind.toLowerCase()}${group}/${owner.name}`;
}
