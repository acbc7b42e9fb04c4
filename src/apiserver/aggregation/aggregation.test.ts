/** Extension API servers, against a real one over HTTPS: what clients see of it, and what becomes of lies, broken servers and wrong certificates. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request as httpsRequest } from 'node:https';
import { connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CustomObjectsApi, KubeConfig, Watch } from '@kubernetes/client-node';
import type { APIService } from '#api/types.ts';
import { runCommand, until } from '#testing/cluster.ts';
import {
  ask,
  createAuthority,
  EXTENSION_GROUP,
  EXTENSION_VERSION,
  issueCertificate,
  startExtensionServer,
  type Answer,
  type AskOptions,
  type ExtensionServer,
  type ResourceRef,
} from '#testing/extension-server.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from '#testing/simulated-cluster.ts';

const APISERVICES: ResourceRef<APIService & { metadata: object }> = {
  group: 'apiregistration.k8s.io',
  version: 'v1',
  plural: 'apiservices',
  kind: 'APIService',
  namespaced: false,
};
const SERVICES: ResourceRef = {
  group: '',
  version: 'v1',
  plural: 'services',
  kind: 'Service',
  namespaced: true,
};
const CRDS: ResourceRef = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};
const NAME = `${EXTENSION_VERSION}.${EXTENSION_GROUP}`;
const COLLECTION = `/apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}/namespaces/default/flunders`;

let cluster: SimulatedCluster;
let extension: ExtensionServer;

interface Variant {
  readonly name?: string;
  readonly service?: string;
  readonly insecureSkipTLSVerify?: boolean;
}

function apiService(
  { port, ca }: { readonly port: number; readonly ca?: string },
  { name = NAME, service = 'wardle', ...spec }: Variant = {},
): APIService {
  const [version = '', ...group] = name.split('.');
  return {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name },
    spec: {
      group: group.join('.'),
      version,
      groupPriorityMinimum: 2000,
      versionPriority: 200,
      service: { namespace: 'default', name: service, port },
      ...(ca ? { caBundle: Buffer.from(ca).toString('base64') } : {}),
      ...spec,
    },
  };
}

async function availability(
  name = NAME,
): Promise<{ status: string; reason?: string; message?: string } | undefined> {
  return (await cluster.api.get(APISERVICES, { name })).status?.conditions?.find(
    ({ type }) => type === 'Available',
  );
}

function untilCondition(reason: string, name = NAME): Promise<{ status: string; message?: string }> {
  return until(`APIService ${name} is ${reason}`, async () => {
    const condition = await availability(name);
    return condition?.reason === reason ? condition : undefined;
  });
}

function get(path: string, options: Partial<AskOptions> = {}): Promise<Answer> {
  return ask({
    url: `${cluster.url}${path}`,
    ca: cluster.pki.ca.certificatePem,
    client: cluster.pki.clients.admin,
    ...options,
  });
}

/** The path goes out as it is written. */
function rawStatus(path: string, agent: Agent | false = false): Promise<number | undefined> {
  const { hostname: host, port } = new URL(cluster.url),
    { admin } = cluster.pki.clients;
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host,
        port,
        path,
        agent,
        ca: cluster.pki.ca.certificatePem,
        cert: admin.certificatePem,
        key: admin.keyPem,
      },
      (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      },
    );
    request.on('error', reject);
    request.end();
  });
}

async function register(service: APIService): Promise<void> {
  await cluster.api.create(APISERVICES, service as never);
}

before(async () => {
  cluster = await startSimulatedCluster({ nodes: 0 });
  extension = await startExtensionServer({ api: cluster.api, serverName: 'wardle.default.svc' });
  await cluster.api.create(SERVICES, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'wardle', namespace: 'default' },
    spec: { type: 'ExternalName', externalName: 'localhost' },
  } as never);
});
after(async () => {
  await extension?.stop();
  await cluster?.stop();
});

