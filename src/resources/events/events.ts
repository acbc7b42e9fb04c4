/** Event of events.k8s.io/v1: the same objects as core events, see core/events.ts. */
import type { Event } from '#api/types.ts';
import {
  eventBehaviour,
  NEW_SELECTABLE_FIELDS,
  validateNewEvent,
  validateNewEventUpdate,
} from '../core/events.ts';
import { defineResource } from '../define.ts';

export const events = defineResource<Event>({
  group: 'events.k8s.io',
  plural: 'events',
  ...eventBehaviour,
  selectableFields: NEW_SELECTABLE_FIELDS,
  validate: validateNewEvent,
  validateUpdate: validateNewEventUpdate,
});
