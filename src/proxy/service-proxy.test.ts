/**
 * The proxy's rules with real packets between network namespaces.
 *
 *   outside 192.0.2.2 ──── 192.0.2.1 node 10.244.0.1 (bridge) ──── pods a, b, c: 10.244.0.2, .3, .4
 *      2001:db8::2 ──── 2001:db8::1      fd00:1::1                              fd00:1::2, ::3, ::4
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EndpointSlice, Service } from '#api/types.ts';
import { BRIDGE_ADDRESS } from '#testing/lan.ts';
import { Connections } from '#testing/network-policy/connections.ts';
import { SERVER_PORT, type Ask, type Command } from './testing/agent.ts';

const PREFIX = `capstan-proxy-${process.pid}`;
const PODS = ['a', 'b', 'c'];
const OUTSIDE = '192.0.2.2';
const NODE = '192.0.2.1';
const CLUSTER_IP = '10.96.0.20';
const OUTSIDE_6 = '2001:db8::2';
const NODE_6 = '2001:db8::1';
const CLUSTER_IP_6 = 'fd00::20';

function namespaceOf(name: string): string {
  return `${PREFIX}-${name}`;
}
function addressOf(pod: string): string {
  return `10.244.0.${PODS.indexOf(pod) + 2}`;
}

function addressOf6(pod: string): string {
  return `fd00:1::${PODS.indexOf(pod) + 2}`;
}

function ip(...words: string[]): boolean {
  return spawnSync('ip', words, { stdio: 'ignore' }).status === 0;
}

function mustIp(...words: string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  assert.equal(status, 0, `ip ${words.join(' ')}: ${stderr}`);
}

function inside(name: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync('ip', ['netns', 'exec', namespaceOf(name), ...words], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, `${words.join(' ')}: ${stderr}`);
  return stdout;
}

/** A process in a namespace that executes commands. */
class Agent {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(name: string) {
    const script = new URL('testing/agent.ts', import.meta.url).pathname;
    this.#child = spawn('ip', ['netns', 'exec', namespaceOf(name), process.execPath, script, name], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    assert.ok(!done, 'the agent has ended');
    return JSON.parse(value) as unknown;
  }

  ready(): Promise<unknown> {
    return this.#next();
  }

  tell(command: Command): Promise<unknown> {
    this.#turn = this.#turn.then(() => {
      this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
      return this.#next();
    });
    return this.#turn;
  }

  async ask(ask: Ask): Promise<string[]> {
    return (await this.tell({ do: 'ask', ...ask })) as string[];
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 3_000);
    if (this.#child.exitCode === null) await ended;
    clearTimeout(timer);
  }
}

function link(pod: string): void {
  const port = `port-${pod}`;
  inside(
    'node',
    'ip',
    'link',
    'add',
    port,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    namespaceOf(pod),
  );
  inside('node', 'ip', 'link', 'set', port, 'master', 'bridge', 'up');
  inside('node', 'sh', '-c', `echo 1 > /sys/class/net/${port}/brport/hairpin_mode`);
  inside(pod, 'ip', 'address', 'add', `${addressOf(pod)}/24`, 'dev', 'eth0');
  inside(pod, 'ip', 'link', 'set', 'eth0', 'up');
  inside(pod, 'ip', 'route', 'add', 'default', 'via', '10.244.0.1');
  inside(pod, 'ip', 'address', 'add', `${addressOf6(pod)}/64`, 'dev', 'eth0', 'nodad');
  inside(pod, 'ip', 'route', 'add', 'default', 'via', 'fd00:1::1');
}

