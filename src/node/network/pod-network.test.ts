/**
 * The pod network with real packets: machines are network namespaces, each with a bridge and a pod.
 *
 *   a 10.215.1.1 ─┬─ segment 1 ─ router ─ segment 2 ─── c 10.215.2.1      The router knows nothing of pods.
 *   b 10.215.1.2 ─┘
 *
 * All have IPv6 addresses too, fd15:1::1 and so on, and pods of both families.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { Node } from '#api/types.ts';
import { BRIDGE_ADDRESS, canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';
import { containerdLayout } from '../containerd/layout.ts';
import { renderNft } from '../containerd/network.ts';
import { deriveMac, computePeers, routesTo, WIREGUARD_KEY, type Peer } from './peers.ts';
import type { AgentCommand, AgentOptions } from './testing/agent.ts';

const CLUSTER = ['10.244.0.0/16', 'fd44::/48'];
const OVERHEAD = 50;
/** Of VXLAN in IPv6. */
const OVERHEAD_6 = 70;
const FORWARD = 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding';

interface Machine {
  readonly name: string;
  readonly host: LanMachine;
  readonly pod: string;
  readonly pod6: string;
  readonly podCIDRs: readonly string[];
  readonly agent: Agent;
  run(...words: readonly string[]): string;
  inPod(...words: readonly string[]): string;
  canPing(address: string, ...options: readonly string[]): boolean;
}

class Agent {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(host: LanMachine, options: AgentOptions) {
    const script = join(import.meta.dirname, 'testing/agent.ts');
    this.#child = host.start([process.execPath, script, JSON.stringify(options)]);
    this.#child.stderr?.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async ready(): Promise<void> {
    const { done } = await this.#lines.next();
    assert.ok(!done, 'the agent has ended');
  }

  async tell(command: AgentCommand): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    const { done, value } = await this.#lines.next();
    assert.ok(!done, 'the agent has ended');
    return JSON.parse(value) as unknown;
  }
}