describe('an extension API server', () => {
  before(async () => {
    await register(apiService(extension));
    await untilCondition('Passed');
    await until('its discovery is read', async () =>
      (
        await get('/apis', {
          headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
        })
      ).text.includes('flunders'),
    );
  });
  after(async () => cluster.api.delete(APISERVICES, { name: NAME }));

  it('is listed in discovery, classic and aggregated, in the order of priorities', async () => {
    const groups = (
      JSON.parse((await get('/apis')).text) as {
        groups: { name: string; preferredVersion: { groupVersion: string } }[];
      }
    ).groups;
    // metrics.k8s.io has the lowest priority.
    assert.deepEqual(
      groups.slice(-2).map(({ name }) => name),
      [EXTENSION_GROUP, 'metrics.k8s.io'],
    );
    assert.equal(groups.at(-2)?.preferredVersion.groupVersion, `${EXTENSION_GROUP}/${EXTENSION_VERSION}`);
    const group = JSON.parse((await get(`/apis/${EXTENSION_GROUP}`)).text) as { kind: string; name: string };
    assert.deepEqual([group.kind, group.name], ['APIGroup', EXTENSION_GROUP]);
    const list = JSON.parse((await get(`/apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}`)).text) as {
      resources: { name: string }[];
    };
    assert.deepEqual(
      list.resources.map(({ name }) => name),
      ['flunders'],
    );
    const aggregated = await get('/apis', {
      headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
    });
    const item = (
      JSON.parse(aggregated.text) as {
        items: {
          metadata: { name: string };
          versions: {
            freshness: string;
            resources: { resource: string; scope: string; shortNames: string[] }[];
          }[];
        }[];
      }
    ).items.find(({ metadata }) => metadata.name === EXTENSION_GROUP);
    assert.equal(item?.versions[0]?.freshness, 'Current');
    assert.deepEqual(
      item?.versions[0]?.resources.map(({ resource, scope, shortNames }) => ({
        resource,
        scope,
        shortNames,
      })),
      [{ resource: 'flunders', scope: 'Namespaced', shortNames: ['flu'] }],
    );
  });

  it('receives the user from a trusted proxy; headers of the client are dropped', async () => {
    const seen = extension.requests.length;
    const forged = {
      'X-Remote-User': 'system:admin',
      'X-Remote-Group': 'system:masters',
      'X-Remote-Extra-Scopes': 'all',
      'X-Remote-Uid': '0',
      'X-Remote-Extra-a%2fb': 'c',
    };
    assert.equal((await get(COLLECTION, { headers: forged })).status, 200);
    const request = extension.requests.slice(seen).find(({ url }) => url === COLLECTION)!;
    assert.equal(request.peer, 'front-proxy-client');
    assert.equal(request.headers['x-remote-user'], 'kubernetes-admin');
    assert.deepEqual(request.headersDistinct['x-remote-group'], [
      'kubeadm:cluster-admins',
      'system:authenticated',
    ]);
    assert.equal(request.headers['x-remote-extra-scopes'], undefined);
    assert.equal(request.headers['x-remote-uid'], undefined);
    assert.equal(request.headers['x-remote-extra-a%2fb'], undefined);
    assert.equal(
      request.headers['x-remote-extra-authentication.kubernetes.io%2fcredential-id'.toLowerCase()]?.includes(
        'X509SHA256=',
      ),
      true,
    );
    assert.equal(request.headers.authorization, undefined);
    assert.equal(request.headers['x-forwarded-uri'], COLLECTION);
    assert.match(request.headers['x-forwarded-for'] as string, /127\.0\.0\.1/);
  });

  it('tells the impersonated user apart from the one who impersonates', async () => {
    const seen = extension.requests.length;
    const { status } = await get(COLLECTION, {
      headers: {
        'Impersonate-User': 'jane',
        'Impersonate-Group': 'system:masters',
        'Impersonate-Uid': 'u1',
        'Impersonate-Extra-team': 'blue',
      },
    });
    assert.equal(status, 200);
    const { headers } = extension.requests.slice(seen).find(({ url }) => url === COLLECTION)!;
    assert.deepEqual(
      [
        headers['x-remote-user'],
        headers['x-remote-uid'],
        headers['x-remote-extra-team'],
        headers['impersonate-user'],
      ],
      ['jane', 'u1', 'blue', undefined],
    );
  });

  it('is asked only what this server has authorized, and may forbid more', async () => {
    const seen = extension.requests.length;
    const forbidden = await get(COLLECTION, { client: undefined });
    assert.equal(forbidden.status, 403);
    assert.match(
      forbidden.text,
      /User \\"system:anonymous\\" cannot list resource \\"flunders\\" in API group \\"wardle\.example\.com\\"/,
    );
    assert.equal(
      extension.requests.slice(seen).some(({ url }) => url.includes('flunders')),
      false,
    );
    const more = await get(`${COLLECTION}/forbidden-by-extension`);
    assert.equal(more.status, 403);
    assert.match(more.text, /the extension server forbids kubernetes-admin/);
  });

  it('is driven by kubectl', async (t) => {
    for (const minor of [35, 32] as const) {
      const tools = foreignTools(minor);
      if ('missing' in tools) return void t.skip(tools.missing);
      const home = await mkdtemp(join(tmpdir(), 'capstan-kubectl-'));
      const k = async (...words: string[]): Promise<string> => {
        const { code, stdout, stderr } = await runCommand([tools.kubectl, ...words], {
          timeoutMs: 60_000,
          env: { KUBECONFIG: cluster.kubeconfig, HOME: home },
        });
        assert.equal(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
        return stdout;
      };
      try {
        const file = join(home, 'flunder.json');
        await writeFile(
          file,
          JSON.stringify({
            apiVersion: `${EXTENSION_GROUP}/${EXTENSION_VERSION}`,
            kind: 'Flunder',
            metadata: { name: `k${minor}` },
            spec: { size: 3 },
          }),
        );
        assert.match(
          await k('api-resources', '--api-group', EXTENSION_GROUP),
          /flunders\s+flu\s+wardle\.example\.com\/v1alpha1\s+true\s+Flunder/,
        );
        assert.match(await k('create', '-f', file), /flunder\.wardle\.example\.com\/k\d+ created/);
        assert.match(
          await k('get', 'flu', '-o', 'name'),
          new RegExp(`flunder\\.wardle\\.example\\.com/k${minor}`),
        );
        assert.match(await k('explain', 'flunders.spec.size'), /How big it is/);
        assert.match(
          await k('explain', 'flunders.spec.size', '--output=plaintext-openapiv2'),
          /How big it is/,
        );
        assert.match(
          await k('explain', 'deployments.spec.replicas', '--output=plaintext-openapiv2'),
          /replicas/,
        );
        assert.match(await k('get', 'apiservice', NAME), /default\/wardle\s+True/);
        assert.match(await k('delete', 'flunder', `k${minor}`), /deleted/);
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    }
  });

  it('is driven by client-node, watches included', async () => {
    const config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    const flunders = config.makeApiClient(CustomObjectsApi);
    const of = {
      group: EXTENSION_GROUP,
      version: EXTENSION_VERSION,
      namespace: 'default',
      plural: 'flunders',
    };
    const events: string[] = [];
    const { promise: deleted, resolve } = Promise.withResolvers<void>();
    const abort = await new Watch(config).watch(
      COLLECTION,
      {},
      (type: string, object: { metadata: { name: string } }) => {
        events.push(`${type} ${object.metadata.name}`);
        if (type === 'DELETED') resolve();
      },
      () => {},
    );
    await flunders.createNamespacedCustomObject({
      ...of,
      body: { metadata: { name: 'n' }, spec: { size: 1 } },
    });
    await flunders.deleteNamespacedCustomObject({ ...of, name: 'n' });
    await deleted;
    abort.abort();
    assert.deepEqual(events, ['ADDED n', 'DELETED n']);
  });

  it('has its OpenAPI merged: v2 whole, v3 by document', async () => {
    const v2 = JSON.parse((await get('/openapi/v2')).text) as {
      paths: Record<string, unknown>;
      definitions: Record<string, unknown>;
    };
    assert.ok(v2.paths[`/apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}/namespaces/{namespace}/flunders`]);
    assert.ok(
      v2.definitions['com.example.wardle.v1alpha1.Flunder'] && v2.definitions['io.k8s.api.core.v1.Pod'],
    );
    const { paths } = JSON.parse((await get('/openapi/v3')).text) as {
      paths: Record<string, { serverRelativeURL: string }>;
    };
    const url = paths[`apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}`]?.serverRelativeURL ?? '';
    assert.equal(url, `/openapi/v3/apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}?hash=F1`);
    assert.match((await get(url)).text, /How big it is/);
  });

  it('takes big bodies and answers as they stream, over HTTP/2 too', async () => {
    const size = 3_000_000;
    const body = JSON.stringify({ metadata: { name: 'big' }, spec: { text: 'x'.repeat(size) } });
    const session = connectHttp2(cluster.url, {
      ca: cluster.pki.ca.certificatePem,
      cert: cluster.pki.clients.admin.certificatePem,
      key: cluster.pki.clients.admin.keyPem,
    });
    try {
      const stream = session.request({
        ':method': 'POST',
        ':path': COLLECTION,
        'content-type': 'application/json',
      });
      stream.end(body);
      let length = 0;
      let status = 0;
      stream.on('response', (headers) => (status = Number(headers[':status'])));
      for await (const part of stream) length += (part as Buffer).length;
      assert.equal(status, 201);
      assert.ok(length > size);
    } finally {
      session.close();
    }
    assert.equal((await get(`${COLLECTION}/big`, { method: 'DELETE' })).status, 200);
  });

  it('is not led astray: what is asked for is what was allowed', async () => {
    const seen = extension.requests.length;
    const flunders = `/apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}/namespaces`;
    for (const path of [
      `${flunders}/default/../kube-system/flunders`,
      `${flunders}/default/%2e%2e/kube-system/flunders`,
      `${flunders}/default/flunders/x%2f..%2f..%2fy`,
      `${flunders}/default/flunders/x%5c..%5cy`,
      `${flunders}/default/flunders/%zz`,
    ]) {
      assert.equal(await rawStatus(path), 400, path);
    }
    assert.equal(
      extension.requests.slice(seen).some(({ url }) => url.includes('..') || url.includes('%')),
      false,
    );
  });

  it('many requests on one connection leave nothing behind', async () => {
    const warnings: string[] = [];
    const note = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', note);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    try {
      for (let i = 0; i < 15; i++) assert.equal(await rawStatus(COLLECTION, agent), 200);
      await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(warnings, []);
    } finally {
      process.off('warning', note);
      agent.destroy();
    }
  });

  it('gets upgraded connections', async () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { admin } = cluster.pki.clients;
    const request = httpsRequest(`${cluster.url}${COLLECTION}/x/connect`, {
      agent: false,
      ca: cluster.pki.ca.certificatePem,
      cert: admin.certificatePem,
      key: admin.keyPem,
      headers: { connection: 'Upgrade', upgrade: 'echo', 'x-remote-user': 'someone' },
    });
    request.on('upgrade', (_response, socket) => {
      socket.on('data', (data: Buffer) => {
        resolve(data.toString());
        socket.destroy();
      });
      socket.write('hello');
    });
    request.on('response', (response) => reject(new Error(`refused with ${response.statusCode}`)));
    request.on('error', reject);
    request.end();
    assert.equal(await promise, 'hello');
  });

  it('may not redirect clients, and what it refuses is passed on', async () => {
    extension.misbehaves = 'redirects';
    const redirected = await get(COLLECTION);
    assert.equal(redirected.status, 502);
    assert.match(redirected.text, /attempted to redirect/);
    extension.misbehaves = 'refuses';
    assert.equal((await get(COLLECTION)).status, 500);
    extension.misbehaves = undefined;
  });

  it('reviews tokens that come to it directly', async () => {
    const accounts: ResourceRef = {
      group: '',
      version: 'v1',
      plural: 'serviceaccounts',
      kind: 'ServiceAccount',
      namespaced: true,
    };
    await cluster.api.create(accounts, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'visitor', namespace: 'default' },
    });
    const issued = await cluster.api.createSubresource(
      accounts,
      { name: 'visitor', namespace: 'default' },
      {
        subresource: 'token',
        body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
      },
    );
    const { token } = issued['status'] as { token: string };
    const url = `https://localhost:${extension.port}${COLLECTION}`;
    const direct = await ask({
      url,
      ca: extension.ca,
      headers: { authorization: `Bearer ${token}`, host: 'wardle.default.svc' },
    });
    assert.equal(direct.status, 403);
    assert.match(direct.text, /forbids system:serviceaccount:default:visitor/);
    assert.equal(
      (
        await ask({
          url,
          ca: extension.ca,
          headers: { authorization: 'Bearer of.bad.news', host: 'wardle.default.svc' },
        })
      ).status,
      401,
    );
  });
});

