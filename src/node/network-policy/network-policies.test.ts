/**
 * The enforcer over a fake API, with real nftables and real packets between network namespaces.
 *
 *   node: bridge 10.244.0.1, fd00:1::1 ──── pods a, b, c: 10.244.0.2, .3, .4; fd00:1::2, ::3, ::4
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkPolicy } from '#api/types.ts';
import type { ClusterNetworkPolicy } from './cluster-network-policy.ts';
import type { KubeObject } from '#machinery/object.ts';
import { BRIDGE_ADDRESS, canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';

const PODS = ['a', 'b', 'c'];
const PORTS = [8080, 8081];
const PATIENCE_MS = 30_000;
const addresses = (name: string): string[] => {
  const index = PODS.indexOf(name) + 2;
  return [`10.244.0.${index}`, `fd00:1::${index}`];
};

describe(
  'network policies between network namespaces',
  { skip: !canHaveNamespaces(), timeout: 120_000 },
  () => {
    const machines = new Map<string, LanMachine>();
    let lan: Lan, node: LanMachine, enforcer: ChildProcess, answers: AsyncIterator<string>;

    async function tell(kind: string, object: KubeObject, verb = 'put'): Promise<void> {
      enforcer.stdin!.write(`${JSON.stringify({ do: verb, kind, object })}\n`);
      assert.equal((await answers.next()).value, 'null');
    }

    async function startEnforcer(): Promise<void> {
      const script = new URL('testing/enforcer.ts', import.meta.url).pathname;
      enforcer = node.start([process.execPath, script]);
      enforcer.stderr!.pipe(process.stderr);
      answers = createInterface({ input: enforcer.stdout! })[Symbol.asyncIterator]();
      assert.equal((await answers.next()).value, '"ready"');
    }

    /** Without a chance to do anything. */
    async function killEnforcer(): Promise<void> {
      const ended = new Promise((resolve) => enforcer.once('exit', resolve));
      enforcer.kill('SIGKILL');
      await ended;
    }

    function reaches(from: string, address: string, port = 8080): boolean {
      return machines.get(from)!.try('timeout', '1', 'bash', '-c', `</dev/tcp/${address}/${port}`) === 0;
    }

    /** Waits until it is so; the failure names what is not. */
    async function reachable(
      from: string,
      to: string,
      { wanted, port = 8080 }: { wanted: boolean; port?: number },
    ): Promise<void> {
      for (const address of addresses(to)) {
        const untilMs = Date.now() + PATIENCE_MS;
        while (reaches(from, address, port) !== wanted) {
          assert.ok(
            Date.now() < untilMs,
            `${from} ${wanted ? 'reaches' : 'does not reach'} ${address} at ${port}`,
          );
          await sleep(50);
        }
      }
    }

    const podObject = (name: string): KubeObject =>
      ({
        metadata: { name, namespace: 'default', uid: name, labels: { app: name } },
        spec: {
          nodeName: 'n1',
          containers: [{ name: 'c', ports: [{ name: 'web', containerPort: 8081 }] }],
        },
        status: { phase: 'Running', podIPs: addresses(name).map((ip) => ({ ip })) },
      }) as KubeObject;
    const policy = (name: string, spec: NonNullable<NetworkPolicy['spec']>): KubeObject =>
      ({ metadata: { name, namespace: 'default' }, spec }) as KubeObject;

    async function tellWorld(): Promise<void> {
      await tell('Namespace', { metadata: { name: 'default', labels: { team: 'one' } } } as KubeObject);
      await tell('Node', {
        metadata: { name: 'n1' },
        spec: { podCIDRs: ['10.244.0.0/24', 'fd00:1::/64'] },
      } as KubeObject);
    }

    before(async () => {
      lan = createLan(`netpol-${process.pid}`, '10.213.0');
      node = lan.machine('node', '10.213.0.1');
      node.run('ip', 'link', 'add', 'bridge', 'address', BRIDGE_ADDRESS, 'type', 'bridge');
      node.run('ip', 'address', 'add', '10.244.0.1/24', 'dev', 'bridge');
      node.run('ip', 'address', 'add', 'fd00:1::1/64', 'dev', 'bridge', 'nodad');
      node.run('ip', 'link', 'set', 'bridge', 'up');
      for (const name of PODS) {
        const machine = lan.namespace(name);
        machines.set(name, machine);
        machine.run('ip', 'link', 'set', 'lo', 'up');
        node.run(
          'ip',
          'link',
          'add',
          `port-${name}`,
          'type',
          'veth',
          'peer',
          'name',
          'eth0',
          'netns',
          machine.name,
        );
        node.run('ip', 'link', 'set', `port-${name}`, 'master', 'bridge', 'up');
        const [four, six] = addresses(name);
        machine.run('ip', 'address', 'add', `${four}/24`, 'dev', 'eth0');
        machine.run('ip', 'address', 'add', `${six}/64`, 'dev', 'eth0', 'nodad');
        machine.run('ip', 'link', 'set', 'eth0', 'up');
        const server = `const {createServer}=require('net');for(const p of [${PORTS.join(',')}])createServer((s)=>{s.on('error',()=>{});s.pipe(s)}).listen(p,'::')`;
        machine.start([process.execPath, '-e', server]);
      }
      await startEnforcer();
      await tellWorld();
      for (const name of PODS) await tell('Pod', podObject(name));
      for (const from of PODS) for (const to of PODS) await reachable(from, to, { wanted: true });
    });

    after(async () => {
      if (enforcer?.exitCode === null && enforcer.signalCode === null) await killEnforcer();
      await lan?.close();
    });

    it('restrict pods of one bridge, by both families, and go again', async () => {
      await tell(
        'NetworkPolicy',
        policy('b', { podSelector: { matchLabels: { app: 'b' } }, policyTypes: ['Ingress'] }),
      );
      await reachable('a', 'b', { wanted: false });
      await reachable('b', 'a', { wanted: true });
      await reachable('b', 'b', { wanted: true });
      // The node itself, as its kubelet.
      for (const address of addresses('b'))
        assert.equal(node.try('timeout', '5', 'bash', '-c', `</dev/tcp/${address}/8080`), 0);
      await tell(
        'NetworkPolicy',
        policy('b', {
          podSelector: { matchLabels: { app: 'b' } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }], ports: [{ port: 'web' }] }],
        }),
      );
      await reachable('a', 'b', { wanted: true, port: 8081 });
      await reachable('a', 'b', { wanted: false });
      await reachable('c', 'b', { wanted: false, port: 8081 });
      await tell('NetworkPolicy', policy('b', {} as never), 'delete');
      await reachable('c', 'b', { wanted: true });
    });

    it('that go and come within a moment are the same chain, removed and added in one transaction', async () => {
      const none = policy('none', { podSelector: { matchLabels: { app: 'b' } }, policyTypes: ['Ingress'] });
      for (let round = 0; round < 2; round += 1) {
        await tell('NetworkPolicy', none);
        await reachable('a', 'b', { wanted: false });
        await tell('NetworkPolicy', none, 'delete');
        await reachable('a', 'b', { wanted: true });
      }
    });

    it('restrict by blocks with exceptions, and what pods send', async () => {
      await tell(
        'NetworkPolicy',
        policy('a', {
          podSelector: { matchLabels: { app: 'a' } },
          policyTypes: ['Egress'],
          egress: [
            {
              to: [
                { ipBlock: { cidr: '10.244.0.0/24', except: ['10.244.0.4/32'] } },
                { ipBlock: { cidr: 'fd00:1::/64', except: ['fd00:1::4/128'] } },
              ],
            },
          ],
        }),
      );
      await reachable('a', 'c', { wanted: false });
      await reachable('a', 'b', { wanted: true });
      await reachable('c', 'a', { wanted: true });
      await tell('NetworkPolicy', policy('a', {} as never), 'delete');
      await reachable('a', 'c', { wanted: true });
    });

    it('let tiers of the cluster go before and after those of a namespace', async () => {
      const clusterPolicy = (spec: Pick<ClusterNetworkPolicy['spec'], 'tier' | 'ingress'>): KubeObject =>
        ({
          metadata: { name: 'cluster' },
          spec: { priority: 10, subject: { pods: { podSelector: { matchLabels: { app: 'b' } } } }, ...spec },
        }) as KubeObject;
      const from = [{ pods: { podSelector: { matchLabels: { app: 'a' } } } }];
      await tell(
        'ClusterNetworkPolicy',
        clusterPolicy({ tier: 'Admin', ingress: [{ action: 'Deny', from }] }),
      );
      await reachable('a', 'b', { wanted: false });
      await reachable('c', 'b', { wanted: true });
      await tell('NetworkPolicy', policy('b', { podSelector: {}, ingress: [{}] }));
      await reachable('a', 'b', { wanted: false });
      await tell(
        'ClusterNetworkPolicy',
        clusterPolicy({ tier: 'Admin', ingress: [{ action: 'Pass', from }] }),
      );
      await reachable('a', 'b', { wanted: true });
      await tell(
        'ClusterNetworkPolicy',
        clusterPolicy({ tier: 'Baseline', ingress: [{ action: 'Deny', from }] }),
      );
      await reachable('a', 'b', { wanted: true });
      await tell('NetworkPolicy', policy('b', {} as never), 'delete');
      await reachable('a', 'b', { wanted: false });
      await tell('ClusterNetworkPolicy', clusterPolicy({ tier: 'Baseline' }), 'delete');
      await reachable('a', 'b', { wanted: true });
    });

    it('leave a connection that was there before', async () => {
      const script = `const s=require('net').connect(8080,'${addresses('b')[0]}');s.on('data',(d)=>process.stdout.write(d));s.on('connect',()=>console.log('open'));process.stdin.pipe(s)`;
      const client = spawn('ip', ['netns', 'exec', machines.get('a')!.name, process.execPath, '-e', script], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
      assert.equal((await lines.next()).value, 'open');
      await tell('NetworkPolicy', policy('none', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }));
      await reachable('a', 'b', { wanted: false });
      client.stdin.write('still here\n');
      assert.equal((await lines.next()).value, 'still here');
      client.kill('SIGKILL');
      await tell('NetworkPolicy', policy('none', {} as never), 'delete');
      await reachable('a', 'b', { wanted: true });
    });

    it('stay in force after kill -9 of the program, for pods that come meanwhile too, and are written again when flushed', async () => {
      const none = policy('none', { podSelector: { matchLabels: { app: 'b' } }, policyTypes: ['Ingress'] });
      await tell('NetworkPolicy', none);
      await reachable('a', 'b', { wanted: false });
      await tell('Pod', podObject('c'), 'delete');
      await reachable('c', 'a', { wanted: false });
      await killEnforcer();
      assert.equal(reaches('a', addresses('b')[0]!), false);
      // An address of this node's range that nobody has acknowledged.
      assert.equal(reaches('c', addresses('a')[0]!), false);
      await startEnforcer();
      await tellWorld();
      await tell('NetworkPolicy', none);
      for (const name of PODS) await tell('Pod', podObject(name));
      await reachable('c', 'a', { wanted: true });
      await reachable('a', 'b', { wanted: false });
      assert.equal(spawnSync('ip', ['netns', 'exec', node.name, 'nft', 'flush', 'ruleset']).status, 0);
      await reachable('a', 'b', { wanted: false });
    });
  },
);
