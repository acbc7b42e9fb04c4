/** Authentication of a whole API server over TLS: by flags, with files that change under it. */
import { splitPem } from '#pki/pem.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { test, type TestContext } from 'node:test';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { createLogger } from '#stdx/log.ts';
import { freePort } from '#testing/cluster.ts';
import { startTestIssuer } from '#testing/oidc-issuer.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { startWebhookPeer } from '#testing/webhook-peer.ts';
import { configMaps, namespaces, serviceAccounts } from '#client/refs.ts';
import type { ApiServerFlags } from './flags.ts';
import { settingsFrom } from './from-flags.ts';

interface World {
  readonly port: number;
  readonly api: TestApi;
  readonly lines: string[];
  get(path: string, options?: Reach): Promise<Answer>;
}

interface Reach {
  readonly token?: string | undefined;
  readonly client?: KeyPair;
  readonly ca?: string;
  readonly agent?: Agent;
  readonly body?: unknown;
}
interface Answer {
  readonly status: number;
  readonly body: Record<string, never>;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const HOUR_MS = 3_600_000;

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-authn-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function world(t: TestContext, { flags }: { readonly flags: ApiServerFlags }): Promise<World> {
  const lines: string[] = [];
  const port = await freePort();
  const api = await startTestApi({
    port,
    settings: settingsFrom(flags, undefined),
    log: createLogger({ write: (line) => void lines.push(line) }),
  });
  t.after(() => api.stop());
  return {
    port,
    api,
    lines,
    get: (path, reach) => get(port, { path, ca: api.pki.ca.certificatePem, ...reach }),
  };
}

function get(
  port: number,
  { path, token, client, ca, agent, body }: Reach & { readonly path: string },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        ca,
        agent: agent ?? false,
        method: body === undefined ? 'GET' : 'POST',
        ...(client ? { cert: client.certificatePem, key: client.keyPem } : {}),
        headers: {
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          resolve({
            status: response.statusCode ?? 0,
            text,
            headers: response.headers,
            get body() {
              return JSON.parse(text) as Record<string, never>;
            },
          });
        });
      },
    );
    call.on('error', reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const WHO = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
const REVIEW = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };

