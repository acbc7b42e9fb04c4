import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsStorage, type Round } from './metrics-storage.ts';
import type { MetricsPoint } from './resource-page.ts';

const START = 1_700_000_000_000;

function point(seconds: number, cpuSeconds: number, more: Partial<MetricsPoint> = {}): MetricsPoint {
  return { startMs: START - 3_600_000, atMs: START + seconds * 1000, cpuSeconds, memoryBytes: 4096, ...more };
}

function round(containers: Readonly<Record<string, MetricsPoint>>, node?: MetricsPoint): Round {
  const pods = new Map([['shop/web', new Map(Object.entries(containers))]]);
  return new Map([['n1', { node, pods: Object.keys(containers).length === 0 ? new Map() : pods }]]);
}

function storageOf(...rounds: readonly Round[]): MetricsStorage {
  const storage = new MetricsStorage({ resolutionMs: 15_000 });
  for (const one of rounds) storage.store(one);
  return storage;
}

test('usage is the rate between two rounds, over the time of the measurements', () => {
  const node = { ...point(0, 100), startMs: 0 };
  const storage = storageOf(
    round({ c: point(0, 10) }, node),
    round(
      { c: point(12, 13) },
      { ...node, atMs: node.atMs + 15_000, cpuSeconds: 107.5, memoryBytes: 5_000_001 },
    ),
  );
  assert.deepEqual(storage.pod('shop/web'), {
    timestamp: '2023-11-14T22:13:32Z',
    window: '12s',
    containers: [{ name: 'c', usage: { cpu: '250m', memory: '4Ki' } }],
  });
  assert.deepEqual(storage.node('n1'), {
    timestamp: '2023-11-14T22:13:35Z',
    window: '15s',
    usage: { cpu: '500m', memory: '5000001' },
  });
  assert.deepEqual(storage.counts(), { nodes: 1, containers: 1 });
});

test('one measurement is none', () => {
  const storage = storageOf(round({ c: point(0, 10) }, point(0, 100)));
  assert.deepEqual([storage.pod('shop/web'), storage.node('n1')], [undefined, undefined]);
});

test('CPU is rounded up to a nanocore', () => {
  const storage = storageOf(round({ c: point(0, 0) }), round({ c: point(15, 1) }));
  assert.equal(storage.pod('shop/web')?.containers[0]?.usage.cpu, '66666667n');
});

test('a pod is left out while one of its containers has a single measurement', () => {
  const before = round({ a: point(0, 1) });
  const storage = storageOf(before, round({ a: point(15, 2), b: point(15, 2, { startMs: START + 14_000 }) }));
  assert.equal(storage.pod('shop/web'), undefined);
  storage.store(round({ a: point(30, 3), b: point(30, 3, { startMs: START + 14_000 }) }));
  assert.deepEqual(
    storage.pod('shop/web')?.containers.map(({ name }) => name),
    ['a', 'b'],
  );
});

test('a container that started since the last round counts from its start, once it has run for ten seconds', () => {
  const startMs = START + 3_000;
  const storage = storageOf(round({ c: point(14, 2.2, { startMs }) }));
  assert.deepEqual(storage.pod('shop/web'), {
    timestamp: '2023-11-14T22:13:34Z',
    window: '11s',
    containers: [{ name: 'c', usage: { cpu: '200m', memory: '4Ki' } }],
  });
  assert.equal(storageOf(round({ c: point(12, 1, { startMs }) })).pod('shop/web'), undefined);
});

test('a container that was started again has no rate across its start, nor has a counter that went back', () => {
  const again = point(15, 0.5, { startMs: START + 10_000 });
  assert.equal(storageOf(round({ c: point(0, 10) }), round({ c: again })).pod('shop/web'), undefined);
  assert.equal(storageOf(round({ c: point(0, 10) }), round({ c: point(15, 9) })).pod('shop/web'), undefined);
});

test('a measurement that did not advance leaves the rate as it was', () => {
  const storage = storageOf(
    round({ c: point(0, 10) }),
    round({ c: point(10, 11) }),
    round({ c: point(10, 11) }),
  );
  assert.equal(storage.pod('shop/web')?.window, '10s');
});

test('what the last round has not is gone: a terminated pod, a node that did not answer', () => {
  const both = [round({ c: point(0, 1) }, point(0, 1)), round({ c: point(15, 2) }, point(15, 2))];
  const storage = storageOf(...both, round({}, point(30, 3)));
  assert.equal(storage.pod('shop/web'), undefined);
  assert.ok(storage.node('n1'));
  storage.store(new Map());
  assert.equal(storage.node('n1'), undefined);
  assert.deepEqual(storage.counts(), { nodes: 0, containers: 0 });
});

test('the time of a pod is that of its oldest measurement', () => {
  const storage = storageOf(
    round({ a: point(0, 1), b: point(2, 1) }),
    round({ a: point(15, 2), b: point(12, 2) }),
  );
  assert.deepEqual(
    [storage.pod('shop/web')?.timestamp, storage.pod('shop/web')?.window],
    ['2023-11-14T22:13:32Z', '10s'],
  );
});
