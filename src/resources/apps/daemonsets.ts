/** DaemonSet: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const daemonsets = defineResource({ group: 'apps', plural: 'daemonsets' });
