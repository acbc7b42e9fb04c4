/**
 * A whole cluster as a user has it, on real containers: how long `capstan up` takes over an empty directory and over its own, what the control plane
 * holds in memory when idle, and how long a pod takes from its creation to Running while its image is there: one after the other, and many at once.
 *
 *   node bench/cluster.ts [--pods=30] [--burst=50]     needs root, containerd and busybox-static
 */
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods as podsRef } from '#client/refs.ts';
import { buildBusyboxImage, BUSYBOX } from '#testing/busybox.ts';
import { capstan, testCluster, until, type TestCluster } from '#testing/cluster.ts';

const { values } = parseArgs({
  options: { pods: { type: 'string', default: '30' }, burst: { type: 'string', default: '50' } },
});
const NAMESPACE = 'default';

function podNamed(name: string): Pod {
  return {
    metadata: { name, namespace: NAMESPACE },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        { name: 'main', image: BUSYBOX, imagePullPolicy: 'IfNotPresent', command: ['sleep', '3600'] },
      ],
    },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

/** Resident memory of the cluster's program, in MB. */
function residentMb(cluster: TestCluster): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${cluster.pid}/status`, 'utf8'))?.[1]) / 1024;
}

function quantiles(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(0);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`;
}

/** Milliseconds from the creation's request to the watch event that says Running, of each. */
async function startPods(client: Client, names: readonly string[]): Promise<number[]> {
  const informer = client.informer(podsRef, { namespace: NAMESPACE });
  await informer.synced();
  const running = new Map<string, (atMs: number) => void>();
  const seen = (pod: Pod): void => {
    if (pod.status?.phase === 'Running') running.get(pod.metadata?.name ?? '')?.(performance.now());
  };
  const unsubscribe = informer.subscribe({ added: seen, updated: seen, deleted: () => {} });
  const times = await Promise.all(
    names.map(async (name) => {
      const { promise, resolve } = Promise.withResolvers<number>();
      running.set(name, resolve);
      const startMs = performance.now();
      await client.create(podsRef, podNamed(name));
      return (await promise) - startMs;
    }),
  );
  unsubscribe();
  return times;
}

async function removePods(client: Client): Promise<void> {
  const { items } = await client.list(podsRef, { namespace: NAMESPACE });
  await Promise.all(
    items.map((pod) => client.delete(podsRef, { name: pod.metadata?.name ?? '', namespace: NAMESPACE })),
  );
  await until(
    'the pods to be gone',
    async () => (await client.list(podsRef, { namespace: NAMESPACE })).items.length === 0,
  );
}

const cluster = await testCluster({ runtime: 'cri' });
const image = await buildBusyboxImage();
try {
  console.log(
    `capstan up --detach, empty directory, node ready: ${(await timed(() => cluster.up())).toFixed(0)} ms`,
  );
  await cluster.down();
  console.log(`again, over its directory: ${(await timed(() => cluster.up())).toFixed(0)} ms`);
  await new Promise((resolve) => setTimeout(resolve, 5000));
  console.log(`resident, idle: ${residentMb(cluster).toFixed(0)} MB`);
  const loaded = await capstan(['image', 'load', image.path, '--data-dir', cluster.dir]);
  if (loaded.code !== 0) throw new Error(loaded.stderr);
  const client = await cluster.client();
  await until(
    'the default service account',
    async () => (await cluster.kubectl(['get', 'serviceaccount', 'default'])).code === 0,
  );
  await startPods(client, ['first']);
  const singly: number[] = [];
  for (let index = 0; index < Number(values.pods); index++)
    singly.push(...(await startPods(client, [`one-${index}`])));
  console.log(`pods from create to Running, one at a time: ${quantiles(singly)}`);
  console.log(`gone, ${values.pods} at once: ${(await timed(() => removePods(client))).toFixed(0)} ms`);
  const burst = Number(values.burst);
  const together = await timed(async () =>
    console.log(
      `${burst} at once, each: ${quantiles(
        await startPods(
          client,
          Array.from({ length: burst }, (_, index) => `burst-${index}`),
        ),
      )}`,
    ),
  );
  console.log(
    `${burst} at once, all: ${together.toFixed(0)} ms; resident ${residentMb(cluster).toFixed(0)} MB`,
  );
  console.log(`gone, ${burst} at once: ${(await timed(() => removePods(client))).toFixed(0)} ms`);
  await client.close();
} finally {
  await cluster.delete();
  await rm(dirname(image.path), { recursive: true, force: true });
}
