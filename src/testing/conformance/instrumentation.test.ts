/** The instrumentation part of conformance: events of both groups. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startWorld, type Json, type World } from './world.ts';

describe('conformance: instrumentation', () => {
  let world: World;
  let namespace: string;
  let core: string;
  let events: string;
  before(async () => {
    world = await startWorld({ nodes: 0 });
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}/events`;
    events = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  });
  after(async () => world?.stop());

  const eventTime = '2026-01-01T00:00:00.123456Z';
  const event = (name: string, labels: Json = {}): Json => ({
    metadata: { name, namespace, labels },
    regarding: { kind: 'Pod', namespace, name: 'some-pod' },
    eventTime,
    note: 'This is a note',
    type: 'Normal',
    action: 'Do',
    reason: 'Test',
    reportingController: 'test-controller',
    reportingInstance: 'test-node',
  });
  const coreEvent = (name: string, labels: Json): Json => ({
    metadata: { name, namespace, labels },
    involvedObject: { kind: 'Pod', namespace, name: 'some-pod' },
    message: 'This is a test event',
    reason: 'Test',
    type: 'Normal',
    count: 1,
  });
  const items = async (path: string): Promise<Json[]> => (await world.get(path)).items;

  it('New Event resource lifecycle, testing a list of events', async () => {
    for (const name of ['test-event-1', 'test-event-2', 'test-event-3'])
      await world.post(events, event(name, { 'testevent-set': 'true' }));
    assert.equal((await items(`${events}?labelSelector=testevent-set%3Dtrue`)).length, 3);
    await world.del(`${events}?labelSelector=testevent-set%3Dtrue`);
    assert.equal((await items(`${events}?labelSelector=testevent-set%3Dtrue`)).length, 0);
  });

  it('New Event resource lifecycle, testing a single event', async () => {
    const made = await world.post(events, event('single', { single: 'yes' }));
    assert.equal(made.eventTime, eventTime);
    for (const path of ['/apis/events.k8s.io/v1/events', events]) {
      assert.deepEqual(
        (await items(`${path}?fieldSelector=reason%3DTest&labelSelector=single%3Dyes`)).map(
          ({ metadata }) => metadata.name,
        ),
        ['single'],
      );
    }
    // Through its own group an event's note stays as it is; through the core group it may change.
    assert.match(
      (
        await world.refused(422, `PATCH ${events}/single`, {
          body: { note: 'other' },
          headers: { 'content-type': 'application/merge-patch+json' },
        })
      ).message,
      /message: Invalid value: "other": field is immutable/,
    );
    await world.patch(
      `${events}/single`,
      { series: { count: 2, lastObservedTime: '2026-01-01T01:00:00.000000Z' } },
      'strategic',
    );
    await world.patch(`${core}/single`, { message: 'This is a test event - patched' }, 'strategic');
    const read = await world.get(`${events}/single`);
    assert.equal(read.series.count, 2);
    assert.equal(read.note, 'This is a test event - patched');
    await world.put(`${events}/single`, {
      ...read,
      series: { count: 100, lastObservedTime: '2026-01-02T00:00:00.000000Z' },
    });
    assert.deepEqual((await world.get(`${events}/single`)).series, {
      count: 100,
      lastObservedTime: '2026-01-02T00:00:00.000000Z',
    });
    await world.del(`${events}/single`);
    assert.equal((await items(`${events}?labelSelector=single%3Dyes`)).length, 0);
  });

  it('Event, delete a collection', async () => {
    for (const index of [1, 2, 3])
      await world.post(core, coreEvent(`collected-${index}`, { collected: 'yes' }));
    assert.equal((await items(`${core}?labelSelector=collected%3Dyes`)).length, 3);
    await world.del(`${core}?labelSelector=collected%3Dyes`);
    assert.equal((await items(`${core}?labelSelector=collected%3Dyes`)).length, 0);
  });

  it('Event, manage lifecycle of an Event', async () => {
    await world.post(core, coreEvent('managed', { 'testevent-constant': 'true' }));
    const [found, ...others] = await items('/api/v1/events?labelSelector=testevent-constant%3Dtrue');
    assert.equal(found.metadata.name, 'managed');
    assert.equal(others.length, 0);
    await world.patch(`${core}/managed`, { message: 'This is a test event - patched' }, 'strategic');
    const read = await world.get(`${core}/managed`);
    assert.equal(read.message, 'This is a test event - patched');
    await world.put(`${core}/managed`, {
      ...read,
      series: { count: 100, lastObservedTime: '2026-01-02T00:00:00.000000Z' },
      action: 'Test',
      reportingComponent: 'test-controller',
      reportingInstance: 'test-node',
      eventTime,
    });
    assert.equal((await world.get(`${core}/managed`)).series.count, 100);
    await world.del(`${core}/managed`);
    assert.equal((await items('/api/v1/events?labelSelector=testevent-constant%3Dtrue')).length, 0);
  });
});