describe('the conformance behaviour of the sample API server', () => {
  it('APIService: created, available, its status read, patched and replaced, relabelled, deleted by label', async () => {
    await register(apiService(extension));
    await untilCondition('Passed');
    const status = async (): Promise<{ type: string }[]> =>
      (await cluster.api.get(APISERVICES, { name: NAME })).status?.conditions ?? [];
    const item = (await get(`/apis/apiregistration.k8s.io/v1/apiservices/${NAME}/status`)).text;
    assert.match(item, /"type":"Available","status":"True"|"status":"True"/);
    await cluster.api.patch(
      APISERVICES,
      { name: NAME },
      { type: 'merge', patch: { spec: { versionPriority: 400 } } },
    );
    await cluster.api.patch(
      APISERVICES,
      { name: NAME },
      { type: 'merge', patch: { metadata: { labels: { 'apiservice-label': 'x' } } } },
    );
    await until('its condition of others is kept', async () => {
      const current = await cluster.api.get(APISERVICES, { name: NAME });
      const conditions = [
        ...(current.status?.conditions ?? []),
        { type: 'StatusUpdated', status: 'True', reason: 'E2E', message: 'Set from an e2e test' },
      ];
      return cluster.api.updateStatus(APISERVICES, { ...current, status: { conditions } }).then(
        () => true,
        () => false,
      );
    });
    assert.deepEqual((await status()).map(({ type }) => type).sort(), ['Available', 'StatusUpdated']);
    await cluster.api.patch(
      APISERVICES,
      { name: NAME },
      {
        type: 'merge',
        subresource: 'status',
        patch: {
          status: {
            conditions: [
              ...(await status()),
              { type: 'StatusPatched', status: 'True', reason: 'E2E', message: 'Set by an e2e test' },
            ],
          },
        },
      },
    );
    assert.ok((await status()).some(({ type }) => type === 'StatusPatched'));
    assert.equal((await get(COLLECTION)).status, 200);
    await cluster.api.deleteCollection(APISERVICES, { labelSelector: 'apiservice-label=x' });
    await until('it is gone', async () => (await get(COLLECTION)).status === 404);
  });
});

