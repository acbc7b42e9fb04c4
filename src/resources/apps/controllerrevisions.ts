/** ControllerRevision: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const controllerrevisions = defineResource({ group: 'apps', plural: 'controllerrevisions' });
