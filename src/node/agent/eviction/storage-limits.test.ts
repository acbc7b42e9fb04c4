import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { LABELS } from '../labels.ts';
import { AgentMetrics } from '../agent-metrics.ts';
import { diskUseBelow } from './disk-use.ts';
import { excess, StorageLimits, type EvictablePod, type StorageLimitsOptions } from './storage-limits.ts';

const MIB = 1024 * 1024;

/** Two containers, the first with a limit of 5Mi; two volumes, one with a limit of 2Mi. */
const POD: Pod = {
  metadata: { name: 'p', namespace: 'd', uid: 'u' },
  spec: {
    containers: [{ name: 'a', resources: { limits: { 'ephemeral-storage': '5Mi' } } }, { name: 'b' }],
    volumes: [
      { name: 'small', emptyDir: { sizeLimit: '2Mi' } },
      { name: 'free', emptyDir: {} },
      { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '1' } },
    ],
  },
};
const BOTH: Pod = {
  ...POD,
  spec: {
    ...POD.spec!,
    containers: [
      POD.spec!.containers[0]!,
      { name: 'b', resources: { limits: { 'ephemeral-storage': '5Mi' } } },
    ],
  },
};

test('which limit is exceeded', () => {
  const cases: readonly (readonly [
    string,
    Pod,
    Record<string, number>,
    Record<string, number>,
    string | undefined,
  ])[] = [
    ['none', POD, { small: 2 * MIB, free: MIB }, { a: MIB, b: MIB }, undefined],
    [
      'a volume',
      POD,
      { small: 2 * MIB + 1 },
      {},
      'Usage of EmptyDir volume "small" exceeds the limit "2Mi". ',
    ],
    [
      'the pod, by all it has together',
      POD,
      { free: 3 * MIB },
      { a: MIB, b: 2 * MIB },
      'Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ',
    ],
    [
      'one of two containers',
      BOTH,
      {},
      { a: 6 * MIB, b: MIB },
      'Container a exceeded its local ephemeral storage limit "5Mi". ',
    ],
  ];
  for (const [what, pod, volumes, containers, message] of cases)
    assert.equal(
      excess(pod, {
        volumes: new Map(Object.entries(volumes)),
        containers: new Map(Object.entries(containers)),
        total: [...Object.values(volumes), ...Object.values(containers)].reduce((sum, one) => sum + one, 0),
      }),
      message,
      what,
    );
});

test('what a tree takes, without what links lead to', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-use-'));
  t.after(() => rm(dir, { recursive: true }));
  await mkdir(join(dir, 'x', 'y'), { recursive: true });
  await writeFile(join(dir, 'x', 'y', 'file'), Buffer.alloc(MIB, 1));
  await symlink('/usr', join(dir, 'link'));
  const { bytes, inodes } = await diskUseBelow(dir);
  assert.ok(bytes >= MIB && bytes < 1.1 * MIB, String(bytes));
  assert.equal(inodes, 4);
  assert.deepEqual(await diskUseBelow(join(dir, 'none')), { bytes: 0, inodes: 0 });
});

test('a pod that writes too much is evicted; those without limits are not even asked after', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-limits-'));
  t.after(() => rm(dir, { recursive: true }));
  const failures: object[] = [];
  let asked = 0;
  const worker = (pod: Pod): EvictablePod => ({
    pod,
    finished: false,
    ending: false,
    failing: false,
    fail: (failure) => void failures.push(failure),
  });
  const check = (pod: Pod): Promise<void> =>
    new StorageLimits({
      ...({
        cri: {
          listContainerStats: () => {
            asked += 1;
            return Promise.resolve({
              stats: [
                {
                  attributes: { labels: { [LABELS.podUID]: 'u', [LABELS.containerName]: 'a' } },
                  writableLayer: { usedBytes: { value: 6 * MIB } },
                },
              ],
            });
          },
        },
        clock: realClock,
        log: silentLogger,
        events: { event: () => {} },
        volumes: { emptyDirPath: (_: string, name: string) => join(dir, name) },
        logsDir: dir,
        dedicatedImages: () => false,
      } as unknown as StorageLimitsOptions),
      metrics: new AgentMetrics(realClock),
      workers: () => [worker(pod)],
    }).check();
  await check({
    metadata: { uid: 'u' },
    spec: { containers: [{ name: 'a' }], volumes: [{ name: 'free', emptyDir: {} }] },
  });
  assert.deepEqual([asked, failures], [0, []]);
  await check(POD);
  assert.deepEqual(failures, [
    {
      reason: 'Evicted',
      message: 'Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ',
      graceSeconds: 1,
    },
  ]);
});
