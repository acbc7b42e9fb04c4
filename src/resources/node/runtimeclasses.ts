/** RuntimeClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const runtimeclasses = defineResource({ group: 'node.k8s.io', plural: 'runtimeclasses' });
