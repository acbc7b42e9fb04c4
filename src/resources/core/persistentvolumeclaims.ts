/** PersistentVolumeClaim: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const persistentvolumeclaims = defineResource({ group: '', plural: 'persistentvolumeclaims' });
