import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { isStatusError } from '#machinery/errors.ts';
import { FakeInternal } from '../authz/testing/loopback-client.ts';
import type { ApiRequest } from '../http/request.ts';
import {
  createAuthentication,
  DEFAULT_ISSUER,
  type Authentication,
  type AuthenticationOptions,
} from './authentication.ts';
import type { Authenticated, TokenRequestSpec } from './authenticator.ts';
import { JwtSigner } from '#stdx/jwt.ts';
import { parseCsv } from './static-token-file.ts';

const KEY = newKey('P-256');
const START = Date.UTC(2026, 0, 15);

function newKey(namedCurve: string): string {
  return generateKeyPairSync('ec', { namedCurve }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

interface World {
  readonly internal: FakeInternal;
  readonly authentication: Authentication;
  now: number;
}

function world(changes: Partial<AuthenticationOptions> = {}): World {
  const internal = new FakeInternal();
  internal.put(
    { group: '', resource: 'serviceaccounts' },
    { metadata: { name: 'bot', namespace: 'red', uid: 'sa-1' } },
  );
  internal.put({ group: '', resource: 'pods' }, { metadata: { name: 'p', namespace: 'red', uid: 'pod-1' } });
  const made: World = {
    internal,
    now: START,
    authentication: createAuthentication({
      internal,
      nowMs: () => made.now,
      serviceAccounts: { signingKeyPem: KEY },
      ...changes,
    }),
  };
  return made;
}

function request(headers: Record<string, string> = {}, changes: Partial<ApiRequest> = {}): ApiRequest {
  return {
    method: 'GET',
    path: '/api',
    query: '',
    headers,
    body: () => Promise.resolve(Buffer.alloc(0)),
    onAbort: () => {},
    remoteAddress: '192.0.2.1',
    ...changes,
  };
}

const bearer = (token: string): ApiRequest => request({ authorization: `Bearer ${token}` });

async function authenticate({ authentication }: World, of: ApiRequest): Promise<Authenticated | undefined> {
  return authentication.authenticator.authenticate(of);
}

async function refused(at: World, of: ApiRequest): Promise<void> {
  await assert.rejects(
    authenticate(at, of),
    (error) =>
      isStatusError(error, 'Unauthorized') && error.status.message === 'Unauthorized' && error.code === 401,
  );
}

const SPEC: TokenRequestSpec = {
  namespace: 'red',
  serviceAccount: { name: 'bot', uid: 'sa-1' },
  audiences: [],
  expirationSeconds: 3600,
};
const BOUND: TokenRequestSpec = {
  ...SPEC,
  boundTo: { kind: 'Pod', name: 'p', uid: 'pod-1' },
  node: { name: 'n1', uid: 'node-1' },
};

async function issue(at: World, spec: TokenRequestSpec = SPEC): Promise<string> {
  return (await at.authentication.tokenIssuer.issue(spec)).token;
}

function buildClaims(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>;
}

test('no credential is anonymous, where that is allowed', async () => {
  assert.deepEqual((await authenticate(world(), request()))?.user, {
    name: 'system:anonymous',
    groups: ['system:unauthenticated'],
  });
  assert.equal(await authenticate(world({ anonymous: { enabled: false } }), request()), undefined);
  const some = world({ anonymous: { enabled: true, paths: ['/livez'] } });
  assert.equal(await authenticate(some, request()), undefined);
  assert.ok(await authenticate(some, request({}, { path: '/livez' })));
});

test('a wrong credential is 401, never anonymous', async () => {
  const at = world();
  for (const token of [
    'x',
    'a.b.c',
    'abcdef.0123456789abcdef',
    'x'.repeat(100_000),
    `${'e30'.repeat(3)}.e30.e30`,
  ])
    await refused(at, bearer(token));
});

test('a client certificate names the user, and wins over a bad token', async () => {
  const at = world();
  const clientCertificate = { commonName: 'jane', organizations: ['devs'], fingerprint: 'AB:CD' };
  const user = {
    name: 'jane',
    groups: ['devs', 'system:authenticated'],
    extra: { 'authentication.kubernetes.io/credential-id': ['X509SHA256=abcd'] },
  };
  assert.deepEqual((await authenticate(at, request({}, { clientCertificate })))?.user, user);
  assert.deepEqual(
    (await authenticate(at, request({ authorization: 'Bearer bad' }, { clientCertificate })))?.user,
    user,
  );
  assert.equal(
    (
      await authenticate(
        at,
        request({}, { clientCertificate: { ...clientCertificate, fingerprint: 'CD', uid: 'u-1' } }),
      )
    )?.user.uid,
    'u-1',
  );
  assert.equal(
    (await authenticate(at, request({}, { clientCertificate: { ...clientCertificate, commonName: '' } })))
      ?.user.name,
    'system:anonymous',
  );
});

test('a client certificate that is not believed is 401, unless another credential holds', async () => {
  const at = world();
  await refused(at, request({}, { clientCertificateError: 'CERT_HAS_EXPIRED' }));
  const found = await authenticate(
    at,
    request({ authorization: `Bearer ${await issue(at)}` }, { clientCertificateError: 'CERT_HAS_EXPIRED' }),
  );
  assert.equal(found?.user.name, 'system:serviceaccount:red:bot');
});

test('a certificate that expires while its connection is open is refused from then on', async () => {
  const at = world({ requestHeader: { allowedNames: [] } });
  const notAfterMs = START + 60_000;
  const client = { commonName: 'jane', organizations: [], fingerprint: 'AB', notAfterMs };
  const asClient = request({}, { clientCertificate: client });
  const asProxy = request(
    { 'x-remote-user': 'joe' },
    { frontProxyCertificate: { commonName: 'proxy', notAfterMs } },
  );
  assert.equal((await authenticate(at, asClient))?.user.name, 'jane');
  assert.equal((await authenticate(at, asProxy))?.user.name, 'joe');
  at.now = notAfterMs + 1;
  await refused(at, asClient);
  await refused(at, asProxy);
});

test("a node's certificate that has ended is a user of its own, last and only for the time of grace", async () => {
  const notAfterMs = START - 60_000;
  const certificate: Partial<ApiRequest> = {
    clientCertificateError: 'CERT_HAS_EXPIRED',
    expiredNode: { nodeName: 'a', notAfterMs, fingerprint: 'AB:CD' },
  };
  const at = world({ expiredNodeGraceMs: 120_000 });
  assert.deepEqual((await authenticate(at, request({}, certificate)))?.user, {
    name: 'capstan:expired-node:a',
    groups: ['capstan:expired-nodes', 'system:authenticated'],
    extra: {
      'authentication.kubernetes.io/credential-id': ['X509SHA256=abcd'],
      'capstan.dev/certificate-expired-at': ['2026-01-14T23:59:00Z'],
    },
  });
  const withToken = request({ authorization: `Bearer ${await issue(at)}` }, certificate);
  assert.equal((await authenticate(at, withToken))?.user.name, 'system:serviceaccount:red:bot');
  at.now += 60_000;
  await refused(at, request({}, certificate));
  await refused(world({ expiredNodeGraceMs: 0 }), request({}, certificate));
});

test('an in-process user is taken as it is', async () => {
  const user = { name: 'system:apiserver', groups: ['system:masters'] };
  assert.deepEqual(await authenticate(world(), request({ authorization: 'Bearer bad' }, { user })), { user });
});

test('proxy headers are believed only with a front-proxy certificate of an allowed name', async () => {
  const at = world({ requestHeader: { allowedNames: ['front-proxy-client'] } });
  const headers = {
    'x-remote-user': 'jane',
    'x-remote-group': 'a, b',
    'x-remote-uid': '7',
    'x-remote-extra-acme.com%2fproject': 'p1, p2',
  };
  assert.equal((await authenticate(at, request(headers)))?.user.name, 'system:anonymous');
  assert.equal(
    (
      await authenticate(
        at,
        request(headers, {
          clientCertificate: { commonName: 'front-proxy-client', organizations: [], fingerprint: '' },
        }),
      )
    )?.user.name,
    'front-proxy-client',
  );
  assert.deepEqual(
    (
      await authenticate(
        at,
        request(headers, { frontProxyCertificate: { commonName: 'front-proxy-client' } }),
      )
    )?.user,
    {
      name: 'jane',
      uid: '7',
      groups: ['a', 'b', 'system:authenticated'],
      extra: { 'acme.com/project': ['p1', 'p2'] },
    },
  );
  await refused(at, request(headers, { frontProxyCertificate: { commonName: 'other' } }));
});

test("an issued token has upstream's claims and makes upstream's user", async () => {
  const at = world();
  const token = await issue(at, BOUND);
  const { jti, ...claims } = buildClaims(token);
  const now = START / 1000;
  assert.deepEqual(claims, {
    aud: [DEFAULT_ISSUER],
    exp: now + 3600,
    iat: now,
    iss: DEFAULT_ISSUER,
    nbf: now,
    sub: 'system:serviceaccount:red:bot',
    'kubernetes.io': {
      namespace: 'red',
      node: { name: 'n1', uid: 'node-1' },
      pod: { name: 'p', uid: 'pod-1' },
      serviceaccount: { name: 'bot', uid: 'sa-1' },
    },
  });
  const found = await authenticate(at, bearer(token));
  assert.deepEqual(found, {
    audiences: [DEFAULT_ISSUER],
    user: {
      name: 'system:serviceaccount:red:bot',
      uid: 'sa-1',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:red', 'system:authenticated'],
      extra: {
        'authentication.kubernetes.io/pod-name': ['p'],
        'authentication.kubernetes.io/pod-uid': ['pod-1'],
        'authentication.kubernetes.io/node-name': ['n1'],
        'authentication.kubernetes.io/node-uid': ['node-1'],
        'authentication.kubernetes.io/credential-id': [`JTI=${jti as string}`],
      },
    },
  });
});

test('a foreign verifier accepts the token with the published keys', async () => {
  for (const signingKeyPem of [
    KEY,
    newKey('P-384'),
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    }) as string,
  ]) {
    const at = world({ serviceAccounts: { signingKeyPem } });
    const token = await issue(at);
    const keys = createLocalJWKSet(at.authentication.tokenIssuer.jwks() as never);
    const verified = await jwtVerify(token, keys, {
      issuer: DEFAULT_ISSUER,
      audience: DEFAULT_ISSUER,
      currentDate: new Date(START),
    });
    assert.equal(verified.payload.sub, 'system:serviceaccount:red:bot');
    assert.deepEqual(
      at.authentication.tokenIssuer.openidConfiguration()?.['id_token_signing_alg_values_supported'],
      [verified.protectedHeader.alg],
    );
    assert.ok(await authenticate(at, bearer(token)));
  }
});

