/** FlowSchema: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const flowschemas = defineResource({ group: 'flowcontrol.apiserver.k8s.io', plural: 'flowschemas' });
