/** VolumeAttributesClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const volumeattributesclasses = defineResource({ group: 'storage.k8s.io', plural: 'volumeattributesclasses' });
