/** Job: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const jobs = defineResource({ group: 'batch', plural: 'jobs' });
