/** The driver of etcd, as it is in production, over the model of etcd: one seed gives one history. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { StoreError } from '#storage/store.ts';
import { EtcdCluster } from './etcd-cluster.ts';
import { EtcdLink } from './etcd-link.ts';
import { Network } from './network.ts';
import { SimNode, World } from './world.ts';

/** Stores of so many servers, each with its node. */
async function openStores(seed: number, count: number) {
  const world = new World(seed);
  const network = new Network(world);
  const cluster = new EtcdCluster(world);
  const nodes = Array.from({ length: count }, (_, i) => new SimNode(`api${i + 1}`, world));
  const opening = nodes.map((node) =>
    openEtcdStore({
      endpoints: cluster.members.map((member) => member.node.name),
      clock: node.clock,
      createMember: (endpoint) => {
        const member = cluster.members.find((one) => one.node.name === endpoint)!;
        return new EtcdLink({ node, member, network });
      },
    }),
  );
  await world.run(1_000);
  return { world, network, cluster, nodes, stores: await Promise.all(opening) };
}

async function history(
  seed: number,
): Promise<{ readonly trace: readonly string[]; readonly events: number }> {
  const { world, network, nodes, stores } = await openStores(seed, 1);
  const [node, store] = [nodes[0]!, stores[0]!];
  let events = 0;
  store.watch({
    prefix: '/a',
    afterRevision: store.revision,
    onEvents: (batch) => {
      events += batch.length;
      for (const { type, key, revision } of batch) world.note(`${type} ${key} ${revision}`);
    },
  });
  for (let i = 0; i < 20; i++)
    store.put(`/a/${i % 4}`, Buffer.from(String(i))).then(
      ({ modRevision }) => world.note(`wrote ${i} at ${modRevision}`),
      (error: unknown) => world.note(`write ${i}: ${String(error)}`),
    );
  await world.run(10);
  network.resetConnections(node);
  await world.run(20_000);
  return { trace: world.trace, events };
}

it('writes are decided and seen though every connection breaks under them', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { trace, events } = await history(seed);
    const wrote = trace.filter((line) => line.includes(' wrote ')).length;
    assert.equal(trace.filter((line) => / (wrote|write) /.test(line)).length, 20, trace.join('\n'));
    assert.ok(events >= wrote && events <= 20, `seed ${seed}: ${events} events of ${wrote} writes`);
  }
});

it('the same seed gives the same history, another seed another', async () => {
  const { trace } = await history(7);
  assert.deepEqual((await history(7)).trace, trace);
  assert.notDeepEqual((await history(8)).trace, trace);
});

it('a create whose answer was lost is found after another object of that name came and went', async () => {
  const { world, network, cluster, nodes, stores } = await openStores(1, 2);
  const [late, other] = [stores[0]!, stores[1]!];
  const before = other.put('/a', Buffer.from('of the other'), { expected: 0 });
  await world.run(100);
  await before;
  const gone = other.delete('/a');
  await world.run(100);
  await gone;
  for (const { node } of cluster.members) network.cut(node, nodes[0]!);
  const writing = late.put('/a', Buffer.from('late'), { expected: 0 });
  await world.run(100);
  network.resetConnections(nodes[0]!);
  for (const { node } of cluster.members) network.restore(node, nodes[0]!);
  await world.run(10_000);
  const { modRevision } = await writing;
  assert.equal(modRevision, cluster.log.state.revision);
});

it('a create whose answer was lost is not refused for what exists: it may happen yet', async () => {
  const { world, network, cluster, nodes, stores } = await openStores(1, 2);
  const [late, other] = [stores[0]!, stores[1]!];
  cluster.log.loseLeader();
  const writing = late.put('/a', Buffer.from('late'), { expected: 0 }).catch((error: unknown) => error);
  await world.run(100);
  const first = other
    .put('/a', Buffer.from('of the other'), { expected: 0 })
    .catch((error: unknown) => error);
  await world.run(100);
  network.resetConnections(nodes[0]!);
  network.resetConnections(nodes[1]!);
  cluster.log.electLeader();
  await world.run(20_000);
  const outcomes = [await writing, await first];
  for (const outcome of outcomes)
    assert.ok(!(outcome instanceof StoreError) || outcome.code === 'unavailable', String(outcome));
});