describe('what keeps an extension API server out of reach', () => {
  const clean = async (name: string): Promise<void> => cluster.api.delete(APISERVICES, { name });

  it('a Service that is not there, a port it has not, endpoints it has not', async () => {
    await register(
      apiService({ port: 443, ca: extension.ca }, { name: 'v1.gone.example.com', service: 'missing' }),
    );
    assert.equal(
      (await untilCondition('ServiceNotFound', 'v1.gone.example.com')).message,
      'service/missing in "default" is not present',
    );
    const refused = await get('/apis/gone.example.com/v1/things');
    assert.deepEqual([refused.status, refused.text], [503, 'service unavailable\n']);
    await cluster.api.create(SERVICES, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'missing', namespace: 'default' },
      spec: { ports: [{ port: 444 }] },
    } as never);
    assert.equal(
      (await untilCondition('ServicePortError', 'v1.gone.example.com')).message,
      'service/missing in "default" is not listening on port 443',
    );
    await cluster.api.patch(
      SERVICES,
      { name: 'missing', namespace: 'default' },
      { type: 'merge', patch: { spec: { ports: [{ port: 443, name: 'https' }] } } },
    );
    await untilCondition('EndpointsNotFound', 'v1.gone.example.com');
    const slices: ResourceRef = {
      group: 'discovery.k8s.io',
      version: 'v1',
      plural: 'endpointslices',
      kind: 'EndpointSlice',
      namespaced: true,
    };
    await cluster.api.create(slices, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: 'missing',
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'missing' },
      },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.9.9.9'], conditions: { ready: false } }],
      ports: [{ name: 'https', port: 8443, protocol: 'TCP' }],
    } as never);
    assert.match(
      (await untilCondition('MissingEndpoints', 'v1.gone.example.com')).message ?? '',
      /have no addresses with port name "https"/,
    );
    // Ready, but on a simulated node: its address is never dialled.
    const nodes: ResourceRef = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
    await cluster.api.create(nodes, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'simulated-1', annotations: { 'capstan.dev/simulated': 'true' } },
    });
    await cluster.api.patch(
      slices,
      { name: 'missing', namespace: 'default' },
      {
        type: 'merge',
        patch: {
          endpoints: [{ addresses: ['10.9.9.9'], nodeName: 'simulated-1', conditions: { ready: true } }],
        },
      },
    );
    assert.match(
      (await untilCondition('SimulatedEndpoints', 'v1.gone.example.com')).message ?? '',
      /are on simulated nodes/,
    );
    assert.match(
      (await get('/metrics')).text,
      /aggregator_unavailable_apiservice\{name="v1\.gone\.example\.com"\} 1\n/,
    );
    assert.match(
      (await get('/metrics')).text,
      /aggregator_unavailable_apiservice_total\{name="v1\.gone\.example\.com",reason="ServiceNotFound"\} 1\n/,
    );
    await clean('v1.gone.example.com');
    await until(
      'it is forgotten',
      async () => (await get('/apis/gone.example.com/v1/things')).status === 404,
    );
  });

  it('a certificate of another authority, or for another name, or none trusted', async () => {
    const other = createAuthority({ commonName: 'other', nowMs: Date.now(), lifetimeMs: 3_600_000 });
    await register(apiService({ port: extension.port, ca: other.certificatePem }));
    assert.match(
      (await untilCondition('FailedDiscoveryCheck')).message ?? '',
      /^failing or missing response from https:\/\/localhost:\d+\/apis\/wardle\.example\.com\/v1alpha1: /,
    );
    assert.equal((await get(COLLECTION)).status, 503);
    await clean(NAME);
    await register(apiService({ port: extension.port }, { insecureSkipTLSVerify: true }));
    assert.equal((await untilCondition('Passed')).message, 'all checks passed');
    assert.equal((await get(COLLECTION)).status, 200);
    await clean(NAME);
  });

  it('an expired certificate', async () => {
    const expired = await startExtensionServer({
      api: cluster.api,
      serverName: 'wardle.default.svc',
      expired: true,
    });
    try {
      await register(apiService(expired));
      assert.match((await untilCondition('FailedDiscoveryCheck')).message ?? '', /expired/);
      assert.equal(expired.requests.length, 0);
      await clean(NAME);
    } finally {
      await expired.stop();
    }
  });

  it('a server that never answers, and one that redirects its discovery', async () => {
    extension.misbehaves = 'hangs';
    await register(apiService(extension));
    assert.match((await untilCondition('FailedDiscoveryCheck')).message ?? '', /context deadline exceeded/);
    await clean(NAME);
    extension.misbehaves = 'redirects';
    await register(apiService(extension));
    assert.match(
      (await untilCondition('FailedDiscoveryCheck')).message ?? '',
      /bad status from https:.*: 302/,
    );
    await clean(NAME);
    extension.misbehaves = undefined;
  });

  it('garbage in its discovery harms nobody else, and is marked stale', async () => {
    extension.misbehaves = 'garbage';
    await register(apiService(extension));
    await untilCondition('Passed');
    const aggregated = JSON.parse(
      (
        await get('/apis', {
          headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
        })
      ).text,
    ) as { items: { metadata: { name: string }; versions: { freshness: string; resources: unknown[] }[] }[] };
    const item = aggregated.items.find(({ metadata }) => metadata.name === EXTENSION_GROUP);
    assert.deepEqual(item?.versions, [{ version: EXTENSION_VERSION, resources: [], freshness: 'Stale' }]);
    assert.ok(
      aggregated.items.some(
        ({ metadata, versions }) => metadata.name === 'apps' && versions[0]!.resources.length > 0,
      ),
    );
    assert.equal((await get('/openapi/v2')).status, 200);
    assert.equal((await get('/openapi/v3')).status, 200);
    extension.misbehaves = undefined;
    await clean(NAME);
  });

  it('an older server: classic discovery, OpenAPI v2 alone', async () => {
    const older = await startExtensionServer({
      api: cluster.api,
      serverName: 'wardle.default.svc',
      classicOnly: true,
    });
    older.misbehaves = 'no-v3';
    try {
      await register(apiService(older));
      await untilCondition('Passed');
      const url = await until(
        'its OpenAPI v3 is made',
        async () =>
          (
            JSON.parse((await get('/openapi/v3')).text) as {
              paths: Record<string, { serverRelativeURL: string } | undefined>;
            }
          ).paths[`apis/${EXTENSION_GROUP}/${EXTENSION_VERSION}`]?.serverRelativeURL,
      );
      const document = JSON.parse((await get(url)).text) as {
        components: { schemas: Record<string, unknown> };
        paths: Record<string, { post: { requestBody: unknown } }>;
      };
      assert.ok(document.components.schemas['com.example.wardle.v1alpha1.Flunder']);
      assert.deepEqual(Object.values(document.paths)[0]?.post.requestBody, {
        content: {
          'application/json': {
            schema: { $ref: '#/components/schemas/com.example.wardle.v1alpha1.Flunder' },
          },
        },
        required: true,
      });
      const aggregated = (
        await get('/apis', {
          headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
        })
      ).text;
      assert.match(aggregated, /"resource":"flunders"/);
      await clean(NAME);
    } finally {
      await older.stop();
    }
  });
});

