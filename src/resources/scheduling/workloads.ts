/** Workload: alpha, served with the generic behaviour. */
import { defineResource } from '../define.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const workloads = defineResource({
  group: 'scheduling.k8s.io',
  plural: 'workloads',
  table: {
    columns: columns('Name', 'Age'),
    row: (object, context) => [nameOf(object), formatAge(object, context)],
  },
});