test('an issuer that is no https URL publishes nothing', () => {
  for (const issuer of ['http://x', 'kubernetes', 'https://']) {
    const { tokenIssuer } = world({
      serviceAccounts: { signingKeyPem: KEY, issuers: [issuer] },
    }).authentication;
    assert.deepEqual([tokenIssuer.openidConfiguration(), tokenIssuer.jwks()], [undefined, undefined], issuer);
  }
});

test('an expired, early, foreign, tampered or unsigned token is refused', async () => {
  const at = world();
  const token = await issue(at);
  assert.ok(await authenticate(at, bearer(token)));
  at.now = START + 3600_000 + 61_000;
  await refused(at, bearer(token));
  at.now = START - 61_000;
  await refused(at, bearer(token));
  at.now = START;
  await refused(at, bearer(await issue(at, { ...SPEC, audiences: ['vault'] })));
  const [head, body, tail] = token.split('.') as [string, string, string];
  const other = Buffer.from(
    JSON.stringify({ ...buildClaims(token), sub: 'system:serviceaccount:kube-system:admin' }),
  ).toString('base64url');
  const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
  const hs256 = Buffer.from(JSON.stringify({ alg: 'HS256' })).toString('base64url');
  const publicText = JSON.stringify(at.authentication.tokenIssuer.jwks());
  for (const forged of [
    `${head}.${other}.${tail}`,
    `${none}.${body}.`,
    `${none}.${body}.${tail}`,
    `${head}.${body}.${tail.slice(0, -4)}AAAA`,
    `${head}.${body}`,
    `${hs256}.${body}.${createHmac('sha256', publicText).update(`${hs256}.${body}`).digest('base64url')}`,
    await new JwtSigner(newKey('P-256')).sign(buildClaims(token)),
    `${token} `.trim() + 'A',
  ])
    await refused(at, bearer(forged));
  assert.ok(await authenticate(at, bearer(token)), 'the good one is still good');
});

