/** StatefulSet: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const statefulsets = defineResource({ group: 'apps', plural: 'statefulsets' });
