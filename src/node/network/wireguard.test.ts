/** WireGuard between pods. With a kernel that has it (the suite vm runs this file in such a machine) real packets between network namespaces. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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
import {
  ensureKeys,
  renderConfiguration,
  setWireguardPeers,
  WIREGUARD_FILES,
  wireguardProblem,
} from './wireguard.ts';

const [KEY_FILE, CONFIGURATION_FILE] = WIREGUARD_FILES;
const dir = mkdtempSync(join(tmpdir(), 'capstan-wg-'));
after(() => rmSync(dir, { recursive: true, force: true }));

describe('WireGuard keys', () => {
  it('are made once, readable by their owner alone, and a damaged file is kept', () => {
    const own = join(dir, 'own');
    const path = join(own, KEY_FILE);
    const made = ensureKeys(own);
    assert.match(made.publicKey, /^[A-Za-z0-9+/]{43}=$/);
    assert.deepEqual(ensureKeys(own), made);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    writeFileSync(path, 'not a key\n');
    assert.throws(
      () => ensureKeys(own),
      /wireguard\.key is no WireGuard key: it should be 32 bytes in base64/,
    );
    assert.equal(readFileSync(path, 'utf8'), 'not a key\n');
  });

  it('are in no file besides after the peers are set, nor after that failed', async () => {
    const own = join(dir, 'configuration');
    const { privateKey } = ensureKeys(own);
    writeFileSync(join(own, CONFIGURATION_FILE), 'of a killed agent', { mode: 0o644 });
    await assert.rejects(setWireguardPeers('no-such-device', { dir: own, privateKey, routes: [] }), {
      code: 'network',
    });
    assert.equal(existsSync(join(own, CONFIGURATION_FILE)), false);
  });
});

const KEY = `${'A'.repeat(43)}=`;
const OTHER_KEY = `${'B'.repeat(42)}A=`;

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
    publicKey: `${'C'.repeat(42)}A=`,
  };
  const toAll = (nodes: readonly Node[], more: object = {}) =>
    routesTo(computePeers(nodes, { nodeName: 'own', ownAddresses: new Set() }), { ...segment, ...more });

  it('lead to all nodes, also on the same segment', () => {
    const { routes, problems } = toAll([node('near', '10.0.0.2', { index: 1, key: KEY })]);
    const wireguard = { publicKey: KEY, address: '10.0.0.2' };
    assert.deepEqual(routes, [
      { podCIDR: '10.244.1.0/24', dev: 'cvx', wireguard },
      { podCIDR: 'fd44:0:0:1::/64', dev: 'cvx', wireguard },
    ]);
    assert.deepEqual(problems, []);
  });

  it('lead into the device without a peer, where packets are dropped, for a node without a usable key', () => {
    const { routes, problems } = toAll([
      node('a', '10.0.0.2', { index: 1, key: KEY }),
      node('copy', '10.0.0.3', { index: 2, key: KEY }),
      node('far', 'fd00::4', { index: 3, key: OTHER_KEY }),
      node('mine', '10.0.0.5', { index: 4, key: segment.publicKey }),
      node('odd', '10.0.0.6', { index: 5, key: 'x\nAllowedIPs = 0.0.0.0/0' }),
      node('odd-bits', '10.0.0.7', { index: 6, key: `${'A'.repeat(42)}B=` }),
      node('plain', '10.0.0.8', { index: 7 }),
    ]);
    assert.deepEqual(
      routes.filter(({ wireguard }) => wireguard).map(({ podCIDR }) => podCIDR),
      ['10.244.1.0/24', 'fd44:0:0:1::/64'],
    );
    assert.equal(routes.length, 14);
    assert.ok(routes.every(({ dev, via, tunnel }) => dev === 'cvx' && via === undefined && !tunnel));
    assert.deepEqual(problems, [
      'node copy has the same WireGuard key as node a: remove wireguard.key in its data directory and restart it',
      'node far has no address of the family of 10.0.0.1, which tunnels of this node begin at',
      'node mine has the same WireGuard key as this node: remove wireguard.key in its data directory and restart it',
      `the annotation ${WIREGUARD_KEY} of node odd is no WireGuard key`,
      `the annotation ${WIREGUARD_KEY} of node odd-bits is no WireGuard key`,
      `node plain has no annotation ${WIREGUARD_KEY}: start it with --pod-network wireguard`,
    ]);
  });

  it('of a node in another mode do not lead to one that decrypts', () => {
    const { routes, problems } = toAll(
      [node('near', '10.0.0.2', { index: 1, key: KEY }), node('plain', '10.0.0.3', { index: 2 })],
      { mode: 'direct', podCIDRs: ['10.244.0.0/24'] },
    );
    assert.deepEqual(routes, [{ podCIDR: '10.244.2.0/24', via: '10.0.0.3', dev: 'eth0' }]);
    assert.deepEqual(problems, [
      'node near has --pod-network wireguard, this node direct: it is the same on all nodes',
    ]);
  });

  it('are one peer a node in the configuration', () => {
    const { routes } = toAll([
      node('near', '10.0.0.2', { index: 1, key: KEY }),
      node('plain', '10.0.0.3', { index: 2 }),
    ]);
    assert.equal(
      renderConfiguration('PRIVATE', routes),
      `[Interface]\nPrivateKey = PRIVATE\nListenPort = 51820\n\n[Peer]\nPublicKey = ${KEY}\nEndpoint = 10.0.0.2:51820\nAllowedIPs = 10.244.1.0/24, fd44:0:0:1::/64\n`,
    );
    const overSix = toAll([node('near', 'fd00::2', { index: 1, key: KEY })], { nodeAddress: 'fd00::1' });
    assert.match(renderConfiguration('PRIVATE', overSix.routes), /^Endpoint = \[fd00::2\]:51820$/m);
  });

  it('leave room for the header', () => {
    assert.equal(overheadBytes('wireguard', '10.0.0.1'), 60);
    assert.equal(overheadBytes('wireguard', 'fd00::1'), 80);
  });
});

interface Place {
  readonly name: string;
  readonly index: number;
  /** Of the node: what goes through the tunnel is sent between these. */
  readonly address: string;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let left = 240; !(await holds()); left -= 1) {
    assert.ok(left > 0, `not within a minute: ${what}`);
    await realClock.sleep(250);
  }
}

