/** OIDC against issuers on loopback over HTTPS: what is accepted, what is not, what happens when issuers and configuration change. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { createLogger, silentLogger, type Logger } from '#stdx/log.ts';
import {
  confusedToken,
  issuerKey,
  signToken,
  startTestIssuer,
  type TestIssuer,
} from '#testing/oidc-issuer.ts';
import type { Authenticated } from '../authenticator.ts';
import { TokenUnion } from '../token.ts';
import { configurationFromFlags, readConfiguration, type OidcFlags } from './configuration.ts';
import { openJwtSource, type JwtSource, type JwtSourceOptions } from './jwt-source.ts';

const AUDIENCES = ['https://kubernetes.default.svc'];

/** A clock of the issuers' time that tests can move. */
function clockOfNow(): FakeClock {
  return new FakeClock(Date.now());
}

async function issuerFor(t: TestContext): Promise<TestIssuer> {
  const issuer = await startTestIssuer();
  t.after(() => issuer.stop());
  return issuer;
}

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-oidc-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function open(t: TestContext, options: Partial<JwtSourceOptions>): Promise<JwtSource> {
  const source = await openJwtSource({
    disallowedIssuers: [],
    apiAudiences: AUDIENCES,
    clock: clockOfNow(),
    log: silentLogger,
    ...options,
  });
  t.after(() => source.close());
  return source;
}

async function openWithFlags(
  t: TestContext,
  issuer: TestIssuer,
  { flags = {}, ...options }: Partial<JwtSourceOptions> = {},
): Promise<JwtSource> {
  const caFile = join(folder(t), 'ca.crt');
  writeFileSync(caFile, issuer.ca);
  const source = await open(t, {
    flags: {
      oidcIssuerUrl: issuer.url,
      oidcClientId: 'capstan',
      oidcSigningAlgs: ['ES256', 'RS256', 'PS256'],
      ...flags,
    },
    caFile,
    ...options,
  });
  await until('keys', () => source.problems().length === 0);
  return source;
}

