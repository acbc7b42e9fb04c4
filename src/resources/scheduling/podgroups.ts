/** PodGroup: alpha, served with the generic behaviour. */
import { defineResource } from '../define.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const podgroups = defineResource({
  group: 'scheduling.k8s.io',
  plural: 'podgroups',
  written: { status: { without: ['spec', 'metadata'] } },
  table: {
    columns: columns('Name', 'Age'),
    row: (object, context) => [nameOf(object), formatAge(object, context)],
  },
});