test('a token dies with the objects it is bound to, also once it was verified', async () => {
  const ends: [string, (at: World) => void][] = [
    [
      'pod gone',
      ({ internal }) => internal.remove({ group: '', resource: 'pods' }, { name: 'p', namespace: 'red' }),
    ],
    [
      'pod recreated',
      ({ internal }) =>
        void internal.put(
          { group: '', resource: 'pods' },
          { metadata: { name: 'p', namespace: 'red', uid: 'pod-2' } },
        ),
    ],
    [
      'pod deleted long ago',
      ({ internal }) =>
        void internal.put(
          { group: '', resource: 'pods' },
          {
            metadata: {
              name: 'p',
              namespace: 'red',
              uid: 'pod-1',
              deletionTimestamp: new Date(START - 120_000).toISOString(),
            },
          },
        ),
    ],
    [
      'account gone',
      ({ internal }) =>
        internal.remove({ group: '', resource: 'serviceaccounts' }, { name: 'bot', namespace: 'red' }),
    ],
    [
      'account recreated',
      ({ internal }) =>
        void internal.put(
          { group: '', resource: 'serviceaccounts' },
          { metadata: { name: 'bot', namespace: 'red', uid: 'sa-2' } },
        ),
    ],
  ];
  for (const [what, end] of ends) {
    const at = world();
    const token = await issue(at, BOUND);
    assert.ok(await authenticate(at, bearer(token)), what);
    end(at);
    await refused(at, bearer(token));
  }
  const terminating = world();
  const token = await issue(terminating, BOUND);
  terminating.internal.put(
    { group: '', resource: 'pods' },
    {
      metadata: {
        name: 'p',
        namespace: 'red',
        uid: 'pod-1',
        deletionTimestamp: new Date(START + 30_000).toISOString(),
      },
    },
  );
  assert.ok(await authenticate(terminating, bearer(token)), 'a pod within its grace period may still speak');
});