describe('APIServices of what is served here', () => {
  it('exist for every built-in version, and say that they are local', async () => {
    const { items } = await cluster.api.list(APISERVICES);
    const apps = items.find(({ metadata }) => metadata?.name === 'v1.apps');
    assert.deepEqual(apps?.spec, {
      group: 'apps',
      version: 'v1',
      groupPriorityMinimum: 17_800,
      versionPriority: 15,
    });
    assert.equal(apps?.metadata?.labels?.['kube-aggregator.kubernetes.io/automanaged'], 'onstart');
    assert.deepEqual(
      items
        .find(({ metadata }) => metadata?.name === 'v1.')
        ?.status?.conditions?.map(({ type, status, reason, message }) => ({ type, status, reason, message })),
      [
        {
          type: 'Available',
          status: 'True',
          reason: 'Local',
          message: 'Local APIServices are always available',
        },
      ],
    );
    assert.equal(
      items.some(({ metadata }) => metadata?.name === 'v1.apiregistration.k8s.io'),
      false,
    );
  });

  it('come and go with CustomResourceDefinitions, and are put right', async () => {
    const name = 'v1.stable.example.com';
    await cluster.api.create(CRDS, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'crontabs.stable.example.com' },
      spec: {
        group: 'stable.example.com',
        scope: 'Namespaced',
        names: { plural: 'crontabs', kind: 'CronTab' },
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
        ],
      },
    } as never);
    const found = (): Promise<APIService | undefined> =>
      cluster.api.get(APISERVICES, { name }).catch(() => undefined);
    const made = await until('its APIService is made', found);
    assert.deepEqual(made.spec, {
      group: 'stable.example.com',
      version: 'v1',
      groupPriorityMinimum: 1000,
      versionPriority: 100,
    });
    await cluster.api.delete(APISERVICES, { name });
    await until('it is made again', found);
    await cluster.api.patch(
      APISERVICES,
      { name },
      { type: 'merge', patch: { spec: { groupPriorityMinimum: 5 } } },
    );
    await until('it is put right', async () => (await found())?.spec?.groupPriorityMinimum === 1000);
    await cluster.api.delete(CRDS, { name: 'crontabs.stable.example.com' });
    await until('it goes', async () => (await found()) === undefined);
  });

  it('may be made to lead elsewhere: what was served here is then asked for there', async () => {
    await cluster.api.patch(
      APISERVICES,
      { name: 'v1.scheduling.k8s.io' },
      {
        type: 'merge',
        patch: {
          spec: {
            service: { namespace: 'default', name: 'wardle', port: extension.port },
            insecureSkipTLSVerify: true,
          },
        },
      },
    );
    await until(
      'requests go there',
      async () => (await get('/apis/scheduling.k8s.io/v1/priorityclasses')).status !== 200,
    );
    await cluster.api.patch(
      APISERVICES,
      { name: 'v1.scheduling.k8s.io' },
      { type: 'merge', patch: { spec: { service: null, insecureSkipTLSVerify: null } } },
    );
    await until(
      'it is served here again',
      async () => (await get('/apis/scheduling.k8s.io/v1/priorityclasses')).status === 200,
    );
  });
});

