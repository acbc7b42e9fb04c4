/** Deployment: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const deployments = defineResource({ group: 'apps', plural: 'deployments' });
