/** PersistentVolume: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const persistentvolumes = defineResource({ group: '', plural: 'persistentvolumes' });