test("a pod's volume token lives a year and says when to renew; lifetimes have bounds", async () => {
  const at = world();
  const issued = await at.authentication.tokenIssuer.issue({ ...BOUND, expirationSeconds: 3607 });
  assert.equal(issued.expirationTimestamp, '2026-01-15T01:00:07Z');
  const claims = buildClaims(issued.token);
  assert.equal(claims['exp'], START / 1000 + 365 * 86_400);
  assert.equal((claims['kubernetes.io'] as { warnafter: number }).warnafter, START / 1000 + 3607);
  assert.equal(
    buildClaims(await issue(at, { ...BOUND, expirationSeconds: 3607, audiences: ['vault'] }))['exp'],
    START / 1000 + 3607,
  );
  await assert.rejects(
    issue(at, { ...SPEC, expirationSeconds: 599 }),
    /TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes/,
  );
  await assert.rejects(issue(at, { ...SPEC, expirationSeconds: 2 ** 33 }), /larger than 2\^32 seconds/);
});

test('reviews tell who, for which audience, and why not', async () => {
  const at = world();
  const { tokenReviewer } = at.authentication;
  const forVault = await issue(at, { ...SPEC, audiences: ['vault', 'other'] });
  assert.deepEqual((await tokenReviewer.review(forVault, ['vault'])).authenticated?.audiences, ['vault']);
  assert.equal(
    (await tokenReviewer.review(forVault, [])).error,
    `[invalid bearer token, token audiences ["vault" "other"] is invalid for the target audiences ["${DEFAULT_ISSUER}"]]`,
  );
  assert.deepEqual(await tokenReviewer.review('nonsense', []), { error: 'invalid bearer token' });
  at.now += 2 * 3600_000;
  assert.equal(
    (await tokenReviewer.review(forVault, ['vault'])).error,
    '[invalid bearer token, service account token has expired]',
  );
});

