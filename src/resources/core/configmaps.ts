/** ConfigMap: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const configmaps = defineResource({ group: '', plural: 'configmaps' });
