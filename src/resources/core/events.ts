/** Event, one stored object for core/v1 and events.k8s.io/v1, whose names for the same fields differ. Kept for an hour after the last write. */
import type { Event } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource, type ResourceBehaviour } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { columns, nameOf, sinceTime, type RowContext } from '../tables.ts';

/** ttlSeconds is upstream's --event-ttl. */
const TTL_SECONDS = 3600;
const NEW_API_VERSION = 'events.k8s.io/v1';
const INVOLVED = Path.root('involvedObject');

export const eventBehaviour: Omit<ResourceBehaviour<Event>, 'group' | 'plural'> = {
  storedAs: 'v1',
  ttlSeconds: TTL_SECONDS,
  allowCreateOnUpdate: true,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (event) => validate(event, undefined),
  validateUpdate: (next, previous) => validate(next, previous),
  convert: (object, toApiVersion) => (toApiVersion === NEW_API_VERSION ? toNew(object) : toCore(object)),
  fieldSelectors: {
    'involvedObject.kind': ({ involvedObject }) => involvedObject?.kind ?? '',
    'involvedObject.namespace': ({ involvedObject }) => involvedObject?.namespace ?? '',
    'involvedObject.name': ({ involvedObject }) => involvedObject?.name ?? '',
    'involvedObject.uid': ({ involvedObject }) => involvedObject?.uid ?? '',
    'involvedObject.apiVersion': ({ involvedObject }) => involvedObject?.apiVersion ?? '',
    'involvedObject.resourceVersion': ({ involvedObject }) => involvedObject?.resourceVersion ?? '',
    'involvedObject.fieldPath': ({ involvedObject }) => involvedObject?.fieldPath ?? '',
    'regarding.kind': ({ involvedObject }) => involvedObject?.kind ?? '',
    'regarding.namespace': ({ involvedObject }) => involvedObject?.namespace ?? '',
    'regarding.name': ({ involvedObject }) => involvedObject?.name ?? '',
    'regarding.uid': ({ involvedObject }) => involvedObject?.uid ?? '',
    'regarding.apiVersion': ({ involvedObject }) => involvedObject?.apiVersion ?? '',
    'regarding.resourceVersion': ({ involvedObject }) => involvedObject?.resourceVersion ?? '',
    'regarding.fieldPath': ({ involvedObject }) => involvedObject?.fieldPath ?? '',
    reason: (event) => event.reason ?? '',
    reportingController: (event) => event.reportingComponent ?? '',
    reportingComponent: (event) => event.reportingComponent ?? '',
    source: (event) => event.source?.component || event.reportingComponent || '',
    type: (event) => event.type ?? '',
  },
  table: {
    columns: columns('Last Seen', 'Type', 'Reason', 'Object', 'Subobject:wide', 'Source:wide', 'Message', 'First Seen:wide', 'Count:wide', 'Name:wide'),
    row: (event, context) => [
      lastSeen(event, context), event.type ?? '', event.reason ?? '', objectOf(event), event.involvedObject?.fieldPath ?? '', sourceOf(event),
      (event.message ?? '').trim(), firstSeen(event, context), event.series?.count ?? (event.count || 1), nameOf(event),
    ],
  },
};

export const events = defineResource<Event>({ group: '', plural: 'events', ...eventBehaviour });

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

/** As upstream: events of the old sort are hardly checked, those with an eventTime are. */
function validate(event: Event, previous: Event | undefined): Errors['list'] {
  const errors = new Errors();
  const involved = event.involvedObject?.namespace ?? '', own = event.metadata?.namespace ?? '';
  if (event.eventTime === undefined || event.eventTime === null) {
    if (involved === '' ? own !== '' && own !== 'default' : involved !== own) errors.invalid(INVOLVED.child('namespace'), involved, 'does not match event.namespace');
    return errors.list;
  }
  if (involved === '' ? own !== 'default' && own !== 'kube-system' : involved !== own) errors.invalid(INVOLVED.child('namespace'), involved, 'does not match event.namespace');
  checkNewFields(event, errors);
  if (previous) {
    for (const field of ['involvedObject', 'reason', 'reportingComponent', 'reportingInstance', 'action', 'type', 'related', 'eventTime'] as const) {
      checkImmutable(event[field], previous[field], Path.root(field), errors);
    }
  }
  return errors.list;
}

const LIMITS: readonly (readonly [field: 'action' | 'reason' | 'reportingInstance' | 'message', most: number])[] = [['reportingInstance', 128], ['action', 128], ['reason', 128], ['message', 1024]];

function checkNewFields(event: Event, errors: Errors): void {
  if (!event.reportingComponent) errors.required(Path.root('reportingController'));
  else errors.invalidEach(Path.root('reportingController'), event.reportingComponent, validateQualifiedName(event.reportingComponent));
  for (const [field, most] of LIMITS) {
    const value = event[field] ?? '';
    if (value === '' && field !== 'message') errors.required(Path.root(field));
    else if (value.length > most) errors.invalid(Path.root(field), '', `can have at most ${most} characters`);
  }
  if (event.type !== 'Normal' && event.type !== 'Warning') errors.invalid(Path.root('type'), '', `has invalid value: ${event.type ?? ''}`);
  if (event.series) {
    if (event.series.count !== undefined && event.series.count < 2) errors.invalid(Path.root('series.count'), '', 'should be at least 2');
    if (!event.series.lastObservedTime) errors.required(Path.root('series.lastObservedTime'));
  }
}

/** core field → events.k8s.io field. */
const RENAMED = [['involvedObject', 'regarding'], ['message', 'note'], ['reportingComponent', 'reportingController'], ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'], ['lastTimestamp', 'deprecatedLastTimestamp'], ['count', 'deprecatedCount']] as const;

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
  return rename(object, NEW_API_VERSION, 'toNew');
}

function toCore(object: KubeObject): KubeObject {
  return rename(object, 'v1', 'toCore');
}

