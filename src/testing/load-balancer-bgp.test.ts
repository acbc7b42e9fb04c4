/**
 * Load balancer addresses by BGP: speakers and service proxies of two nodes in network namespaces, on a real API server, and BIRD as their routers.
 *
 *   router 10.216.0.254, AS 64513 ── segment ── n1 .1   n2 .2   AS 64512   core .253, AS 64512   far .252 and 198.51.100.1, AS 64999
 */
import assert from 'node:assert/strict';
import { spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { ipAddressPools, speakers } from '#addons/load-balancer/api.ts';
import {
  bfdProfiles,
  bgpAdvertisements,
  bgpPeers,
  communities,
  type BGPAdvertisement,
  type BGPPeer,
} from '#addons/load-balancer/bgp-api.ts';
import { loadBalancerController } from '#addons/load-balancer/load-balancer-controller.ts';
import type { Service } from '#api/types.ts';
import { endpointSlices, events, nodes, roleBindings, roles, secrets, services } from '#client/refs.ts';
import { createControllerManager, type ControllerManager } from '#runtime/run-controllers.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { issueClientCertificate } from './client-certificate.ts';
import { freePort, until } from './cluster.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';
import type { MachineSettings } from './load-balancer/machine-process.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const PROGRAM = new URL('load-balancer/machine-process.ts', import.meta.url).pathname;
const SUBNET = '10.216.0';
const ADDRESS = '203.0.113.1';
const ADDRESS_6 = '2001:db8:113::1';
const FAR = '198.51.100.1';
const NODES = ['n1', 'n2'];
const PASSWORD = 'a word for routers';
const FAIL_OVER_MS = 3_000;

interface Answer {
  readonly atMs: number;
  readonly answer: string;
}

function missing(): string | false {
  if (!canHaveNamespaces()) return 'needs root and ip netns';
  return existsSync('/usr/sbin/bird') ? false : 'needs bird2';
}

const bgp = (name: string, lines: readonly string[]): string =>
  `protocol bgp ${name} {\n  error wait time 1, 2;\n  passive;\n  ${lines.join(';\n  ')};\n  ipv4 { import all; export none; };\n  ipv6 { import all; export none; };\n}`;
const kernel = (family: number): string =>
  `protocol kernel k${family} { merge paths on; ipv${family} { import none; export all; }; }`;
const routerConfig = (id: string, protocols: readonly string[]): string =>
  [
    `router id ${id};`,
    'log stderr { error, fatal };',
    'protocol device { scan time 1; }',
    ...protocols,
    '',
  ].join('\n');

describe('load balancer addresses by BGP', { skip: missing(), timeout: 300_000 }, () => {
  let dir: string, test: TestApi, manager: ControllerManager, relay: Server, lan: Lan;
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
  const startRouter = (machine: LanMachine, config: string): void => {
    writeFileSync(join(dir, `${machine.name}.conf`), config);
    machine
      .start(['bird', '-f', '-c', join(dir, `${machine.name}.conf`), '-s', join(dir, `${machine.name}.ctl`)])
      .stderr?.pipe(process.stderr);
  };
  const birdc = (machine: LanMachine, ...words: string[]): string =>
    spawnSync('birdc', ['-s', join(dir, `${machine.name}.ctl`), ...words], { encoding: 'utf8' }).stdout;
  /** The router's protocols, 'router_n1', that have told it of the prefix. */
  const announcers = (machine: LanMachine, prefix: string): string[] =>
    [...birdc(machine, 'show', 'route', prefix).matchAll(/\[(\w+) [^\]]*\]/g)]
      .map(([, name]) => name!)
      .sort();
  const client = (address: string): { answers: Answer[]; end(): Promise<void> } => {
    const child = lan.outside.start([process.execPath, PROGRAM, 'connect', address, '80']);
    const answers: Answer[] = [];
    createInterface({ input: child.stdout! }).on('line', (line) => answers.push(JSON.parse(line) as Answer));
    return {
      answers,
      async end() {
        child.kill('SIGKILL');
        await once(child, 'exit');
      },
    };
  };
  const gapMs = (answers: readonly Answer[]): number => {
    const good = answers.filter(({ answer }) => answer !== '').map(({ atMs }) => atMs);
    return Math.max(...good.slice(1).map((atMs, index) => atMs - good[index]!));
  };
  const said = async (kind: string, name: string): Promise<string[]> => {
    const { items } = await test.api.list(events, {
      fieldSelector: `involvedObject.kind=${kind},involvedObject.name=${name}`,
    });
    return items.map(({ reason, message }) => `${reason}: ${message}`);
  };
  const peer = (name: string, spec: Omit<BGPPeer['spec'], 'myASN'>): BGPPeer => ({
    apiVersion: 'network.capstan.dev/v1alpha1',
    kind: 'BGPPeer',
    metadata: { name },
    spec: { myASN: 64_512, connectTime: '1s', ...spec },
  });
  const advertise = (name: string, spec: BGPAdvertisement['spec'] & object): Promise<unknown> =>
    test.api.create(bgpAdvertisements, {
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'BGPAdvertisement',
      metadata: { name },
      spec,
    });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-bgp-'));
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
    lan = createLan(`bgp-${process.pid}`, SUBNET);
    lan.outside.run('ip', 'address', 'add', 'fd00:216::254/64', 'dev', 'segment', 'nodad');
    const core = lan.machine('core', `${SUBNET}.253`);
    const far = lan.machine('far', `${SUBNET}.252`);
    far.run('ip', 'address', 'add', `${FAR}/32`, 'dev', 'lo');
    machines.set('core', core).set('far', far);
    for (const [index, name] of NODES.entries()) {
      const machine = lan.machine(name, `${SUBNET}.${index + 1}`);
      machine.run('ip', 'address', 'add', `fd00:216::${index + 1}/64`, 'dev', 'eth0', 'nodad');
      machine.run('ip', 'route', 'add', `${FAR}/32`, 'via', `${SUBNET}.252`);
      machines.set(name, machine);
      await test.api.create(nodes, { metadata: { name } });
    }
    const each = (make: (name: string, index: number) => string): string[] => NODES.map(make);
    startRouter(
      lan.outside,
      routerConfig(`${SUBNET}.254`, [
        kernel(4),
        kernel(6),
        'protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }',
        ...each((name, index) =>
          bgp(`router_${name}`, [
            `local ${SUBNET}.254 as 64513`,
            `neighbor ${SUBNET}.${index + 1} as 64512`,
            `password "${PASSWORD}"`,
            'bfd',
          ]),
        ),
      ]),
    );
    startRouter(
      far,
      routerConfig(FAR, [
        ...each((name, index) =>
          bgp(`far_${name}`, [
            `local ${FAR} as 64999`,
            `neighbor ${SUBNET}.${index + 1} as 64512`,
            'multihop',
          ]),
        ),
      ]),
    );
    startRouter(
      core,
      routerConfig(`${SUBNET}.253`, [
        ...each((name, index) =>
          bgp(`core_${name}`, [`local ${SUBNET}.253 as 64512`, `neighbor ${SUBNET}.${index + 1} as 64512`]),
        ),
      ]),
    );
    await until('pools are served', async () => (await test.api.list(bfdProfiles)) !== undefined);
    await test.api.create(ipAddressPools, {
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'IPAddressPool',
      metadata: { name: 'public' },
      spec: { addresses: ['203.0.113.0/28', '2001:db8:113::/124'], avoidBuggyIPs: true },
    });
    const metadata = { name: 'router', namespace: 'kube-system' };
    await test.api.create(secrets, {
      metadata,
      type: 'kubernetes.io/basic-auth',
      data: { password: Buffer.from(PASSWORD).toString('base64') },
    });
    await test.api.create(roles, {
      metadata,
      rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: ['router'], verbs: ['get'] }],
    });
    await test.api.create(roleBindings, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'router' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:nodes' }],
    });
    await test.api.create(bfdProfiles, {
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'BFDProfile',
      metadata: { name: 'fast' },
      spec: { receiveInterval: 100, transmitInterval: 100 },
    });
    await test.api.create(communities, {
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'Community',
      metadata: { name: 'ours' },
      spec: { communities: [{ name: 'customers', value: '64512:100' }] },
    });
    for (const one of [
      peer('router', {
        peerASN: 64_513,
        peerAddress: `${SUBNET}.254`,
        passwordSecret: { name: 'router' },
        bfdProfile: 'fast',
        dualStackAddressFamily: true,
        holdTime: '9s',
      }),
      peer('far', { dynamicASN: 'external', peerAddress: FAR, ebgpMultiHop: true }),
      peer('core', { peerASN: 64_512, peerAddress: `${SUBNET}.253`, enableGracefulRestart: true }),
    ])
      await test.api.create(bgpPeers, one);
    await advertise('all', { communities: ['customers', 'large:64512:1:2'], peers: ['router', 'far'] });
    await advertise('core', { aggregationLength: 28, localPref: 250, peers: ['core'] });
    for (const [family, addresses] of [
      ['IPv4', [`${SUBNET}.1`, `${SUBNET}.2`]],
      ['IPv6', ['fd00:216::1', 'fd00:216::2']],
    ] as const)
      await test.api.create(endpointSlices, {
        metadata: {
          name: `web-${family.toLowerCase()}`,
          namespace: 'default',
          labels: { 'kubernetes.io/service-name': 'web' },
        },
        addressType: family,
        ports: [{ name: '', port: 8080, protocol: 'TCP' }],
        endpoints: addresses.map((address, index) => ({
          addresses: [address],
          nodeName: NODES[index]!,
          conditions: { ready: true },
        })),
      });
    await test.api.create(services, {
      metadata: {
        name: 'web',
        namespace: 'default',
        annotations: { 'network.capstan.dev/load-balancer-ips': `${ADDRESS},${ADDRESS_6}` },
      },
      spec: { type: 'LoadBalancer', ipFamilyPolicy: 'RequireDualStack', ports: [{ port: 80 }] },
    } as Service);
    await Promise.all(NODES.map(startMachine));
  });

  after(async () => {
    for (const name of running.keys()) await stopMachine(name, 'SIGTERM');
    await lan?.close();
    relay?.close();
    await manager?.stop();
    await test?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('every node announces to its peers, with attributes, and traffic follows', async () => {
    for (const prefix of [`${ADDRESS}/32`, `${ADDRESS_6}/128`])
      await until(`${prefix} at the router`, () => {
        const found = announcers(lan.outside, prefix).filter((name) => name.startsWith('router'));
        return found.join() === 'router_n1,router_n2';
      });
    await until(
      'far, over another hop',
      () => announcers(machines.get('far')!, `${ADDRESS}/32`).length === 2,
    );
    const route = birdc(lan.outside, 'show', 'route', 'all', 'protocol', 'router_n1');
    assert.match(route, /BGP\.community: \(64512,100\)/);
    assert.match(route, /BGP\.large_community: \(64512, 1, 2\)/);
    assert.deepEqual(announcers(lan.outside, '203.0.113.0/28'), []);
    await until(
      'the aggregate, and nothing else, at the peer of the own ASN',
      () => announcers(machines.get('core')!, '203.0.113.0/28').length === 2,
    );
    assert.match(birdc(machines.get('core')!, 'show', 'route', 'all'), /BGP\.local_pref: 250/);
    assert.deepEqual(announcers(machines.get('core')!, `${ADDRESS}/32`), []);
    for (const address of [ADDRESS, ADDRESS_6]) {
      const asked = client(address);
      await until(`answers by ${address}`, () => asked.answers.some(({ answer }) => answer !== ''));
      await asked.end();
    }
    await until('events', async () =>
      (await said('BGPPeer', 'router')).some((text) => text.startsWith('BGPSessionEstablished')),
    );
    assert.ok(
      (await said('Service', 'web')).includes(
        `AddressAnnounced: announcing ${ADDRESS} from node n1 to BGP peers core, far, router`,
      ),
    );
    assert.deepEqual((await test.api.list(speakers)).items, [], 'nobody announces to the segment');
  });

  it('a program that is killed, a node that is cut off: traffic goes on by the other within three seconds', async () => {
    for (const how of ['SIGKILL', 'cut off'] as const) {
      const asked = client(ADDRESS);
      await until('answers', () => asked.answers.some(({ answer }) => answer !== ''));
      const eth0 = (state: string): unknown => lan.outside.run('ip', 'link', 'set', 'n1', state);
      const startedMs = Date.now();
      if (how === 'SIGKILL') await stopMachine('n1', 'SIGKILL');
      else eth0('down');
      await until('n1 is gone', () => !announcers(lan.outside, `${ADDRESS}/32`).includes('router_n1'));
      if (how === 'SIGKILL')
        assert.ok(
          announcers(machines.get('core')!, '203.0.113.0/28').includes('core_n1'),
          'a graceful restart',
        );
      console.log(`${how}: ${Date.now() - startedMs} ms until the router knew`);
      // What n1 translated to its own server waits for the endpoint, not for the route.
      await until('answers again', () =>
        asked.answers.some(({ atMs, answer }) => answer === 'n2' && atMs > Date.now() - 300),
      );
      await asked.end();
      if (how === 'SIGKILL') await startMachine('n1');
      else eth0('up');
      await until('n1 is back', () => announcers(lan.outside, `${ADDRESS}/32`).includes('router_n1'));
      if (how === 'cut off') assert.ok(gapMs(asked.answers) <= FAIL_OVER_MS, `${gapMs(asked.answers)} ms`);
    }
  });

  it('with externalTrafficPolicy Local only nodes with endpoints announce, and a node that stops loses no connection', async () => {
    const web = await test.api.get(services, { name: 'web', namespace: 'default' });
    const slice = await test.api.get(endpointSlices, { name: 'web-ipv4', namespace: 'default' });
    await test.api.update(endpointSlices, { ...slice, endpoints: slice.endpoints!.slice(1) });
    await test.api.update(services, { ...web, spec: { ...web.spec!, externalTrafficPolicy: 'Local' } });
    const ofRouter = (): string =>
      announcers(lan.outside, `${ADDRESS}/32`)
        .filter((name) => name.startsWith('router'))
        .join();
    await until('only n2', () => ofRouter() === 'router_n2');
    await test.api.update(services, {
      ...(await test.api.get(services, { name: 'web', namespace: 'default' })),
      spec: { ...web.spec!, externalTrafficPolicy: 'Cluster' },
    });
    await until('both', () => ofRouter() === 'router_n1,router_n2');
    const asked = client(ADDRESS);
    await until('answers', () => asked.answers.filter(({ answer }) => answer === 'n2').length > 5);
    await stopMachine('n1', 'SIGTERM');
    await until('only n2', () => ofRouter() === 'router_n2');
    await realClock.sleep(500);
    await asked.end();
    assert.deepEqual(
      asked.answers.filter(({ answer }) => answer === ''),
      [],
    );
    await startMachine('n1');
    await until('both', () => ofRouter() === 'router_n1,router_n2');
  });

  it('what cannot be announced as it says is not, and an event says why; an excluded node announces nothing', async () => {
    await advertise('wide', { aggregationLength: 16 });
    const wide = '203.0.0.0/16 is not whole in IPAddressPool public: its aggregation length is too short';
    await until('the event', async () =>
      (await said('BGPAdvertisement', 'wide')).includes(`BGPAdvertisementNotConfigured: node n1: ${wide}`),
    );
    assert.deepEqual(announcers(lan.outside, '203.0.0.0/16'), []);
    await test.api.create(bgpPeers, peer('wrong', { peerASN: 1, peerAddress: 'router.example' }));
    const wrong = 'peerAddress is "router.example"; it should be an IP address';
    await until('the event', async () =>
      (await said('BGPPeer', 'wrong')).includes(`BGPPeerNotConfigured: node n1: ${wrong}`),
    );
    const { metadata, ...node } = await test.api.get(nodes, { name: 'n1' });
    const labels = { 'node.kubernetes.io/exclude-from-external-load-balancers': '' };
    await test.api.update(nodes, { ...node, metadata: { ...metadata, labels } });
    await until('n1 announces nothing', () =>
      [lan.outside, machines.get('far')!].every((router) =>
        announcers(router, `${ADDRESS}/32`).every((name) => name.endsWith('_n2')),
      ),
    );
    const secret = await test.api.get(secrets, { name: 'router', namespace: 'kube-system' });
    await test.api.update(secrets, {
      ...secret,
      data: { password: Buffer.from('another').toString('base64') },
    });
    await stopMachine('n2', 'SIGTERM');
    await startMachine('n2');
    await until('n2 is back at peers without a password', () =>
      announcers(machines.get('far')!, `${ADDRESS}/32`).includes('far_n2'),
    );
    assert.ok(!announcers(lan.outside, `${ADDRESS}/32`).includes('router_n2'));
  });
});
