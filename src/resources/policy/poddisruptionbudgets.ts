/** PodDisruptionBudget: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const poddisruptionbudgets = defineResource({ group: 'policy', plural: 'poddisruptionbudgets' });
