/** Two API servers on one etcd, of which only one serves an alpha group: the other passes requests for it on. Over TLS, as clients and peers have it. */
import assert from 'node:assert/strict';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { enabledByDefault } from '#api/resources.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { makeAuthority } from '#testing/certificates.ts';
import { until } from '#testing/cluster.ts';
import { createAuthentication } from '../authn/authentication.ts';
import type { Authorizer } from '../authz/authorizer.ts';
import type { TestServer } from '../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../testing/shared-etcd.ts';

const GROUP = 'internal.apiserver.k8s.io';
const PATH = `/apis/${GROUP}/v1alpha1/storageversions`;
const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
const JSON_TYPE = { 'content-type': 'application/json' };

const program = someEtcd();
const clients = makeAuthority();
const frontProxies = makeAuthority();
const servers = makeAuthority();
const proxyClient = frontProxies.issue({ commonName: 'front-proxy-client' });
const alice = clients.issue({ commonName: 'alice', organizations: ['admins', 'ünïcode'] });
const mallory = clients.issue({ commonName: 'mallory' });

type AuthorizationAttributes = Parameters<Authorizer['authorize']>[0];

interface Peer {
  readonly test: TestServer;
  readonly port: number;
  /** What it was asked to authorize for the alpha group. */
  readonly asked: AuthorizationAttributes[];
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // oxlint-disable-next-line no-explicit-any
  readonly body: any;
}

type Asking = Pick<RequestOptions, 'method' | 'headers' | 'cert' | 'key'> & { readonly body?: unknown };

function options(
  { port }: Pick<Peer, 'port'>,
  path: string,
  { cert, key, ...asking }: Asking,
): RequestOptions {
  const identity = { cert: cert ?? alice.cert, key: key ?? alice.key };
  return { ...asking, ...identity, host: '127.0.0.1', port, path, ca: servers.cert, agent: false };
}

