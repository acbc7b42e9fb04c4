/** Binding: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const bindings = defineResource({ group: '', plural: 'bindings', virtual: true });
