/** Event, one stored object for core/v1 and events.k8s.io/v1, whose field names differ. Kept for an hour after the last write. */
import type { Event } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { validateObjectMeta, validateStandardFinalizers } from '#machinery/metadata-validation.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import type { FieldError } from '#machinery/errors.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource, type ResourceBehaviour } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { columns, nameOf, sinceTime, type RowContext } from '../tables.ts';

/** The default of upstream's --event-ttl. */
const TTL_SECONDS = 3600;
const NEW_API_VERSION = 'events.k8s.io/v1';
const INVOLVED = Path.root('involvedObject');
const REFERENCE_FIELDS = [
  'kind',
  'namespace',
  'name',
  'uid',
  'apiVersion',
  'resourceVersion',
  'fieldPath',
] as const;

/** Shared by both kinds: they have the same objects, so each has the values for the other's selectors as well. */
export const eventBehaviour: Omit<ResourceBehaviour<Event>, 'group' | 'plural'> = {
  storedAs: 'v1',
  // Names of the objects they are about, which may be names of roles, with a suffix.
  nameRule: 'path-segment',
  metadataLast: true,
  ttlSeconds: TTL_SECONDS,
  allowCreateOnUpdate: true,
  defaultPropagation: 'unsupported',
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  convert: (object, toApiVersion) => (toApiVersion === NEW_API_VERSION ? toNew(object) : toCore(object)),
  fieldSelectors: {
    ...referenceSelectors('involvedObject'),
    ...referenceSelectors('regarding'),
    reason: (event) => event.reason ?? '',
    reportingController: (event) => event.reportingComponent ?? '',
    reportingComponent: (event) => event.reportingComponent ?? '',
    source: (event) => event.source?.component || event.reportingComponent || '',
    type: (event) => event.type ?? '',
  },
  table: {
    columns: columns(
      'Last Seen',
      'Type',
      'Reason',
      'Object',
      'Subobject:wide',
      'Source:wide',
      'Message',
      'First Seen:wide',
      'Count:wide',
      'Name:wide',
    ),
    row: (event, context) => [
      lastSeen(event, context),
      event.type ?? '',
      event.reason ?? '',
      objectOf(event),
      event.involvedObject?.fieldPath ?? '',
      sourceOf(event),
      (event.message ?? '').trim(),
      firstSeen(event, context),
      event.series?.count ?? (event.count || 1),
      nameOf(event),
    ],
  },
};

