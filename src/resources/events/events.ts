/** Event: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const events = defineResource({ group: 'events.k8s.io', plural: 'events' });
