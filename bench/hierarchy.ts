/**
 * A tree of namespaces in one program, `capstan up`: how long a change at the root takes until it is everywhere below. Chains of namespaces under one root, as deep as asked.
 *
 *   node bench/hierarchy.ts [--namespaces=5000] [--depth=10]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { hierarchicalResourceQuotas, hierarchyConfigurations } from '#addons/hierarchy/api.ts';
import type { Client, Informer } from '#client/client.ts';
import { namespaces, resourceQuotas, roles } from '#client/refs.ts';
import { enableTrees } from '#cmd/tree/tree.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { testCluster } from '#testing/cluster.ts';

const { values } = parseArgs({
  options: {
    namespaces: { type: 'string', default: '5000' },
    depth: { type: 'string', default: '10' },
  },
});
const COUNT = Number(values.namespaces);
const DEPTH = Number(values.depth);
const CHAINS = Math.ceil((COUNT - 1) / (DEPTH - 1));
const ROOT = 'tree';
const ROLE = 'bench';
const LIMIT_MS = 600_000;
/** Between two changes, so that what the last one caused elsewhere is written. */
const SETTLE_MS = 10_000;
/** Requests at a time. */
const WRITERS = 32;

/** The controller may have made the object for its status already. */
function setParent(client: Client, { name, parent }: Place): Promise<unknown> {
  const metadata = { name: 'hierarchy', namespace: name };
  const kind = { apiVersion: 'hnc.x-k8s.io/v1alpha2', kind: 'HierarchyConfiguration' };
  const patch = { ...kind, metadata, spec: { parent } };
  return client.patch(hierarchyConfigurations, metadata, { type: 'apply', patch, fieldManager: 'bench' });
}

interface Place {
  readonly name: string;
  readonly parent: string;
}

/** Without the root; parents first. */
function places(): Place[] {
  return Array.from({ length: COUNT - 1 }, (_, i) => {
    const level = Math.floor(i / CHAINS);
    const chain = i % CHAINS;
    return { name: `tree-${level}-${chain}`, parent: level === 0 ? ROOT : `tree-${level - 1}-${chain}` };
  });
}

async function many<T>(items: readonly T[], write: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  const writer = async (): Promise<void> => {
    for (const item of queue) await write(item);
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function timed(
  what: string,
  { change, isEverywhere }: { readonly change: () => Promise<unknown>; readonly isEverywhere: () => boolean },
): Promise<void> {
  await sleep(SETTLE_MS);
  const startMs = performance.now();
  await change();
  while (!isEverywhere()) {
    if (performance.now() - startMs > LIMIT_MS) throw new Error(`${what}: not after ${LIMIT_MS / 1000} s`);
    await sleep(20);
  }
  console.log(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
}

async function synced<T extends KubeObject>(informer: Informer<T>): Promise<Informer<T>> {
  await informer.synced();
  return informer;
}

async function run(client: Client): Promise<void> {
  const all = places();
  const isInTree = ({ metadata }: Stored): boolean =>
    metadata.labels?.[`${ROOT}.tree.hnc.x-k8s.io/depth`] !== undefined;
  const spaces = await synced(client.informer(namespaces));
  const copies = await synced(client.informer(roles));
  const limits = await synced(client.informer(resourceQuotas));
  const inTree = (isWanted: (one: Stored) => boolean): number => spaces.list().filter(isWanted).length;
  const roleIs = (verb: string): boolean =>
    copies.list().filter(({ metadata, rules }) => metadata.name === ROLE && rules?.[0]?.verbs[0] === verb)
      .length === COUNT;
  const rule = (verb: string) => [{ apiGroups: [''], resources: ['pods'], verbs: [verb] }];
  const at = { name: ROLE, namespace: ROOT };

  await timed(`${COUNT} namespaces, ${DEPTH} deep, made and placed`, {
    change: async () => {
      await many([{ name: ROOT }, ...all], ({ name }) => client.create(namespaces, { metadata: { name } }));
      await many(all, (place) => setParent(client, place));
    },
    isEverywhere: () => inTree(isInTree) === COUNT,
  });
  await timed('a Role made at the root, until it is everywhere', {
    change: () => client.create(roles, { metadata: at, rules: rule('get') }),
    isEverywhere: () => roleIs('get'),
  });
  await timed('changed', {
    change: () => client.patch(roles, at, { type: 'merge', patch: { rules: rule('list') } }),
    isEverywhere: () => roleIs('list'),
  });
  await timed('deleted', {
    change: () => client.delete(roles, at),
    isEverywhere: () => copies.list().every(({ metadata }) => metadata.name !== ROLE),
  });
  await timed('the root under another, until all labels say so', {
    change: async () => {
      await client.create(namespaces, { metadata: { name: 'top' } });
      await setParent(client, { name: ROOT, parent: 'top' });
    },
    isEverywhere: () =>
      inTree(({ metadata }) => metadata.labels?.['top.tree.hnc.x-k8s.io/depth'] !== undefined) === COUNT + 1,
  });
  await timed('a quota of the whole tree, until it is counted', {
    change: () =>
      client.create(hierarchicalResourceQuotas, {
        metadata: { name: 'all', namespace: ROOT },
        spec: { hard: { secrets: '100000' } },
      }),
    isEverywhere: () =>
      limits.list().filter(({ spec, status }) => spec?.hard?.['secrets'] && status?.used?.['secrets'])
        .length === COUNT,
  });
}

const cluster = await testCluster({ runtime: 'simulated', nodes: 1 });
try {
  await cluster.up();
  const client = await cluster.client();
  await enableTrees({ api: client }, () => {});
  await run(client);
  await client.close();
} finally {
  await cluster.delete();
}
