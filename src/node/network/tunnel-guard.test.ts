/** A veth pair stands for the tunnel here, so that any kernel with nftables will do; wireguard.test.ts has the real one where the kernel has it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';
import { renderTunnelGuard } from './tunnel-guard.ts';

const names = { bridge: 'cap-0a1b2c3d', overlay: 'cvx-0a1b2c3d', tunnelTable: 'capstan-tunnel-0a1b2c3d' };
const RANGES = ['10.244.0.0/16', '10.244.1.0/24', '10.9.0.0/24', 'fd44::/56', 'fd44:0:0:1::/64'];
const INSIDE = '{ "cvx-0a1b2c3d", "cap-0a1b2c3d", "lo" }';

it('names each range once, and no family without ranges', () => {
  const rules = (ranges: readonly string[]): readonly string[] =>
    renderTunnelGuard(names, ranges)
      .split('\n')
      .filter((line) => line.endsWith('drop'))
      .map((line) => line.trim());
  assert.deepEqual(rules(RANGES), [
    `iifname != ${INSIDE} ip saddr { 10.244.0.0/16, 10.9.0.0/24 } counter drop`,
    `iifname != ${INSIDE} ip6 saddr { fd44::/56 } counter drop`,
    `oifname != ${INSIDE} ip daddr { 10.244.0.0/16, 10.9.0.0/24 } counter drop`,
    `oifname != ${INSIDE} ip6 daddr { fd44::/56 } counter drop`,
  ]);
  assert.equal(rules(['10.244.0.0/16']).length, 2);
});

const PATIENCE_MS = 15_000;

const skip =
  !canHaveNamespaces() || spawnSync('nft', ['--version']).status !== 0
    ? 'needs root, ip netns and nft'
    : false;

/** An IPv6 address that is used at once. */
const quick = (address: string): string[] => (address.includes(':') ? ['nodad'] : []);

/** node has a pod behind its bridge, a tunnel to `peer`, and eth0 on the segment, where `outside` is. */
describe('the rules in the kernel', { skip }, () => {
  let lan: Lan;
  let node: LanMachine;
  let pod: LanMachine;
  let peer: LanMachine;

  const wire = (
    device: string,
    { to, own, other }: { to: LanMachine; own: string[]; other: string[] },
  ): void => {
    node.run('ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', to.name);
    for (const [at, name, addresses] of [
      [node, device, own],
      [to, 'eth0', other],
    ] as const) {
      at.run('ip', 'link', 'set', name, 'up');
      for (const address of addresses)
        at.run('ip', 'address', 'add', address, 'dev', name, ...quick(address));
    }
  };
  /** Its refusal is an answer: no server listens there. A packet that is dropped has none. */
  const reaches = (from: LanMachine, address: string): boolean => {
    const connect = `timeout 1 bash -c '</dev/tcp/${address}/9' 2>&1 | grep -q refused`;
    return from.try('bash', '-c', connect) === 0;
  };
  /** A new interface takes a second or two before it sends over IPv6. */
  const reachesSoon = (from: LanMachine, address: string): boolean => {
    const endMs = performance.now() + PATIENCE_MS;
    while (!reaches(from, address)) if (performance.now() > endMs) return false;
    return true;
  };
  const sendFrom = (...sources: readonly string[]): void => {
    for (const source of sources) {
      const [to, via] = source.includes(':')
        ? ['fd44:0:0:1::/64', 'fd20::1']
        : ['10.244.1.0/24', '10.220.1.1'];
      lan.outside.run('ip', 'route', 'replace', to, 'via', via, 'src', source);
    }
  };

  before(() => {
    lan = createLan(`tg${process.pid}`, '10.220.1');
    node = lan.machine('node', '10.220.1.1');
    pod = lan.namespace('pod');
    peer = lan.namespace('peer');
    for (const path of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
      node.run('sh', '-c', `echo 1 > /proc/sys/net/${path}`);
    wire(names.bridge, {
      to: pod,
      own: ['10.244.1.1/24', 'fd44:0:0:1::1/64'],
      other: ['10.244.1.2/24', 'fd44:0:0:1::2/64'],
    });
    wire(names.overlay, {
      to: peer,
      own: ['10.244.2.1/24', 'fd44:0:0:2::1/64'],
      other: ['10.244.2.2/24', 'fd44:0:0:2::2/64'],
    });
    for (const [at, by] of [
      [pod, 1],
      [peer, 2],
    ] as const) {
      at.run('ip', 'route', 'add', 'default', 'via', `10.244.${by}.1`);
      at.run('ip', '-6', 'route', 'add', 'default', 'via', `fd44:0:0:${by}::1`);
    }
    node.run('ip', 'address', 'add', 'fd20::1/64', 'dev', 'eth0', 'nodad');
    for (const address of ['10.244.2.77/32', 'fd20::2/64', 'fd44:0:0:2::77/128'])
      lan.outside.run('ip', 'address', 'add', address, 'dev', 'segment', ...quick(address));
    sendFrom('10.244.2.77', 'fd44:0:0:2::77');
    // Answers to the addresses that are faked would find their way.
    node.run('ip', 'route', 'add', '10.244.2.77/32', 'via', '10.220.1.254');
    node.run('ip', '-6', 'route', 'add', 'fd44:0:0:2::77/128', 'via', 'fd20::2');
  });
  after(() => lan?.close());

  const apply = (script: string): void => {
    const { status, stderr } = spawnSync('ip', ['netns', 'exec', node.name, 'nft', '-f', '-'], {
      input: script,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
  };

  it('a pod address from the segment is accepted without them, and dropped with them', () => {
    const addresses = ['10.244.1.2', 'fd44:0:0:1::2'];
    for (const address of addresses) assert.ok(reachesSoon(lan.outside, address), `${address} without rules`);
    apply(renderTunnelGuard(names, RANGES));
    for (const address of addresses) assert.ok(!reaches(lan.outside, address), address);
    assert.match(
      node.run('nft', 'list', 'chain', 'inet', names.tunnelTable, 'arriving'),
      /counter packets [1-9]\d* bytes \d+ drop[^]*counter packets [1-9]\d* bytes \d+ drop/,
    );
  });

  it('the node, and pods of others through the tunnel, reach the pod; others by their own addresses too', () => {
    sendFrom('10.220.1.254', 'fd20::2');
    for (const address of ['10.244.1.2', 'fd44:0:0:1::2'])
      for (const from of [peer, node, lan.outside])
        assert.ok(reachesSoon(from, address), `${from.name} ${address}`);
  });

  it('nothing for a pod leaves by the segment', () => {
    for (const address of ['10.244.2.77', 'fd44:0:0:2::77']) assert.ok(!reaches(pod, address));
    assert.match(
      node.run('nft', 'list', 'chain', 'inet', names.tunnelTable, 'leaving'),
      /counter packets [1-9]\d* bytes \d+ drop[^]*counter packets [1-9]\d* bytes \d+ drop/,
    );
  });

  it('are replaced as a whole', () => {
    sendFrom('10.244.2.77');
    apply(renderTunnelGuard(names, ['10.9.0.0/24']));
    assert.ok(reachesSoon(lan.outside, '10.244.1.2'));
  });
});
