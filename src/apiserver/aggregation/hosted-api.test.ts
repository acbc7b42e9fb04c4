/** An API that a part of the program serves: what clients see of it, whose it is, and which of several servers answers. */
import assert from 'node:assert/strict';
import { get as httpsGet } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { generateKeyPem } from '#pki/keys.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { makeAuthority } from '#testing/certificates.ts';
import { freePort, until } from '#testing/cluster.ts';
import { createAuthentication } from '../authn/authentication.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../testing/shared-etcd.ts';
import type { HostedApi } from './hosted-api.ts';

const PATH = '/apis/metrics.k8s.io/v1beta1';
const SERVICE = '/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io';
const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
const LABELS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  n1: { zone: 'a' },
  n2: { zone: 'b' },
};

function node(name: string, measuredBy: string): KubeObject {
  return {
    kind: 'NodeMetrics',
    apiVersion: 'metrics.k8s.io/v1beta1',
    metadata: { name, labels: { ...LABELS[name], measuredBy } },
    timestamp: '2026-01-01T00:00:00Z',
    window: '15.5s',
    usage: { cpu: '250m', memory: '1Mi' },
  } as KubeObject;
}

interface Fake extends HostedApi {
  readonly serving: boolean[];
}

function hosted(name: string, more: Partial<HostedApi> = {}): Fake {
  const serving: boolean[] = [];
  return {
    serving,
    group: 'metrics.k8s.io',
    version: 'v1beta1',
    priority: { group: 100, version: 100 },
    peerCa: '',
    answeredBy: () => 'here',
    serve: (on) => Promise.resolve(void serving.push(on)),
    resources: [
      {
        plural: 'nodes',
        kind: 'NodeMetrics',
        namespaced: false,
        table: {
          columns: [{ name: 'Name', type: 'string', description: '' }],
          row: ({ metadata }) => [metadata?.name ?? ''],
        },
        list: ({ labels }) =>
          ['n1', 'n2'].filter((one) => labels?.matches(LABELS[one]!) ?? true).map((one) => node(one, name)),
        get(of) {
          if (!LABELS[of.name]) throw statusErrors.notFound({ group: '', resource: 'nodes', name: of.name });
          return node(of.name, name);
        },
      },
    ],
    ...more,
  };
}

async function startWith(api: HostedApi, store?: TestServer['store']): Promise<TestServer> {
  const server = await startTestServer({
    bootstrapObjects: true,
    aggregation: { hosted: [api] },
    ...(store ? { store } : {}),
  });
  await server.server.ready();
  await until(
    'it is served or off',
    async () => api.isOff || (await server.request(`GET ${PATH}`)).status === 200,
  );
  return server;
}

