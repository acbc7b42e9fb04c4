/** ComponentStatus: answered by the server itself, never stored. */
import type { ComponentStatus } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { columns, nameOf } from '../tables.ts';

export const componentstatuses = defineResource<ComponentStatus>({
  group: '',
  plural: 'componentstatuses',
  virtual: true,
  deprecation: 'v1 ComponentStatus is deprecated in v1.19+',
  table: {
    columns: columns('Name', 'Status', 'Message', 'Error'),
    row: (component) => {
      const healthy = component.conditions?.find(({ type }) => type === 'Healthy');
      const status = !healthy ? 'Unknown' : healthy.status === 'True' ? 'Healthy' : 'Unhealthy';
      return [nameOf(component), status, healthy?.message ?? '', healthy?.error ?? ''];
    },
  },
});