async function openWithFile(
  t: TestContext,
  content: string,
  options: Partial<JwtSourceOptions> = {},
): Promise<{ source: JwtSource; file: string }> {
  const file = join(folder(t), 'authentication.yaml');
  writeFileSync(file, content);
  const source = await open(t, { file, ...options });
  await until('keys', () => source.problems().length === 0);
  return { source, file };
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 15_000;
  while (!(await check())) {
    assert.ok(performance.now() < endMs, `never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function login(
  source: JwtSource,
  token: string,
  audiences: readonly string[] = AUDIENCES,
): Promise<Authenticated | undefined> {
  return new TokenUnion([source.tokens]).authenticateToken(token, audiences);
}

async function refused(source: JwtSource, token: string, why: RegExp): Promise<void> {
  await assert.rejects(login(source, token), why);
}

test('by flags: a token makes the user that its claims and the prefixes say', async (t) => {
  const issuer = await issuerFor(t);
  const source = await openWithFlags(t, issuer, {
    flags: { oidcGroupsClaim: 'roles', oidcGroupsPrefix: 'oidc:' },
  });
  const token = issuer.token({ roles: ['dev', 'ops'] });
  const expected = {
    user: { name: `${issuer.url}#jane`, groups: ['oidc:dev', 'oidc:ops'] },
    audiences: AUDIENCES,
  };
  assert.deepEqual(await login(source, token), expected);
  assert.deepEqual(
    source.tokens.authenticateToken(token, AUDIENCES),
    expected,
    'remembered: answered at once',
  );
  assert.deepEqual((await login(source, issuer.token({ roles: 'dev' })))?.user.groups, ['oidc:dev']);
  assert.equal(await login(source, token, ['other']), undefined, 'not for those audiences');
  assert.match(
    source.metrics(),
    /jwks_fetch_last_timestamp_seconds\{apiserver_id_hash="sha256:[0-9a-f]{64}",jwt_issuer_hash=/,
  );
  assert.match(
    source.metrics(),
    /jwt_authenticator_latency_seconds_count\{jwt_issuer_hash="sha256:[0-9a-f]{64}",result="success"\} 2\n[^]*jwks_fetch_last_timestamp_seconds\{[^}]*result="success"\} \d[^]*jwks_fetch_last_key_set_info\{/,
  );
  await refused(
    source,
    issuer.token({ roles: [1] }),
    /oidc: parse groups claim "roles": json: cannot unmarshal number/,
  );
  assert.equal(await login(source, 'not.a.jwt'), undefined);
  assert.equal(
    await login(source, issuer.token({ iss: 'https://elsewhere' })),
    undefined,
    "another issuer is another authenticator's matter",
  );
});

test('by flags: prefixes, e-mail addresses, required claims', async (t) => {
  const issuer = await issuerFor(t);
  const as = async (flags: OidcFlags, claims: Record<string, unknown>): Promise<string | undefined> =>
    (await login(await openWithFlags(t, issuer, { flags }), issuer.token(claims)))?.user.name;
  assert.equal(await as({ oidcUsernamePrefix: '-' }, {}), 'jane');
  assert.equal(await as({ oidcUsernamePrefix: 'x:' }, {}), 'x:jane');
  assert.equal(
    await as({ oidcUsernameClaim: 'email' }, { email: 'j@x.org', email_verified: true }),
    'j@x.org',
  );
  assert.equal(
    await as({ oidcUsernameClaim: 'email' }, { email: 'j@x.org' }),
    'j@x.org',
    'an issuer that says nothing of verification',
  );
  await assert.rejects(
    as({ oidcUsernameClaim: 'email' }, { email: 'j@x.org', email_verified: false }),
    /oidc: email not verified/,
  );
  await assert.rejects(
    as({ oidcUsernameClaim: 'email' }, { email: 'j@x.org', email_verified: 'true' }),
    /oidc: parse 'email_verified' claim/,
  );
  await assert.rejects(
    as({ oidcUsernameClaim: 'upn' }, {}),
    /oidc: parse username claims "upn": claim not present/,
  );
  assert.equal(
    await as({ oidcUsernamePrefix: '-', oidcRequiredClaim: ['hd=x.org'] }, { hd: 'x.org' }),
    'jane',
  );
  await assert.rejects(
    as({ oidcRequiredClaim: ['hd=x.org'] }, { hd: 'y.org' }),
    /oidc: required claim hd value does not match. Got = y.org, want = x.org/,
  );
  await assert.rejects(
    as({ oidcRequiredClaim: ['hd=x.org'] }, {}),
    /oidc: required claim hd not present in ID token/,
  );
});

test('flags that do not fit together are refused', () => {
  assert.equal(configurationFromFlags({}), undefined);
  assert.throws(
    () => configurationFromFlags({ oidcIssuerUrl: 'https://x' }),
    /oidc-issuer-url and oidc-client-id must be specified together/,
  );
  assert.throws(() => configurationFromFlags({ oidcGroupsClaim: 'x' }), /must be specified together/);
  for (const alg of ['none', 'HS256', 'EdDSA'])
    assert.throws(
      () => configurationFromFlags({ oidcIssuerUrl: 'https://x', oidcClientId: 'y', oidcSigningAlgs: [alg] }),
      /unsupported signing alg/,
    );
  assert.throws(
    () => configurationFromFlags({ oidcIssuerUrl: 'https://x', oidcClientId: 'y', oidcRequiredClaim: ['x'] }),
    /CLAIM=VALUE/,
  );
});

test('hostile tokens', async (t) => {
  const issuer = await issuerFor(t);
  const good = issuer.keys[0]!;
  issuer.keys.push(issuerKey('RS256'), issuerKey('PS256'));
  const source = await openWithFlags(t, issuer);
  const now = Math.floor(Date.now() / 1000);
  for (const key of issuer.keys) assert.ok(await login(source, issuer.token({}, { key })), key.alg);
  const claims = JSON.parse(Buffer.from(issuer.token().split('.')[1]!, 'base64url').toString()) as Record<
    string,
    unknown
  >;
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const stranger = { ...issuerKey(), kid: good.kid };
  const attackerJwk = stranger.publicKey.export({ format: 'jwk' });
  const [head, , tail] = issuer.token().split('.') as [string, string, string];
  const cases: readonly [string, string, RegExp][] = [
    [
      'signed by a stranger under a known key id',
      issuer.token({}, { key: stranger }),
      /failed to verify id token signature/,
    ],
    [
      'an unknown key id',
      issuer.token({}, { key: { ...good, kid: 'nobody' } }),
      /failed to verify id token signature/,
    ],
    [
      'its own key in the header',
      issuer.token({}, { key: stranger, header: { jwk: attackerJwk } }),
      /failed to verify id token signature/,
    ],
    [
      'a key to be fetched (jku)',
      issuer.token({}, { key: { ...stranger, kid: 'x' }, header: { jku: `${issuer.url}/attacker` } }),
      /failed to verify id token signature/,
    ],
    [
      'a certificate to be fetched (x5u)',
      issuer.token({}, { key: { ...stranger, kid: 'x' }, header: { x5u: `${issuer.url}/attacker` } }),
      /failed to verify id token signature/,
    ],
    [
      'HMAC with the public key',
      confusedToken(claims, good),
      /unsupported algorithm, expected \["ES256" "RS256" "PS256"\] got "HS256"/,
    ],
    ['none', `${encode({ alg: 'none' })}.${encode(claims)}.AA`, /unsupported algorithm/],
    [
      'an algorithm that is not configured',
      signToken({ alg: 'ES384' }, claims, good),
      /unsupported algorithm/,
    ],
    [
      'RS256 said of an EC key',
      signToken({ alg: 'RS256' }, claims, good),
      /failed to verify id token signature/,
    ],
    ['a critical extension', issuer.token({}, { header: { crit: ['b64'], b64: false } }), /malformed jwt/],
    [
      'claims changed',
      `${head}.${encode({ ...claims, sub: 'admin' })}.${tail}`,
      /failed to verify id token signature/,
    ],
    ['expired', issuer.token({ exp: now - 1 }), /token is expired \(Token Expiry: /],
    ['without an end', issuer.token({ exp: undefined }), /token is expired/],
    ['not valid yet', issuer.token({ nbf: now + 3600 }), /before the nbf \(not before\) time/],
    [
      'for somebody else',
      issuer.token({ aud: ['other'] }),
      /expected audience in \["capstan"\] got \["other"\]/,
    ],
    ['for nobody', issuer.token({ aud: undefined }), /expected audience in \["capstan"\] got \[\]/],
    ['an empty name', issuer.token({ sub: '' }), /claim is empty/],
    [
      'a name that is no text',
      issuer.token({ sub: 7 }),
      /cannot unmarshal number into Go value of type string/,
    ],
    ['huge', issuer.token({ padding: 'x'.repeat(40_000) }), /token is longer than/],
  ];
  for (const [what, token, why] of cases) await assert.rejects(login(source, token), why, what);
  assert.ok(!issuer.asked.includes('/attacker'), 'nothing a token names was fetched');
  assert.ok(await login(source, issuer.token({ nbf: now + 60 })), 'clocks differ');
  assert.ok(await login(source, issuer.token({ aud: ['other', 'capstan'] })));
});

test('a remembered token ends when it expires, and when its key is withdrawn', async (t) => {
  const issuer = await issuerFor(t);
  const clock = clockOfNow();
  const source = await openWithFlags(t, issuer, { clock });
  const short = issuer.token({ exp: Math.floor(Date.now() / 1000) + 300 }),
    long = issuer.token();
  assert.ok(await login(source, short));
  assert.ok(await login(source, long));
  issuer.keys = [issuerKey()];
  // Keys are looked at now and then; here because a new one appears.
  await clock.advance(60_000);
  assert.ok(await login(source, issuer.token()), 'signed with the new key: fetched at once');
  await refused(source, long, /failed to verify id token signature/);
  const later = issuer.token({ exp: Math.floor(clock.now() / 1000) + 300 });
  assert.ok(await login(source, later));
  await clock.advance(301_000);
  await refused(source, later, /token is expired/);
});

test('keys are fetched again in the background, and rarely for key ids nobody knows', async (t) => {
  const issuer = await issuerFor(t);
  const clock = clockOfNow();
  const source = await openWithFlags(t, issuer, { clock });
  const fetches = (): number => issuer.asked.filter((path) => path === '/keys').length;
  assert.equal(fetches(), 1);
  await clock.advance(11_000);
  for (let n = 0; n < 20; n++)
    await refused(
      source,
      issuer.token({}, { key: { ...issuer.keys[0]!, kid: `unknown-${n}` } }),
      /signature/,
    );
  assert.equal(fetches(), 2);
  const old = issuer.token();
  issuer.keys = [issuerKey()];
  await clock.advance(11 * 60_000);
  await until('a fetch in the background', () => fetches() === 3);
  await until('its answer', () =>
    login(source, old).then(
      () => false,
      (error: Error) => /signature/.test(error.message),
    ),
  );
});

test('an issuer that does not answer keeps the keys known, and stalls nobody else', async (t) => {
  const slow = await issuerFor(t),
    quick = await issuerFor(t);
  const clock = clockOfNow();
  const { source } = await openWithFile(t, configuration([slow, quick]), { clock });
  const known = slow.token();
  const held: (() => void)[] = [];
  slow.intercept = (_path, _request, response) => {
    held.push(() => response.writeHead(503).end());
    return true;
  };
  await clock.advance(11_000);
  const waiting = login(source, slow.token({}, { key: issuerKey() }));
  waiting.catch(() => {});
  await until('the slow issuer was asked', () => held.length > 0);
  assert.ok(
    source.tokens.authenticateToken(known, AUDIENCES),
    'its tokens with known keys are answered at once',
  );
  assert.ok(source.tokens.authenticateToken(quick.token(), AUDIENCES), 'and those of others');
  for (const end of held) end();
  await assert.rejects(waiting, /failed to verify id token signature/);
  assert.ok(await login(source, slow.token()), 'keys known stay');
});

test('discovery: tried again until the issuer answers for itself', async (t) => {
  const issuer = await issuerFor(t);
  let wrong = true;
  issuer.intercept = (path, _request, response) => {
    if (!wrong || !path.startsWith('/.well-known')) return false;
    response.end(JSON.stringify({ issuer: 'https://impostor', jwks_uri: `${issuer.url}/keys` }));
    return true;
  };
  const clock = clockOfNow();
  const caFile = join(folder(t), 'ca.crt');
  writeFileSync(caFile, issuer.ca);
  const source = await open(t, {
    clock,
    caFile,
    flags: { oidcIssuerUrl: issuer.url, oidcClientId: 'capstan', oidcSigningAlgs: ['ES256'] },
  });
  await until('an explanation', () =>
    source
      .problems()
      .some((problem) =>
        problem.includes(
          `oidc: issuer did not match the issuer returned by provider, expected "${issuer.url}" got "https://impostor"`,
        ),
      ),
  );
  await refused(source, issuer.token(), /oidc: verifier not initialized for issuer/);
  wrong = false;
  await clock.advance(11_000);
  await until('keys', () => source.problems().length === 0);
  assert.ok(await login(source, issuer.token()));
});

test('an issuer whose certificate is of another authority is not believed', async (t) => {
  const issuer = await issuerFor(t),
    other = await issuerFor(t);
  const caFile = join(folder(t), 'ca.crt');
  writeFileSync(caFile, other.ca);
  const source = await open(t, { caFile, flags: { oidcIssuerUrl: issuer.url, oidcClientId: 'capstan' } });
  await until('an explanation', () => source.problems().some((problem) => /certificate/.test(problem)));
  assert.deepEqual(issuer.asked, []);
});

// ----------------------------------------------------------------------------------------------------------- the file

function configuration(issuers: readonly TestIssuer[], more = ''): string {
  return JSON.stringify({
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'AuthenticationConfiguration',
    jwt: issuers.map(({ url, ca }) => ({
      issuer: { url, certificateAuthority: ca, audiences: ['capstan'] },
      claimMappings: { username: { claim: 'sub', prefix: '' } },
    })),
  }).replace(/}$/, `${more}}`);
}

const indented = (pem: string): string =>
  pem
    .trim()
    .split('\n')
    .map((line) => `      ${line}`)
    .join('\n');

test('by file: expressions map and check claims', async (t) => {
  const issuer = await issuerFor(t);
  const { source } = await openWithFile(
    t,
    `
apiVersion: apiserver.config.k8s.io/v1beta1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: ${issuer.url}
    audiences: [capstan, another]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
${indented(issuer.ca)}
  claimValidationRules:
  - {claim: hd, requiredValue: x.org}
  - {expression: 'claims.exp - claims.iat <= 86400', message: 'a day at most'}
  claimMappings:
    username: {expression: '(claims.email_verified ? claims.email : claims.sub) + ":x"'}
    groups: {expression: 'claims.roles.split(",")'}
    uid: {expression: 'claims.sub'}
    extra:
    - {key: x.org/tenant, valueExpression: claims.tenant}
    - {key: x.org/none, valueExpression: '""'}
  userValidationRules:
  - {expression: '!user.username.startsWith("system:")', message: 'username cannot use reserved prefix'}
  - {expression: 'user.groups.all(group, !group.startsWith("system:"))', message: 'groups cannot use reserved prefix'}
`,
  );
  const claims = {
    hd: 'x.org',
    email: 'j@x.org',
    email_verified: true,
    roles: 'a,b',
    tenant: ['t1', 't2'],
    aud: 'another',
  };
  assert.deepEqual((await login(source, issuer.token(claims)))?.user, {
    name: 'j@x.org:x',
    uid: 'jane',
    groups: ['a', 'b'],
    extra: { 'x.org/tenant': ['t1', 't2'] },
  });
  await refused(
    source,
    issuer.token({ ...claims, exp: Math.floor(Date.now() / 1000) + 90_000 }),
    /validation expression 'claims.exp - claims.iat <= 86400' failed: a day at most/,
  );
  await refused(source, issuer.token({ ...claims, hd: 'y' }), /required claim hd value does not match/);
  await refused(
    source,
    issuer.token({ ...claims, email: 'system:admin' }),
    /username cannot use reserved prefix/,
  );
  await refused(
    source,
    issuer.token({ ...claims, roles: 'system:masters' }),
    /groups cannot use reserved prefix/,
  );
  await refused(
    source,
    issuer.token({ ...claims, tenant: undefined }),
    /oidc: error evaluating extra claim expression: no such key: tenant/,
  );
  await refused(source, issuer.token({ ...claims, tenant: [7] }), /7 in the list is not a string/);
});

test('a faulty configuration file is reported with the path of the field', async (t) => {
  const issuer = await issuerFor(t);
  const wrong = async (jwt: unknown, ...messages: string[]): Promise<void> => {
    const file = join(folder(t), 'c.yaml');
    writeFileSync(
      file,
      JSON.stringify({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'AuthenticationConfiguration', jwt }),
    );
    await assert.rejects(open(t, { file, disallowedIssuers: ['https://sa'] }), (error: Error) => {
      for (const message of messages)
        assert.ok(error.message.includes(message), `${error.message}\nlacks\n${message}`);
      return true;
    });
  };
  const good = {
    issuer: { url: issuer.url, audiences: ['a'] },
    claimMappings: { username: { claim: 'sub', prefix: '' } },
  };
  const withIssuer = (change: object): unknown[] => [{ ...good, issuer: { ...good.issuer, ...change } }];
  const withMappings = (change: object): unknown[] => [
    { ...good, claimMappings: { ...good.claimMappings, ...change } },
  ];
  await wrong(
    [{}],
    'jwt[0].issuer.url: Required value',
    'jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required',
    'jwt[0].claimMappings.username: Required value: claim or expression is required',
  );
  await wrong([{ ...good, isuer: 1 }], 'strict decoding error: unknown field "jwt[0].isuer"');
  await wrong(
    withIssuer({ url: 'http://u:p@x/?q#f' }),
    'URL scheme must be https',
    'URL must not contain a username or password',
    'URL must not contain a query',
    'URL must not contain a fragment',
  );
  await wrong(
    withIssuer({ url: 'https://sa' }),
    'jwt[0].issuer.url: Invalid value: "https://sa": URL must not overlap with disallowed issuers: [https://sa]',
  );
  await wrong(
    withIssuer({ discoveryURL: `${issuer.url}/` }),
    'jwt[0].issuer.discoveryURL',
    'discoveryURL must be different from URL',
  );
  await wrong(
    withIssuer({ audiences: ['a', '', 'a'] }),
    'jwt[0].issuer.audiences[1]: Required value',
    'jwt[0].issuer.audiences[2]: Duplicate value: "a"',
    'audienceMatchPolicy must be MatchAny for multiple audiences',
  );
  await wrong(
    withIssuer({ audienceMatchPolicy: 'All' }),
    'audienceMatchPolicy must be empty or MatchAny for single audience',
  );
  await wrong(
    withIssuer({ certificateAuthority: 'x' }),
    'jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>"',
  );
  await wrong(
    withIssuer({ egressSelectorType: 'cluster' }),
    'jwt[0].issuer.egressSelectorType: Invalid value: "cluster": egress selection is not supported',
  );
  await wrong([good, good], `jwt[1].issuer.url: Duplicate value: "${issuer.url}"`);
  await wrong(
    Array.from({ length: 65 }, () => good),
    'jwt: Too many: 65: must have at most 64 items',
  );
  await wrong(
    withMappings({ username: { claim: 'sub' } }),
    'jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing',
  );
  await wrong(
    withMappings({ username: { claim: 'a', expression: 'claims.b' } }),
    "claim and expression can't both be set",
  );
  await wrong(
    withMappings({ username: { expression: 'claims.sub', prefix: 'x' } }),
    'jwt[0].claimMappings.username.prefix: Invalid value: "x": may not be specified when expression is set',
  );
  await wrong(
    withMappings({ username: { expression: 'claims.sub +' } }),
    'jwt[0].claimMappings.username.expression: Invalid value: "claims.sub +"',
  );
  await wrong(
    withMappings({ username: { expression: 'claims.email' } }),
    'claims.email_verified must be used in claimMappings.username.expression',
  );
  await wrong(
    withMappings({ username: { expression: '"claims.email_verified" + claims.?email.orValue("")' } }),
    'claims.email_verified must be used',
  );
  await wrong(
    withMappings({
      extra: [
        { key: 'x', valueExpression: 'claims.a' },
        { key: 'A.org/x', valueExpression: 'claims.a' },
        { key: 'a.k8s.io/x' },
        { key: 'a.org/x', valueExpression: 'claims.a' },
        { key: 'a.org/x', valueExpression: 'claims.a' },
      ],
    }),
    'jwt[0].claimMappings.extra[0].key',
    'extra[1].key: Invalid value: "A.org/x": must be lowercase',
    'k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use',
    'extra[2].valueExpression: Required value',
    'extra[4].key: Duplicate value: "a.org/x"',
  );
  await wrong(
    [
      {
        ...good,
        claimValidationRules: [
          {},
          { claim: 'a', message: 'm' },
          { claim: 'a' },
          { expression: '1', requiredValue: 'x' },
          { expression: '1' },
        ],
      },
    ],
    'claimValidationRules[0]: Required value: claim or expression is required',
    'claimValidationRules[1].message: Invalid value: "m": may not be specified when claim is set',
    'claimValidationRules[2].claim: Duplicate value: "a"',
    'claimValidationRules[3].requiredValue',
    'claimValidationRules[3].expression: Invalid value: "1": must evaluate to bool',
    'claimValidationRules[4].expression: Duplicate value: "1"',
  );
  await wrong(
    [{ ...good, userValidationRules: [{ expression: '' }, { expression: 'user.nome == ""' }] }],
    'userValidationRules[0].expression: Required value',
    'userValidationRules[1].expression: Invalid value',
    "undefined field 'nome'",
  );
  assert.throws(
    () => readConfiguration('apiVersion: v1\nkind: Pod\n'),
    /no kind "Pod" is registered for version "v1"/,
  );
  assert.throws(() => readConfiguration(''), /empty config data/);
});

test('by file: followed while it runs; a bad one keeps the old', async (t) => {
  const first = await issuerFor(t),
    second = await issuerFor(t);
  const lines: string[] = [];
  const log: Logger = createLogger({ write: (line) => void lines.push(line) });
  const clock = clockOfNow();
  const { source, file } = await openWithFile(t, configuration([first]), { clock, log });
  const token = first.token();
  const remembered = await login(source, token);
  assert.ok(remembered);
  const look = async (what: string, check: () => boolean | Promise<boolean>): Promise<void> =>
    until(what, async () => {
      await clock.advance(1000);
      return check();
    });
  writeFileSync(file, 'jwt: [');
  await look('the log says so', () =>
    lines.some((line) => line.includes('failed to load authentication config')),
  );
  assert.ok(await login(source, token), 'the old one stays');
  assert.match(
    source.metrics(),
    /automatic_reloads_total\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="failure"\} 1/,
  );
  writeFileSync(
    file,
    configuration([first, second], ',"anonymous":{"enabled":true,"conditions":[{"path":"/livez"}]}'),
  );
  await look('the second issuer', async () =>
    Boolean(await login(source, second.token()).catch(() => undefined)),
  );
  assert.ok(await login(source, token));
  assert.equal(
    first.asked.filter((path) => path === '/keys').length,
    1,
    'an issuer that did not change keeps its keys',
  );
  assert.deepEqual(source.anonymous, { enabled: true, paths: ['/livez'] });
  assert.match(
    source.metrics(),
    /automatic_reloads_total\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="success"\} 1[^]*last_config_info\{apiserver_id_hash="[^"]*",hash="sha256:[0-9a-f]{64}"\} 1/,
  );
  writeFileSync(file, configuration([second]));
  await look('the first issuer is gone', async () => (await login(source, token)) === undefined);
});

