/** Which group versions are never taken from a peer, and how long after their deletion. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { InternalApi, InternalWatchHandler } from '../registry/loopback-client.ts';
import { ExcludedVersions, GRACE_MS } from './excluded-versions.ts';

const definition = (...versions: string[]): Stored =>
  ({
    metadata: { name: 'widgets.example.com' },
    spec: { group: 'example.com', versions: versions.map((name) => ({ name })) },
  }) as KubeObject as Stored;
const apiService = (service?: object): Stored =>
  ({
    metadata: { name: 'v1.metrics.example.com' },
    spec: { group: 'metrics.example.com', version: 'v1', ...(service ? { service } : {}) },
  }) as KubeObject as Stored;

test('versions of custom resources and extensions are excluded, and for a while after their deletion', async () => {
  const clock = new FakeClock();
  const handlers: InternalWatchHandler[] = [];
  let reaped = 0;
  const excluded = new ExcludedVersions({
    internal: {
      watch: (_: unknown, handler: InternalWatchHandler) => (handlers.push(handler), () => {}),
    } as unknown as InternalApi,
    clock,
    reaped: () => void (reaped += 1),
  });
  excluded.start();
  const [definitions, services] = handlers as [InternalWatchHandler, InternalWatchHandler];
  definitions.added(definition('v1', 'v2'));
  services.added(apiService());
  assert.deepEqual(
    ['example.com/v1', 'example.com/v2', 'metrics.example.com/v1'].map((one) => excluded.has(one)),
    [true, true, false],
  );
  services.updated(apiService({ name: 'metrics' }), undefined);
  assert.equal(excluded.has('metrics.example.com/v1'), true);
  definitions.updated(definition('v2'), undefined);
  definitions.deleted(definition('v2'));
  await clock.advance(GRACE_MS - 1);
  assert.deepEqual([excluded.has('example.com/v1'), excluded.has('example.com/v2'), reaped], [true, true, 0]);
  const { revision } = excluded;
  await clock.advance(1);
  assert.deepEqual(
    [excluded.has('example.com/v1'), excluded.has('example.com/v2'), reaped],
    [false, false, 2],
  );
  assert.notEqual(excluded.revision, revision);
});
