/** The driver of etcd, as it is in production, over the model of etcd: one seed gives one history. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { EtcdCluster } from './etcd-cluster.ts';
import { EtcdLink } from './etcd-link.ts';
import { Network } from './network.ts';
import { SimNode, World } from './world.ts';

async function history(
  seed: number,
): Promise<{ readonly trace: readonly string[]; readonly events: number }> {
  const world = new World(seed);
  const network = new Network(world);
  const cluster = new EtcdCluster(world);
  const node = new SimNode('api1', world);
  const opening = openEtcdStore({
    endpoints: cluster.members.map((member) => member.node.name),
    clock: node.clock,
    createMember: (endpoint) => {
      const member = cluster.members.find((one) => one.node.name === endpoint)!;
      return new EtcdLink({ node, member, network });
    },
  });
  await world.run(1_000);
  const store = await opening;
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