function nodeOf({ name, host, podCIDRs }: Pick<Machine, 'name' | 'host' | 'podCIDRs'>): Node {
  const addresses = [host.address, sixOf(host.address)].filter((address) => address !== '');
  return {
    metadata: { name },
    spec: { podCIDRs: [...podCIDRs] },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}

/** 10.215.1.2 has fd15:1::2. */
function sixOf(address: string): string {
  const [, , segment, host] = address.split('.');
  return `fd15:${segment}::${host}`;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('peers', () => {
  const node = (name: string, address: string, podCIDR?: string): Node => ({
    metadata: { name },
    spec: podCIDR === undefined ? {} : { podCIDRs: [podCIDR] },
    status: { addresses: [{ type: 'InternalIP', address }] },
  });
  const all = [
    node('own', '10.0.0.1', '10.244.0.0/24'),
    node('near', '10.0.0.2', '10.244.1.0/24'),
    node('far', '10.9.0.1', '10.244.2.0/24'),
    node('without-range', '10.0.0.3'),
    node('same-machine', '10.0.0.1', '10.244.3.0/24'),
    node('ipv6', 'fd00::1', 'fd00:1::/64'),
  ];
  const peers = computePeers(all, { nodeName: 'own', ownAddresses: new Set(['10.0.0.1']) });
  const own = { overlay: 'cvx', nodeAddress: '10.0.0.1', podCIDRs: ['10.244.0.0/24'] };
  const onLink = (address: string): string | undefined =>
    address.startsWith('10.0.0.') ? 'eth0' : undefined;

  it('are the other nodes that have a range', () => {
    assert.deepEqual(
      peers.map(({ nodeName }) => nodeName),
      ['near', 'far', 'ipv6'],
    );
  });

  it('are reached straight on this segment, and through VXLAN behind a router', () => {
    assert.deepEqual(routesTo(peers, { ...own, mode: 'auto', onLink }), {
      routes: [
        {
          podCIDR: '10.244.2.0/24',
          via: '10.244.2.0',
          dev: 'cvx',
          tunnel: { mac: deriveMac(['10.244.2.0/24']), address: '10.9.0.1' },
        },
        { podCIDR: '10.244.1.0/24', via: '10.0.0.2', dev: 'eth0' },
      ],
      problems: [],
    });
  });

  it('behind a router are reported where only direct routes are wanted', () => {
    const { routes, problems } = routesTo(peers, { ...own, mode: 'direct', onLink });
    assert.equal(routes.length, 1);
    assert.match(problems.join(), /node far \(10\.9\.0\.1\) is not on this segment/);
  });

  it('with one range are not mixed up', () => {
    const twice = [...peers, { nodeName: 'zz', addresses: ['10.0.0.9'], podCIDRs: ['10.244.1.0/24'] }];
    const { routes, problems } = routesTo(twice, { ...own, mode: 'vxlan', onLink });
    assert.equal(routes.length, 2);
    assert.match(problems.join(), /the pod range 10\.244\.1\.0\/24 of node zz/);
  });
});

describe('peers of both families', () => {
  const own = {
    overlay: 'cvx',
    nodeAddress: '10.0.0.1',
    podCIDRs: ['10.244.0.0/24', 'fd44::/64'],
    onLink: (address: string): string | undefined =>
      /^(10\.0\.0|fd15::)/.test(address) ? 'eth0' : undefined,
  };
  const ranges = ['10.244.1.0/24', 'fd44:0:0:1::/64'];
  const peer = (...addresses: readonly string[]): Peer => ({ nodeName: 'n', addresses, podCIDRs: ranges });
  const tunnel = { mac: deriveMac(ranges), address: '10.0.0.2' };

  it('are read from the Nodes, in canonical form, one address of each family', () => {
    const node = {
      metadata: { name: 'n' },
      spec: { podCIDRs: ['10.244.1.0/24', 'FD44:0:0:1::/64'] },
      status: {
        addresses: [
          { type: 'Hostname', address: 'n' },
          { type: 'ExternalIP', address: '192.0.2.1' },
          { type: 'InternalIP', address: 'FD15:0::2' },
          { type: 'InternalIP', address: '10.0.0.2' },
          { type: 'InternalIP', address: '10.0.0.3' },
        ],
      },
    };
    assert.deepEqual(computePeers([node], { nodeName: 'own', ownAddresses: new Set() }), [
      peer('10.0.0.2', 'fd15::2'),
    ]);
    assert.deepEqual(computePeers([node], { nodeName: 'own', ownAddresses: new Set(['fd15::2']) }), []);
  });

  it('are reached straight by the address of each family', () => {
    const { routes, problems } = routesTo([peer('10.0.0.2', 'fd15::2')], { ...own, mode: 'auto' });
    assert.deepEqual(problems, []);
    assert.deepEqual(
      routes.map(({ podCIDR, via, dev }) => [podCIDR, via, dev]),
      [
        ['10.244.1.0/24', '10.0.0.2', 'eth0'],
        ['fd44:0:0:1::/64', 'fd15::2', 'eth0'],
      ],
    );
  });

  it('with one address are reached by a tunnel in the other family, or not where routes must be direct', () => {
    const { routes } = routesTo([peer('10.0.0.2')], { ...own, mode: 'auto' });
    assert.deepEqual(routes[1], { podCIDR: ranges[1], via: 'fd44:0:0:1::', dev: 'cvx', tunnel });
    const direct = routesTo([peer('10.0.0.2')], { ...own, mode: 'direct' });
    assert.equal(direct.routes.length, 1);
    assert.match(direct.problems.join(), /node n has no address of the family of its pod range fd44/);
  });

  it('share one tunnel, in the family of this node', () => {
    const both = routesTo([peer('10.0.0.2', 'fd15::2')], { ...own, mode: 'vxlan' });
    assert.deepEqual(
      both.routes.map((route) => route.tunnel),
      [tunnel, tunnel],
    );
    const other = routesTo([peer('fd15::2')], { ...own, mode: 'vxlan' });
    assert.equal(other.routes.length, 0);
    assert.match(other.problems.join(), /node n has no address of the family of 10\.0\.0\.1/);
  });

  it('have no route in a family that the pods of this node do not have', () => {
    const { routes } = routesTo([peer('10.0.0.2')], { ...own, podCIDRs: ['10.244.0.0/24'], mode: 'vxlan' });
    assert.deepEqual(
      routes.map(({ podCIDR }) => podCIDR),
      ['10.244.1.0/24'],
    );
  });

  it('have MAC addresses of their own, locally administered', () => {
    const macs = ['10.244.1.0/24', 'fd44::/64', 'fd44:0:0:1::/64'].map((range) => deriveMac([range]));
    assert.equal(macs[0], '0a:58:0a:f4:01:00');
    assert.equal(new Set(macs).size, 3);
    for (const mac of macs) assert.match(mac, /^0a(:[0-9a-f]{2}){5}$/);
  });
});

describe('pod network', { skip: canHaveNamespaces() ? false : 'needs root and ip netns' }, () => {
  const lans: Lan[] = [];
  const machines = new Map<string, Machine>();

  function addMachine(
    lan: Lan,
    {
      name,
      address,
      index,
      onlySix = false,
    }: {
      readonly name: string;
      readonly address: string;
      readonly index: number;
      /** The machine itself has no IPv4; its pods do. */
      readonly onlySix?: boolean;
    },
  ): void {
    const host = lan.machine(name, address);
    const podCIDRs = [`10.244.${index}.0/24`, `fd44:0:0:${index}::/64`];
    const pod6 = `fd44:0:0:${index}::2`;
    const pod = `10.244.${index}.2`;
    const layout = containerdLayout({ dir: `/nonexistent/${name}` });
    const podNamespace = lan.namespace(`pod-${name}`);
    host.run('ip', 'route', 'add', 'default', 'via', lan.outside.address);
    host.run('ip', 'address', 'add', `${sixOf(address)}/64`, 'dev', 'eth0', 'nodad');
    host.run('ip', 'route', 'add', 'default', 'via', sixOf(lan.outside.address));
    if (onlySix) host.run('ip', '-4', 'address', 'flush', 'dev', 'eth0');
    host.run('sh', '-c', FORWARD);
    host.run('ip', 'link', 'add', layout.bridge, 'address', BRIDGE_ADDRESS, 'type', 'bridge');
    host.run('ip', 'address', 'add', `10.244.${index}.1/24`, 'dev', layout.bridge);
    host.run('ip', 'address', 'add', `fd44:0:0:${index}::1/64`, 'dev', layout.bridge, 'nodad');
    host.run('ip', 'link', 'set', layout.bridge, 'up');
    host.run('ip', 'link', 'add', 'pod', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', podNamespace.name);
    host.run('ip', 'link', 'set', 'pod', 'master', layout.bridge, 'up');
    podNamespace.run('ip', 'address', 'add', `${pod}/24`, 'dev', 'eth0');
    podNamespace.run(
      'ip',
      'link',
      'set',
      'eth0',
      'mtu',
      String(1500 - (onlySix ? OVERHEAD_6 : OVERHEAD)),
      'up',
    );
    podNamespace.run('ip', 'route', 'add', 'default', 'via', `10.244.${index}.1`);
    podNamespace.run('ip', 'address', 'add', `${pod6}/64`, 'dev', 'eth0', 'nodad');
    podNamespace.run('ip', 'route', 'add', 'default', 'via', `fd44:0:0:${index}::1`);
    host.run(
      'nft',
      renderNft({ layout, network: { podCIDRs, clusterCIDRs: CLUSTER }, bridgeFiltered: true }),
    );
    const agent = new Agent(host, {
      names: layout,
      nodeName: name,
      podCIDRs,
      clusterCIDRs: CLUSTER,
      nodeAddress: onlySix ? sixOf(address) : address,
      mode: 'auto',
      vxlanId: 1,
      wireguardDir: '/nonexistent',
    });
    machines.set(name, {
      name,
      host,
      pod,
      pod6,
      podCIDRs,
      agent,
      run: host.run,
      inPod: podNamespace.run,
      canPing: (to, ...options) =>
        podNamespace.try('/bin/busybox', 'ping', '-c', '1', '-W', '1', ...options, to) === 0,
    });
  }

  const at = (name: string): Machine => machines.get(name)!;

  before(async () => {
    const [one, two] = [
      createLan(`pn${process.pid}a`, '10.215.1'),
      createLan(`pn${process.pid}b`, '10.215.2'),
    ];
    lans.push(one, two);
    one.outside.run(
      'ip',
      'link',
      'add',
      'wire',
      'type',
      'veth',
      'peer',
      'name',
      'wire',
      'netns',
      two.outside.name,
    );
    for (const [lan, own, other, far] of [
      [one, '10.215.9.1', '10.215.9.2', '10.215.2.0/24'],
      [two, '10.215.9.2', '10.215.9.1', '10.215.1.0/24'],
    ] as const) {
      lan.outside.run('ip', 'address', 'add', `${own}/30`, 'dev', 'wire');
      lan.outside.run('ip', 'link', 'set', 'wire', 'up');
      lan.outside.run('sh', '-c', FORWARD);
      lan.outside.run('ip', 'route', 'add', far, 'via', other);
      const six = sixOf(lan.outside.address);
      lan.outside.run('ip', 'address', 'add', `${six}/64`, 'dev', 'segment', 'nodad');
      lan.outside.run('ip', 'address', 'add', `${sixOf(own)}/64`, 'dev', 'wire', 'nodad');
      lan.outside.run('ip', 'route', 'add', `fd15:${far.split('.')[2]}::/64`, 'via', sixOf(other));
    }
    addMachine(one, { name: 'a', address: '10.215.1.1', index: 1 });
    addMachine(one, { name: 'b', address: '10.215.1.2', index: 2 });
    addMachine(two, { name: 'c', address: '10.215.2.1', index: 3 });
    await Promise.all([...machines.values()].map(({ agent }) => agent.ready()));
    for (const { agent } of machines.values())
      for (const other of machines.values()) await agent.tell({ do: 'put', node: nodeOf(other) });
  });
  after(async () => {
    for (const lan of lans) await lan.close();
  });

  it('loses no change that comes while routes are applied', async () => {
    const { agent, run } = at('b');
    const routes = (): string => run('ip', 'route', 'show', 'proto', '201');
    const put = (index: number): Promise<unknown> =>
      agent.tell({
        do: 'put',
        node: nodeOf({ name: `x${index}`, host: at('c').host, podCIDRs: [`10.244.${index}.0/24`] }),
      });
    for (let round = 0; round < 10; round += 1) {
      const [first, second] = [100 + round, 200 + round];
      await put(first);
      // The routes of the first are applied somewhere between 50 and 150 ms after it.
      await new Promise((resolve) => setTimeout(resolve, 50 + 10 * round));
      await put(second);
      const started = performance.now();
      await until('both routes are there', () =>
        [first, second].every((index) => routes().includes(`10.244.${index}.0/24 `)),
      );
      // A look at the kernel every 10 s would find it in the end.
      assert.ok(performance.now() - started < 5_000, 'it was found by chance');
      for (const index of [first, second]) await agent.tell({ do: 'delete', name: `x${index}` });
    }
    await until('all routes are gone', () => !/^10\.244\.[12]\d\d\.0/m.test(routes()));
  });

  it('leads straight to pods of a node on the same segment', async () => {
    await until('a pod of a reaches one of b', () => at('a').canPing(at('b').pod));
    assert.match(at('a').run('ip', 'route', 'show', '10.244.2.0/24'), /via 10\.215\.1\.2 dev eth0 proto 201/);
    assert.ok(at('b').canPing(at('a').pod));
    await until('a pod of a reaches one of b by IPv6', () => at('a').canPing(at('b').pod6));
    assert.match(
      at('a').run('ip', '-6', 'route', 'show', 'fd44:0:0:2::/64'),
      /via fd15:1::2 dev eth0 proto 201/,
    );
  });

  it('leads through VXLAN to pods of a node behind a router, in packets that fit', async () => {
    await until('a pod of a reaches one of c', () => at('a').canPing(at('c').pod));
    assert.match(
      at('a').run('ip', 'route', 'show', '10.244.3.0/24'),
      /via 10\.244\.3\.0 dev cvx-\w+ proto 201 .*onlink/,
    );
    await until('a pod of c reaches one of a', () => at('c').canPing(at('a').pod));
    await until('a pod of a reaches one of c by IPv6', () => at('a').canPing(at('c').pod6));
    assert.match(
      at('a').run('ip', '-6', 'route', 'show', 'fd44:0:0:3::/64'),
      /via fd44:0:0:3:: dev cvx-\w+ proto 201 .*onlink/,
    );
    assert.ok(at('c').canPing(at('a').pod6, '-s', String(1500 - OVERHEAD - 48)));
    const largest = 1500 - OVERHEAD - 28;
    assert.ok(at('a').canPing(at('c').pod, '-s', String(largest)), 'the largest packet arrives whole');
    assert.match(at('a').run('ip', 'link', 'show', 'type', 'vxlan'), /mtu 1450/);
  });

  it('leads through VXLAN between machines that have IPv6 alone, in packets that fit', async () => {
    const six = [
      { name: 'd', address: '10.215.1.4', index: 4 },
      { name: 'e', address: '10.215.2.4', index: 5 },
    ];
    for (const [place, machine] of six.entries()) addMachine(lans[place]!, { ...machine, onlySix: true });
    for (const { name } of six) await at(name).agent.ready();
    for (const { name } of six)
      for (const { name: other, address } of six) {
        const node = nodeOf(at(other));
        const addresses = [{ type: 'InternalIP', address: sixOf(address) }];
        await at(name).agent.tell({ do: 'put', node: { ...node, status: { addresses } } });
      }
    const [d, e] = six.map(({ name }) => at(name)) as [Machine, Machine];
    await until('a pod of d reaches one of e', () => d.canPing(e.pod) && d.canPing(e.pod6));
    await until('a pod of e reaches one of d', () => e.canPing(d.pod) && e.canPing(d.pod6));
    const overlay = containerdLayout({ dir: '/nonexistent/d' }).overlay;
    assert.match(d.run('bridge', 'fdb', 'show', 'dev', overlay), /dst fd15:2::4 /);
    assert.match(d.run('ip', '-details', 'link', 'show', 'type', 'vxlan'), /mtu 1430 .* local fd15:1::4 /s);
    assert.ok(d.canPing(e.pod, '-s', String(1500 - OVERHEAD_6 - 28)), 'the largest packet arrives whole');
    assert.ok(e.canPing(d.pod6, '-s', String(1500 - OVERHEAD_6 - 48)));
    for (const { agent } of [d, e]) await agent.tell({ do: 'remove' });
    assert.equal(d.run('ip', 'link', 'show', 'type', 'vxlan'), '');
  });

  it('keeps the source address between pods, also for the node itself', async () => {
    const server = at('c');
    const script = `require('net').createServer((s) => s.end(s.remoteAddress)).listen(8080, '0.0.0.0')`;
    lans[1]!.namespaceOf('pod-c').start([process.execPath, '-e', script]);
    const ask = (run: Machine['run']): string =>
      run(
        process.execPath,
        '-e',
        `require('net').connect(8080, '${server.pod}').on('data', (d) => process.stdout.write(d)).on('error', () => {})`,
      );
    await until('the server answers', () => ask(at('a').inPod) === at('a').pod);
    assert.equal(
      ask(at('a').run),
      '10.244.1.0',
      'the node comes from its end of the tunnel, so that answers find back',
    );
  });

  it('comes back when another program removes it', async () => {
    at('a').run('ip', 'route', 'flush', 'proto', '201');
    at('a').run('ip', '-6', 'route', 'flush', 'proto', '201');
    at('a').run('ip', 'link', 'delete', containerdLayout({ dir: '/nonexistent/a' }).overlay);
    await until('a pod of a reaches the others', () =>
      ['b', 'c'].every((name) => at('a').canPing(at(name).pod) && at('a').canPing(at(name).pod6)),
    );
  });

  it('follows a node that goes, and comes again with another address', async () => {
    await at('a').agent.tell({ do: 'delete', name: 'c' });
    await until('its route is gone', () => at('a').run('ip', 'route', 'show', '10.244.3.0/24') === '');
    await until('that of IPv6 too', () => at('a').run('ip', '-6', 'route', 'show', 'fd44:0:0:3::/64') === '');
    assert.doesNotMatch(
      at('a').run('bridge', 'fdb', 'show', 'dev', containerdLayout({ dir: '/nonexistent/a' }).overlay),
      /10\.215\.2\.1/,
    );
    assert.ok(at('a').canPing(at('b').pod), 'others are not touched');
    await at('a').agent.tell({
      do: 'put',
      node: nodeOf({ ...at('c'), host: { ...at('c').host, address: '10.215.1.2' } }),
    });
    await until('its route is straight now', () =>
      /via 10\.215\.1\.2/.test(at('a').run('ip', 'route', 'show', '10.244.3.0/24')),
    );
    await until('that of IPv6 too', () =>
      /via fd15:1::2 dev eth0/.test(at('a').run('ip', '-6', 'route', 'show', 'fd44:0:0:3::/64')),
    );
  });

  it('withdraws the WireGuard key that the node had in another mode', async () => {
    const { agent } = at('a');
    await agent.tell({ do: 'annotate', name: 'a', annotations: { [WIREGUARD_KEY]: 'stale', other: 'kept' } });
    const annotations = async (): Promise<unknown> =>
      ((await agent.tell({ do: 'get', name: 'a' })) as Node).metadata?.annotations;
    for (let left = 300; JSON.stringify(await annotations()) !== '{"other":"kept"}'; left -= 1) {
      assert.ok(left > 0, 'the annotation stayed');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });

  it('stays when the agent stops, and goes with the node', async () => {
    const { agent, canPing, run } = at('b');
    await agent.tell({ do: 'stop' });
    assert.ok(canPing(at('a').pod));
    run('ip', 'route', 'add', '10.250.0.0/24', 'via', '10.215.1.1', 'proto', '201', 'metric', '5');
    await agent.tell({ do: 'remove' });
    assert.match(
      run('ip', 'route', 'show', 'proto', '201'),
      /^10\.250\.0\.0\/24 .*\n$/,
      'only our own routes go',
    );
    assert.equal(run('ip', '-6', 'route', 'show', 'proto', '201'), '');
    assert.equal(run('ip', 'link', 'show', 'type', 'vxlan'), '');
  });
});
