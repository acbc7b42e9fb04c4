/**
 * The whole path in one program, `capstan up --runtime=simulated`: how long a Deployment takes until all of its pods are Running on simulated nodes,
 * how long until they are gone, and how long a namespace full of objects takes to go. Then the scheduler through the API: pods of several kinds, created as
 * fast as the API takes them, until the last is bound.
 *
 *   node bench/workloads.ts [--nodes=1000] [--replicas=10000] [--objects=5000] [--pods=2000] [--kinds=basic,…]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Pod, PodSpec } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { configMaps, deployments, namespaces, nodes, pods, serviceAccounts } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { testCluster, until } from '#testing/cluster.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    replicas: { type: 'string', default: '10000' },
    objects: { type: 'string', default: '5000' },
    pods: { type: 'string', default: '2000' },
    kinds: { type: 'string' },
  },
});
const NAMESPACE = 'workloads';
const HOST = 'kubernetes.io/hostname';
const LIMIT_MS = 300_000;
/** Requests at a time. */
const WRITERS = 64;
const APP = { app: 'bench' };
const container = { name: 'main', image: 'bench', resources: { requests: { cpu: '10m', memory: '16Mi' } } };

const term = { labelSelector: { matchLabels: APP }, topologyKey: HOST };
const KINDS: Readonly<Record<string, Partial<PodSpec>>> = {
  basic: {},
  'node affinity': {
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: HOST, operator: 'Exists' }] }],
        },
      },
    },
  },
  'preferred affinity': {
    affinity: {
      podAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: term }],
      },
    },
  },
  'preferred anti-affinity': {
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: term }],
      },
    },
  },
  'topology spread': {
    topologySpreadConstraints: [
      {
        maxSkew: 5,
        topologyKey: HOST,
        whenUnsatisfiable: 'DoNotSchedule',
        labelSelector: { matchLabels: APP },
      },
    ],
  },
};

async function seconds(work: () => Promise<unknown>): Promise<string> {
  const startMs = performance.now();
  await work();
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}

async function many(count: number, write: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < count) await write(next++);
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function namespaceReady(client: Client, name: string): Promise<void> {
  await client.create(namespaces, { metadata: { name } });
  await until('the default service account', async () => {
    try {
      return await client.get(serviceAccounts, { namespace: name, name: 'default' });
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  });
}

/** Counts what a watch of the pods shows, without asking the API in between. */
function podCounter(client: Client): { readonly count: (which: (pod: Pod) => boolean) => number } & {
  readonly synced: () => Promise<void>;
} {
  const informer = client.informer(pods, { namespace: NAMESPACE });
  return {
    synced: () => informer.synced(),
    count: (which) => informer.list().filter(which).length,
  };
}

async function when(what: string, isSo: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + LIMIT_MS;
  while (!isSo()) {
    if (performance.now() > deadlineMs) throw new Error(`${what}: not after ${LIMIT_MS / 1000} s`);
    await sleep(100);
  }
}

async function deployment(client: Client, counter: ReturnType<typeof podCounter>): Promise<void> {
  const replicas = Number(values.replicas);
  const running = (): number => counter.count(({ status }) => status?.phase === 'Running');
  const up = await seconds(async () => {
    await client.create(deployments, {
      metadata: { name: 'big', namespace: NAMESPACE },
      spec: {
        replicas,
        selector: { matchLabels: APP },
        template: { metadata: { labels: APP }, spec: { containers: [container] } },
      },
    });
    await when('all replicas run', () => running() === replicas);
  });
  console.log(`Deployment of ${replicas} replicas on ${values.nodes} nodes, until all are Running: ${up}`);
  const gone = await seconds(async () => {
    await client.delete(deployments, { name: 'big', namespace: NAMESPACE });
    await when('all pods are gone', () => counter.count(() => true) === 0);
  });
  console.log(`the Deployment deleted, until all of its pods are gone: ${gone}`);
}

async function fullNamespace(client: Client): Promise<void> {
  const count = Number(values.objects);
  await namespaceReady(client, 'full');
  await many(count, (index) =>
    client.create(configMaps, {
      metadata: { name: `c-${index}`, namespace: 'full' },
      data: { index: String(index) },
    }),
  );
  const gone = await seconds(async () => {
    await client.delete(namespaces, { name: 'full' });
    await until(
      'the namespace to be gone',
      async () => !(await client.list(namespaces)).items.some(({ metadata }) => metadata?.name === 'full'),
      LIMIT_MS,
    );
  });
  console.log(`a namespace with ${count} ConfigMaps deleted, until it is gone: ${gone}`);
}

async function schedulerRate(
  client: Client,
  { kind, counter }: { readonly kind: string; readonly counter: ReturnType<typeof podCounter> },
): Promise<void> {
  const count = Number(values.pods);
  const startMs = performance.now();
  await many(count, (index) =>
    client.create(pods, {
      metadata: { name: `p-${index}`, namespace: NAMESPACE, labels: APP },
      spec: { containers: [container], ...KINDS[kind] },
    }),
  );
  const createdMs = performance.now() - startMs;
  await when('all pods are bound', () => counter.count(({ spec }) => Boolean(spec?.nodeName)) === count);
  const boundMs = performance.now() - startMs;
  const rate = (ms: number): string => `${((count / ms) * 1000).toFixed(0)}/s`;
  console.log(`${kind}: ${count} pods created at ${rate(createdMs)}, created and bound at ${rate(boundMs)}`);
  await client.deleteCollection(pods, { namespace: NAMESPACE });
  await when('all pods are gone', () => counter.count(() => true) === 0);
}

const cluster = await testCluster({ runtime: 'simulated', nodes: Number(values.nodes) });
try {
  await cluster.up();
  const client = await cluster.client();
  await until(
    'all nodes are Ready',
    async () =>
      (await client.list(nodes)).items.filter(({ status }) =>
        status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True'),
      ).length === Number(values.nodes),
    LIMIT_MS,
  );
  await namespaceReady(client, NAMESPACE);
  const counter = podCounter(client);
  await counter.synced();
  if (Number(values.replicas) > 0) await deployment(client, counter);
  if (Number(values.objects) > 0) await fullNamespace(client);
  const kinds = values.kinds === undefined ? Object.keys(KINDS) : values.kinds.split(',').filter(Boolean);
  for (const kind of kinds) await schedulerRate(client, { kind, counter });
  await client.close();
} finally {
  await cluster.delete();
}
