/** VolumeAttachment: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const volumeattachments = defineResource({ group: 'storage.k8s.io', plural: 'volumeattachments' });
