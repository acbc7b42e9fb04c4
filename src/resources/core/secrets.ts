/** Secret: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const secrets = defineResource({ group: '', plural: 'secrets' });
