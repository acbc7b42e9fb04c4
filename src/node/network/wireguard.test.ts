/** WireGuard between pods. With a kernel that has it (the suite vm runs this file in such a machine) real packets between two network namespaces. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { Node } from '#api/types.ts';
import { realClock } from '#stdx/clock.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';
import { containerdLayout } from '../containerd/layout.ts';
import { computePeers, overheadBytes, routesTo, WIREGUARD_KEY } from './peers.ts';
import type { AgentCommand, AgentOptions } from './testing/agent.ts';
import { ensureKeys, renderConfiguration, wireguardProblem } from './wireguard.ts';

const dir = mkdtempSync(join(tmpdir(), 'capstan-wg-'));
after(() => rmSync(dir, { recursive: true, force: true }));

describe('WireGuard keys', () => {
  it('are made once, readable by their owner alone, and a damaged file is kept', () => {
    const path = join(dir, 'own', 'wireguard.key');
    const made = ensureKeys(path);
    assert.match(made.publicKey, /^[A-Za-z0-9+/]{43}=$/);
    assert.deepEqual(ensureKeys(path), made);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    writeFileSync(path, 'not a key\n');
    assert.throws(
      () => ensureKeys(path),
      /wireguard\.key is no WireGuard key: it should be 32 bytes in base64/,
    );
    assert.equal(readFileSync(path, 'utf8'), 'not a key\n');
  });
});

const KEY = `${'A'.repeat(43)}=`;

function node(name: string, address: string, more: { index: number; key?: string }): Node {
  return {
    metadata: { name, ...(more.key === undefined ? {} : { annotations: { [WIREGUARD_KEY]: more.key } }) },
    spec: { podCIDRs: [`10.244.${more.index}.0/24`, `fd44:0:0:${more.index}::/64`] },
    status: { addresses: [{ type: 'InternalIP', address }] },
  };
}

describe('WireGuard routes', () => {
  const segment = {
    mode: 'wireguard' as const,
    overlay: 'cvx',
    nodeAddress: '10.0.0.1',
    podCIDRs: ['10.244.0.0/24', 'fd44::/64'],
    onLink: () => 'eth0',
  };
  const toAll = (nodes: readonly Node[]) =>
    routesTo(computePeers(nodes, { nodeName: 'own', ownAddresses: new Set() }), segment);

  it('lead to all nodes that show a key, also on the same segment; without one nothing goes there', () => {
    const { routes, problems } = toAll([
      node('near', '10.0.0.2', { index: 1, key: KEY }),
      node('old', '10.0.0.3', { index: 2 }),
      node('odd', '10.0.0.4', { index: 3, key: 'x\nAllowedIPs = 0.0.0.0/0' }),
    ]);
    const wireguard = { publicKey: KEY, address: '10.0.0.2' };
    assert.deepEqual(routes, [
      { podCIDR: '10.244.1.0/24', dev: 'cvx', wireguard },
      { podCIDR: 'fd44:0:0:1::/64', dev: 'cvx', wireguard },
    ]);
    assert.match(
      problems.join('; '),
      /node old shows no WireGuard key: start it with --pod-network wireguard/,
    );
    assert.match(problems.join('; '), /the annotation .* of node odd is no WireGuard key/);
  });

  it('are one peer a node in the configuration', () => {
    const { routes } = toAll([
      node('near', 'fd00::2', { index: 1, key: KEY }),
      node('far', '10.0.0.2', { index: 2, key: KEY }),
    ]);
    assert.equal(
      renderConfiguration('PRIVATE', routes),
      `[Interface]\nPrivateKey = PRIVATE\nListenPort = 51820\n\n[Peer]\nPublicKey = ${KEY}\nEndpoint = 10.0.0.2:51820\nAllowedIPs = 10.244.2.0/24, fd44:0:0:2::/64\n`,
    );
  });

  it('leave room for the header', () => {
    assert.equal(overheadBytes('wireguard', '10.0.0.1'), 60);
    assert.equal(overheadBytes('wireguard', 'fd00::1'), 80);
  });
});

interface Machine {
  readonly name: string;
  readonly host: LanMachine;
  readonly index: number;
  readonly keyPath: string;
  readonly overlay: string;
  tell(command: AgentCommand): Promise<void>;
  canPing(address: string): boolean;
}

const lacks = canHaveNamespaces() ? await wireguardProblem() : 'needs root and ip netns';

describe('WireGuard between machines', { skip: lacks ?? false }, () => {
  let lan: Lan;
  const machines: Machine[] = [];
  const children: ChildProcess[] = [];

  async function addMachine(name: string, index: number): Promise<void> {
    const host = lan.machine(name, `10.217.1.${index}`);
    const pod = lan.namespace(`pod-${name}`);
    const layout = containerdLayout({ dir: `/nonexistent/${name}` });
    const podCIDRs = [`10.244.${index}.0/24`, `fd44:0:0:${index}::/64`];
    host.run(
      'sh',
      '-c',
      'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
    );
    host.run('ip', 'link', 'add', 'pod', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
    for (const [at, device, last] of [
      [host, 'pod', 1],
      [pod, 'eth0', 2],
    ] as const) {
      at.run('ip', 'link', 'set', device, 'up');
      at.run('ip', 'address', 'add', `10.244.${index}.${last}/24`, 'dev', device);
      at.run('ip', 'address', 'add', `fd44:0:0:${index}::${last}/64`, 'dev', device, 'nodad');
    }
    pod.run('ip', 'route', 'add', 'default', 'via', `10.244.${index}.1`);
    pod.run('ip', '-6', 'route', 'add', 'default', 'via', `fd44:0:0:${index}::1`);
    const keyPath = join(dir, name, 'wireguard.key');
    const options: AgentOptions = {
      names: layout,
      nodeName: name,
      podCIDRs,
      nodeAddress: host.address,
      mode: 'wireguard',
      vxlanId: 1,
      wireguardKeyPath: keyPath,
    };
    const child = host.start([
      process.execPath,
      join(import.meta.dirname, 'testing/agent.ts'),
      JSON.stringify(options),
    ]);
    children.push(child);
    child.stderr?.pipe(process.stderr);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    await lines.next();
    machines.push({
      name,
      host,
      index,
      keyPath,
      overlay: layout.overlay,
      async tell(command) {
        child.stdin?.write(`${JSON.stringify(command)}\n`);
        await lines.next();
      },
      canPing: (address) => pod.try('ping', '-c', '1', '-W', '1', address) === 0,
    });
  }

  const describeNode = ({ name, host, index, keyPath }: Machine): Node =>
    node(name, host.address, { index, key: ensureKeys(keyPath).publicKey });

  before(async () => {
    lan = createLan(`wg${process.pid}`, '10.217.1');
    await addMachine('a', 1);
    await addMachine('b', 2);
  });
  after(async () => {
    for (const child of children) child.kill();
    await lan?.close();
  });

  it('pods of both families reach each other, through the tunnel alone', async () => {
    for (const machine of machines)
      for (const other of machines) await machine.tell({ do: 'put', node: describeNode(other) });
    const [a, b] = machines as [Machine, Machine];
    for (
      let left = 60;
      !(a.canPing('10.244.2.2') && a.canPing('fd44:0:0:2::2') && b.canPing('10.244.1.2'));
      left -= 1
    ) {
      assert.ok(left > 0, 'pods never reached each other');
      await realClock.sleep(500);
    }
    assert.match(a.host.run('ip', 'route', 'get', '10.244.2.2'), new RegExp(`dev ${a.overlay}`));
    assert.equal(a.host.run('wg', 'show', a.overlay, 'public-key').trim(), ensureKeys(a.keyPath).publicKey);
    const [, received = '0'] = a.host.run('wg', 'show', a.overlay, 'transfer').trim().split(/\s+/);
    assert.ok(Number(received) > 0);
  });

  it('a node that goes has no peer any more, and what is removed is gone', async () => {
    const [a] = machines as [Machine];
    await a.tell({ do: 'delete', name: 'b' });
    for (let left = 60; a.host.run('wg', 'show', a.overlay, 'peers').trim() !== ''; left -= 1) {
      assert.ok(left > 0, 'the peer stayed');
      await realClock.sleep(500);
    }
    assert.equal(a.canPing('10.244.2.2'), false);
    await a.tell({ do: 'stop' });
    await a.tell({ do: 'remove' });
    assert.doesNotMatch(a.host.run('ip', 'link', 'show'), new RegExp(a.overlay));
  });
});