test('by file: a new issuer that does not answer does not replace one that does', async (t) => {
  const first = await issuerFor(t),
    dead = await issuerFor(t);
  dead.intercept = (_path, _request, response) => Boolean(response.writeHead(500).end());
  const clock = clockOfNow();
  const { source, file } = await openWithFile(t, configuration([first]), { clock });
  writeFileSync(file, configuration([dead]));
  await until('given up for now', async () => {
    await clock.advance(1000);
    return source.metrics().includes('status="failure"');
  });
  assert.ok(await login(source, first.token()));
  dead.intercept = undefined;
  await until('taken when it answers', async () => {
    await clock.advance(1000);
    return source.metrics().includes('status="success"');
  });
  assert.ok(await login(source, dead.token()));
});

test('discoveryURL says where to ask; the issuer is still who it says', async (t) => {
  const issuer = await issuerFor(t);
  const name = 'https://login.example.org/tenant';
  issuer.intercept = (path, _request, response) => {
    if (path !== '/elsewhere/discovery') return false;
    response.end(JSON.stringify({ issuer: name, jwks_uri: `${issuer.url}/keys` }));
    return true;
  };
  const { source } = await openWithFile(
    t,
    JSON.stringify({
      apiVersion: 'apiserver.config.k8s.io/v1',
      kind: 'AuthenticationConfiguration',
      jwt: [
        {
          issuer: {
            url: name,
            discoveryURL: `${issuer.url}/elsewhere/discovery`,
            certificateAuthority: issuer.ca,
            audiences: ['capstan'],
          },
          claimMappings: { username: { claim: 'sub', prefix: 'x:' } },
        },
      ],
    }),
  );
  assert.equal((await login(source, issuer.token({ iss: name })))?.user.name, 'x:jane');
  assert.equal(await login(source, issuer.token()), undefined);
});