export const events = defineResource<Event>({
  group: '',
  plural: 'events',
  ...eventBehaviour,
  selectableFields: [
    ...REFERENCE_FIELDS.map((field) => `involvedObject.${field}`),
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  validate: (event) => checkEvent(event, 'reportingComponent').list,
  validateUpdate: (event) => checkEvent(event, 'reportingComponent').list,
});

/** Fields with other names in events.k8s.io/v1. */
export const NEW_SELECTABLE_FIELDS = [
  ...REFERENCE_FIELDS.map((field) => `regarding.${field}`),
  'reason',
  'reportingController',
  'type',
];

function referenceSelectors(parent: string): Record<string, (event: Event) => string> {
  return Object.fromEntries(
    REFERENCE_FIELDS.map((field) => [
      `${parent}.${field}`,
      ({ involvedObject }: Event) => involvedObject?.[field] ?? '',
    ]),
  );
}

function objectOf({ involvedObject }: Event): string {
  const kind = (involvedObject?.kind ?? '').toLowerCase();
  return involvedObject?.name ? `${kind}/${involvedObject.name}` : kind;
}

function firstSeen(event: Event, context: RowContext): string {
  return sinceTime(event.firstTimestamp ?? event.eventTime ?? undefined, context);
}

function lastSeen(event: Event, context: RowContext): string {
  if (event.series) return sinceTime(event.series.lastObservedTime, context);
  return event.lastTimestamp ? sinceTime(event.lastTimestamp, context) : firstSeen(event, context);
}

function sourceOf(event: Event): string {
  const component = event.source?.component || event.reportingComponent || '';
  const instance = event.source?.host || event.reportingInstance || '';
  return instance ? `${component}, ${instance}` : component;
}

const LIMITS: readonly (readonly [
  field: 'action' | 'reason' | 'reportingInstance' | 'message',
  most: number,
])[] = [
  ['reportingInstance', 128],
  ['action', 128],
  ['reason', 128],
  ['message', 1024],
];

/** Rules of both versions: events without an eventTime are hardly validated. */
function checkEvent(event: Event, controllerField: string): Errors {
  const errors = new Errors();
  const involved = event.involvedObject?.namespace ?? '',
    own = event.metadata?.namespace ?? '';
  const isOld = !event.eventTime;
  const fits =
    involved === '' ? own === 'default' || own === (isOld ? '' : 'kube-system') : !isOld || involved === own;
  if (!fits) errors.invalid(INVOLVED.child('namespace'), involved, 'does not match event.namespace');
  if (isOld) return errors;
  const controller = event.reportingComponent ?? '',
    path = Path.root(controllerField);
  if (controller === '') errors.required(path);
  errors.invalidEach(path, controller, validateQualifiedName(controller));
  for (const [field, most] of LIMITS) {
    const value = event[field] ?? '';
    if (value === '' && field !== 'message') errors.required(Path.root(field));
    if (value.length > most) errors.invalid(Path.root(field), '', `can have at most ${most} characters`);
  }
  return errors;
}

/** For a new event of events.k8s.io/v1, which has none of the deprecated fields. */
export function validateNewEvent(event: Event): FieldError[] {
  const errors = checkEvent(event, 'reportingController');
  errors.add(validateObjectMeta(event.metadata ?? {}, { namespaced: true }));
  errors.add(validateStandardFinalizers(event.metadata?.finalizers ?? [], 'metadata.finalizers'));
  checkSeries(event, errors);
  if (!event.eventTime) errors.required(Path.root('eventTime'));
  if (event.type !== 'Normal' && event.type !== 'Warning')
    errors.invalid(Path.root('type'), '', `has invalid value: ${event.type ?? ''}`);
  for (const field of ['firstTimestamp', 'lastTimestamp', 'count'] as const)
    if (event[field]) errors.invalid(Path.root(field), '', 'needs to be unset');
  if (event.source?.component || event.source?.host)
    errors.invalid(Path.root('source'), '', 'needs to be unset');
  return errors.list;
}

const IMMUTABLE_FIELDS = [
  'involvedObject',
  'reason',
  'message',
  'source',
  'firstTimestamp',
  'lastTimestamp',
  'count',
  'type',
  'eventTime',
  'action',
  'related',
] as const;

/** Of these, the fields that are written as '' when absent. */
const TEXTS: readonly string[] = ['reason', 'message', 'type', 'action'];

/** Only the series may change by events.k8s.io/v1. */
export function validateNewEventUpdate(next: Event, previous: Event): FieldError[] {
  const errors = checkEvent(next, 'reportingController');
  if (!semanticEqual(next.series, previous.series)) checkSeries(next, errors);
  for (const field of IMMUTABLE_FIELDS)
    checkImmutable(
      next[field] ?? (TEXTS.includes(field) ? '' : undefined),
      previous[field] ?? (TEXTS.includes(field) ? '' : undefined),
      Path.root(field),
      errors,
    );
  checkImmutable(
    next.reportingComponent ?? '',
    previous.reportingComponent ?? '',
    Path.root('reportingController'),
    errors,
  );
  checkImmutable(
    next.reportingInstance ?? '',
    previous.reportingInstance ?? '',
    Path.root('reportingInstance'),
    errors,
  );
  return errors.list;
}

function checkSeries({ series }: Event, errors: Errors): void {
  if (!series) return;
  if ((series.count ?? 0) < 2) errors.invalid(Path.root('series.count'), '', 'should be at least 2');
  if (!series.lastObservedTime) errors.required(Path.root('series.lastObservedTime'));
}

/** core field → events.k8s.io field. */
const RENAMED = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
] as const;

function rename(object: KubeObject, apiVersion: string, direction: 'toNew' | 'toCore'): KubeObject {
  const renamed: KubeObject = { ...object, apiVersion };
  for (const [core, fresh] of RENAMED) {
    const [from, to] = direction === 'toNew' ? [core, fresh] : [fresh, core];
    if (!(from in renamed)) continue;
    renamed[to] = renamed[from];
    delete renamed[from];
  }
  return renamed;
}

function toNew(object: KubeObject): KubeObject {
  const renamed = rename(object, NEW_API_VERSION, 'toNew');
  // Core always writes these, events.k8s.io only when they are set.
  for (const field of ['reportingController', 'reportingInstance'] as const)
    if (renamed[field] === '') delete renamed[field];
  return renamed;
}

function toCore(object: KubeObject): KubeObject {
  return rename(object, 'v1', 'toCore');
}
