/** Pod: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const pods = defineResource({ group: '', plural: 'pods' });