test('groups that are somewhere else (distributed claims)', async (t) => {
  const issuer = await issuerFor(t);
  const source = await openWithFlags(t, issuer, {
    flags: { oidcUsernamePrefix: '-', oidcGroupsClaim: 'groups' },
  });
  let answer = issuer.token({ groups: ['far', 'away'] });
  let authorization: string | undefined;
  issuer.intercept = (path, request, response) => {
    if (path !== '/groups') return false;
    authorization = request.headers.authorization;
    response.end(answer);
    return true;
  };
  const claims = {
    _claim_names: { groups: 'src' },
    _claim_sources: { src: { endpoint: `${issuer.url}/groups`, access_token: 'secret' } },
  };
  assert.deepEqual((await login(source, issuer.token(claims)))?.user.groups, ['far', 'away']);
  assert.equal(authorization, 'Bearer secret');
  assert.deepEqual(
    (await login(source, issuer.token({ ...claims, groups: ['near'] })))?.user.groups,
    ['near'],
    'what is in the token counts',
  );
  answer = signToken(
    {},
    { iss: issuer.url, aud: 'capstan', exp: Math.floor(Date.now() / 1000) + 60, groups: ['system:masters'] },
    { ...issuerKey(), kid: issuer.keys[0]!.kid },
  );
  await refused(
    source,
    issuer.token({ ...claims, jti: '1' }),
    /oidc: could not expand distributed claims: .*failed to verify id token signature/,
  );
  answer = issuer.token({});
  await refused(source, issuer.token({ ...claims, jti: '2' }), /did not contain claim: groups/);
  await refused(source, issuer.token({ _claim_names: { groups: 'src' } }), /oidc: no claim sources/);
  await refused(
    source,
    issuer.token({ ...claims, _claim_sources: {} }),
    /id token _claim_names contained a source src missing in _claims_sources/,
  );
  await refused(
    source,
    issuer.token({ ...claims, _claim_sources: { src: { endpoint: 'http://127.0.0.1:1/groups' } } }),
    /only https URLs are asked/,
  );
  assert.deepEqual(
    (
      await login(
        source,
        issuer.token({ ...claims, _claim_sources: { src: { JWT: issuer.token({ groups: ['x'] }) } } }),
      )
    )?.user.groups,
    [],
    'aggregated claims are left alone',
  );
});

test('keys that are too weak, symmetric or for something else are passed over', async (t) => {
  const issuer = await issuerFor(t);
  const weak = { kid: 'weak', alg: 'RS256', ...generateKeyPairSync('rsa', { modulusLength: 1024 }) };
  const other = issuerKey();
  issuer.intercept = (path, _request, response) => {
    if (path !== '/keys') return false;
    const jwk = (
      key: { publicKey: { export(options: { format: 'jwk' }): object } },
      more: object,
    ): object => ({ ...key.publicKey.export({ format: 'jwk' }), ...more });
    response.end(
      JSON.stringify({
        keys: [
          jwk(weak, { kid: 'weak' }),
          jwk(other, { kid: other.kid, use: 'enc' }),
          { kty: 'oct', k: 'AAAA', kid: 'hmac' },
          { kty: 'EC', crv: 'P-256', x: '!', y: '!' },
          null,
          jwk(issuer.keys[0]!, { kid: issuer.keys[0]!.kid }),
        ],
      }),
    );
    return true;
  };
  const source = await openWithFlags(t, issuer);
  assert.ok(await login(source, issuer.token()));
  await refused(source, issuer.token({}, { key: weak }), /signature/);
  await refused(source, issuer.token({}, { key: other }), /signature/);
});