/** Name and groups, or the status where nobody is let in. */
async function who({ get: reach }: World, options: Reach): Promise<string> {
  const { status, body } = await reach(WHO, { ...options, body: REVIEW });
  if (status !== 201) return String(status);
  const { username, groups = [] } = (
    body as unknown as { status: { userInfo: { username: string; groups?: string[] } } }
  ).status.userInfo;
  return `${username} ${groups.join(' ')}`;
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 15_000;
  while (!(await check())) {
    assert.ok(performance.now() < endMs, `never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('by flags: OIDC and a webhook beside each other', async (t) => {
  const issuer = await startTestIssuer();
  t.after(() => issuer.stop());
  const peer = await startWebhookPeer(({ body }) => {
    const { token } = (body as { spec: { token: string } }).spec;
    return {
      body: {
        kind: 'TokenReview',
        apiVersion: 'authentication.k8s.io/v1',
        status:
          token === 'hook'
            ? { authenticated: true, user: { username: 'hooked', groups: ['g'] } }
            : { authenticated: false },
      },
    };
  });
  t.after(() => peer.stop());
  const dir = folder(t);
  writeFileSync(join(dir, 'ca.crt'), issuer.ca);
  const at = await world(t, {
    flags: {
      oidcIssuerUrl: issuer.url,
      oidcClientId: 'capstan',
      oidcUsernamePrefix: 'oidc:',
      oidcGroupsClaim: 'groups',
      oidcSigningAlgs: ['ES256'],
      oidcCaFile: join(dir, 'ca.crt'),
      authenticationTokenWebhookConfigFile: peer.kubeconfig,
      authenticationTokenWebhookVersion: 'v1',
    },
  });
  await until('the issuer was asked', async () => (await who(at, { token: issuer.token() })) !== '401');
  assert.equal(
    await who(at, { token: issuer.token({ groups: ['dev'] }) }),
    'oidc:jane dev system:authenticated',
  );
  assert.equal(await who(at, { token: issuer.token({ aud: 'x' }) }), '401');
  assert.equal(await who(at, { token: 'hook' }), 'hooked g system:authenticated');
  assert.equal(await who(at, { token: 'unknown' }), '401');
  // A TokenReview goes the same ways.
  const review = (await at.api.api.create(
    {
      group: 'authentication.k8s.io',
      version: 'v1',
      plural: 'tokenreviews',
      kind: 'TokenReview',
      namespaced: false,
    } as never,
    { spec: { token: issuer.token({ groups: ['dev'] }) } } as never,
  )) as unknown as { status: unknown };
  assert.deepEqual(review.status, {
    authenticated: true,
    user: { username: 'oidc:jane', groups: ['dev', 'system:authenticated'] },
    audiences: ['https://kubernetes.default.svc.cluster.local'],
  });
  const { text } = await at.get('/metrics', { client: at.api.pki.clients.admin });
  assert.match(text, /^authentication_attempts\{result="success"\} [1-9]/m);
  assert.match(text, /^authentication_attempts\{result="error"\} [1-9]/m);
  assert.match(text, /^authenticated_user_requests\{username="other"\} [1-9]/m);
});

test('flags that do not fit together, and files that cannot be used, are said by name', async (t) => {
  const dir = folder(t);
  const wrong = (flags: ApiServerFlags, why: RegExp): void =>
    assert.throws(() => settingsFrom(flags, undefined), why);
  wrong(
    { authenticationConfig: 'x', oidcIssuerUrl: 'y' },
    /authentication-config file and oidc-\* flags are mutually exclusive/,
  );
  wrong({ oidcIssuerUrl: 'y' }, /must be specified together/);
  wrong({ oidcCaFile: 'y' }, /must be specified together/);
  wrong({ authenticationTokenWebhookVersion: 'v1' }, /need --authentication-token-webhook-config-file/);
  wrong(
    { authenticationTokenWebhookConfigFile: 'x', authenticationTokenWebhookVersion: 'v2' },
    /is "v2"; it should be v1 or v1beta1/,
  );
  wrong(
    { authenticationTokenWebhookConfigFile: 'x', authenticationTokenWebhookCacheTtl: 'soon' },
    /is "soon"; it should be a duration/,
  );
  wrong({ serviceAccountIssuer: ['https://a', ''] }, /should not be an empty string/);
  wrong({ serviceAccountIssuer: [':x'] }, /contained a ':' but was not a valid URL/);
  wrong({ serviceAccountJwksUri: 'http://x' }, /it should be an https:\/\/ URL/);
  wrong({ serviceAccountMaxTokenExpiration: '59m' }, /must be between 1 hour and 2\^32 seconds/);
  await assert.rejects(
    startTestApi({ settings: settingsFrom({ authenticationConfig: join(dir, 'none') }, undefined) }),
    /--authentication-config .*none: ENOENT/,
  );
  const file = join(dir, 'a.yaml');
  writeFileSync(
    file,
    'apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n',
  );
  await assert.rejects(
    startTestApi({ settings: settingsFrom({ authenticationConfig: file, anonymousAuth: true }, undefined) }),
    /--anonymous-auth cannot be set when anonymous is configured/,
  );
  const at = await world(t, { flags: { authenticationConfig: file } });
  assert.equal((await at.get('/livez')).status, 200);
  assert.equal((await at.get('/readyz')).status, 401);
});

test('certificates, authorities, keys and tokens are followed; damaged files change nothing', async (t) => {
  const dir = folder(t);
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const authority = (name: string): ReturnType<typeof createAuthority> =>
    createAuthority({ commonName: name, nowMs: Date.now(), lifetimeMs: HOUR_MS });
  const old = authority('old'),
    next = authority('next'),
    serverCa = authority('server');
  const person = (by: typeof old, commonName: string): KeyPair =>
    issueCertificate(by, {
      subject: { commonName },
      usages: ['clientAuth'],
      nowMs: Date.now(),
      lifetimeMs: HOUR_MS,
    });
  const serving = issueCertificate(serverCa, {
    subject: { commonName: 'localhost' },
    usages: ['serverAuth'],
    altNames: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
    nowMs: Date.now(),
    lifetimeMs: HOUR_MS,
  });
  const ecKey = (): string =>
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    }) as string;
  const oldKey = ecKey();
  const at = await world(t, {
    flags: {
      clientCaFile: file('client-ca.crt', old.certificatePem),
      tokenAuthFile: file('tokens.csv', 'secret,tom,1\n'),
      tlsCertFile: file('server.crt', 'not read by this test\n'),
      tlsPrivateKeyFile: file('server.key', ''),
      serviceAccountSigningKeyFile: file('sa.key', oldKey),
      serviceAccountKeyFile: [file('sa.pub', oldKey)],
    },
  });
  const { pki } = at.api;

  // Tokens.
  assert.match(await who(at, { token: 'secret' }), /^tom /);
  file('tokens.csv', '"damaged\n');
  await until('told', () =>
    Promise.resolve(at.lines.some((line) => line.includes('keeping its previous content'))),
  );
  assert.match(await who(at, { token: 'secret' }), /^tom /);
  file('tokens.csv', 'other,ann,2\n');
  await until('the new token', async () => (await who(at, { token: 'other' })).startsWith('ann'));
  assert.equal(await who(at, { token: 'secret' }), '401');

  // Authorities of clients, on connections that are open already too. The serving pair is damaged yet, so that nothing of those files is used.
  const admin = pki.clients.admin;
  const keepAlive = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => keepAlive.destroy());
  const session = connect(`https://127.0.0.1:${at.port}`, {
    ca: pki.ca.certificatePem,
    cert: admin.certificatePem,
    key: admin.keyPem,
  });
  t.after(() => session.destroy());
  const goaway = new Promise((resolve) => session.once('goaway', resolve));
  assert.match(await who(at, { client: admin, agent: keepAlive }), /^kubernetes-admin /);
  assert.equal(await who(at, { client: person(next, 'nina') }), '401');
  const before = await raw(at.port, { client: admin });
  assert.equal(before.status, '200');
  assert.equal((await raw(at.port, { client: admin, session: before.session })).status, '200');
  const refusals = (): number =>
    at.lines.filter((line) => /changed certificates or keys are invalid/.test(line)).length;
  const earlier = refusals();
  file('client-ca.crt', next.certificatePem);
  await until('refused', () => Promise.resolve(refusals() > earlier));
  assert.match(await who(at, { client: admin }), /^kubernetes-admin /, 'nothing of it was taken');
  file('server.crt', serving.certificatePem);
  file('server.key', serving.keyPem);
  const ca = serverCa.certificatePem;
  await until('the new serving certificate', async () =>
    (await who(at, { client: person(next, 'nina'), ca }).catch(() => '')).startsWith('nina'),
  );
  assert.equal(await who(at, { client: admin, ca }), '401', 'the authority that is gone');
  await goaway;
  assert.equal(
    (await raw(at.port, { client: admin, session: before.session })).status,
    '401',
    'not by a resumed session either',
  );
  file('client-ca.crt', `${next.certificatePem}\n${old.certificatePem}`);
  await until('both', async () => (await who(at, { client: person(old, 'olga'), ca })).startsWith('olga'));
  assert.match(await who(at, { client: person(next, 'nina'), ca }), /^nina/);
  const published = await at.api.api.get(configMaps, {
    namespace: 'kube-system',
    name: 'extension-apiserver-authentication',
  });
  // Beside what was published before: other servers may still have it.
  const authorities = splitPem(published.data?.['client-ca-file'] ?? '', 'CERTIFICATE').map((pem) =>
    pem.trim(),
  );
  for (const { certificatePem } of [next, old]) assert.ok(authorities.includes(certificatePem.trim()));

  // Keys of service account tokens: (1) accept the new, (2) sign with it, (3) stop accepting the old.
  await at.api.api.create(namespaces, { metadata: { name: 'red' } });
  await at.api.api.create(serviceAccounts, { metadata: { name: 'bot', namespace: 'red' } });
  const issue = async (): Promise<string> =>
    (
      (await at.api.api.createSubresource(
        serviceAccounts,
        { name: 'bot', namespace: 'red' },
        {
          subresource: 'token',
          body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
        },
      )) as { status: { token: string } }
    ).status.token;
  const kid = (token: string): string =>
    (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;
  const first = await issue();
  const second = ecKey();
  file('sa.key', second);
  await until('signed with the new key', async () => kid(await issue()) !== kid(first));
  assert.match(
    await who(at, { token: first, ca }),
    /^system:serviceaccount:red:bot /,
    'nobody was logged out',
  );
  assert.match(await who(at, { token: await issue(), ca }), /^system:serviceaccount:red:bot /);
  const soFar = refusals();
  file('sa.key', 'damaged');
  await until('told', () => Promise.resolve(refusals() > soFar));
  assert.match(await who(at, { token: first, ca }), /^system:serviceaccount:red:bot /);
  file('sa.key', second);
  file('sa.pub', second);
  await until('the old key is gone', async () => (await who(at, { token: first, ca })) === '401');
});

