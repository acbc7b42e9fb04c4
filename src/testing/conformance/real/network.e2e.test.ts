/** What packets and names do: traffic between pods, nodes and services, the proxy of the API server, cluster DNS as pods see it. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { until } from '../../cluster.ts';
import type { Json } from '../bare-client.ts';
import { workload } from '../manifests.ts';
import { SERVER } from './images.ts';
import { idle, server, service, type PodOptions } from './manifests.ts';
import {
  CONCURRENCY,
  inNamespace,
  isReady,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './real-world.ts';

/** Runs server.ts in a pod of its image. */
const RUN = ['/usr/bin/node', '--disable-warning=ExperimentalWarning', '/server.ts'];
/** Of a deployment's three pods each is met, of which one may be missed in so many tries only by a chance of 1 in 10 million. */
const TRIES = 40;

describe('conformance in real containers: network', { skip: missing, concurrency: 2 }, () => {
  let world: RealWorld;
  before(async () => {
    world = await startRealWorld();
  });
  after(async () => world?.stop());
  const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
    inNamespace(() => world, test);
  const nodeIP = (): string =>
    world.node.status.addresses.find(({ type }: Json) => type === 'InternalIP').address;
  const servicePath = ({ core }: Place, name: string): string => `${core}/services/${name}`;

  describe('names', { concurrency: CONCURRENCY }, () => {
    /** What the pod finds by these questions ('A:name'), over UDP or TCP. */
    const resolve = async (
      place: Place,
      questions: readonly string[],
      { tcp = false, pod = 'asker' } = {},
    ): Promise<Readonly<Record<string, Json[]>>> =>
      JSON.parse(
        await place.sh(pod, [...(tcp ? ['env', 'RES_OPTIONS=use-vc'] : []), ...RUN, 'resolve', ...questions]),
      );
    /** Waits until both transports find exactly this. */
    const finds = async (
      place: Place,
      wanted: Readonly<Record<string, readonly Json[]>>,
      pod = 'asker',
    ): Promise<void> => {
      const text = JSON.stringify(wanted);
      for (const tcp of [false, true]) {
        let last = '';
        await until(`${tcp ? 'TCP' : 'UDP'}: ${text}`, async () => {
          const found = await resolve(place, Object.keys(wanted), { tcp, pod });
          last = JSON.stringify(
            Object.fromEntries(
              Object.entries(found).map(([question, records]) => [question, records.toSorted()]),
            ),
          );
          return last === text;
        }).catch((error: unknown) => {
          throw new Error(`found ${last}`, { cause: error });
        });
      }
    };
    const asker = (place: Place, more: PodOptions = {}): Promise<Json> =>
      place.run(idle('asker', { ...more, container: { image: SERVER, ...more.container } }));
    const headless = (name: string, more: Json = {}): Json =>
      service(name, {
        clusterIP: 'None',
        selector: { app: name },
        ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
        ...more,
      });
    const withSubdomain = (name: string): PodOptions => ({
      labels: { app: name },
      spec: { hostname: 'querier', subdomain: name },
    });

    it(
      'DNS, cluster',
      inPlace(async (place) => {
        await asker(place);
        const { spec } = await world.get('/api/v1/namespaces/default/services/kubernetes');
        const address = [spec.clusterIP];
        await finds(
          place,
          Object.fromEntries(
            ['kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'].map(
              (name) => [`A:${name}`, address],
            ),
          ),
        );
      }),
    );

    it(
      'DNS, cluster',
      inPlace(async (place) => {
        await world.post(`${place.core}/services`, headless('hosts'));
        const {
          status: { podIP },
        } = await asker(place, withSubdomain('hosts'));
        const full = `querier.hosts.${place.namespace}.svc.cluster.local`;
        const line = (await place.sh('asker', 'cat /etc/hosts'))
          .split('\n')
          .find((one) => one.startsWith(podIP));
        assert.deepEqual(line?.split(/\s+/), [podIP, full, 'querier']);
        assert.equal(await place.sh('asker', 'hostname -f'), full);
        await finds(place, { [`A:${full}`]: [podIP], 'A:querier': [podIP] });
      }),
    );

    it(
      'DNS, resolve the hostname',
      inPlace(async (place) => {
        await world.post(`${place.core}/services`, headless('domain'));
        const {
          status: { podIP },
        } = await place.run(server('named', withSubdomain('domain')));
        await asker(place);
        await finds(place, {
          [`A:querier.domain.${place.namespace}.svc.cluster.local`]: [podIP],
          'A:querier.domain': [podIP],
        });
        assert.equal(await place.sh('named', 'hostname'), 'querier');
        await finds(place, { 'A:querier': [podIP] }, 'named');
      }),
    );

    it(
      'DNS, resolve the subdomain',
      inPlace(async (place) => {
        await world.post(`${place.core}/services`, headless('domain'));
        const {
          status: { podIP },
        } = await place.run(server('named', withSubdomain('domain')));
        await asker(place);
        await finds(place, {
          [`A:domain.${place.namespace}.svc.cluster.local`]: [podIP],
          'A:domain': [podIP],
        });
      }),
    );

    /** A headless and a normal service with one pod behind both. */
    const twoServices = async (
      place: Place,
    ): Promise<{ readonly podIP: string; readonly clusterIP: string; readonly target: string }> => {
      await world.post(`${place.core}/services`, headless('headless', { selector: { app: 'both' } }));
      const {
        spec: { clusterIP },
      } = await world.post(
        `${place.core}/services`,
        service('normal', {
          selector: { app: 'both' },
          ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
        }),
      );
      const [
        {
          status: { podIP },
        },
      ] = await Promise.all([
        place.run(
          server('named', { labels: { app: 'both' }, spec: { hostname: 'querier', subdomain: 'headless' } }),
        ),
        asker(place),
      ]);
      return { podIP, clusterIP, target: `headless.${place.namespace}.svc.cluster.local` };
    };
    const srv = (name: string): Json => ({ name, port: 80, priority: 0, weight: 100, type: 'SRV' });

    it(
      'DNS, services',
      inPlace(async (place) => {
        const { podIP, clusterIP, target } = await twoServices(place);
        const domain = `${place.namespace}.svc.cluster.local`;
        await finds(place, {
          [`A:headless.${domain}`]: [podIP],
          [`A:normal.${domain}`]: [clusterIP],
          [`SRV:_http._tcp.headless.${domain}`]: [srv(`querier.${target}`)],
          [`SRV:_http._tcp.normal.${domain}`]: [srv(`normal.${domain}`)],
          [`PTR:${clusterIP.split('.').toReversed().join('.')}.in-addr.arpa`]: [`normal.${domain}`],
        });
      }),
    );

    it(
      'DNS, PQDN for services',
      inPlace(async (place) => {
        const { podIP, clusterIP, target } = await twoServices(place);
        const partial = (name: string, ip: string): Record<string, string[]> =>
          Object.fromEntries(
            ['', `.${place.namespace}`, `.${place.namespace}.svc`].map((rest) => [`A:${name}${rest}`, [ip]]),
          );
        await finds(place, {
          ...partial('headless', podIP),
          ...partial('normal', clusterIP),
          [`SRV:_http._tcp.headless.${place.namespace}.svc`]: [srv(`querier.${target}`)],
          [`SRV:_http._tcp.normal.${place.namespace}.svc`]: [
            srv(`normal.${place.namespace}.svc.cluster.local`),
          ],
        });
      }),
    );

    it(
      'DNS, for ExternalName Services',
      inPlace(async (place) => {
        await world.post(
          `${place.core}/services`,
          service('outside', { type: 'ExternalName', externalName: 'foo.example.com' }),
        );
        await asker(place);
        const name = `outside.${place.namespace}.svc.cluster.local`;
        await finds(place, { [`CNAME:${name}`]: ['foo.example.com'] });
        await world.patch(servicePath(place, 'outside'), { spec: { externalName: 'bar.example.com' } });
        await finds(place, { [`CNAME:${name}`]: ['bar.example.com'] });
        const {
          spec: { clusterIP },
        } = await world.patch(servicePath(place, 'outside'), {
          spec: {
            type: 'ClusterIP',
            externalName: null,
            ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
          },
        });
        await finds(place, { [`A:${name}`]: [clusterIP] });
      }),
    );

    it(
      'DNS, custom dnsConfig',
      inPlace(async (place) => {
        await asker(place, {
          spec: {
            dnsPolicy: 'None',
            dnsConfig: { nameservers: ['1.1.1.1'], searches: ['resolv.conf.local'] },
          },
        });
        assert.deepEqual(
          (await place.sh('asker', 'cat /etc/resolv.conf'))
            .split('\n')
            .filter((line) => line !== '')
            .toSorted(),
          ['nameserver 1.1.1.1', 'search resolv.conf.local'],
        );
      }),
    );
  });

  /** Who answered of so many requests from the pod; every one must be answered. */
  const answers = async (
    place: Place,
    {
      from = 'client',
      host,
      port,
      tries = TRIES,
      protocol = 'http',
    }: {
      readonly from?: string;
      readonly host: string;
      readonly port: number;
      readonly tries?: number;
      readonly protocol?: string;
    },
  ): Promise<string[]> => {
    const { responses, errors } = JSON.parse(
      await place.sh(from, [
        'wget',
        '-qO-',
        `http://127.0.0.1:8080/dial?host=${host}&port=${port}&tries=${tries}&protocol=${protocol}`,
      ]),
    ) as Json;
    assert.deepEqual(errors, [], `${protocol}://${host}:${port}`);
    return responses;
  };
  const distinct = (names: readonly string[]): string[] => [...new Set(names)].toSorted();
  /** Waits until the address answers from the pod, and until only these answer. */
  const answeredBy = (
    place: Place,
    address: {
      readonly host: string;
      readonly port: number;
      readonly protocol?: string;
      readonly from?: string;
    },
    names: readonly string[],
  ): Promise<unknown> =>
    until(
      `${address.host}:${address.port} to be answered by ${names.join(' ')}`,
      async () =>
        distinct(await answers(place, { ...address, tries: names.length === 1 ? 3 : TRIES })).join(' ') ===
        names.toSorted().join(' '),
    );
  /** Waits until nothing answers there. */
  const unanswered = (
    place: Place,
    { host, port, protocol }: { readonly host: string; readonly port: number; readonly protocol: string },
  ): Promise<unknown> =>
    until(`${protocol}://${host}:${port} to be closed`, async () => {
      const { responses } = JSON.parse(
        await place.sh('client', [
          'wget',
          '-qO-',
          `http://127.0.0.1:8080/dial?host=${host}&port=${port}&protocol=${protocol}`,
        ]),
      ) as Json;
      return responses.length === 0;
    });

  describe('traffic', { concurrency: CONCURRENCY }, () => {
    const twoServers = async (place: Place): Promise<readonly Json[]> =>
      Promise.all(['one', 'two'].map((name) => place.run(server(name))));

    it(
      'Networking, intra pod http',
      inPlace(async (place) => {
        const [pods] = await Promise.all([twoServers(place), place.run(server('client'))]);
        for (const {
          metadata: { name },
          status: { podIP },
        } of pods)
          await answeredBy(place, { host: podIP, port: 8080 }, [name]);
      }),
    );
    it(
      'Networking, intra pod udp',
      inPlace(async (place) => {
        const [pods] = await Promise.all([twoServers(place), place.run(server('client'))]);
        for (const {
          metadata: { name },
          status: { podIP },
        } of pods)
          await answeredBy(place, { host: podIP, port: 8081, protocol: 'udp' }, [name]);
      }),
    );
    const fromNode = (protocol: string, port: string): (() => Promise<void>) =>
      inPlace(async (place) => {
        const [pods] = await Promise.all([
          twoServers(place),
          place.run(idle('node', { container: { image: SERVER }, spec: { hostNetwork: true } })),
        ]);
        for (const {
          metadata: { name },
          status: { podIP },
        } of pods)
          await place.says('node', [...RUN, 'ask', protocol, podIP, port], (text) => text.trim() === name);
      });
    it('Networking, intra pod http, from node', fromNode('http', '8080'));
    it('Networking, intra pod http, from node', fromNode('udp', '8081'));

    it(
      'EndpointSlice, single IP, multiple ports',
      inPlace(async (place) => {
        const [
          {
            status: { podIP },
          },
        ] = await Promise.all([
          place.run(
            server('served', {
              container: {
                env: [{ name: 'HTTP_PORT', value: '3001,3002' }],
                readinessProbe: { httpGet: { path: '/health', port: 3001 }, periodSeconds: 1 },
              },
            }),
          ),
          place.run(server('client')),
        ]);
        await reachesBoth(place, [
          { ip: podIP, port: 3001, answer: 'served' },
          { ip: podIP, port: 3002, answer: 'served' },
        ]);
      }),
    );
    it(
      'EndpointSlice, multiple IPs, multiple ports',
      inPlace(async (place) => {
        const serve = (name: string, port: number): Promise<Json> =>
          place.run(
            server(name, {
              container: {
                env: [{ name: 'HTTP_PORT', value: String(port) }],
                readinessProbe: { httpGet: { path: '/health', port }, periodSeconds: 1 },
              },
            }),
          );
        const [one, two] = await Promise.all([
          serve('one', 3001),
          serve('two', 3002),
          place.run(server('client')),
        ]);
        await reachesBoth(place, [
          { ip: one.status.podIP, port: 3001, answer: 'one' },
          { ip: two.status.podIP, port: 3002, answer: 'two' },
        ]);
      }),
    );
    /** A service without a selector, whose two ports lead where two hand-made slices say. */
    const reachesBoth = async (
      place: Place,
      targets: readonly { readonly ip: string; readonly port: number; readonly answer: string }[],
    ): Promise<void> => {
      const ports = targets.map((_, index) => ({ name: `port-${index}`, port: 81 + index, protocol: 'TCP' }));
      const {
        spec: { clusterIP },
      } = await world.post(`${place.core}/services`, service('manual', { ports }));
      for (const [index, { ip, port, answer }] of targets.entries()) {
        await world.post(`/apis/discovery.k8s.io/v1/namespaces/${place.namespace}/endpointslices`, {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: {
            name: `manual-${index}`,
            labels: {
              'kubernetes.io/service-name': 'manual',
              'endpointslice.kubernetes.io/managed-by': 'test',
            },
          },
          addressType: 'IPv4',
          // The API server's proxy goes to addresses of pods alone.
          endpoints: [
            {
              addresses: [ip],
              conditions: { ready: true },
              targetRef: { kind: 'Pod', namespace: place.namespace, name: answer },
            },
          ],
          ports: [{ name: `port-${index}`, port, protocol: 'TCP' }],
        });
      }
      for (const [index, { answer, port }] of targets.entries()) {
        await answeredBy(place, { host: clusterIP, port: 81 + index }, [answer]);
        const { body } = await world.send(`GET ${servicePath(place, `manual:${81 + index}`)}/proxy/x`);
        assert.deepEqual([body.hostname, body.port], [answer, port]);
      }
    };

    it(
      'Service, should serve endpoints on same port and different protocols.',
      inPlace(async (place) => {
        await Promise.all([
          place.run(
            server('served', {
              labels: { app: 'served' },
              container: { env: [{ name: 'UDP_PORT', value: '8080' }] },
            }),
          ),
          place.run(server('client')),
        ]);
        const port = (protocol: string): Json => ({
          name: protocol.toLowerCase(),
          port: 80,
          protocol,
          targetPort: 8080,
        });
        const {
          spec: { clusterIP: host },
        } = await world.post(
          `${place.core}/services`,
          service('both', { selector: { app: 'served' }, ports: [port('TCP'), port('UDP')] }),
        );
        const [tcp, udp] = [
          { host, port: 80, protocol: 'http' },
          { host, port: 80, protocol: 'udp' },
        ];
        const become = async (ports: readonly Json[]): Promise<void> => {
          const live = await world.get(servicePath(place, 'both'));
          await world.put(servicePath(place, 'both'), { ...live, spec: { ...live.spec, ports } });
        };
        await answeredBy(place, tcp, ['served']);
        await answeredBy(place, udp, ['served']);
        await become([port('TCP')]);
        await unanswered(place, udp);
        await answeredBy(place, tcp, ['served']);
        await become([port('UDP')]);
        await unanswered(place, tcp);
        await answeredBy(place, udp, ['served']);
      }),
    );

    it(
      'Service, NodePort Service',
      inPlace(async (place) => {
        const names = await threeServers(place);
        const { spec } = await world.post(
          `${place.core}/services`,
          service('served', {
            type: 'NodePort',
            selector: { app: 'served' },
            ports: [{ port: 80, targetPort: 8080 }],
          }),
        );
        await place.run(server('client'));
        for (const address of [
          { host: 'served', port: 80 },
          { host: spec.clusterIP, port: 80 },
          { host: nodeIP(), port: spec.ports[0].nodePort },
        ])
          await answeredBy(place, address, names);
      }),
    );
  });

  /** A deployment of three, and their names. */
  const threeServers = async (place: Place): Promise<string[]> => {
    const { spec } = server('served');
    await world.post(
      `/apis/apps/v1/namespaces/${place.namespace}/deployments`,
      workload('Deployment', 'served', {
        replicas: 3,
        spec: { template: { metadata: { labels: { app: 'served' } }, spec } },
      }),
    );
    return until('three pods to be ready', () => {
      const pods = place
        .pods()
        .filter(({ metadata }) => metadata.labels?.app === 'served' && metadata.name !== 'client');
      return pods.length === 3 && pods.every(isReady)
        ? pods.map(({ metadata: { name } }) => name as string).toSorted()
        : undefined;
    });
  };

  describe('kinds of services', { concurrency: CONCURRENCY }, () => {
    const ports = [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }];
    /** Where a service of either type is reached. */
    const addressesOf = (
      place: Place,
      { metadata: { name }, spec }: Json,
    ): readonly { readonly host: string; readonly port: number }[] => [
      { host: name, port: 80 },
      { host: `${name}.${place.namespace}.svc.cluster.local`, port: 80 },
      { host: spec.clusterIP, port: 80 },
      ...(spec.ports[0].nodePort ? [{ host: nodeIP(), port: spec.ports[0].nodePort }] : []),
    ];

    /** From a name of somewhere else to one of these servers. */
    const toInside = (type: 'ClusterIP' | 'NodePort'): (() => Promise<void>) =>
      inPlace(async (place) => {
        const made = await world.post(
          `${place.core}/services`,
          service('changing', { type: 'ExternalName', externalName: 'example.com' }),
        );
        assert.equal(made.spec.clusterIP, undefined);
        const names = await threeServers(place);
        await place.run(server('client'));
        const live = await world.get(servicePath(place, 'changing'));
        const changed = await world.put(servicePath(place, 'changing'), {
          ...live,
          spec: { type, ports, selector: { app: 'served' } },
        });
        assert.match(changed.spec.clusterIP, /^10\./);
        assert.equal(changed.spec.externalName, undefined);
        assert.equal(changed.spec.ports[0].nodePort > 0, type === 'NodePort');
        for (const address of addressesOf(place, changed)) await answeredBy(place, address, names);
      });
    it('Service, change type, ExternalName to ClusterIP', toInside('ClusterIP'));
    it('Service, change type, ExternalName to NodePort', toInside('NodePort'));

    /** From a service to the name of another one, which stands for somewhere else. */
    const toOutside = (type: 'ClusterIP' | 'NodePort'): (() => Promise<void>) =>
      inPlace(async (place) => {
        const made = await world.post(`${place.core}/services`, service('changing', { type, ports }));
        assert.match(made.spec.clusterIP, /^10\./);
        const {
          spec: { clusterIP: target },
        } = await world.post(`${place.core}/services`, service('target', { ports }));
        await place.run(idle('client', { container: { image: SERVER } }));
        const live = await world.get(servicePath(place, 'changing'));
        const { selector: _, ...spec } = live.spec;
        const changed = await world.put(servicePath(place, 'changing'), {
          ...live,
          spec: {
            ...spec,
            type: 'ExternalName',
            externalName: `target.${place.namespace}.svc.cluster.local`,
            clusterIP: undefined,
            clusterIPs: undefined,
            ports: undefined,
          },
        });
        assert.deepEqual(
          [changed.spec.clusterIP, changed.spec.clusterIPs, changed.spec.ports],
          [undefined, undefined, undefined],
        );
        if (type === 'NodePort') {
          // It was given back: another service may have it.
          const { nodePort } = made.spec.ports[0];
          await until(
            'the node port to be free',
            async () =>
              (
                await world.send(`POST ${place.core}/services`, {
                  body: service('heir', { type, ports: [{ ...ports[0], nodePort }] }),
                })
              ).status === 201,
          );
        }
        await place.says(
          'client',
          'nslookup -type=a changing.$(sed -n "s/^search \\([^ ]*\\).*/\\1/p" /etc/resolv.conf)',
          (text) => text.includes(target),
        );
      });
    it('Service, change type, ClusterIP to ExternalName', toOutside('ClusterIP'));
    it('Service, change type, NodePort to ExternalName', toOutside('NodePort'));

    /** Every address is answered by one and the same while there is affinity, and by all without. */
    const affinity = (type: 'ClusterIP' | 'NodePort', switches: boolean): (() => Promise<void>) =>
      inPlace(async (place) => {
        const names = await threeServers(place);
        const made = await world.post(
          `${place.core}/services`,
          service('affine', { type, ports, selector: { app: 'served' }, sessionAffinity: 'ClientIP' }),
        );
        await place.run(server('client'));
        const addresses = addressesOf(place, made);
        const sticks = async (): Promise<void> => {
          for (const address of addresses)
            await until(
              `${address.host}:${address.port} to stick`,
              async () => distinct(await answers(place, { ...address, tries: 15 })).length === 1,
            );
        };
        await sticks();
        if (!switches) return;
        await world.patch(servicePath(place, 'affine'), { spec: { sessionAffinity: 'None' } });
        for (const address of addresses) await answeredBy(place, address, names);
        await world.patch(servicePath(place, 'affine'), { spec: { sessionAffinity: 'ClientIP' } });
        await sticks();
      });
    it('Service, ClusterIP type, session affinity to ClientIP', affinity('ClusterIP', false));
    it('Service, NodePort type, session affinity to ClientIP', affinity('NodePort', false));
    it('Service, ClusterIP type, session affinity to None', affinity('ClusterIP', true));
    it('Service, NodePort type, session affinity to None', affinity('NodePort', true));
  });

  describe('the proxy of the API server', { concurrency: CONCURRENCY }, () => {
    const METHODS = ['DELETE', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'GET', 'HEAD'];

    /** Each method, to a pod and to a service; what the server says it got must be what was asked. */
    const methods = (path: string): (() => Promise<void>) =>
      inPlace(async (place) => {
        await place.run(
          server('served', {
            labels: { app: 'served' },
            container: { env: [{ name: 'HTTP_PORT', value: '8080,80' }] },
          }),
        );
        await world.post(
          `${place.core}/services`,
          service('served', { selector: { app: 'served' }, ports: [{ port: 80, targetPort: 8080 }] }),
        );
        for (const base of [
          `${place.core}/pods/served/proxy`,
          `${place.core}/services/served/proxy`,
          `${place.core}/pods/http:served:8080/proxy`,
          `${place.core}/services/http:served:80/proxy`,
        ]) {
          await until(
            `${base} to answer`,
            async () => (await world.send(`GET ${base}/hostname`)).status === 200,
          );
          for (const method of METHODS) {
            const answer = await world.send(`${method} ${base}${path}?method=${method}`);
            if (path === '' && ['GET', 'HEAD'].includes(method)) {
              assert.deepEqual(
                [answer.status, answer.headers.location],
                [301, `${base}/?method=${method}`],
                base,
              );
              assert.equal((await world.send(`${method} ${base}/?method=${method}`)).status, 200);
              continue;
            }
            assert.equal(answer.status, 200, `${method} ${base}: ${answer.text}`);
            if (method !== 'HEAD')
              assert.deepEqual(
                [answer.body.method, answer.body.url],
                [method, `${path === '' ? '/' : path}?method=${method}`],
              );
          }
        }
      });
    it('Proxy, validate Proxy responses', methods(''));
    it('Proxy, validate ProxyWithPath responses', methods('/some/path/with/%20'));

    it(
      'Proxy through apiserver to a Service',
      inPlace(async (place) => {
        const nowMs = Date.now();
        const authority = createAuthority({ commonName: 'nobody knows', nowMs, lifetimeMs: 3_600_000 });
        const { certificatePem, keyPem } = issueCertificate(authority, {
          subject: { commonName: 'pod' },
          usages: ['serverAuth'],
          nowMs,
          lifetimeMs: 3_600_000,
        });
        const link = (to: string): string => `<a href="${to}">test</a>`;
        const env = Object.entries({
          ANSWERS: JSON.stringify({
            80: link('/rewriteme'),
            1080: link('/rewriteme'),
            160: 'foo',
            162: 'bar',
          }),
          TLS_ANSWERS: JSON.stringify({ 443: link('/tlsrewriteme'), 460: 'tls baz', 462: 'tls qux' }),
          TLS_CERT: certificatePem,
          TLS_KEY: keyPem,
        }).map(([name, value]) => ({ name, value }));
        const containerPorts = Object.entries({ dest1: 160, dest2: 162, tlsdest1: 460, tlsdest2: 462 }).map(
          ([name, containerPort]) => ({ name, containerPort }),
        );
        await place.run(
          server('served', {
            labels: { app: 'served' },
            container: {
              args: ['answers'],
              env,
              ports: [{ containerPort: 80 }, ...containerPorts],
              readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
            },
          }),
        );
        await world.post(
          `${place.core}/services`,
          service('served', {
            selector: { app: 'served' },
            ports: Object.entries({
              portname1: [80, 'dest1'],
              portname2: [81, 162],
              tlsportname1: [443, 'tlsdest1'],
              tlsportname2: [444, 462],
            }).map(([name, [port, targetPort]]) => ({ name, port, targetPort })),
          }),
        );
        const texts: Readonly<Record<string, string>> = {
          'services/served:portname1': 'foo',
          'services/http:served:portname1': 'foo',
          'services/served:portname2': 'bar',
          'services/http:served:portname2': 'bar',
          'services/https:served:tlsportname1': 'tls baz',
          'services/https:served:tlsportname2': 'tls qux',
          'pods/served:160': 'foo',
          'pods/http:served:160': 'foo',
          'pods/served:162': 'bar',
          'pods/http:served:162': 'bar',
          'pods/https:served:460': 'tls baz',
          'pods/https:served:462': 'tls qux',
          ...Object.fromEntries(
            ['pods/served', 'pods/served:1080', 'pods/http:served:1080'].map((path) => [
              path,
              link(`${place.core}/${path}/proxy/rewriteme`),
            ]),
          ),
          'pods/https:served:443': link(`${place.core}/pods/https:served:443/proxy/tlsrewriteme`),
        };
        for (const [path, text] of Object.entries(texts)) {
          await until(
            `${path} to answer`,
            async () => (await world.send(`GET ${place.core}/${path}/proxy/`)).status === 200,
          );
          assert.equal((await world.send(`GET ${place.core}/${path}/proxy/`)).text, text, path);
        }
      }),
    );
  });
});
