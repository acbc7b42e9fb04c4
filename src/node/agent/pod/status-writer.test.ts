/** Over a real API server: what the writer writes, and what it writes again. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Pod, PodCondition, PodStatus } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods, serviceAccounts } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { StatusWriter } from './status-writer.ts';

const TIMEOUT_MS = 20_000;
const AT = { name: 'p', namespace: 'default' };

function statusOf(ready: 'True' | 'False', more: Partial<PodStatus> = {}): PodStatus {
  const lastTransitionTime = '2026-01-01T00:00:00Z';
  return { phase: 'Running', conditions: [{ type: 'Ready', status: ready, lastTransitionTime }], ...more };
}

describe('status writer', () => {
  let cluster: TestApi;
  let writer: StatusWriter;
  let partitioned = false;
  let patches = 0;

  before(async () => {
    cluster = await startTestApi();
    await cluster.api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
    const informer = cluster.api.informer(pods);
    await informer.synced();
    const observe = (pod: Pod): void => {
      if (!partitioned) writer?.observe(pod);
    };
    informer.subscribe({ added: observe, updated: observe, deleted: () => {} });
  });
  after(() => cluster.stop());

  beforeEach(async () => {
    await writer?.stop();
    partitioned = false;
    patches = 0;
    writer = new StatusWriter({ api: connection(), clock: realClock, log: silentLogger });
    await cluster.api.delete(pods, AT, { gracePeriodSeconds: 0 }).catch(() => {});
  });

  /** Counts writes, and refuses them while the node is cut off. */
  function connection(): Client {
    return new Proxy(cluster.api, {
      get(api, name) {
        const value = Reflect.get(api, name) as unknown;
        if (name !== 'patch') return typeof value === 'function' ? value.bind(api) : value;
        return (...words: Parameters<Client['patch']>) => {
          if (partitioned) return Promise.reject(new Error('no route to host'));
          patches += 1;
          return api.patch(...words);
        };
      },
    });
  }

  function create(): Promise<Pod> {
    return cluster.api.create(pods, { metadata: AT, spec: { containers: [{ name: 'c', image: 'i' }] } });
  }

  const overwrite = (status: object): Promise<Pod> =>
    cluster.api.patch(pods, AT, { type: 'strategic', subresource: 'status', patch: { status } });

  /** As the node lifecycle controller does for a node that is silent. */
  const markNotReady = (): Promise<Pod> => overwrite({ conditions: [{ type: 'Ready', status: 'False' }] });

  async function until(holds: (status: PodStatus) => boolean): Promise<PodStatus> {
    const deadline = Date.now() + TIMEOUT_MS;
    for (;;) {
      const { status = {} } = await cluster.api.get(pods, AT);
      if (holds(status)) return status;
      assert.ok(Date.now() < deadline, JSON.stringify(status));
      await realClock.sleep(5);
    }
  }

  const conditionOf = ({ conditions = [] }: PodStatus, type: string): PodCondition | undefined =>
    conditions.find((condition) => condition.type === type);
  const isReady = (status: PodStatus): boolean => conditionOf(status, 'Ready')?.status === 'True';

  it('writes a status again that someone else overwrote; conditions of others stay', async () => {
    writer.set(await create(), statusOf('True'));
    await until(isReady);
    await overwrite({
      phase: 'Pending',
      reason: 'Made up',
      conditions: [
        { type: 'Ready', status: 'False', reason: 'NodeLost' },
        { type: 'example.com/gate', status: 'True' },
      ],
    });
    const status = await until((current) => isReady(current) && current.reason === undefined);
    assert.equal(status.phase, 'Running');
    assert.equal(conditionOf(status, 'Ready')?.reason, undefined);
    assert.equal(conditionOf(status, 'example.com/gate')?.status, 'True');
  });

  it('writes after a partition what the API was told meanwhile', async () => {
    writer.set(await create(), statusOf('True'));
    await until(isReady);
    partitioned = true;
    await markNotReady();
    writer.set(await cluster.api.get(pods, AT), statusOf('True', { message: 'still here' }));
    await realClock.sleep(50);
    assert.equal(isReady((await cluster.api.get(pods, AT)).status ?? {}), false);
    partitioned = false;
    await until((status) => isReady(status) && status.message === 'still here');
  });

  it('writes nothing for an event older than its own write, nor for what others own', async () => {
    const created = await create();
    writer.set(created, statusOf('True'));
    await until(isReady);
    await until(() => patches === 1);
    writer.observe(created);
    await overwrite({ conditions: [{ type: 'example.com/gate', status: 'True' }] });
    await markNotReady();
    await until(isReady);
    assert.equal(patches, 2);
  });

  it('does not repeat a status that the API keeps in another form', async () => {
    writer.set(await create(), statusOf('True', { startTime: '2026-01-01T00:00:00.000Z' }));
    await until(isReady);
    await markNotReady();
    await until(isReady);
    assert.equal(patches, 2);
  });
});
