/** ServiceAccount: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const serviceaccounts = defineResource({ group: '', plural: 'serviceaccounts' });