/** A machine with one pod and the pod network of its agent, whose API the test feeds. */
class Machine {
  readonly name: string;
  readonly host: LanMachine;
  readonly overlay: string;
  /** A wire to the one pod does for it. */
  readonly bridge: string;
  readonly dir: string;
  readonly pod: readonly string[];
  readonly #place: Place;
  readonly #inPod: LanMachine;
  #child: ChildProcess | undefined;
  #lines: AsyncIterator<string> | undefined;

  constructor(lan: Lan, place: Place) {
    const { name, index, address } = place;
    this.name = name;
    this.#place = place;
    this.dir = join(dir, name);
    ({ overlay: this.overlay, bridge: this.bridge } = containerdLayout({ dir: `/nonexistent/${name}` }));
    this.host = lan.machine(name, `10.217.1.${index}`);
    this.#inPod = lan.namespace(`pod-${name}`);
    this.pod = [`10.244.${index}.2`, `fd44:0:0:${index}::2`];
    if (address.includes(':')) this.host.run('ip', 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad');
    this.#wire();
  }

  #wire(): void {
    const { host } = this;
    const { index } = this.#place;
    for (const path of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
      host.run('sh', '-c', `echo 1 > /proc/sys/net/${path}`);
    host.run(
      'ip',
      'link',
      'add',
      this.bridge,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      this.#inPod.name,
    );
    for (const [at, device, last] of [
      [host, this.bridge, 1],
      [this.#inPod, 'eth0', 2],
    ] as const) {
      at.run('ip', 'link', 'set', device, 'up');
      at.run('ip', 'address', 'add', `10.244.${index}.${last}/24`, 'dev', device);
      at.run('ip', 'address', 'add', `fd44:0:0:${index}::${last}/64`, 'dev', device, 'nodad');
    }
    this.#inPod.run('ip', 'route', 'add', 'default', 'via', `10.244.${index}.1`);
    this.#inPod.run('ip', '-6', 'route', 'add', 'default', 'via', `fd44:0:0:${index}::1`);
  }

  get publicKey(): string {
    return ensureKeys(this.dir).publicKey;
  }

  async start(): Promise<void> {
    const { name, index, address } = this.#place;
    const options: AgentOptions = {
      names: containerdLayout({ dir: `/nonexistent/${name}` }),
      nodeName: name,
      podCIDRs: [`10.244.${index}.0/24`, `fd44:0:0:${index}::/64`],
      clusterCIDRs: ['10.244.0.0/16', 'fd44::/56'],
      nodeAddress: address,
      mode: 'wireguard',
      vxlanId: 1,
      wireguardDir: this.dir,
    };
    const script = join(import.meta.dirname, 'testing/agent.ts');
    this.#child = this.host.start([process.execPath, script, JSON.stringify(options)]);
    this.#child.stderr?.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    assert.ok(!(await this.#lines.next()).done, 'the agent has ended');
  }

  async tell(command: AgentCommand): Promise<unknown> {
    this.#child!.stdin!.write(`${JSON.stringify(command)}\n`);
    const { done, value } = await this.#lines!.next();
    assert.ok(!done, 'the agent has ended');
    return JSON.parse(value) as unknown;
  }

  /** The API of this machine's agent has these Nodes; its own has no key yet. */
  async learn(machines: readonly Machine[]): Promise<void> {
    for (const other of machines) {
      const { name, index, address } = other.#place;
      const key = other === this ? {} : { key: other.publicKey };
      await this.tell({ do: 'put', node: node(name, address, { index, ...key }) });
    }
  }

  async publishedKey(): Promise<string | undefined> {
    const own = (await this.tell({ do: 'get', name: this.name })) as Node;
    return own.metadata?.annotations?.[WIREGUARD_KEY];
  }

  canPing(address: string, ...options: readonly string[]): boolean {
    return this.#inPod.try('ping', '-c', '1', '-W', '1', ...options, address) === 0;
  }

  reaches({ pod }: Machine): boolean {
    return pod.every((address) => this.canPing(address));
  }

  peers(): string[] {
    return this.host.run('wg', 'show', this.overlay, 'peers').split('\n').filter(Boolean).toSorted();
  }
}

const lacks = canHaveNamespaces() ? await wireguardProblem() : 'needs root and ip netns';

describe('WireGuard between machines', { skip: lacks ?? false }, () => {
  let lan: Lan;
  let a: Machine;
  let b: Machine;

  before(async () => {
    lan = createLan(`wg${process.pid}`, '10.217.1');
    a = new Machine(lan, { name: 'a', index: 1, address: '10.217.1.1' });
    b = new Machine(lan, { name: 'b', index: 2, address: '10.217.1.2' });
    for (const machine of [a, b]) await machine.start();
    for (const machine of [a, b]) await machine.learn([a, b]);
  });
  after(() => lan?.close());

  it('publishes the key, and pods of both families reach each other through the tunnel alone', async () => {
    await until('the pods reach each other', () => a.reaches(b) && b.reaches(a));
    await until('the key is published', async () => (await a.publishedKey()) === a.publicKey);
    assert.equal(a.host.run('wg', 'show', a.overlay, 'public-key').trim(), a.publicKey);
    for (const address of b.pod)
      assert.match(a.host.run('ip', 'route', 'get', address), new RegExp(`dev ${a.overlay}`));
    const [, received = '0'] = a.host.run('wg', 'show', a.overlay, 'transfer').trim().split(/\s+/);
    assert.ok(Number(received) > 0);
    assert.equal(existsSync(join(a.dir, CONFIGURATION_FILE)), false);
  });

  it('has packets as large as fit between the nodes', () => {
    assert.match(a.host.run('ip', 'link', 'show', a.overlay), /mtu 1440 /);
    assert.ok(a.canPing(b.pod[0]!, '-M', 'do', '-s', String(1440 - 28)));
    assert.ok(a.canPing(b.pod[1]!, '-M', 'do', '-s', String(1440 - 48)));
  });

  it('lets the node itself reach pods of others, from its end of the tunnel', () => {
    const [pod, pod6] = a.pod as [string, string];
    assert.match(b.host.run('ip', 'route', 'get', pod), / src 10\.244\.2\.0 /);
    for (const address of [pod, pod6])
      assert.equal(b.host.try('ping', '-c', '1', '-W', '1', address), 0, address);
  });

  it('drops what goes to a node without a key, whatever the default route is', async () => {
    a.host.run('ip', 'route', 'add', 'default', 'via', lan.outside.address);
    await a.tell({ do: 'put', node: node('plain', '10.217.1.77', { index: 77 }) });
    const route = (): string => a.host.run('ip', 'route', 'get', '10.244.77.2');
    await until('there is a route to it', () => route().includes(`dev ${a.overlay}`));
    assert.equal(a.canPing('10.244.77.2'), false);
    await a.tell({ do: 'delete', name: 'plain' });
    await until('the route is gone', () => !route().includes(`dev ${a.overlay}`));
  });

  it('accepts no pod address that comes in clear, and sends none', async () => {
    const [, table = ''] = /table inet (capstan-tunnel-\S+)/.exec(a.host.run('nft', 'list', 'tables')) ?? [];
    const dropped = (chain: string): number =>
      Number(/packets ([1-9]\d*)/.exec(a.host.run('nft', 'list', 'chain', 'inet', table, chain))?.[1] ?? 0);
    const fake = '10.244.2.99';
    lan.outside.run('ip', 'address', 'add', `${fake}/32`, 'dev', 'segment');
    lan.outside.run('ip', 'route', 'add', '10.244.1.0/24', 'via', a.host.address, 'src', fake);
    assert.notEqual(lan.outside.try('ping', '-c', '1', '-W', '1', a.pod[0]!), 0);
    assert.ok(dropped('arriving') > 0);
    lan.outside.run('ip', 'route', 'delete', '10.244.1.0/24');
    lan.outside.run('ip', 'address', 'delete', `${fake}/32`, 'dev', 'segment');
    a.host.run('nft', 'flush', 'ruleset');
    await until('the rules are there again', () => a.host.run('nft', 'list', 'tables').includes(table));
    a.host.run('ip', 'route', 'replace', `${b.pod[0]}/32`, 'via', b.host.address);
    assert.equal(a.canPing(b.pod[0]!), false, 'by a route of somebody else');
    assert.ok(dropped('leaving') > 0);
    a.host.run('ip', 'route', 'delete', `${b.pod[0]}/32`);
    assert.ok(a.reaches(b));
  });

  it('keeps its key and sessions when the agent is killed and starts again', async () => {
    const key = a.publicKey;
    const pid = a.host.pids();
    for (const one of pid) process.kill(one, 'SIGKILL');
    assert.ok(a.reaches(b), 'pods outlive the agent');
    await a.start();
    await a.learn([a, b]);
    await until('the key is published', async () => (await a.publishedKey()) === key);
    assert.deepEqual(a.peers(), [b.publicKey]);
    assert.ok(a.reaches(b));
  });

  it('follows a node that has another key', async () => {
    const old = b.publicKey;
    await b.tell({ do: 'stop' });
    for (const one of b.host.pids()) process.kill(one, 'SIGKILL');
    rmSync(join(b.dir, KEY_FILE));
    await b.start();
    await b.learn([a, b]);
    await until('the new key is published', async () => {
      const key = await b.publishedKey();
      return key !== undefined && key !== old;
    });
    await a.tell({ do: 'annotate', name: 'b', annotations: { [WIREGUARD_KEY]: b.publicKey } });
    await until('the pods reach each other', () => a.reaches(b) && b.reaches(a));
    assert.deepEqual(a.peers(), [b.publicKey]);
  });

  it('is there again when another program removes the device', async () => {
    a.host.run('ip', 'link', 'delete', a.overlay);
    await until('the pods reach each other', () => a.reaches(b) && b.reaches(a));
  });

  it('carries both families between nodes that have IPv6 alone', async () => {
    const six = [
      new Machine(lan, { name: 'c', index: 3, address: 'fd17::3' }),
      new Machine(lan, { name: 'd', index: 4, address: 'fd17::4' }),
    ];
    for (const machine of six) await machine.start();
    for (const machine of six) await machine.learn(six);
    const [c, d] = six as [Machine, Machine];
    await until('the pods reach each other', () => c.reaches(d) && d.reaches(c));
    assert.match(c.host.run('wg', 'show', c.overlay, 'endpoints'), /\[fd17::4\]:51820/);
    assert.match(c.host.run('ip', 'link', 'show', c.overlay), /mtu 1420 /);
    assert.ok(c.canPing(d.pod[1]!, '-M', 'do', '-s', String(1420 - 48)));
  });

  it('has no peer for a node that is gone, and what is removed is gone', async () => {
    await a.tell({ do: 'delete', name: 'b' });
    await until('the peer is gone', () => a.peers().length === 0);
    assert.equal(a.canPing(b.pod[0]!), false);
    await a.tell({ do: 'stop' });
    await a.tell({ do: 'remove' });
    assert.doesNotMatch(a.host.run('ip', 'link', 'show'), new RegExp(a.overlay));
  });
});
