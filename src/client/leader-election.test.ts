import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { statusErrors } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { Client, ResourceRef } from './client.ts';
import { createClient } from './create.ts';
import { createDirectTransport } from './direct.ts';
import { createFakeApi, type FakeApi } from './testing/fake-api.ts';
import { createLeaderElector, type LeaderElector } from './leader-election.ts';

const lease = { namespace: 'kube-system', name: 'kube-scheduler' };
const leases: ResourceRef = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

interface Candidate {
  readonly elector: LeaderElector;
  readonly fake: FakeApi;
  readonly stop: () => void;
  readonly over: Promise<void>;
  led: number;
  lost: number;
}

describe('leader election', () => {
  let clock: FakeClock;
  let fake: FakeApi;
  let clients: Client[];
  let leading: Set<string>;
  /** Identities whose requests fail. */
  let cutOff: Set<string>;
  /** Answers to writes come only then. */
  let late: PromiseWithResolvers<void> | undefined;

  beforeEach(() => {
    clock = new FakeClock();
    fake = createFakeApi();
    clients = [];
    leading = new Set();
    cutOff = new Set();
  });
  afterEach(async () => {
    for (const client of clients) await client.close();
  });

  function candidate(identity: string): Candidate {
    const api = createClient(
      createDirectTransport(async (request) => {
        if (cutOff.has(identity)) throw new Error('no route');
        const answer = await fake.handler(request);
        if (request.method !== 'GET') await late?.promise;
        return answer;
      }),
      { userAgent: identity, clock },
    );
    clients.push(api);
    const elector = createLeaderElector({ api, lease, identity, clock, random: () => 0 });
    const abort = new AbortController();
    const made: Candidate = {
      elector,
      fake,
      stop: () => abort.abort(new Error('stop')),
      led: 0,
      lost: 0,
      over: Promise.resolve(),
    };
    const over = (async () => {
      while (!abort.signal.aborted) {
        await elector.run(abort.signal, async (signal) => {
          made.led += 1;
          leading.add(identity);
          assert.equal(leading.size, 1, 'never two leaders');
          if (!signal.aborted)
            await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
          leading.delete(identity);
          made.lost += 1;
        });
      }
    })();
    return Object.assign(made, { over });
  }

  const spec = async (): Promise<Record<string, unknown>> =>
    (await clients[0]!.get(leases, lease))['spec'] as Record<string, unknown>;

  it('one of two leads, renews every two seconds, and writes the same Lease as upstream', async () => {
    const a = candidate('a');
    await clock.advance(0);
    const b = candidate('b');
    await clock.advance(20_000);
    assert.deepEqual([...leading], ['a']);
    assert.equal(a.elector.isLeader, true);
    assert.equal(b.elector.leader, 'a');
    const { holderIdentity, leaseDurationSeconds, leaseTransitions, acquireTime, renewTime } = await spec();
    assert.deepEqual(
      { holderIdentity, leaseDurationSeconds, leaseTransitions },
      { holderIdentity: 'a', leaseDurationSeconds: 15, leaseTransitions: 0 },
    );
    assert.equal(acquireTime, '2026-01-01T00:00:00.000000Z');
    assert.equal(renewTime, '2026-01-01T00:00:20.000000Z');
    a.stop();
    b.stop();
    await Promise.all([a.over, b.over]);
  });

  it('releases the lease when the leader stops, so that another takes over at once', async () => {
    const a = candidate('a');
    await clock.advance(0);
    const b = candidate('b');
    await clock.advance(10_000);
    a.stop();
    await a.over;
    assert.equal((await spec())['holderIdentity'], '');
    await clock.advance(2_000);
    assert.deepEqual([...leading], ['b']);
    assert.equal((await spec())['leaseTransitions'], 1);
    b.stop();
    await b.over;
  });

  it('a leader that stood still may not write, though its timers have not fired yet', async () => {
    const a = candidate('a');
    await clock.advance(0);
    await clock.advance(5_000);
    assert.equal(a.elector.mayWrite, true);
    cutOff.add('a');
    const { monotonic } = clock;
    clock.monotonic = () => monotonic.call(clock) + 20_000;
    assert.equal(a.elector.isLeader, true, 'as it still believes');
    assert.equal(a.elector.mayWrite, false);
    clock.monotonic = monotonic;
    await clock.advance(20_000);
    assert.equal(a.elector.mayWrite, false);
    a.stop();
    await a.over;
  });

  it('a lease is held from when it was asked for, not from the answer', async () => {
    late = Promise.withResolvers<void>();
    const a = candidate('a');
    await clock.advance(0);
    await clock.advance(11_000);
    late.resolve();
    late = undefined;
    await clock.advance(0);
    assert.equal(a.elector.isLeader, true);
    assert.equal(a.elector.mayWrite, false, 'until it is renewed');
    await clock.advance(2_000);
    assert.equal(a.elector.mayWrite, true);
    a.stop();
    await a.over;
  });

  it('a partitioned leader steps down before another may lead', async () => {
    const a = candidate('a');
    await clock.advance(0);
    const b = candidate('b');
    await clock.advance(10_000);
    cutOff.add('a');
    await clock.advance(9_999);
    assert.equal(a.lost, 0);
    await clock.advance(2_001);
    assert.equal(a.lost, 1, 'after the renew deadline');
    assert.equal(b.led, 0, 'the lease is not over yet');
    await clock.advance(6_000);
    assert.deepEqual([...leading], ['b']);
    cutOff.delete('a');
    await clock.advance(30_000);
    assert.deepEqual([...leading], ['b']);
    a.stop();
    b.stop();
    await Promise.all([a.over, b.over]);
  });

  it('uses its own clock, not the times in the lease', async () => {
    const a = candidate('a');
    await clock.advance(0);
    await clients[0]!.patch(leases, lease, {
      type: 'merge',
      patch: { spec: { renewTime: '1990-01-01T00:00:00.000000Z' } },
    });
    const b = candidate('b');
    await clock.advance(1_000);
    assert.equal(b.led, 0);
    a.stop();
    b.stop();
    await Promise.all([a.over, b.over]);
  });

  it('keeps retrying while the server rejects requests', async () => {
    fake.intercept = () => statusErrors.forbidden({ group: '', resource: 'leases', name: '' }, 'no');
    const a = candidate('a');
    await clock.advance(60_000);
    assert.equal(a.led, 0);
    fake.intercept = undefined;
    await clock.advance(2_000);
    assert.equal(a.led, 1);
    a.stop();
    await a.over;
  });
});
