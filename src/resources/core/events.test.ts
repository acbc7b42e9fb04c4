import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '#api/types.ts';
import { resourceByGroup } from '../registry.ts';
import { create, update } from '../testing/write-case.ts';

const NEW = 'events.k8s.io/events';
const meta = (namespace = 'default'): object => ({ name: 'e', namespace });
const pod = (namespace = 'default'): object => ({ kind: 'Pod', name: 'p', namespace });
const fresh = (more: object = {}): object => ({
  metadata: meta(),
  involvedObject: pod(),
  eventTime: '2026-01-02T03:04:05.000000Z',
  reportingComponent: 'example.com/c',
  reportingInstance: 'c-1',
  action: 'Binding',
  reason: 'Bound',
  type: 'Normal',
  ...more,
});

const refused: readonly (readonly [what: string, path: string, event: object, ...errors: string[]])[] = [
  ['the old sort needs no more than its namespace', 'events', { metadata: meta(), involvedObject: pod() }],
  [
    'of another namespace',
    'events',
    { metadata: meta('a'), involvedObject: pod('b') },
    'involvedObject.namespace: Invalid value: "b": does not match event.namespace',
  ],
  [
    'of cluster-scoped objects',
    'events',
    { metadata: meta('kube-system'), involvedObject: { kind: 'Node', name: 'n' } },
    'involvedObject.namespace: Invalid value: "": does not match event.namespace',
  ],
  [
    'of cluster-scoped objects, by the new sort',
    'events',
    fresh({ metadata: meta('kube-system'), involvedObject: { kind: 'Node', name: 'n' } }),
  ],
  [
    'an event time asks for the rest',
    'events',
    {
      metadata: meta(),
      involvedObject: pod(),
      eventTime: '2026-01-02T03:04:05.000000Z',
      message: 'x'.repeat(1025),
    },
    'reportingComponent: Required value',
    'reportingComponent: Invalid value: "": name part must be non-empty',
    "reportingComponent: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    'reportingInstance: Required value',
    'action: Required value',
    'reason: Required value',
    'message: Invalid value: "": can have at most 1024 characters',
  ],
  ['core events say nothing of types and series', 'events', fresh({ type: 'Odd', series: { count: 1 } })],
  ['new events are whole', NEW, fresh()],
  [
    'new events must have a time',
    NEW,
    { metadata: meta(), involvedObject: pod() },
    'eventTime: Required value',
    'type: Invalid value: "": has invalid value: ',
  ],
  [
    'new events have no old fields',
    NEW,
    fresh({
      type: 'Odd',
      series: { count: 1 },
      firstTimestamp: '2026-01-02T03:04:05Z',
      lastTimestamp: '2026-01-02T03:04:05Z',
      count: 1,
      source: { component: 'c' },
    }),
    'series.count: Invalid value: "": should be at least 2',
    'series.lastObservedTime: Required value',
    'type: Invalid value: "": has invalid value: Odd',
    'firstTimestamp: Invalid value: "": needs to be unset',
    'lastTimestamp: Invalid value: "": needs to be unset',
    'count: Invalid value: "": needs to be unset',
    'source: Invalid value: "": needs to be unset',
  ],
];

for (const [what, path, event, ...errors] of refused)
  test(`events: ${what}`, () => assert.deepEqual(create(path, event).errors, errors));

test('only the series may change by events.k8s.io/v1', () => {
  const { object } = create<Event>(NEW, fresh());
  assert.deepEqual(
    update<Event>(NEW, object, (next) => {
      next.series = { count: 2, lastObservedTime: '2026-01-02T03:04:05.000000Z' };
    }).errors,
    [],
  );
  const change = (next: Event): void => {
    next.message = 'other';
    next.reportingComponent = 'other';
  };
  assert.deepEqual(update<Event>(NEW, object, change).errors, [
    'message: Invalid value: "other": field is immutable',
    'reportingController: Invalid value: "other": field is immutable',
  ]);
  assert.deepEqual(update<Event>('events', object, change).errors, []);
});

test('each version has its own field selectors, over the same values', () => {
  const core = resourceByGroup('', 'events')!.behaviour,
    fromNew = resourceByGroup('events.k8s.io', 'events')!.behaviour;
  assert.deepEqual(
    core.fieldSelectors && Object.keys(core.fieldSelectors),
    fromNew.fieldSelectors && Object.keys(fromNew.fieldSelectors),
  );
  for (const [field, isCore, isNew] of [
    ['involvedObject.uid', true, false],
    ['regarding.uid', false, true],
    ['reportingComponent', true, false],
    ['reportingController', false, true],
    ['source', true, false],
    ['reason', true, true],
    ['type', true, true],
  ] as const) {
    assert.deepEqual(
      [core.selectableFields!.includes(field), fromNew.selectableFields!.includes(field)],
      [isCore, isNew],
      field,
    );
    assert.ok(field in core.fieldSelectors!, field);
  }
});