describe('an API of this program', () => {
  const api = hosted('one');
  let server: TestServer;
  before(async () => {
    server = await startWith(api);
  });
  after(() => server.stop());
  const get = (path: string, accept?: string): ReturnType<TestServer['request']> =>
    server.request(`GET ${path}`, accept ? { headers: { accept } } : {});

  test('has an APIService, and is in discovery and OpenAPI', async () => {
    const { spec, status } = (await get(SERVICE)).body;
    assert.deepEqual(spec, {
      group: 'metrics.k8s.io',
      groupPriorityMinimum: 100,
      version: 'v1beta1',
      versionPriority: 100,
    });
    assert.deepEqual(
      status.conditions.map(({ type, status: is, reason }: Record<string, string>) => [type, is, reason]),
      [['Available', 'True', 'Local']],
    );
    assert.deepEqual((await get(PATH)).body.resources, [
      { name: 'nodes', singularName: '', namespaced: false, kind: 'NodeMetrics', verbs: ['get', 'list'] },
    ]);
    assert.equal((await get('/apis/metrics.k8s.io')).body.preferredVersion.version, 'v1beta1');
    const groups = (await get('/apis', AGGREGATED)).body.items as {
      metadata: { name: string };
      versions: object[];
    }[];
    const at = groups.findIndex(({ metadata }) => metadata.name === 'metrics.k8s.io');
    assert.equal(at, groups.length - 1, 'of the lowest priority');
    assert.equal((groups[at]!.versions[0] as { freshness: string }).freshness, 'Current');
    const index = (await get('/openapi/v3')).body.paths['apis/metrics.k8s.io/v1beta1']
      .serverRelativeURL as string;
    const document = (await get(index)).body;
    assert.deepEqual(Object.keys(document.paths), [`${PATH}/nodes`, `${PATH}/nodes/{name}`]);
    const schema = document.components.schemas['io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics'];
    assert.deepEqual(schema['x-kubernetes-group-version-kind'], [
      { group: 'metrics.k8s.io', version: 'v1beta1', kind: 'NodeMetrics' },
    ]);
    assert.ok((await get('/openapi/v2')).body.paths[`${PATH}/nodes`]);
  });

  test('answers lists with selectors, gets, tables, metadata, protobuf and YAML', async () => {
    const names = async (query: string): Promise<string[]> =>
      ((await get(`${PATH}/nodes${query}`)).body.items as KubeObject[]).map(
        ({ metadata }) => metadata!.name!,
      );
    assert.deepEqual(await names(''), ['n1', 'n2']);
    assert.deepEqual(await names('?labelSelector=zone%3Db'), ['n2']);
    assert.deepEqual(await names('?fieldSelector=metadata.name%3Dn1'), ['n1']);
    const list = (await get(`${PATH}/nodes`)).body;
    assert.deepEqual(
      [list.kind, list.apiVersion, list.items[0].kind],
      ['NodeMetricsList', 'metrics.k8s.io/v1beta1', undefined],
    );
    assert.deepEqual((await get(`${PATH}/nodes/n1`)).body, node('n1', 'one'));
    const table = (await get(`${PATH}/nodes`, 'application/json;as=Table;v=v1;g=meta.k8s.io')).body;
    assert.deepEqual(
      table.rows.map(({ cells }: { cells: string[] }) => cells),
      [['n1'], ['n2']],
    );
    const metadata = await get(
      `${PATH}/nodes`,
      'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
    );
    assert.equal(metadata.body.items[1].metadata.name, 'n2');
    const protobuf = await get(`${PATH}/nodes/n1`, 'application/vnd.kubernetes.protobuf');
    assert.deepEqual(
      [protobuf.headers['content-type'], protobuf.bytes.subarray(0, 4).toString('latin1')],
      ['application/vnd.kubernetes.protobuf', 'k8s\0'],
    );
    assert.match(protobuf.bytes.toString('latin1'), /250m/);
    assert.match((await get(`${PATH}/nodes/n1`, 'application/yaml')).text, /window: 15.5s/);
  });

  test('refuses what it has not', async () => {
    const status = async (target: string): Promise<number> => (await server.request(target)).status;
    assert.deepEqual(
      await Promise.all(
        [
          `GET ${PATH}/nodes/n3`,
          `GET ${PATH}/pods`,
          `GET ${PATH}/nodes/n1/status`,
          `GET ${PATH}/namespaces/default/nodes`,
          `DELETE ${PATH}/nodes/n1`,
          `GET ${PATH}/nodes?watch=true`,
          `GET ${PATH}/nodes?fieldSelector=spec.x%3D1`,
          `GET ${PATH}/more/than/there/is`,
        ].map(status),
      ),
      [404, 404, 404, 404, 405, 405, 400, 404],
    );
  });

  test("is replaced by somebody's own server, without touching its APIService, and comes back", async () => {
    const current = (await get(SERVICE)).body;
    const theirs = {
      ...current,
      spec: {
        ...current.spec,
        service: { namespace: 'kube-system', name: 'metrics-server', port: 443 },
        insecureSkipTLSVerify: true,
      },
    };
    assert.equal((await server.request(`PUT ${SERVICE}`, { body: theirs })).status, 200);
    assert.equal((await get(`${PATH}/nodes`)).status, 503, 'there is no such Service');
    assert.deepEqual(api.serving, [true, false]);
    assert.equal((await get(SERVICE)).body.spec.service.name, 'metrics-server');
    assert.equal((await server.request(`DELETE ${SERVICE}`)).status, 200);
    await until('ours is back', async () => (await get(`${PATH}/nodes`)).status === 200);
    assert.deepEqual(api.serving, [true, false, true]);
    assert.equal((await get(SERVICE)).body.spec.service, undefined);
  });
});

