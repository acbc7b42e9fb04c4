/** LimitRange: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const limitranges = defineResource({ group: '', plural: 'limitranges' });