function buildNetwork(): void {
  for (const name of ['node', 'outside', ...PODS]) {
    mustIp('netns', 'add', namespaceOf(name));
    inside(name, 'ip', 'link', 'set', 'lo', 'up');
  }
  inside('node', 'ip', 'link', 'add', 'bridge', 'address', BRIDGE_ADDRESS, 'type', 'bridge');
  inside('node', 'ip', 'address', 'add', '10.244.0.1/24', 'dev', 'bridge');
  inside('node', 'ip', 'address', 'add', 'fd00:1::1/64', 'dev', 'bridge', 'nodad');
  inside('node', 'ip', 'link', 'set', 'bridge', 'up');
  for (const pod of PODS) link(pod);
  inside(
    'node',
    'ip',
    'link',
    'add',
    'uplink',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    namespaceOf('outside'),
  );
  inside('node', 'ip', 'address', 'add', `${NODE}/24`, 'dev', 'uplink');
  inside('node', 'ip', 'link', 'set', 'uplink', 'up');
  inside('outside', 'ip', 'address', 'add', `${OUTSIDE}/24`, 'dev', 'eth0');
  inside('outside', 'ip', 'link', 'set', 'eth0', 'up');
  inside('node', 'ip', 'route', 'add', 'default', 'via', OUTSIDE);
  inside('outside', 'ip', 'route', 'add', 'default', 'via', NODE);
  inside('node', 'ip', 'address', 'add', `${NODE_6}/64`, 'dev', 'uplink', 'nodad');
  inside('outside', 'ip', 'address', 'add', `${OUTSIDE_6}/64`, 'dev', 'eth0', 'nodad');
  inside('node', 'ip', 'route', 'add', 'default', 'via', OUTSIDE_6);
  inside('outside', 'ip', 'route', 'add', 'default', 'via', NODE_6);
  // As the node's network makes it: packets between pods of one bridge pass the rules too.
  inside('node', 'sh', '-c', 'echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables');
  inside('node', 'sh', '-c', 'echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables');
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`never true: ${condition}`);
}

function serviceOf(name: string, spec: Partial<NonNullable<Service['spec']>>): Service {
  return {
    metadata: { name, namespace: 'default' },
    spec: {
      type: 'ClusterIP',
      clusterIP: CLUSTER_IP,
      clusterIPs: [CLUSTER_IP],
      ports: [{ name: 'p', port: 80, protocol: 'TCP' }],
      ...spec,
    },
  };
}

function sliceOf(
  name: string,
  pods: readonly string[],
  options: { readonly protocol?: string; readonly node?: string } = {},
): EndpointSlice {
  return {
    metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: SERVER_PORT, protocol: options.protocol ?? 'TCP' }],
    endpoints: pods.map((pod) => ({
      addresses: [addressOf(pod)],
      conditions: { ready: true },
      nodeName: options.node ?? 'node',
    })),
  };
}

const usable =
  process.getuid?.() === 0 &&
  spawnSync('nft', ['--version']).status === 0 &&
  ip('netns', 'add', namespaceOf('probe')) &&
  ip('netns', 'delete', namespaceOf('probe'));

