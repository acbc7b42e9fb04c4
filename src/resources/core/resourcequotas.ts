/** ResourceQuota: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const resourcequotas = defineResource({ group: '', plural: 'resourcequotas' });
