/** DeviceTaintRule: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const devicetaintrules = defineResource({ group: 'resource.k8s.io', plural: 'devicetaintrules' });
