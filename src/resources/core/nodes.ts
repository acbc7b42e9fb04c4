/** Node: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const nodes = defineResource({ group: '', plural: 'nodes' });
