/**
 * The pod network with real packets: machines are network namespaces, each with a bridge and a pod.
 *
 *   a 10.215.1.1 ─┬─ segment 1 ─ router ─ segment 2 ─── c 10.215.2.1      The router knows nothing of pods.
 *   b 10.215.1.2 ─┘
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { Node } from '#api/types.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';
import { containerdLayout } from '../containerd/layout.ts';
import { renderNft } from '../containerd/network.ts';
import { deriveMac, computePeers, routesTo } from './peers.ts';
import type { AgentCommand, AgentOptions } from './testing/agent.ts';

const CLUSTER = '10.244.0.0/16';
const OVERHEAD = 50;

interface Machine {
  readonly name: string;
  readonly host: LanMachine;
  readonly pod: string;
  readonly podCIDR: string;
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

  async tell(command: AgentCommand): Promise<void> {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    await this.ready();
  }
}

function nodeOf({ name, host, podCIDR }: Pick<Machine, 'name' | 'host' | 'podCIDR'>): Node {
  return {
    metadata: { name },
    spec: { podCIDR, podCIDRs: [podCIDR] },
    status: { addresses: [{ type: 'InternalIP', address: host.address }] },
  };
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
  const onLink = (address: string): string | undefined =>
    address.startsWith('10.0.0.') ? 'eth0' : undefined;

  it('are the other nodes that have a range', () => {
    assert.deepEqual(
      peers.map(({ nodeName }) => nodeName),
      ['near', 'far'],
    );
  });

  it('are reached straight on this segment, and through VXLAN behind a router', () => {
    assert.deepEqual(routesTo(peers, { mode: 'auto', overlay: 'cvx', onLink }), {
      routes: [
        {
          podCIDR: '10.244.2.0/24',
          via: '10.244.2.0',
          dev: 'cvx',
          tunnel: { mac: deriveMac('10.244.2.0'), address: '10.9.0.1' },
        },
        { podCIDR: '10.244.1.0/24', via: '10.0.0.2', dev: 'eth0' },
      ],
      problems: [],
    });
  });

  it('behind a router are reported where only direct routes are wanted', () => {
    const { routes, problems } = routesTo(peers, { mode: 'direct', overlay: 'cvx', onLink });
    assert.equal(routes.length, 1);
    assert.match(problems.join(), /node far \(10\.9\.0\.1\) is not on this segment/);
  });

  it('with one range are not mixed up', () => {
    const twice = [...peers, { nodeName: 'zz', address: '10.0.0.9', podCIDR: '10.244.1.0/24' }];
    const { routes, problems } = routesTo(twice, { mode: 'vxlan', overlay: 'cvx', onLink });
    assert.equal(routes.length, 2);
    assert.match(problems.join(), /the pod range 10\.244\.1\.0\/24 of node zz/);
  });
});

describe('pod network', { skip: canHaveNamespaces() ? false : 'needs root and ip netns' }, () => {
  const lans: Lan[] = [];
  const machines = new Map<string, Machine>();

  function addMachine(
    lan: Lan,
    { name, address, index }: { readonly name: string; readonly address: string; readonly index: number },
  ): void {
    const host = lan.machine(name, address);
    const podCIDR = `10.244.${index}.0/24`;
    const pod = `10.244.${index}.2`;
    const layout = containerdLayout({ dir: `/nonexistent/${name}` });
    const podNamespace = lan.namespace(`pod-${name}`);
    host.run('ip', 'route', 'add', 'default', 'via', lan.outside.address);
    host.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    host.run('ip', 'link', 'add', layout.bridge, 'type', 'bridge');
    host.run('ip', 'address', 'add', `10.244.${index}.1/24`, 'dev', layout.bridge);
    host.run('ip', 'link', 'set', layout.bridge, 'up');
    host.run('ip', 'link', 'add', 'pod', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', podNamespace.name);
    host.run('ip', 'link', 'set', 'pod', 'master', layout.bridge, 'up');
    podNamespace.run('ip', 'address', 'add', `${pod}/24`, 'dev', 'eth0');
    podNamespace.run('ip', 'link', 'set', 'eth0', 'mtu', String(1500 - OVERHEAD), 'up');
    podNamespace.run('ip', 'route', 'add', 'default', 'via', `10.244.${index}.1`);
    host.run(
      'nft',
      renderNft({ layout, network: { podCIDRs: [podCIDR], clusterCIDRs: [CLUSTER] }, bridgeFiltered: true }),
    );
    const agent = new Agent(host, {
      names: layout,
      nodeName: name,
      podCIDR,
      nodeAddress: address,
      mode: 'auto',
      vxlanId: 1,
    });
    machines.set(name, {
      name,
      host,
      pod,
      podCIDR,
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
      lan.outside.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
      lan.outside.run('ip', 'route', 'add', far, 'via', other);
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
    const put = (index: number): Promise<void> =>
      agent.tell({
        do: 'put',
        node: nodeOf({ name: `x${index}`, host: at('c').host, podCIDR: `10.244.${index}.0/24` }),
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
  });

  it('leads through VXLAN to pods of a node behind a router, in packets that fit', async () => {
    await until('a pod of a reaches one of c', () => at('a').canPing(at('c').pod));
    assert.match(
      at('a').run('ip', 'route', 'show', '10.244.3.0/24'),
      /via 10\.244\.3\.0 dev cvx-\w+ proto 201 .*onlink/,
    );
    await until('a pod of c reaches one of a', () => at('c').canPing(at('a').pod));
    const largest = 1500 - OVERHEAD - 28;
    assert.ok(at('a').canPing(at('c').pod, '-s', String(largest)), 'the largest packet arrives whole');
    assert.match(at('a').run('ip', 'link', 'show', 'type', 'vxlan'), /mtu 1450/);
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
    at('a').run('ip', 'link', 'delete', containerdLayout({ dir: '/nonexistent/a' }).overlay);
    await until(
      'a pod of a reaches the others',
      () => at('a').canPing(at('b').pod) && at('a').canPing(at('c').pod),
    );
  });

  it('follows a node that goes, and comes again with another address', async () => {
    await at('a').agent.tell({ do: 'delete', name: 'c' });
    await until('its route is gone', () => at('a').run('ip', 'route', 'show', '10.244.3.0/24') === '');
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
    assert.equal(run('ip', 'link', 'show', 'type', 'vxlan'), '');
  });
});