describe(
  'packets to services',
  { skip: usable ? false : 'needs root, nft and network namespaces', timeout: 120_000 },
  () => {
    const agents = new Map<string, Agent>();
    const agent = (name: string): Agent => agents.get(name) as Agent;

    before(async () => {
      buildNetwork();
      for (const name of ['node', 'outside', ...PODS]) agents.set(name, new Agent(name));
      await Promise.all([...agents.values()].map((one) => one.ready()));
      assert.equal(
        await agent('node').tell({
          do: 'proxy',
          options: { nodeName: 'node', clusterId: 'test', podCIDRs: ['10.244.0.0/16', 'fd00:1::/48'] },
        }),
        null,
      );
      const range = { metadata: { name: 'kubernetes' }, spec: { cidrs: ['10.96.0.0/16', 'fd00::/112'] } };
      assert.equal(await agent('node').tell({ do: 'put', kind: 'ServiceCIDR', object: range }), null);
      await until(() =>
        inside('node', 'nft', 'list', 'chain', 'ip', 'capstan-services-test', 'unallocated').includes(
          '10.96.0.0/16',
        ),
      );
    });

    after(async () => {
      await Promise.all([...agents.values()].map((one) => one.end()));
      for (const name of ['node', 'outside', ...PODS]) ip('netns', 'delete', namespaceOf(name));
    });

    async function put(
      service: Service,
      pods: readonly string[],
      options: Parameters<typeof sliceOf>[2] = {},
    ): Promise<void> {
      const name = service.metadata?.name ?? '';
      assert.equal(await agent('node').tell({ do: 'put', kind: 'Service', object: service }), null);
      assert.equal(
        await agent('node').tell({ do: 'put', kind: 'EndpointSlice', object: sliceOf(name, pods, options) }),
        null,
      );
    }

    async function drop(name: string): Promise<void> {
      await agent('node').tell({ do: 'delete', kind: 'Service', object: serviceOf(name, {}) });
      await agent('node').tell({ do: 'delete', kind: 'EndpointSlice', object: sliceOf(name, []) });
    }

    /** Polls until the response is as expected: rules follow the API within about 100 ms. */
    async function eventually(
      from: string,
      ask: Ask,
      expected: (answer: string) => boolean,
    ): Promise<string> {
      let answer = '';
      for (let tries = 0; tries < 200; tries += 1) {
        [answer = ''] = await agent(from).ask(ask);
        if (expected(answer)) return answer;
        await sleep(50);
      }
      throw new Error(`from ${from} to ${ask.host}:${ask.port}: ${answer}`);
    }

    const cluster = { protocol: 'tcp', host: CLUSTER_IP, port: 80 } as const;

    it('reach the pods behind a cluster address, all of them, from pods and from the node', async () => {
      await put(serviceOf('web', {}), ['a', 'b']);
      const direct = await eventually('c', cluster, (answer) => /^[ab] /.test(answer));
      assert.equal(direct.split(' ')[1], addressOf('c'), 'a pod keeps its address');
      const names = new Set(
        (await agent('c').ask({ ...cluster, times: 30 })).map((answer) => answer.split(' ')[0]),
      );
      assert.deepEqual([...names].sort(), ['a', 'b']);
      assert.match(await eventually('node', cluster, () => true), /^[ab] 10\.244\.0\.1$/);
      await drop('web');
    });

    it('wait for a Service that has just been made, in the same connection', async () => {
      const young = '10.96.0.21';
      const asked = agent('c').ask({ ...cluster, host: young, patience: 30_000 });
      await until(() => inside('c', 'ss', '-tnH', 'state', 'syn-sent').includes(young));
      await put(serviceOf('young', { clusterIP: young, clusterIPs: [young] }), ['a']);
      assert.deepEqual(await asked, [`a ${addressOf('c')}`]);
      await drop('young');
    });

    it('come back to the pod they came from', async () => {
      await put(serviceOf('self', {}), ['a']);
      assert.equal(await eventually('a', cluster, (answer) => answer.startsWith('a ')), 'a 10.244.0.1');
      await drop('self');
    });

    it('by node port, from outside and by 127.0.0.1, and by external addresses', async () => {
      const ports = [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30080 }];
      await put(serviceOf('np', { type: 'NodePort', ports, externalIPs: ['198.51.100.7'] }), ['a', 'b']);
      assert.equal(
        (
          await eventually('outside', { protocol: 'tcp', host: NODE, port: 30080 }, (answer) =>
            /^[ab] /.test(answer),
          )
        ).split(' ')[1],
        '10.244.0.1',
      );
      assert.match(
        await eventually('node', { protocol: 'tcp', host: '127.0.0.1', port: 30080 }, () => true),
        /^[ab] /,
      );
      assert.match(await eventually('c', { protocol: 'tcp', host: NODE, port: 30080 }, () => true), /^[ab] /);
      assert.match(
        await eventually('outside', { protocol: 'tcp', host: '198.51.100.7', port: 80 }, () => true),
        /^[ab] /,
      );
      await drop('np');
    });

    it('keep the client address with policy Local, and go nowhere when no pod is here', async () => {
      const spec = {
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30081 }],
      };
      const ask = { protocol: 'tcp', host: NODE, port: 30081 } as const;
      await put(serviceOf('local', spec), ['a']);
      assert.equal(await eventually('outside', ask, (answer) => answer.startsWith('a ')), `a ${OUTSIDE}`);
      await put(serviceOf('local', spec), ['a'], { node: 'elsewhere' });
      await eventually('outside', ask, (answer) => answer === 'silence');
      assert.match(await eventually('c', ask, () => true), /^a /, 'for a pod it is inside traffic');
      await drop('local');
    });

    it('are refused without endpoints, and at ports no service has', async () => {
      await put(
        serviceOf('empty', {
          type: 'NodePort',
          ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30082 }],
        }),
        [],
      );
      for (const from of ['c', 'node']) {
        await eventually(from, cluster, (answer) => answer === 'ECONNREFUSED');
        await eventually(from, { ...cluster, port: 81 }, (answer) => answer === 'ECONNREFUSED');
      }
      await eventually(
        'outside',
        { protocol: 'tcp', host: NODE, port: 30082 },
        (answer) => answer === 'ECONNREFUSED',
      );
      await put(serviceOf('empty', {}), ['a']);
      await eventually('c', cluster, (answer) => answer.startsWith('a '));
      await eventually('c', { ...cluster, port: 81 }, (answer) => answer === 'ECONNREFUSED');
      await drop('empty');
    });

    it('stay with one pod when affinity is asked for', async () => {
      await put(
        serviceOf('sticky', {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        }),
        ['a', 'b'],
      );
      await eventually('c', cluster, (answer) => /^[ab] /.test(answer));
      // While the Service's changes are still arriving, another endpoint may be chosen.
      let answered: string[] = [];
      for (let tries = 0; tries < 50 && new Set(answered).size !== 1; tries++)
        answered = await agent('c').ask({ ...cluster, times: 20 });
      assert.equal(new Set(answered).size, 1);
      await put(
        serviceOf('sticky', {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 30 } },
        }),
        ['a', 'b'],
      );
      await eventually('c', cluster, (answer) => /^[ab] /.test(answer));
      await drop('sticky');
    });

    it('by UDP', async () => {
      const ports = [{ name: 'p', port: 53, protocol: 'UDP' }];
      const ask = { protocol: 'udp', host: CLUSTER_IP, port: 53 } as const;
      await put(serviceOf('udp', { ports }), ['a', 'b'], { protocol: 'UDP' });
      assert.equal(
        (await eventually('c', ask, (answer) => /^[ab] /.test(answer))).split(' ')[1],
        addressOf('c'),
      );
      await put(serviceOf('udp', { ports }), [], { protocol: 'UDP' });
      await eventually('c', ask, (answer) => answer === 'ECONNREFUSED');
      await drop('udp');
    });

    it('by SCTP, to a cluster address, by node port, and nowhere without endpoints', async () => {
      const hosts = {
        b: { namespace: namespaceOf('b'), addresses: [addressOf('b')] },
        c: { namespace: namespaceOf('c'), addresses: [addressOf('c')] },
        outside: { namespace: namespaceOf('outside'), addresses: [OUTSIDE] },
      };
      const connections = await Connections.open(Object.values(hosts), []);
      const reaches = async (
        from: 'c' | 'outside',
        to: { destination: string; port: number },
      ): Promise<boolean> => {
        const [source = ''] = hosts[from].addresses;
        const one = { from: hosts[from], source, protocol: 'SCTP', ...to } as const;
        const options = { expected: new Set([one]), patienceMs: 200, graceMs: 0 };
        return (await connections.attempt([one], options)).size > 0;
      };
      try {
        const ports = [{ name: 'p', port: 80, protocol: 'SCTP', nodePort: 30132 }];
        const atCluster = { destination: CLUSTER_IP, port: 80 };
        await put(serviceOf('sctp', { type: 'NodePort', ports }), ['b'], { protocol: 'SCTP' });
        await until(() => reaches('c', atCluster));
        await until(() => reaches('outside', { destination: NODE, port: 30132 }));
        await put(serviceOf('sctp', { type: 'NodePort', ports }), [], { protocol: 'SCTP' });
        await until(async () => !(await reaches('c', atCluster)));
        await drop('sctp');
      } finally {
        connections.close();
      }
    });

    it('by UDP from one port, whatever the kernel remembered of it before', async () => {
      const ports = [{ name: 'p', port: 53, protocol: 'UDP', nodePort: 30053 }];
      const service = serviceOf('udp', { type: 'NodePort', ports });
      const asks: Ask[] = [
        { protocol: 'udp', host: NODE, port: 30053, from: 4001, patience: 200 },
        { protocol: 'udp', host: '10.244.0.1', port: 30053, from: 4002, patience: 200 },
      ];
      const clients = ['outside', 'c'] as const;
      const everyone = async (wanted: (answer: string) => boolean): Promise<void> => {
        for (const [index, client] of clients.entries()) await eventually(client, asks[index]!, wanted);
      };
      // Nobody listens there: the kernel remembers a connection that is not translated, renewed by each datagram.
      await everyone((answer) => answer === 'ECONNREFUSED');
      await put(service, ['a'], { protocol: 'UDP' });
      await everyone((answer) => answer.startsWith('a '));
      await put(service, ['b'], { protocol: 'UDP' });
      await everyone((answer) => answer.startsWith('b '));
      await put(service, [], { protocol: 'UDP' });
      await everyone((answer) => answer === 'ECONNREFUSED');
      await put(service, ['a'], { protocol: 'UDP' });
      await everyone((answer) => answer.startsWith('a '));
      await drop('udp');
    });

    it('only from the ranges a load balancer is opened to', async () => {
      const balancer = (ranges: string[]): Service => ({
        ...serviceOf('lb', { type: 'LoadBalancer', loadBalancerSourceRanges: ranges }),
        status: { loadBalancer: { ingress: [{ ip: '198.51.100.8' }] } },
      });
      const ask = { protocol: 'tcp', host: '198.51.100.8', port: 80 } as const;
      await put(balancer(['192.0.2.0/24', '192.0.2.0/25']), ['a']);
      await eventually('outside', ask, (answer) => answer.startsWith('a '));
      await put(balancer(['203.0.113.0/24']), ['a']);
      await eventually('outside', ask, (answer) => answer === 'silence');
      await drop('lb');
    });

    it('go on while endpoints come and go', async () => {
      await put(serviceOf('rolling', {}), ['a']);
      await eventually('c', cluster, (answer) => answer.startsWith('a '));
      let rolling = true;
      const asking = (async (): Promise<string[]> => {
        const answers: string[] = [];
        while (rolling) answers.push(...(await agent('c').ask({ ...cluster, times: 25, patience: 10_000 })));
        return answers;
      })();
      // Not c, which asks: it would reach itself from random ports of the node, of which some are in TIME_WAIT.
      for (const pods of [
        ['a', 'b'],
        ['b'],
        ['b', 'a'],
        ['a'],
        ['a', 'b'],
        ['a'],
        ['b'],
        ['a', 'b'],
        ['a'],
      ]) {
        await agent('node').tell({ do: 'put', kind: 'EndpointSlice', object: sliceOf('rolling', pods) });
        await sleep(120);
      }
      rolling = false;
      const answers = await asking;
      assert.ok(answers.length > 100);
      assert.deepEqual(
        answers.filter((answer) => !/^[ab] /.test(answer)),
        [],
        `of ${answers.length}`,
      );
      await drop('rolling');
    });

    describe('of IPv6', () => {
      const six = { protocol: 'tcp', host: CLUSTER_IP_6, port: 80 } as const;
      const both = (spec: Partial<NonNullable<Service['spec']>> = {}): Service =>
        serviceOf('six', { clusterIPs: [CLUSTER_IP, CLUSTER_IP_6], ipFamilies: ['IPv4', 'IPv6'], ...spec });
      async function putBoth(service: Service, pods: readonly string[], protocol = 'TCP'): Promise<void> {
        await put(service, pods, { protocol });
        const four = sliceOf('six', pods, { protocol });
        const object = {
          ...four,
          metadata: { ...four.metadata, name: 'six-2' },
          addressType: 'IPv6',
          endpoints: pods.map((pod) => ({
            addresses: [addressOf6(pod)],
            conditions: { ready: true },
            nodeName: 'node',
          })),
        };
        assert.equal(await agent('node').tell({ do: 'put', kind: 'EndpointSlice', object }), null);
      }

      it('reach the pods beside those of IPv4, and come back to the pod they came from', async () => {
        await putBoth(both(), ['a']);
        assert.equal(await eventually('c', six, (answer) => answer.startsWith('a ')), `a ${addressOf6('c')}`);
        await eventually('c', cluster, (answer) => answer === `a ${addressOf('c')}`);
        assert.match(await eventually('node', six, () => true), /^a fd00:1::1$/);
        assert.equal(await eventually('a', six, (answer) => answer.startsWith('a ')), 'a fd00:1::1');
      });

      it('by node port, and with the client address by policy Local', async () => {
        const ports = [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30086 }];
        const ask = { protocol: 'tcp', host: NODE_6, port: 30086 } as const;
        await putBoth(both({ type: 'NodePort', ports }), ['b']);
        await eventually('outside', ask, (answer) => answer === 'b fd00:1::1');
        await putBoth(both({ type: 'NodePort', ports, externalTrafficPolicy: 'Local' }), ['b']);
        await eventually('outside', ask, (answer) => answer === `b ${OUTSIDE_6}`);
        assert.deepEqual(await agent('node').ask({ ...ask, host: '::1' }), ['ECONNREFUSED']);
      });

      it('are refused without endpoints, and by UDP go where the endpoints are now', async () => {
        const ports = [{ name: 'p', port: 53, protocol: 'UDP' }];
        const ask = { protocol: 'udp', host: CLUSTER_IP_6, port: 53, from: 4006, patience: 200 } as const;
        await putBoth(both(), []);
        await eventually('c', six, (answer) => answer === 'ECONNREFUSED');
        await putBoth(both({ ports }), ['a'], 'UDP');
        await eventually('c', ask, (answer) => answer.startsWith('a '));
        await putBoth(both({ ports }), ['b'], 'UDP');
        await eventually('c', ask, (answer) => answer.startsWith('b '));
        await drop('six');
      });
    });

    it('find their way again after somebody flushed or changed the rules', async () => {
      await put(serviceOf('web', {}), ['a']);
      await eventually('c', cluster, (answer) => answer.startsWith('a '));
      await sleep(400);
      assert.deepEqual(await agent('node').tell({ do: 'warnings' }), [], 'nothing was found amiss so far');
      assert.equal(await agent('node').tell({ do: 'nft', script: 'flush ruleset\n' }), null);
      await eventually('c', cluster, (answer) => answer.startsWith('a '));
      assert.equal(
        await agent('node').tell({ do: 'nft', script: 'flush map ip capstan-services-test service-ips\n' }),
        null,
      );
      await eventually('c', cluster, (answer) => answer.startsWith('a '));
      await drop('web');
    });

    it('to 127.0.0.1 are taken from nobody else', async () => {
      inside(
        'outside',
        'sh',
        '-c',
        'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip address delete 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.1 dev eth0',
      );
      const dropped = (): number =>
        Number(
          /daddr 127\.0\.0\.0\/8 counter packets (\d+)/.exec(
            inside('node', 'nft', 'list', 'chain', 'ip', 'capstan-services-test', 'martians'),
          )?.[1],
        );
      const first = dropped();
      assert.deepEqual(
        await agent('outside').ask({ protocol: 'udp', host: '127.0.0.1', port: SERVER_PORT }),
        ['silence'],
      );
      assert.ok(dropped() > first);
    });
  },
);
