/** Endpoints: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const endpoints = defineResource({ group: '', plural: 'endpoints' });
