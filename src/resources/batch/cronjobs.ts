/** CronJob: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const cronjobs = defineResource({ group: 'batch', plural: 'cronjobs' });