describe('an authenticating proxy in front', () => {
  const whoami = async (
    options: Partial<AskOptions>,
  ): Promise<{
    status: number;
    user?:
      | { username?: string; uid?: string; groups?: string[]; extra?: Record<string, string[]> }
      | undefined;
  }> => {
    const { status, text } = await get('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
      method: 'POST',
      body: JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }),
      ...options,
      headers: { 'content-type': 'application/json', ...options.headers },
    });
    return {
      status,
      user:
        status === 201 ? (JSON.parse(text) as { status: { userInfo: object } }).status.userInfo : undefined,
    };
  };

  it('is trusted by its certificate: user, groups with commas in them, UID, extra', async () => {
    const client = cluster.pki.clients['front-proxy-client'];
    const { user } = await whoami({
      client,
      headers: {
        'X-Remote-User': Buffer.from('jürgen').toString('latin1'),
        'X-Remote-Group': ['a, system:masters', 'b'],
        'X-Remote-Uid': '7',
        'X-Remote-Extra-Example.com%2fScopes': ['x', 'y'],
      },
    });
    assert.deepEqual(user, {
      username: 'jürgen',
      uid: '7',
      groups: ['a, system:masters', 'b', 'system:authenticated'],
      extra: { 'example.com/scopes': ['x', 'y'] },
    });
  });

  it('says nothing: then it is nobody, and not anonymous', async () => {
    assert.equal((await whoami({ client: cluster.pki.clients['front-proxy-client'] })).status, 401);
  });

  it('is not believed with a client certificate, none, or one of the same name by another authority', async () => {
    const headers = { 'X-Remote-User': 'root', 'X-Remote-Group': 'system:masters' };
    assert.equal((await whoami({ headers })).user?.username, 'kubernetes-admin');
    assert.equal((await whoami({ headers, client: undefined })).status, 403);
    const now = Date.now();
    const other = createAuthority({ commonName: 'front-proxy-ca', nowMs: now, lifetimeMs: 3_600_000 });
    const forged = issueCertificate(other, {
      subject: { commonName: 'front-proxy-client' },
      usages: ['clientAuth'],
      nowMs: now,
      lifetimeMs: 3_600_000,
    });
    assert.equal((await whoami({ headers, client: forged })).status, 401);
    const stranger = issueCertificate(cluster.pki.frontProxyCa, {
      subject: { commonName: 'somebody' },
      usages: ['clientAuth'],
      nowMs: now,
      lifetimeMs: 3_600_000,
    });
    assert.equal((await whoami({ headers, client: stranger })).status, 401);
    const expired = issueCertificate(cluster.pki.frontProxyCa, {
      subject: { commonName: 'front-proxy-client' },
      usages: ['clientAuth'],
      nowMs: now - 7_200_000,
      lifetimeMs: 3_600_000,
    });
    assert.equal((await whoami({ headers, client: expired })).status, 401);
    // Its own clients are no users here by their certificates.
    const masters = issueCertificate(cluster.pki.frontProxyCa, {
      subject: { commonName: 'front-proxy-client', organizations: ['system:masters'] },
      usages: ['clientAuth'],
      nowMs: now,
      lifetimeMs: 3_600_000,
    });
    assert.equal((await whoami({ client: masters })).status, 401);
  });

  it('is distinguished over HTTP/2 too', async () => {
    const client = cluster.pki.clients['front-proxy-client'];
    const session = connectHttp2(cluster.url, {
      ca: cluster.pki.ca.certificatePem,
      cert: client.certificatePem,
      key: client.keyPem,
    });
    try {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/apis/authentication.k8s.io/v1/selfsubjectreviews',
        'content-type': 'application/json',
        'x-remote-user': 'jane',
        'x-remote-group': ['a, system:masters', 'b'],
      });
      stream.end('{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}');
      let text = '';
      for await (const part of stream) text += String(part);
      assert.deepEqual(
        (JSON.parse(text) as { status: { userInfo: { groups: string[] } } }).status.userInfo.groups,
        ['a, system:masters', 'b', 'system:authenticated'],
      );
    } finally {
      session.close();
    }
  });
});
