/**
 * Addresses of load balancers on a segment: speakers and service proxies of three nodes in network namespaces, on a real API server, and a client beside them.
 *
 *   outside 10.215.0.254 ── segment ── n1 .1   n2 .2 (announce)   n3 .3 (serves; does not announce)
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { Event, Service } from '#api/types.ts';
import { ipAddressPools } from '#addons/load-balancer/api.ts';
import { loadBalancerController } from '#addons/load-balancer/load-balancer-controller.ts';
import { endpointSlices, events, nodes, services } from '#client/refs.ts';
import type { Stored } from '#machinery/object.ts';
import { createControllerManager, type ControllerManager } from '#runtime/run-controllers.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { issueClientCertificate } from './client-certificate.ts';
import { freePort, until } from './cluster.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';
import type { MachineSettings } from './load-balancer/machine-process.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const PROGRAM = new URL('load-balancer/machine-process.ts', import.meta.url).pathname;
const SUBNET = '10.215.0';
const ADDRESS = `${SUBNET}.100`;
const ADDRESS_6 = 'fd00:215::100';
const NODES = ['n1', 'n2', 'n3'];
const FAIL_OVER_MS = 3_000;

interface Answer {
  readonly atMs: number;
  readonly answer: string;
}

describe(
  'announced load balancer addresses',
  { skip: !canHaveNamespaces() && 'needs root and ip netns' },
  () => {
    let dir: string;
    let test: TestApi;
    let manager: ControllerManager;
    let relay: Server;
    let lan: Lan;
    const machines = new Map<string, LanMachine>();
    const running = new Map<string, ChildProcess>();

    const startMachine = async (name: string): Promise<void> => {
      const { certificatePem, keyPem } = issueClientCertificate(test.pki, {
        commonName: `system:node:${name}`,
        organizations: ['system:nodes'],
      });
      const child = machines.get(name)!.start([process.execPath, PROGRAM, 'machine']);
      child.stderr?.pipe(process.stderr);
      running.set(name, child);
      const settings: MachineSettings = {
        nodeName: name,
        socket: join(dir, 'api'),
        ca: test.pki.ca.certificatePem,
        certificate: certificatePem,
        key: keyPem,
        podCIDRs: ['10.244.0.0/16', 'fd00:244::/48'],
      };
      child.stdin?.write(`${JSON.stringify(settings)}\n`);
      await new Promise<void>((resolve, reject) => {
        createInterface({ input: child.stdout! }).on('line', (line) => line === 'ready' && resolve());
        child.once('exit', () => reject(new Error(`${name} ended`)));
      });
    };
    const stopMachine = async (name: string, signal: NodeJS.Signals): Promise<void> => {
      const child = running.get(name)!;
      child.kill(signal);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      running.delete(name);
    };

    /** Connections from outside, until end(). */
    const client = (address: string): { answers: Answer[]; end(): Promise<void> } => {
      const child = lan.outside.start([process.execPath, PROGRAM, 'connect', address, '80']);
      const answers: Answer[] = [];
      createInterface({ input: child.stdout! }).on('line', (line) =>
        answers.push(JSON.parse(line) as Answer),
      );
      return {
        answers,
        async end() {
          child.kill('SIGKILL');
          await once(child, 'exit');
        },
      };
    };
    const macs = (): Record<string, string> =>
      Object.fromEntries(
        NODES.map((name) => [machines.get(name)!.run('cat', '/sys/class/net/eth0/address').trim(), name]),
      );
    const announcer = (address: string): string | undefined => {
      const found = /lladdr (\S+)/.exec(lan.outside.run('ip', 'neigh', 'show', address));
      return found?.[1] && macs()[found[1]];
    };
    /** The longest time without an answer, after the first one. */
    const gapMs = (answers: readonly Answer[]): number => {
      const good = answers.filter(({ answer }) => answer === 'n3').map(({ atMs }) => atMs);
      return Math.max(...good.slice(1).map((atMs, index) => atMs - good[index]!));
    };

    before(async () => {
      dir = mkdtempSync(join(tmpdir(), 'capstan-speaker-'));
      const port = await freePort();
      test = await startTestApi({ port, serviceCIDR: '10.96.0.0/16,fd00:96::/112' });
      manager = createControllerManager([loadBalancerController], {
        api: test.api,
        clock: realClock,
        log: silentLogger,
        identity: 'test',
      });
      await manager.start();
      relay = createServer((socket) => {
        const server = connect(port, '127.0.0.1');
        for (const one of [socket, server])
          one.on('error', () => [socket, server].forEach((each) => each.destroy()));
        socket.pipe(server).pipe(socket);
      }).listen(join(dir, 'api'));
      lan = createLan(`speaker-${process.pid}`, SUBNET);
      lan.outside.run('ip', 'address', 'add', 'fd00:215::254/64', 'dev', 'segment', 'nodad');
      for (const [index, name] of NODES.entries()) {
        const machine = lan.machine(name, `${SUBNET}.${index + 1}`);
        machine.run('ip', 'address', 'add', `fd00:215::${index + 1}/64`, 'dev', 'eth0', 'nodad');
        machines.set(name, machine);
        const labels = name === 'n3' ? { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } : {};
        await test.api.create(nodes, { metadata: { name, labels } });
      }
      await until('pools are served', async () => (await test.api.list(ipAddressPools)) !== undefined);
      await test.api.create(ipAddressPools, {
        apiVersion: 'network.capstan.dev/v1alpha1',
        kind: 'IPAddressPool',
        metadata: { name: 'public' },
        spec: { addresses: [`${ADDRESS}/32`, `${ADDRESS_6}/128`] },
      });
      for (const [family, address] of [
        ['IPv4', `${SUBNET}.3`],
        ['IPv6', 'fd00:215::3'],
      ] as const)
        await test.api.create(endpointSlices, {
          metadata: {
            name: `web-${family.toLowerCase()}`,
            namespace: 'default',
            labels: { 'kubernetes.io/service-name': 'web' },
          },
          addressType: family,
          ports: [{ name: '', port: 8080, protocol: 'TCP' }],
          endpoints: [{ addresses: [address], nodeName: 'n3', conditions: { ready: true } }],
        });
      await test.api.create(services, {
        metadata: { name: 'web', namespace: 'default' },
        spec: { type: 'LoadBalancer', ipFamilyPolicy: 'RequireDualStack', ports: [{ port: 80 }] },
      } as Service);
      await Promise.all(NODES.map(startMachine));
    });
    after(async () => {
      for (const name of running.keys()) await stopMachine(name, 'SIGKILL');
      await lan?.close();
      relay?.close();
      await manager?.stop();
      await test?.stop();
      rmSync(dir, { recursive: true, force: true });
    });

    const said = async (reason: string): Promise<readonly Stored<Event>[]> => {
      const { items } = await test.api.list(events, { fieldSelector: 'involvedObject.name=web' });
      return items.filter((event) => event.reason === reason);
    };

    it('one node answers for an address of each family, and no interface has it', async () => {
      for (const address of [ADDRESS, ADDRESS_6]) {
        const asked = client(address);
        await until(`an answer by ${address}`, () => asked.answers.some(({ answer }) => answer === 'n3'));
        await asked.end();
        assert.ok(['n1', 'n2'].includes(announcer(address)!), 'n3 is excluded');
      }
      for (const machine of machines.values())
        assert.doesNotMatch(machine.run('ip', 'address'), new RegExp(`${ADDRESS}/|${ADDRESS_6}/`));
      await until('the event', async () => (await said('AddressAnnounced')).length > 0);
    });

    it('a node that dies is replaced within three seconds, and one that stops sooner; nothing is left behind', async () => {
      // Both renew fast by now: each has seen the other.
      await realClock.sleep(1_000);
      for (const [address, how] of [
        [ADDRESS, 'SIGKILL'],
        [ADDRESS, 'SIGTERM'],
        [ADDRESS_6, 'SIGKILL'],
      ] as const) {
        const asked = client(address);
        await until('answers', () => asked.answers.some(({ answer }) => answer === 'n3'));
        const owner = announcer(address)!;
        if (how === 'SIGKILL') machines.get(owner)!.run('ip', 'link', 'set', 'eth0', 'down');
        await stopMachine(owner, how);
        const killedMs = Date.now();
        await until('answers again', () =>
          asked.answers.some(({ atMs, answer }) => answer === 'n3' && atMs > killedMs + 300),
        );
        await asked.end();
        const tookMs = gapMs(asked.answers);
        console.log(`${how} of the announcer of ${address}: ${Math.round(tookMs)} ms without an answer`);
        assert.ok(tookMs <= FAIL_OVER_MS, `${tookMs} ms`);
        assert.notEqual(announcer(address), owner);
        machines.get(owner)!.run('ip', 'link', 'set', 'eth0', 'up');
        machines
          .get(owner)!
          .try('ip', 'address', 'add', `fd00:215::${NODES.indexOf(owner) + 1}/64`, 'dev', 'eth0', 'nodad');
        await startMachine(owner);
        await realClock.sleep(1_500);
      }
    });

    it('with externalTrafficPolicy Local only nodes with endpoints announce', async () => {
      const web = await test.api.get(services, { name: 'web', namespace: 'default' });
      await test.api.update(services, { ...web, spec: { ...web.spec!, externalTrafficPolicy: 'Local' } });
      const { metadata, ...node } = await test.api.get(nodes, { name: 'n3' });
      await test.api.update(nodes, { ...node, metadata: { ...metadata, labels: {} } });
      const asked = client(ADDRESS);
      await until('n3 announces', () => announcer(ADDRESS) === 'n3');
      await until('an answer', () => asked.answers.at(-1)?.answer === 'n3');
      await asked.end();
    });
  },
);
