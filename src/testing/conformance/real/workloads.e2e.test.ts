/** Applications, service account tokens and the CLI, in real containers: the behaviours of these parts that objects alone cannot show. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { runCommand, until } from '../../cluster.ts';
import { foreignTools } from '../../foreign-tools.ts';
import type { Json } from '../bare-client.ts';
import { replicationController, workload } from '../manifests.ts';
import { BUSYBOX, SERVER } from './images.ts';
import { server, service, task } from './manifests.ts';
import {
  CONCURRENCY,
  inNamespace,
  isReady,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './real-world.ts';

const tools = foreignTools(35);

describe(
  'conformance in real containers: applications, tokens, CLI',
  { skip: missing, concurrency: CONCURRENCY },
  () => {
    let world: RealWorld;
    before(async () => {
      world = await startRealWorld();
    });
    after(async () => world?.stop());
    const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
      inNamespace(() => world, test);

    /** The pods of a selector, once there are so many and all are Ready. */
    const podsReady = (place: Place, app: string, count: number): Promise<Json[]> =>
      until(`${count} pods of ${app} to be ready`, () => {
        const pods = place.pods().filter(({ metadata }) => metadata.labels.app === app);
        return pods.length === count && pods.every(isReady) ? pods : undefined;
      });
    const throughProxy = (place: Place, name: string, port: number, path: string): Promise<string> =>
      until(`pod ${name} to answer`, async () => {
        const { status, text } = await world.send(`GET ${place.core}/pods/${name}:${port}/proxy${path}`);
        return status === 200 ? text : undefined;
      });

    it(
      'Replica Set, run basic image',
      inPlace(async (place) => {
        const {
          metadata,
          spec: { containers },
        } = server('server');
        await world.post(
          `/apis/apps/v1/namespaces/${place.namespace}/replicasets`,
          workload('ReplicaSet', 'hostnames', {
            spec: {
              template: {
                metadata: { ...metadata, name: undefined, labels: { app: 'hostnames' } },
                spec: { containers },
              },
            },
          }),
        );
        for (const {
          metadata: { name },
        } of await podsReady(place, 'hostnames', 1))
          assert.equal(await throughProxy(place, name, 8080, '/hostname'), name);
      }),
    );

    it(
      'Replication Controller, run basic image',
      inPlace(async (place) => {
        const manifest = replicationController('hostnames', { image: SERVER, replicas: 2 });
        await world.post(`${place.core}/replicationcontrollers`, manifest);
        const pods = await podsReady(place, 'hostnames', 2);
        const asker = await place.run(server('asker'));
        for (const {
          metadata: { name },
          status: { podIP },
        } of pods) {
          assert.equal(await throughProxy(place, name, 8080, '/hostname'), name);
          await place.sh(asker.metadata.name, ['nc', '-w', '5', podIP, '8080', '-e', 'true']);
          const dialed = await place.says(
            'asker',
            ['wget', '-qO-', `http://127.0.0.1:8080/dial?host=${podIP}&port=8081&protocol=udp`],
            (text) => JSON.parse(text).responses.length === 1,
          );
          assert.deepEqual(JSON.parse(dialed).responses, [name]);
        }
      }),
    );

    it(
      'TokenRequestProjection should mount a projected volume with token using TokenRequest API.',
      inPlace(async (place) => {
        const volumes = [
          {
            name: 'token',
            projected: {
              sources: [
                { serviceAccountToken: { path: 'token', audience: 'somebody', expirationSeconds: 43200 } },
              ],
            },
          },
        ];
        const container = {
          volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets/tokens', readOnly: true }],
        };
        const buildClaims = (token: string): Json =>
          JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
        // Root reads it whatever it is; others by their own right, or their group's.
        for (const [name, securityContext, mode] of [
          ['root', {}, '644'],
          ['user', { runAsUser: 1000 }, '600'],
          ['group', { runAsUser: 1000, fsGroup: 10000 }, '640'],
        ] as const) {
          const text = await place.output(
            task(name, 'stat -Lc %a /var/run/secrets/tokens/token; cat /var/run/secrets/tokens/token', {
              container,
              spec: { volumes, securityContext },
            }),
          );
          const [shown, token = ''] = text.trim().split('\n');
          assert.equal(shown, mode, name);
          const claims = buildClaims(token);
          assert.deepEqual(claims.aud, ['somebody']);
          assert.equal(claims.sub, `system:serviceaccount:${place.namespace}:default`);
          assert.equal(claims['kubernetes.io'].pod.name, name);
          assert.ok(claims.exp - claims.iat >= 43200);
          const review = await world.post('/apis/authentication.k8s.io/v1/tokenreviews', {
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenReview',
            spec: { token, audiences: ['somebody'] },
          });
          // The pod has ended, but it is there.
          assert.equal(review.status.authenticated, true, JSON.stringify(review.status));
        }
      }),
    );

    const kubectl = 'missing' in tools ? '' : tools.kubectl;
    const noKubectl = 'missing' in tools ? tools.missing : false;
    const k = async ({ namespace }: Place, words: readonly string[], input?: Json): Promise<string> => {
      const { code, stdout, stderr } = await runCommand([kubectl, '-n', namespace, ...words], {
        env: { KUBECONFIG: world.cluster.kubeconfig, HOME: world.cluster.dir },
        ...(input === undefined ? {} : { input: JSON.stringify(input) }),
      });
      assert.equal(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
      return stdout;
    };

    it(
      'Kubectl, guestbook application',
      { skip: noKubectl },
      inPlace(async (place) => {
        const part = (role: string, replicas: number, port: number): Json[] => [
          service(role, { selector: { app: role }, ports: [{ port, targetPort: port }] }),
          workload('Deployment', role, {
            replicas,
            image: SERVER,
            spec: {
              template: {
                metadata: { labels: { app: role } },
                spec: {
                  terminationGracePeriodSeconds: 1,
                  containers: [
                    {
                      name: role,
                      image: SERVER,
                      args: ['guestbook', role],
                      ports: [{ containerPort: port }],
                    },
                  ],
                },
              },
            },
          }),
        ];
        await k(place, ['create', '-f', '-'], {
          apiVersion: 'v1',
          kind: 'List',
          items: [...part('replica', 2, 6379), ...part('primary', 1, 6379), ...part('frontend', 3, 80)],
        });
        const { items: replicas } = await until('the replicas to register', async () => {
          const pods = await world.get(`${place.core}/pods?labelSelector=app%3Dreplica`);
          for (const { metadata } of pods.items) assert.match(await place.logs(metadata.name), /registered/);
          return pods.items.length === 2 && pods;
        });
        assert.equal(replicas.length, 2);
        await podsReady(place, 'frontend', 3);
        const ask = (path: string): Promise<Json> =>
          until(`the frontend to answer ${path}`, async () => {
            const { status, body } = await world.send(`GET ${place.core}/services/frontend/proxy${path}`);
            return status === 200 && body.error === undefined ? body : undefined;
          });
        assert.deepEqual(await ask('/get?key=messages'), { data: '' });
        assert.deepEqual(await ask('/set?key=messages&value=TestEntry'), { message: 'Updated' });
        // Each replica has it, so it does not matter which one a frontend asks.
        for (let turn = 0; turn < 6; turn += 1)
          assert.deepEqual(await ask('/get?key=messages'), { data: 'TestEntry' });
        await k(place, ['delete', '--grace-period=0', '--force', 'service,deployment', '--all']);
      }),
    );

    it(
      'Kubectl, logs',
      { skip: noKubectl },
      inPlace(async (place) => {
        const script =
          'i=0; while [ $i -lt 200 ]; do echo "line $i GET /api/v1/namespaces/kube-system/pods/$i"; i=$((i+1)); sleep 0.2; done';
        await k(place, [
          'run',
          'talker',
          `--image=${BUSYBOX}`,
          '--restart=Never',
          '--command',
          '--',
          'sh',
          '-c',
          script,
        ]);
        const logs = (...words: string[]): Promise<string> =>
          k(place, ['logs', 'talker', 'talker', ...words]);
        await until('two lines', async () =>
          (await logs()).startsWith('line 0 GET /api/v1/namespaces/kube-system/pods/0\nline 1 '),
        );
        assert.match(await logs('--tail=1'), /^line \d+ .*\n$/);
        assert.equal(await logs('--limit-bytes=1'), 'l');
        const [time = '', ...text] = (await logs('--tail=1', '--timestamps')).split(' ');
        assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
        assert.match(text.join(' '), /^line \d+ .*\n$/);
        // More lines than a second holds are older than that second.
        await until('12 lines', async () => (await logs()).split('\n').length > 12);
        const count = async (since: string): Promise<number> =>
          (await logs(`--since=${since}`)).trim().split('\n').length;
        const recent = await count('1s');
        assert.ok(recent < (await count('24h')), `${recent} lines within a second`);
        assert.match(await logs('--since=24h'), /^line 0 /);
        await k(place, ['delete', 'pod', 'talker', '--grace-period=0', '--force']);
      }),
    );
  },
);
