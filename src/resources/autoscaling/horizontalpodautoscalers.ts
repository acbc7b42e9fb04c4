/** HorizontalPodAutoscaler: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const horizontalpodautoscalers = defineResource({ group: 'autoscaling', plural: 'horizontalpodautoscalers' });
