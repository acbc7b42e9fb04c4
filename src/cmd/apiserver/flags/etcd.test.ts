import assert from 'node:assert/strict';
import { test } from 'node:test';
import { etcdFrom } from './etcd.ts';

test('flags of etcd: what they ask for, and what is refused', () => {
  assert.equal(etcdFrom({}), undefined);
  assert.equal(etcdFrom({ etcdServers: ['http://a:1'] })!.compactionIntervalMs, 300_000);
  assert.equal(
    etcdFrom({ etcdServers: ['http://a:1'], etcdCompactionInterval: '0' })!.compactionIntervalMs,
    0,
  );
  const { endpoints, keyPrefix, replaces } = etcdFrom({ etcdServers: ['https://10.0.0.1:2379'] })!;
  assert.deepEqual(
    { endpoints, keyPrefix, replaces },
    { endpoints: ['https://10.0.0.1:2379'], keyPrefix: '/registry', replaces: '/registry' },
  );
  const etcdServers = ['http://10.0.0.1:2379'];
  for (const [flags, message] of [
    [{ etcdPrefix: '/east' }, /--etcd-prefix needs --etcd-servers/],
    [{ etcdCompactionInterval: '5m' }, /--etcd-compaction-interval needs --etcd-servers/],
    [{ etcdServers: ['10.0.0.1:2379'] }, /each should be like/],
    [{ etcdServers, etcdCafile: '/dev/null/x' }, /--etcd-cafile \/dev\/null\/x does not exist/],
    [{ etcdServers, etcdCertfile: '/dev/null' }, /go together/],
    [{ etcdServers, etcdPrefix: 'east/' }, /should be like \/registry/],
  ] as const)
    assert.throws(() => etcdFrom(flags), message);
});