function ask(peer: Pick<Peer, 'port'>, path: string, { body, ...asking }: Asking = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(options(peer, path, asking), (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const { statusCode: status = 0, headers } = response;
        resolve({
          status,
          headers,
          text,
          get body() {
            return JSON.parse(text);
          },
        });
      });
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function groupsIn({ body }: Answer): string[] {
  return (body as { items: { metadata: { name: string } }[] }).items.map(({ metadata }) => metadata.name);
}

const aNew = (name: string): Asking => ({
  method: 'POST',
  headers: JSON_TYPE,
  body: { apiVersion: `${GROUP}/v1alpha1`, kind: 'StorageVersion', metadata: { name }, spec: {} },
});

describe('the mixed version proxy', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let plain: Peer;
  let alpha: Peer;

  async function start({
    withAlpha,
    port,
  }: {
    readonly withAlpha: boolean;
    readonly port: number;
  }): Promise<Peer> {
    const asked: AuthorizationAttributes[] = [];
    const started = await shared.start({
      isEnabled: ({ group, version }) => (withAlpha && group === GROUP) || enabledByDefault(version),
      aggregation: { proxyClient },
      peers: { ca: servers.cert, advertise: { ip: '127.0.0.1', port } },
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
      // The peer decides by itself: here, only the one that serves the group refuses.
      authorization: () => ({
        authorize(attributes) {
          if (attributes.group === GROUP) asked.push(attributes);
          const isRefused = withAlpha && attributes.group === GROUP && attributes.user.name === 'mallory';
          return { decision: isRefused ? 'no-opinion' : 'allow', reason: '' };
        },
      }),
    });
    await started.server.start({
      host: '127.0.0.1',
      port,
      tls: {
        ...servers.issue({ commonName: 'kube-apiserver', addresses: ['127.0.0.1'] }),
        clientCa: clients.cert,
        frontProxyCa: frontProxies.cert,
      },
    });
    return { test: started, port, asked };
  }

  /** What the other one serves is known here. */
  const knowsAlpha = (): Promise<unknown> =>
    until('the plain server knows what its peer serves', async () => (await ask(plain, PATH)).status === 200);

  before(async () => {
    shared = await startSharedEtcd(program!);
    plain = await start({ withAlpha: false, port: await freePort() });
    alpha = await start({ withAlpha: true, port: await freePort() });
    await knowsAlpha();
  });
  after(async () => {
    await plain.test.stop();
    await alpha.test.stop();
    await shared.close();
  });

  test('reads and writes are passed on with the user, who is authorized once more', async () => {
    alpha.asked.length = plain.asked.length = 0;
    const created = await ask(plain, PATH, aNew('a'));
    assert.equal(created.status, 201, created.text);
    assert.equal((await ask(alpha, `${PATH}/a`)).body.metadata.uid, created.body.metadata.uid);
    const [here, there] = [plain.asked[0]!, alpha.asked[0]!];
    assert.deepEqual([here.verb, there.verb], ['create', 'create']);
    assert.equal(there.user.name, 'alice');
    assert.deepEqual(there.user.groups, here.user.groups);
    const refused = await ask(plain, PATH, { cert: mallory.cert, key: mallory.key });
    assert.equal(refused.status, 403);
    assert.match(refused.body.message, /User "mallory" cannot list resource "storageversions"/);
    const deleted = await ask(plain, `${PATH}/a`, { method: 'DELETE' });
    assert.equal(deleted.status, 200);
  });

  test('a watch passes through, and ends with its client', async () => {
    const events: string[] = [];
    let isOpen = false;
    const request = httpsRequest(options(plain, `${PATH}?watch=true`, {}), (response) => {
      isOpen = true;
      response.setEncoding('utf8').on('data', (text: string) => void events.push(text));
      response.on('error', () => {});
    });
    request.on('error', () => {});
    request.end();
    await until('the watch has begun', () => isOpen);
    assert.equal((await ask(alpha, PATH, aNew('watched'))).status, 201);
    await until('the event came', () => events.join('').includes('"watched"'));
    assert.equal((JSON.parse(events.join('').split('\n')[0]!) as { type: string }).type, 'ADDED');
    request.destroy();
    assert.equal((await ask(plain, `${PATH}/watched`, { method: 'DELETE' })).status, 200);
  });

  test('aggregated discovery of /apis has what peers serve, unless the client wants none of it', async () => {
    const merged = await ask(plain, '/apis', { headers: { accept: AGGREGATED } });
    const own = await ask(plain, '/apis', { headers: { accept: `${AGGREGATED};profile=nopeer` } });
    const theirs = await ask(alpha, '/apis', { headers: { accept: `${AGGREGATED};profile=nopeer` } });
    assert.deepEqual(groupsIn(merged).toSorted(), groupsIn(theirs).toSorted());
    assert.ok(groupsIn(merged).includes(GROUP));
    assert.ok(!groupsIn(own).includes(GROUP));
    assert.notEqual(merged.headers['etag'], own.headers['etag']);
    const same = await ask(plain, '/apis', {
      headers: { accept: AGGREGATED, 'if-none-match': String(merged.headers['etag']) },
    });
    assert.equal(same.status, 304);
    const classic = await ask(plain, '/apis');
    assert.ok(!classic.text.includes(GROUP), 'the classic documents are this server alone, as upstream');
  });

  test('a request that was passed on goes no further, and a header that a client makes up gives nothing', async () => {
    const forged = await ask(plain, PATH, { headers: { 'x-kubernetes-peer-proxied': 'true' } });
    assert.equal(forged.status, 404);
    alpha.asked.length = 0;
    const claimed = await ask(plain, PATH, {
      cert: mallory.cert,
      key: mallory.key,
      headers: { 'x-remote-user': 'alice', 'x-remote-group': 'system:masters', connection: 'x-remote-user' },
    });
    assert.equal(claimed.status, 403);
    assert.ok(
      alpha.asked.every(({ user }) => user.name === 'mallory'),
      'only the authenticated user counts',
    );
    const direct = await ask(alpha, PATH, {
      cert: mallory.cert,
      key: mallory.key,
      headers: { 'x-kubernetes-peer-proxied': 'true', 'x-remote-user': 'alice' },
    });
    assert.equal(direct.status, 403, 'whoever is no front proxy is not believed');
  });

  test('what no server serves is 404; what is served here stays here', async () => {
    assert.equal((await ask(plain, '/apis/nothing.example.com/v1/things')).status, 404);
    alpha.asked.length = 0;
    assert.equal((await ask(plain, '/api/v1/namespaces')).status, 200);
    const { text } = await ask(plain, '/metrics');
    assert.match(text, /apiserver_rerouted_request_total\{code="200",group="internal.apiserver.k8s.io"/);
    assert.match(text, /apiserver_rerouted_request_total\{code="200",group="",version="",resource=""\}/);
    assert.doesNotMatch(text, /apiserver_rerouted_request_total\{[^}]*namespaces/);
  });

  test('custom resources are never taken from a peer, also after their deletion', async () => {
    const name = 'widgets.example.com';
    const crd = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name },
      spec: {
        group: 'example.com',
        scope: 'Cluster',
        names: { plural: 'widgets', kind: 'Widget' },
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
        ],
      },
    };
    const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    const made = await ask(alpha, definitions, { method: 'POST', headers: JSON_TYPE, body: crd });
    assert.equal(made.status, 201, made.text);
    await until('both serve it', async () => {
      const answers = await Promise.all(
        [plain, alpha].map((peer) => ask(peer, '/apis/example.com/v1/widgets')),
      );
      return answers.every(({ status }) => status === 200);
    });
    // The peer's document, read now, has it.
    plain.test.server.replaceProxyClient(proxyClient);
    await knowsAlpha();
    await ask(alpha, `${definitions}/${name}`, { method: 'DELETE' });
    await until(
      'it is gone at the plain one',
      async () => (await ask(plain, '/apis/example.com/v1/widgets')).status === 404,
    );
    const { text } = await ask(plain, '/apis', { headers: { accept: AGGREGATED } });
    assert.ok(!text.includes('"example.com"'));
  });

  test('peers are verified by the authorities of now, as when those are rotated', async () => {
    plain.test.server.replacePeerAuthorities(clients.cert);
    const refused = await ask(plain, PATH);
    assert.equal(refused.status, 503, refused.text);
    plain.test.server.replacePeerAuthorities(`${clients.cert}${servers.cert}`);
    await knowsAlpha();
  });

  test('connection upgrades for a peer are refused by it, not hung', async () => {
    const socket = tlsConnect({ host: '127.0.0.1', port: plain.port, ca: servers.cert, ...alice });
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => void (text += chunk));
    socket.on('error', () => {});
    socket.write(
      `GET ${PATH}/x/exec HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
    await until('it is answered', () => /^HTTP\/1\.1 4\d\d /.test(text));
    const metrics = await ask(plain, '/metrics');
    assert.match(
      metrics.text,
      new RegExp(`apiserver_rerouted_request_total\\{code="${text.slice(9, 12)}",group="${GROUP}"`),
    );
    socket.destroy();
  });

  test('the peer dies: 503 until it is back, with its name kept', async () => {
    await alpha.test.stop();
    await until('no endpoint is left', async () => (await ask(plain, PATH)).status === 503);
    const gone = await ask(plain, PATH);
    assert.match(
      gone.text,
      /Error getting ip and port info of the remote server|error trying to reach service/,
    );
    await until('its lease is seen to be gone', async () => {
      const { text } = await ask(plain, PATH);
      return text.includes('Error getting ip and port info of the remote server while proxying');
    });
    const merged = await ask(plain, '/apis', { headers: { accept: AGGREGATED } });
    assert.ok(groupsIn(merged).includes(GROUP), 'as long as its identity lasts');
    alpha = await start({ withAlpha: true, port: alpha.port });
    await knowsAlpha();
  });
});
