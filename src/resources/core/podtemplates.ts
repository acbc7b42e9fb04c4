/** PodTemplate: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const podtemplates = defineResource({ group: '', plural: 'podtemplates' });