test('switched off, there is no APIService, also when there was one of ours', async () => {
  const first = await startWith(hosted('one'));
  await first.server.stop();
  const off = hosted('two', { isOff: true });
  const second = await startWith(off, first.store);
  try {
    await until(
      'the APIService is gone',
      async () => (await second.request(`GET ${SERVICE}`)).status === 404,
    );
    assert.equal((await second.request(`GET ${PATH}/nodes`)).status, 404);
    assert.deepEqual(off.serving.filter(Boolean), []);
  } finally {
    await second.stop();
  }
});

const program = someEtcd();

describe('several API servers', { skip: program ? false : 'no etcd here' }, () => {
  const clients = makeAuthority(),
    frontProxies = makeAuthority(),
    servers = makeAuthority();
  const proxyClient = frontProxies.issue({ commonName: 'front-proxy-client' });
  const alice = clients.issue({ commonName: 'alice' });
  let shared: SharedEtcd;
  let ports: readonly [number, number];
  const running: TestServer[] = [];
  /** Where each says that requests are answered. */
  const answeredBy: [HostedApi['answeredBy'], HostedApi['answeredBy']] = [() => 'here', () => undefined];

  async function start(index: 0 | 1): Promise<void> {
    const api = hosted(`server ${index}`, { peerCa: servers.cert, answeredBy: () => answeredBy[index]() });
    const started = await shared.start({
      aggregation: { proxyClient, hosted: [api] },
      authentication: ({ internal, log }) =>
        createAuthentication({
          internal,
          log,
          nowMs: () => Date.now(),
          requestHeader: {
            allowedNames: ['front-proxy-client'],
            usernameHeaders: ['x-remote-user'],
            uidHeaders: ['x-remote-uid'],
            groupHeaders: ['x-remote-group'],
            extraHeaderPrefixes: ['x-remote-extra-'],
          },
          serviceAccounts: { signingKeyPem: generateKeyPem() },
        }),
      authorization: () => ({
        authorize: ({ user }) => ({ decision: user.name === 'alice' ? 'allow' : 'no-opinion', reason: '' }),
      }),
    });
    running.push(started);
    await started.server.start({
      host: '127.0.0.1',
      port: ports[index],
      tls: {
        ...servers.issue({ commonName: 'kube-apiserver', addresses: ['127.0.0.1'] }),
        clientCa: clients.cert,
        frontProxyCa: frontProxies.cert,
      },
    });
  }

  function ask(
    port: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const identity = { cert: alice.cert, key: alice.key, ca: servers.cert, agent: false as const };
      const url = `https://127.0.0.1:${port}${PATH}/nodes/n1`;
      httpsGet(url, { ...identity, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      }).on('error', reject);
    });
  }

  before(async () => {
    shared = await startSharedEtcd(program!);
    ports = [await freePort(), await freePort()];
    await start(0);
    await start(1);
    answeredBy[1] = () => ({ host: '127.0.0.1', port: ports[0] });
    for (const port of ports) await until('it is served', async () => (await ask(port)).status === 200);
  });
  after(async () => {
    for (const server of running) await server.stop();
    await shared.close();
  });

  test('answer the same: one answers, the other passes requests on as their user', async () => {
    const answers = await Promise.all(ports.map((port) => ask(port)));
    for (const { status, text } of answers) {
      assert.equal(status, 200, text);
      assert.equal(JSON.parse(text).metadata.labels.measuredBy, 'server 0');
    }
  });

  test('a request does not circle, and nobody to answer it is 503', async () => {
    answeredBy[0] = () => ({ host: '127.0.0.1', port: ports[1] });
    const circling = await ask(ports[0]);
    assert.equal(circling.status, 503, circling.text);
    answeredBy[0] = () => undefined;
    const nobody = await ask(ports[0]);
    assert.equal(nobody.status, 503);
    assert.match(nobody.text, /no API server answers requests for metrics.k8s.io\/v1beta1 at the moment/);
    answeredBy[0] = () => 'here';
  });
});
