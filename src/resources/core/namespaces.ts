/** Namespace: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const namespaces = defineResource({ group: '', plural: 'namespaces' });
