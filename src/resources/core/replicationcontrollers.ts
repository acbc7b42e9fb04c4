/** ReplicationController: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const replicationcontrollers = defineResource({ group: '', plural: 'replicationcontrollers' });