test('keys of a rotation are accepted and published', async () => {
  const old = newKey('P-256');
  const token = await issue(world({ serviceAccounts: { signingKeyPem: old } }));
  const at = world({ serviceAccounts: { signingKeyPem: KEY, publicKeyPems: [old] } });
  assert.ok(await authenticate(at, bearer(token)));
  assert.equal((at.authentication.tokenIssuer.jwks()!['keys'] as unknown[]).length, 2);
  await refused(world(), bearer(token));
});

test('a token seen for the first time is verified once, and answered synchronously from then on', async () => {
  const at = world();
  const token = await issue(at);
  const { authenticator } = at.authentication;
  const first = authenticator.authenticate(bearer(token));
  const second = authenticator.authenticate(bearer(token));
  assert.ok(first instanceof Promise && second instanceof Promise);
  assert.deepEqual(await first, await second);
  const known = authenticator.authenticate(bearer(token));
  assert.ok(known && !(known instanceof Promise));
});

test('keys replaced during a verification decide it', async () => {
  const at = world();
  const token = await issue(at);
  const verifying = at.authentication.authenticator.authenticate(bearer(token));
  at.authentication.serviceAccountKeys.replace({ signingKeyPem: newKey('P-256') });
  await assert.rejects(
    async () => verifying,
    (error) => isStatusError(error, 'Unauthorized'),
  );
  await refused(at, bearer(token));
});

test('legacy tokens live as long as their secret', async () => {
  const at = world();
  const claims = {
    iss: 'kubernetes/serviceaccount',
    sub: 'system:serviceaccount:red:bot',
    'kubernetes.io/serviceaccount/namespace': 'red',
    'kubernetes.io/serviceaccount/secret.name': 's',
    'kubernetes.io/serviceaccount/service-account.name': 'bot',
    'kubernetes.io/serviceaccount/service-account.uid': 'sa-1',
  };
  const token = await new JwtSigner(KEY).sign(claims);
  await refused(at, bearer(token));
  at.internal.put(
    { group: '', resource: 'secrets' },
    { metadata: { name: 's', namespace: 'red' }, data: { token: Buffer.from(token).toString('base64') } },
  );
  assert.equal((await authenticate(at, bearer(token)))?.user.name, 'system:serviceaccount:red:bot');
  at.internal.put(
    { group: '', resource: 'secrets' },
    { metadata: { name: 's', namespace: 'red' }, data: { token: 'b3RoZXI=' } },
  );
  await refused(at, bearer(token));
});

