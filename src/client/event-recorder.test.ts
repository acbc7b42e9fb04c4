import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { Client, ResourceRef } from './client.ts';
import { createClient } from './create.ts';
import { createDirectTransport } from './direct.ts';
import type { CoreEvent } from './event-correlator.ts';
import { createEventRecorder, type StoppableEventRecorder } from './event-recorder.ts';
import { createFakeApi, type FakeApi } from './testing/fake-api.ts';

const events: ResourceRef<CoreEvent> = {
  group: '',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};
const pod: KubeObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', resourceVersion: '7' },
};

describe('event recorder', () => {
  let fake: FakeApi;
  let clock: FakeClock;
  let api: Client;
  let recorder: StoppableEventRecorder;

  beforeEach(() => {
    fake = createFakeApi();
    clock = new FakeClock();
    api = createClient(
      createDirectTransport((request) => fake.handler(request)),
      { userAgent: 'test', clock },
    );
    recorder = createEventRecorder(api, { component: 'deployment-controller', clock });
  });
  afterEach(async () => {
    recorder.stop();
    await api.close();
  });

  const recorded = async (namespace = 'shop'): Promise<CoreEvent[]> => {
    await recorder.flushed();
    return (await api.list(events, { namespace })).items;
  };
  const say = (message: string, about = pod): void =>
    recorder.event(about, { type: 'Normal', reason: 'Pulled', message });

  it('writes a core event as upstream does', async () => {
    recorder.event(pod, {
      type: 'Warning',
      reason: 'Failed',
      message: 'no',
      fieldPath: 'spec.containers{web}',
    });
    const [event] = await recorded();
    assert.match(event!.metadata.name, /^web\.[0-9a-f]{16}$/);
    assert.deepEqual(
      { ...event, metadata: {} },
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: {},
        type: 'Warning',
        reason: 'Failed',
        message: 'no',
        count: 1,
        involvedObject: {
          apiVersion: 'v1',
          kind: 'Pod',
          namespace: 'shop',
          name: 'web',
          uid: 'u1',
          resourceVersion: '7',
          fieldPath: 'spec.containers{web}',
        },
        source: { component: 'deployment-controller' },
        reportingComponent: 'deployment-controller',
        reportingInstance: '',
        firstTimestamp: '2026-01-01T00:00:00Z',
        lastTimestamp: '2026-01-01T00:00:00Z',
      },
    );
  });

  it('puts events of cluster-scoped objects in the default namespace, and truncates long messages', async () => {
    say('x'.repeat(5_000), { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
    const [event] = await recorded('default');
    assert.equal(event!.message.length, 1_024);
  });

  it('counts a repeated event', async () => {
    say('image present');
    await recorder.flushed();
    await clock.advance(5_000);
    say('image present');
    say('image present');
    const all = await recorded();
    assert.equal(all.length, 1);
    assert.equal(all[0]!.count, 3);
    assert.equal(all[0]!.firstTimestamp, '2026-01-01T00:00:00Z');
    assert.equal(all[0]!.lastTimestamp, '2026-01-01T00:00:05Z');
  });

  it('creates a new event when the counted one has expired', async () => {
    say('image present');
    const [first] = await recorded();
    await api.delete(events, first!.metadata);
    say('image present');
    const all = await recorded();
    assert.equal(all.length, 1);
    assert.equal(all[0]!.count, 2);
  });

  it('aggregates similar events from the tenth message on', async () => {
    for (let index = 0; index < 15; index += 1) say(`attempt ${index}`);
    const all = await recorded();
    assert.equal(all.length, 10);
    const combined = all.find((event) => event.message.startsWith('(combined from similar events): '));
    assert.equal(combined?.message, '(combined from similar events): attempt 14');
    assert.equal(combined?.count, 6);
  });

  it('allows a burst of 25 per object, then one every five minutes', async () => {
    for (let index = 0; index < 40; index += 1) say('again');
    say('about another', { ...pod, metadata: { name: 'db', namespace: 'shop', uid: 'u2' } });
    assert.deepEqual((await recorded()).map((event) => event.count).sort(), [1, 25]);
    await clock.advance(300_000);
    say('again');
    assert.deepEqual((await recorded()).map((event) => event.count).sort(), [1, 41]);
  });

  it('never throws, and drops events when the queue is full', async () => {
    fake.intercept = () => {
      throw new Error('broken');
    };
    for (let index = 0; index < 3_000; index += 1)
      say('x', { ...pod, metadata: { name: `p${index}`, namespace: 'shop' } });
    recorder.stop();
    await recorder.flushed();
    // Those sent before stop(); the queue is empty and nothing was thrown.
    assert.ok(fake.requests.length <= 1_000);
  });
});
