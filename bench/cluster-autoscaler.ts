/**
 * The cluster autoscaler beside a full simulated cluster, `capstan up` and `capstan cluster-autoscaler`: how long it takes from a pod that the scheduler refused to the decision about it, the event TriggeredScaleUp.
 *
 *   node bench/cluster-autoscaler.ts [--nodes=100] [--pods-per-node=10] [--pending=100] [--rounds=3]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Pod } from '#api/types.ts';
import { isUnschedulable } from '#capacity/autoscaler/pending-pods.ts';
import type { Client } from '#client/client.ts';
import { deployments, events, nodes, pods } from '#client/refs.ts';
import { testCluster, until } from '#testing/cluster.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '100' },
    'pods-per-node': { type: 'string', default: '10' },
    pending: { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
  },
});
const NODES = Number(values.nodes);
const PER_NODE = Number(values['pods-per-node']);
const PENDING = Number(values.pending);
const ROUNDS = Number(values.rounds);
const NAMESPACE = 'default';
/** Of a simulated node. */
const CORES = 32;
const LIMIT_MS = 600_000;
/** Events may come after the pods are placed. */
const EVENTS_MS = 3_000;
const CAPSTAN = resolve(import.meta.dirname, '../capstan');

async function deploy(
  api: Client,
  {
    name,
    replicas,
    milliCPU,
  }: { readonly name: string; readonly replicas: number; readonly milliCPU: number },
): Promise<void> {
  const labels = { app: name };
  const resources = { requests: { cpu: `${milliCPU}m` } };
  await api.create(deployments, {
    metadata: { name, namespace: NAMESPACE },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'c', image: 'i', resources }] },
      },
    },
  });
}

/** Moments at which this program saw them, by the names of pods. */
interface Seen {
  readonly refused: Map<string, number>;
  readonly decided: Map<string, number>;
  readonly placed: Set<string>;
}

function follow(api: Client): Seen {
  const seen: Seen = { refused: new Map(), decided: new Map(), placed: new Set() };
  const look = (pod: Pod): void => {
    const { name = '' } = pod.metadata ?? {};
    if (pod.spec?.nodeName) seen.placed.add(name);
    if (isUnschedulable(pod) && !seen.refused.has(name)) seen.refused.set(name, performance.now());
  };
  api.informer(pods).subscribe({ added: look, updated: look });
  api.informer(events, { fieldSelector: 'reason=TriggeredScaleUp' }).subscribe({
    added: ({ involvedObject }) => {
      const { name = '' } = involvedObject;
      if (!seen.decided.has(name)) seen.decided.set(name, performance.now());
    },
  });
  return seen;
}

const cluster = await testCluster({ runtime: 'simulated', nodes: NODES });
const dir = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
await cluster.up();
const api = await cluster.client();
const file = join(dir, 'groups.yaml');
writeFileSync(
  file,
  `{apiVersion: capacity.capstan.dev/v1alpha1, kind: NodeGroups, groups: [{name: more, maxSize: 1000, template: {allocatable: {cpu: "${CORES}", memory: 256Gi, pods: "110"}}}]}`,
);
let autoscaler: ReturnType<typeof spawn> | undefined;
try {
  const running = async (count: number): Promise<boolean> => {
    const { items } = await api.list(pods, { namespace: NAMESPACE });
    return items.filter(({ status }) => status?.phase === 'Running').length >= count;
  };
  await deploy(api, {
    name: 'full',
    replicas: NODES * PER_NODE,
    milliCPU: Math.floor((CORES * 1_000) / PER_NODE),
  });
  await until('the cluster is full', () => running(NODES * PER_NODE), LIMIT_MS, 1_000);
  // Not before: it would add machines while those of the cluster still register.
  autoscaler = spawn(
    CAPSTAN,
    [
      'cluster-autoscaler',
      `--kubeconfig=${cluster.kubeconfig}`,
      '--cloud-provider=simulated',
      `--cloud-config=${file}`,
      '--address=',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const seen = follow(api);
  await api.informer(pods).synced();
  for (let round = 1; round <= ROUNDS; round++) {
    seen.refused.clear();
    seen.decided.clear();
    seen.placed.clear();
    await deploy(api, { name: `more-${round}`, replicas: PENDING, milliCPU: 4_000 });
    await until('all pods have a node', () => seen.placed.size >= PENDING, LIMIT_MS);
    await sleep(EVENTS_MS);
    // The others found room that an earlier round left.
    const latencies = [...seen.refused].flatMap(([name, at]) =>
      seen.decided.has(name) ? [seen.decided.get(name)! - at] : [],
    );
    latencies.sort((one, other) => one - other);
    const seconds = (index: number): string => ((latencies[index] ?? 0) / 1_000).toFixed(2);
    const { items } = await api.list(nodes);
    console.log(
      `${NODES} nodes, ${NODES * PER_NODE} pods, ${latencies.length} refused: decided after ${seconds(0)} s (first), ${seconds(Math.floor(latencies.length / 2))} s (median), ${seconds(latencies.length - 1)} s (last); ${items.length} nodes now`,
    );
    await until('they run', () => running(NODES * PER_NODE + round * PENDING), LIMIT_MS, 1_000);
  }
} finally {
  if (autoscaler) {
    autoscaler.kill('SIGTERM');
    await once(autoscaler, 'exit');
  }
  await api.close();
  await cluster.delete();
  rmSync(dir, { recursive: true, force: true });
}
