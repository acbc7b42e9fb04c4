import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { failsWith } from '../../storage.suite.ts';
import { Compactor } from './compactor.ts';
import { EtcdConnection } from './connection.ts';
import { openEtcdStore } from './etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35, type TestEtcd } from './test-etcd.ts';

const program = unpackedEtcd35() ?? installedEtcd();

describe('compaction of etcd', { skip: program ? false : 'no etcd can be had here' }, () => {
  let etcd: TestEtcd;
  before(async () => void (etcd = await startEtcd(program!)));
  after(() => etcd.close());

  interface Server {
    readonly connection: EtcdConnection;
    readonly compactor: Compactor;
    /** By itself, and by others as far as it has learnt. */
    readonly compacted: number[];
    readonly learnt: number[];
  }
  const server = (): Server => {
    const connection = new EtcdConnection(etcd.options);
    const compacted: number[] = [];
    const learnt: number[] = [];
    const compactor = new Compactor({
      connection,
      clock: new FakeClock(),
      log: silentLogger,
      intervalMs: 300_000,
      compact: async (revision) => void compacted.push(revision),
      onCompacted: (revision) => learnt.push(revision),
    });
    return { connection, compactor, compacted, learnt };
  };

  test('one server at a time compacts, up to what was newest one round before', async () => {
    const one = server(),
      two = server();
    const store = await openEtcdStore(etcd.options);
    await one.compactor.round();
    await two.compactor.round();
    assert.deepEqual([one.compacted, two.compacted], [[], []], 'the first round makes the key only');
    const { modRevision } = await store.put('/registry/a', Buffer.from('1'));
    await Promise.all([one.compactor.round(), two.compactor.round()]);
    const all = [...one.compacted, ...two.compacted];
    assert.equal(all.length, 1, 'both tried, one did');
    assert.ok(all[0]! < modRevision, 'what was written since the last round is kept');
    // Who lost has learnt the time: it is next only where the other does not come.
    const [winner, loser] = one.compacted.length === 1 ? [one, two] : [two, one];
    assert.deepEqual(loser.learnt, all);
    await loser.compactor.round();
    assert.equal(loser.compacted.length, 1);
    assert.ok(loser.compacted[0]! >= modRevision);
    await winner.compactor.round();
    assert.equal(winner.learnt.at(-1), loser.compacted[0]);
    for (const { connection } of [one, two]) connection.close();
    await store.close();
  });

  test("the key is upstream's, so that its servers take turns with ours", async () => {
    const before = JSON.parse(etcd.ctl('get', 'compact_rev_key', '-w', 'json')).kvs[0].version as number;
    // As an upstream server would raise it.
    etcd.ctl('put', 'compact_rev_key', '7');
    const { connection, compactor, compacted, learnt } = server();
    await compactor.round();
    assert.deepEqual([compacted, learnt], [[], [7]]);
    await compactor.round();
    const { version, value } = JSON.parse(etcd.ctl('get', 'compact_rev_key', '-w', 'json')).kvs[0];
    assert.equal(version, before + 2);
    assert.equal(Buffer.from(value, 'base64').toString(), String(compacted[0]));
    connection.close();
  });

  test('a store with an interval forgets old history by itself; 0 never does', async () => {
    const clock = new FakeClock();
    const plain = await openEtcdStore({ ...etcd.options, keyPrefix: '/interval' });
    const store = await openEtcdStore({
      ...etcd.options,
      keyPrefix: '/interval',
      clock,
      compactionIntervalMs: 300_000,
    });
    const first = await store.put('/a', Buffer.from('1'));
    while (store.compactedRevision < first.modRevision) {
      await store.put('/a', Buffer.from('2'));
      await clock.advance(300_000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.throws(
      () => store.watch({ prefix: '/', afterRevision: 0, onEvents() {} }),
      failsWith('compacted'),
    );
    await assert.rejects(plain.get('/a', { revision: first.modRevision - 1 }), failsWith('compacted'));
    await Promise.all([store.close(), plain.close()]);
  });
});
