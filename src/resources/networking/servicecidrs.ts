/** ServiceCIDR: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const servicecidrs = defineResource({ group: 'networking.k8s.io', plural: 'servicecidrs' });
