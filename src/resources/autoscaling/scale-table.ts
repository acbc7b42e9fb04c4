/** The printer columns of Scale, a subresource of many kinds that is not stored. */
import type { KubeObject } from '#machinery/object.ts';
import type { TableDefinition } from '../define.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const SCALE_TABLE: TableDefinition<KubeObject> = {
  columns: columns('Name', 'Desired:integer', 'Available:integer', 'Age'),
  row: (scale, context) => [
    nameOf(scale),
    replicasOf(scale['spec']),
    replicasOf(scale['status']),
    formatAge(scale, context),
  ],
};

function replicasOf(part: unknown): number {
  return (part as { readonly replicas?: number } | undefined)?.replicas ?? 0;
}