/** One GET over a TLS session that may be resumed. */
function raw(
  port: number,
  { client, session }: { readonly client: KeyPair; readonly session?: Buffer | undefined },
): Promise<{ status: string; session: Buffer | undefined }> {
  return new Promise((resolve, reject) => {
    let latest: Buffer | undefined;
    let text = '';
    // The server's certificate is of another authority by the second time: it is not what is looked at.
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      cert: client.certificatePem,
      key: client.keyPem,
      ALPNProtocols: ['http/1.1'],
      ...(session ? { session } : {}),
    });
    socket.on('session', (ticket) => {
      latest = ticket;
    });
    socket.on('data', (part: Buffer) => {
      text += part.toString();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve({ status: text.split(' ')[1] ?? '', session: latest }));
    socket.write('GET /api HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  });
}

test(
  "a certificate may say the user's UID, once",
  { skip: hasOpenssl() ? false : 'openssl is not installed' },
  async (t) => {
    const dir = folder(t);
    const make = (name: string, subject: string): KeyPair => {
      writeFileSync(join(dir, 'cnf'), `[req]\ndistinguished_name=dn\nprompt=no\n[dn]\n${subject}\n`);
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:P-256',
          '-nodes',
          '-days',
          '1',
          '-config',
          join(dir, 'cnf'),
          '-keyout',
          join(dir, `${name}.key`),
          '-out',
          join(dir, `${name}.crt`),
        ],
        { stdio: 'pipe' },
      );
      return {
        certificatePem: readFileSync(join(dir, `${name}.crt`), 'utf8'),
        keyPem: readFileSync(join(dir, `${name}.key`), 'utf8'),
      };
    };
    const one = make('one', 'CN=jane\n0.1.3.6.1.4.1.57683.2=u-1'),
      two = make('two', 'CN=joe\n0.1.3.6.1.4.1.57683.2=u-1\n1.1.3.6.1.4.1.57683.2=u-2');
    writeFileSync(join(dir, 'ca.crt'), '');
    const at = await world(t, { flags: { clientCaFile: join(dir, 'ca.crt') } });
    writeFileSync(join(dir, 'ca.crt'), one.certificatePem + two.certificatePem);
    await until('jane', async () => (await who(at, { client: one })).startsWith('jane'));
    const { body } = await at.get(WHO, { client: one, body: REVIEW });
    assert.equal((body as unknown as { status: { userInfo: { uid: string } } }).status.userInfo.uid, 'u-1');
    assert.equal(await who(at, { client: two }), '401');
  },
);

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version']);
    return true;
  } catch {
    return false;
  }
}

test('the longest life of a token is cut and said', async (t) => {
  const at = await world(t, { flags: { serviceAccountMaxTokenExpiration: '2h' } });
  await at.api.api.create(namespaces, { metadata: { name: 'red' } });
  await at.api.api.create(serviceAccounts, { metadata: { name: 'bot', namespace: 'red' } });
  const answer = await at.get('/api/v1/namespaces/red/serviceaccounts/bot/token', {
    client: at.api.pki.clients.admin,
    body: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 86_400 },
    },
  });
  assert.equal(answer.status, 201);
  assert.equal(
    (answer.body as unknown as { spec: { expirationSeconds: number } }).spec.expirationSeconds,
    7200,
  );
  assert.equal(
    answer.headers['warning'],
    '299 - "requested expiration of 86400 seconds shortened to 7200 seconds"',
  );
});
