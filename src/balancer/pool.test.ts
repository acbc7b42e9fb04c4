/** Which server a connection goes to, and which connections are cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress, type Address } from './address.ts';
import { ServerPool, type Cuttable, type PoolOptions } from './pool.ts';

const A = { host: '10.0.0.1', port: 6443 };
const B = { host: '10.0.0.2', port: 6443 };
const C = { host: 'fd00::3', port: 6443 };

function pool(options: Partial<PoolOptions> = {}): ServerPool {
  return new ServerPool({
    random: Math.random,
    localAddresses: () => new Set(),
    events: { added() {}, removed() {}, ready() {}, ejected() {}, cut() {} },
    ...options,
  });
}

function connection(): Cuttable & { reason: string } {
  const one = { reason: '', cut: (reason: string) => void (one.reason = reason) };
  return one;
}

function ready(servers: ServerPool, ...addresses: readonly Address[]): void {
  for (const address of addresses) servers.passed(formatAddress(address));
}

test('only ready servers are candidates while there is one, else those not yet checked, then the ejected', () => {
  const servers = pool();
  servers.setServers([A, B, C]);
  servers.failed('10.0.0.1:6443', 'refused');
  assert.equal(servers.candidates().at(-1)?.key, '10.0.0.1:6443');
  assert.equal(servers.candidates().length, 3);
  ready(servers, B);
  assert.deepEqual(
    servers.candidates().map(({ key }) => key),
    ['10.0.0.2:6443'],
  );
});

test('of two servers the less busy one is chosen, and all are used', () => {
  const servers = pool();
  servers.setServers([A, B, C]);
  ready(servers, A, B, C);
  for (let count = 0; count < 300; count += 1) servers.attach(servers.candidates()[0]!.key, connection());
  const counts = servers.servers.map(({ connections }) => connections.size);
  assert.ok(Math.min(...counts) > 80, `connections are ${counts.join()}`);
});

test('the local server comes first while it is ready', () => {
  const servers = pool({ localAddresses: () => new Set(['fd00::3']) });
  servers.setServers([A, B, C]);
  ready(servers, A, B, C);
  assert.equal(servers.candidates()[0]?.key, '[fd00::3]:6443');
  servers.failed('[fd00::3]:6443', 'refused');
  assert.notEqual(servers.candidates()[0]?.key, '[fd00::3]:6443');
});

test('connections to an ejected server are cut when another one becomes ready, not before', () => {
  const servers = pool();
  servers.setServers([A, B]);
  ready(servers, A);
  const held = connection();
  servers.attach('10.0.0.1:6443', held);
  servers.failed('10.0.0.1:6443', '/readyz answers 500');
  assert.equal(held.reason, '');
  ready(servers, B);
  assert.equal(held.reason, '/readyz answers 500');
});

test('a server that was named again before its last connection ended is not forgotten', () => {
  const servers = pool();
  servers.setServers([A, B]);
  const held = connection();
  servers.attach('10.0.0.1:6443', held);
  servers.setServers([B]);
  servers.setServers([A, B]);
  servers.detach('10.0.0.1:6443', held);
  assert.equal(servers.servers.length, 2);
});

test('addresses are read and written with ports and brackets', () => {
  for (const [text, host, port] of [
    ['10.0.0.1:7443', '10.0.0.1', 7443],
    ['10.0.0.1', '10.0.0.1', 6443],
    ['[fd00::1]:7443', 'fd00::1', 7443],
    ['fd00::1', 'fd00::1', 6443],
    ['api.example.org:443', 'api.example.org', 443],
  ] as const)
    assert.deepEqual(parseAddress(text), { host, port });
  for (const text of ['', ':6443', '10.0.0.1:0', '10.0.0.1:65536', '10.0.0:6443', '[api]:1', '-a:1', 'a b:1'])
    assert.equal(parseAddress(text), undefined, text);
});