test('bootstrap tokens: groups, expiry, usage', async () => {
  const at = world();
  const put = (data: Record<string, string>): void => {
    const encoded = Object.entries({
      'token-id': 'abcdef',
      'token-secret': '0123456789abcdef',
      'usage-bootstrap-authentication': 'true',
      ...data,
    }).map(([key, value]) => [key, Buffer.from(value).toString('base64')]);
    at.internal.put(
      { group: '', resource: 'secrets' },
      {
        metadata: { name: 'bootstrap-token-abcdef', namespace: 'kube-system' },
        type: 'bootstrap.kubernetes.io/token',
        data: Object.fromEntries(encoded) as Record<string, string>,
      },
    );
  };
  const token = bearer('abcdef.0123456789abcdef');
  put({ 'auth-extra-groups': 'system:bootstrappers:kubeadm:default-node-token' });
  assert.deepEqual((await authenticate(at, token))?.user, {
    name: 'system:bootstrap:abcdef',
    groups: [
      'system:bootstrappers',
      'system:bootstrappers:kubeadm:default-node-token',
      'system:authenticated',
    ],
  });
  await refused(at, bearer('abcdef.0123456789abcdee'));
  for (const bad of [
    { expiration: new Date(START - 1).toISOString() },
    { expiration: 'soon' },
    { 'usage-bootstrap-authentication': 'false' },
    { 'auth-extra-groups': 'system:masters' },
    { 'token-id': 'abcdex' },
  ]) {
    put(bad);
    await refused(at, token);
  }
});

test('the static token file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-tokens-'));
  try {
    const path = join(dir, 'tokens.csv');
    writeFileSync(path, '# who\n\nsecret-1,jane,u1,"devs,ops"\nsecret-2,joe,u2\n');
    const at = world({ tokenFile: path });
    assert.deepEqual((await authenticate(at, bearer('secret-1')))?.user, {
      name: 'jane',
      uid: 'u1',
      groups: ['devs', 'ops', 'system:authenticated'],
    });
    assert.deepEqual((await authenticate(at, bearer('secret-2')))?.user.groups, ['system:authenticated']);
    await refused(at, bearer('secret-3'));
    writeFileSync(path, 'a,b\n');
    assert.throws(
      () => world({ tokenFile: path }),
      /must have at least 3 columns \(token, user name, user uid\), found 2 in record 1/,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('CSV records', () => {
  assert.deepEqual(parseCsv('a,"b ""c"", d",e\r\n\n#x\nf,\n'), [
    ['a', 'b "c", d', 'e'],
    ['f', ''],
  ]);
  assert.throws(() => parseCsv('a,"b"c'), /malformed quotes/);
});

test("a browser's token in a WebSocket subprotocol", async () => {
  const at = world();
  const protocol = `base64url.bearer.authorization.k8s.io.${Buffer.from(await issue(at)).toString('base64url')}`;
  const headers = { upgrade: 'websocket', 'sec-websocket-protocol': `v5.channel.k8s.io, ${protocol}` };
  assert.equal((await authenticate(at, request(headers)))?.user.name, 'system:serviceaccount:red:bot');
});

test(
  'openssl verifies the signature of a token',
  { skip: hasOpenssl() ? false : 'openssl is not installed' },
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-jwt-'));
    try {
      const at = world({
        serviceAccounts: {
          signingKeyPem: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
            type: 'pkcs8',
            format: 'pem',
          }) as string,
        },
      });
      const [head, body, tail] = (await issue(at)).split('.') as [string, string, string];
      const { createPublicKey } = await import('node:crypto');
      const [jwk] = at.authentication.tokenIssuer.jwks()!['keys'] as [Record<string, string>];
      writeFileSync(
        join(dir, 'key.pem'),
        createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
      );
      writeFileSync(join(dir, 'data'), `${head}.${body}`);
      writeFileSync(join(dir, 'sig'), Buffer.from(tail, 'base64url'));
      assert.match(
        execFileSync(
          'openssl',
          [
            'dgst',
            '-sha256',
            '-verify',
            join(dir, 'key.pem'),
            '-signature',
            join(dir, 'sig'),
            join(dir, 'data'),
          ],
          { encoding: 'utf8' },
        ),
        /Verified OK/,
      );
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
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
