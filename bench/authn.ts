/**
 * How many requests a second are authenticated by each kind of credential, in this process, without a network: tokens that were verified before, and
 * tokens never seen. `node bench/authn.ts [--seconds N]`
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createAuthentication } from '#apiserver/authn/authentication.ts';
import type { Authenticated } from '#apiserver/authn/authenticator.ts';
import { openJwtSource } from '#apiserver/authn/oidc/jwt-source.ts';
import { FakeInternal } from '#apiserver/authz/testing/loopback-client.ts';
import type { ApiRequest } from '#apiserver/http/request.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { issuerKey, startTestIssuer } from '#testing/oidc-issuer.ts';

const { values: args } = parseArgs({ options: { seconds: { type: 'string', default: '1' } } });
const runMs = Number(args.seconds) * 1000;
const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const AUDIENCES = [ISSUER];
/** Of each kind; fewer than are remembered. */
const TOKENS = 1000;

const rows: { what: string; 'per second': number; 'µs each': number }[] = [];

type Authenticate = (request: ApiRequest) => Authenticated | undefined | Promise<Authenticated | undefined>;

/** Credentials that are known: each must be answered synchronously. */
function measureKnown(what: string, requests: readonly ApiRequest[], authenticate: Authenticate): void {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < runMs) {
    const found = authenticate(requests[count++ % requests.length]!);
    if (!found || found instanceof Promise) throw new Error(`${what}: not answered at once`);
  }
  report(what, count, performance.now() - start);
}

/** Each credential once, one after the other. */
async function measureUnknown(
  what: string,
  requests: readonly ApiRequest[],
  authenticate: Authenticate,
): Promise<void> {
  const start = performance.now();
  for (const one of requests) {
    const found = authenticate(one);
    if (!(found instanceof Promise) || !(await found)) throw new Error(`${what}: not verified`);
  }
  report(what, requests.length, performance.now() - start);
}

function report(what: string, count: number, elapsedMs: number): void {
  rows.push({
    what,
    'per second': Math.round((count / elapsedMs) * 1000),
    'µs each': Math.round((elapsedMs / count) * 10_000) / 10,
  });
}

const request = (token: string): ApiRequest => ({
  method: 'GET',
  path: '/api',
  query: '',
  headers: { authorization: `Bearer ${token}` },
  body: () => Promise.resolve(Buffer.alloc(0)),
  onAbort: () => {},
  remoteAddress: '',
});

async function serviceAccounts(what: string, signingKeyPem: string): Promise<void> {
  const internal = new FakeInternal();
  internal.put(
    { group: '', resource: 'serviceaccounts' },
    { metadata: { name: 'bot', namespace: 'red', uid: 'sa-1' } },
  );
  internal.put({ group: '', resource: 'pods' }, { metadata: { name: 'p', namespace: 'red', uid: 'pod-1' } });
  const { authenticator, tokenIssuer } = createAuthentication({
    internal,
    nowMs: () => Date.now(),
    serviceAccounts: { signingKeyPem },
  });
  const requests: ApiRequest[] = [];
  for (let n = 0; n < TOKENS; n++) {
    const { token } = await tokenIssuer.issue({
      namespace: 'red',
      serviceAccount: { name: 'bot', uid: 'sa-1' },
      audiences: [],
      expirationSeconds: 3600,
      boundTo: { kind: 'Pod', name: 'p', uid: 'pod-1' },
      node: { name: 'n', uid: 'node-1' },
    });
    requests.push(request(token));
  }
  await measureUnknown(`service account (${what}), never seen`, requests, (one) =>
    authenticator.authenticate(one),
  );
  measureKnown(`service account (${what}), verified before`, requests, (one) =>
    authenticator.authenticate(one),
  );
}

async function oidc(alg: string): Promise<void> {
  const issuer = await startTestIssuer();
  const dir = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
  issuer.keys = [issuerKey(alg)];
  writeFileSync(join(dir, 'ca.crt'), issuer.ca);
  const source = await openJwtSource({
    flags: {
      oidcIssuerUrl: issuer.url,
      oidcClientId: 'capstan',
      oidcGroupsClaim: 'groups',
      oidcSigningAlgs: [alg],
    },
    caFile: join(dir, 'ca.crt'),
    disallowedIssuers: [],
    apiAudiences: AUDIENCES,
    clock: realClock,
    log: silentLogger,
  });
  while (source.problems().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  const { authenticator } = createAuthentication({
    internal: new FakeInternal(),
    nowMs: () => Date.now(),
    serviceAccounts: { signingKeyPem: ecKey() },
    apiAudiences: AUDIENCES,
    extraTokens: [source.tokens],
  });
  const requests = Array.from({ length: TOKENS }, (_, n) =>
    request(issuer.token({ sub: `user-${n}`, groups: ['a', 'b', 'c'] })),
  );
  await measureUnknown(`OIDC (${alg}), never seen`, requests, (one) => authenticator.authenticate(one));
  measureKnown(`OIDC (${alg}), verified before`, requests, (one) => authenticator.authenticate(one));
  source.close();
  await issuer.stop();
  rmSync(dir, { recursive: true, force: true });
}

function staticTokens(): void {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
  const file = join(dir, 'tokens.csv');
  writeFileSync(file, Array.from({ length: TOKENS }, (_, n) => `token-${n},user-${n},${n}`).join('\n'));
  const authentication = createAuthentication({
    internal: new FakeInternal(),
    nowMs: () => Date.now(),
    serviceAccounts: { signingKeyPem: ecKey() },
    tokenFile: file,
  });
  measureKnown(
    'static token',
    Array.from({ length: TOKENS }, (_, n) => request(`token-${n}`)),
    (one) => authentication.authenticator.authenticate(one),
  );
  authentication.close();
  rmSync(dir, { recursive: true, force: true });
}

function certificates(): void {
  const { authenticator } = createAuthentication({
    internal: new FakeInternal(),
    nowMs: () => Date.now(),
    serviceAccounts: { signingKeyPem: ecKey() },
  });
  const requests = Array.from({ length: TOKENS }, (_, n): ApiRequest => ({
    ...request(''),
    headers: {},
    clientCertificate: { commonName: `user-${n}`, organizations: ['a'], fingerprint: `${n}` },
  }));
  measureKnown('client certificate', requests, (one) => authenticator.authenticate(one));
}

const ecKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
const rsaKey = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;

certificates();
staticTokens();
await serviceAccounts('ES256', ecKey());
await serviceAccounts('RS256', rsaKey());
await oidc('ES256');
await oidc('RS256');
console.table(rows);
