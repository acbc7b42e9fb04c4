/** PriorityLevelConfiguration: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const prioritylevelconfigurations = defineResource({ group: 'flowcontrol.apiserver.k8s.io', plural: 'prioritylevelconfigurations' });
