/** Workload: alpha, served with the generic behaviour. */
import { defineResource } from '../define.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

export const workloads = defineResource({
  group: 'scheduling.k8s.io',
  plural: 'workloads',
  table: {
    columns: columns('Name', 'Age'),
    row: (object, context) => [nameOf(object), ageOf(object, context)],
  },
});
