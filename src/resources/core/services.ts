/** Service: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const services = defineResource({ group: '', plural: 'services' });
