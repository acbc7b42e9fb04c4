/** StorageVersionMigration: rewrites all objects of a resource in the version they are stored as now. */
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';
import type { KubeObject } from '#machinery/object.ts';

interface Spec { resource?: { group?: string; resource?: string } }

export const storageversionmigrations = defineResource({
  group: 'storagemigration.k8s.io',
  plural: 'storageversionmigrations',
  written: { status: { without: ['spec', 'metadata'] } },
  validate: (migration) => {
    const errors = new Errors();
    if (!specOf(migration).resource?.resource) errors.required(SPEC.child('resource').child('resource'), 'resource is required');
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next['spec'], previous['spec'], SPEC, errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Resource'),
    row: (migration) => {
      const { group, resource = '' } = specOf(migration).resource ?? {};
      return [nameOf(migration), group ? `${resource}.${group}` : resource];
    },
  },
});

function specOf(migration: KubeObject): Spec {
  return (migration['spec'] ?? {}) as Spec;
}
