/** CustomResourceDefinition: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const customresourcedefinitions = defineResource({ group: 'apiextensions.k8s.io', plural: 'customresourcedefinitions' });
