/**
 * For tests only: an issuer of ID tokens on loopback over HTTPS, in this process, that follows the test's instructions: rotates keys, answers slowly, publishes
 * another issuer's name, signs with what nobody should accept.
 */
import { constants, createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { ServerResponse, IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeAuthority } from '#testing/certificates.ts';

export { makeAuthority };

interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export interface TestIssuer {
  readonly url: string;
  /** PEM of the authority its certificate is of. */
  readonly ca: string;
  /** Published. */
  keys: IssuerKey[];
  /** Paths asked for, in order. */
  readonly asked: string[];
  /** Answers a path itself; undefined = as usual. */
  intercept: ((path: string, request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** Good ones, unless claims or header say otherwise; undefined takes a claim out. */
  token(
    claims?: Readonly<Record<string, unknown>>,
    options?: { readonly key?: IssuerKey; readonly header?: Readonly<Record<string, unknown>> },
  ): string;
  stop(): Promise<void>;
}

let made = 0;

export function issuerKey(alg = 'ES256', kid = `key-${++made}`): IssuerKey {
  const curves: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
  const curve = curves[alg];
  return {
    kid,
    alg,
    ...(curve
      ? generateKeyPairSync('ec', { namedCurve: curve })
      : generateKeyPairSync('rsa', { modulusLength: 2048 })),
  };
}

export function signToken(
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
  key: IssuerKey,
): string {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: key.alg, kid: key.kid, ...header })}.${encode(claims)}`;
  const pss = key.alg.startsWith('PS')
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : {};
  return `${signed}.${sign(`sha${key.alg.slice(2)}`, Buffer.from(signed), { key: key.privateKey, dsaEncoding: 'ieee-p1363', ...pss }).toString('base64url')}`;
}

/** HMAC with a public key's text: what servers fall for that let the token choose how it is verified. */
export function confusedToken(claims: Readonly<Record<string, unknown>>, key: IssuerKey): string {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'HS256', kid: key.kid })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', key.publicKey.export({ type: 'spki', format: 'pem' }))
    .update(signed)
    .digest('base64url')}`;
}

export async function startTestIssuer(): Promise<TestIssuer> {
  const authority = makeAuthority();
  const keys = [issuerKey()];
  const server = createServer(authority.issue({ commonName: 'issuer', addresses: ['127.0.0.1'] }));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer: TestIssuer = {
    url,
    ca: authority.cert,
    keys,
    asked: [],
    intercept: undefined,
    token(claims = {}, { key = issuer.keys[0]!, header = {} } = {}) {
      const now = Math.floor(Date.now() / 1000);
      return signToken(
        header,
        { iss: url, aud: 'capstan', sub: 'jane', iat: now, exp: now + 3600, ...claims },
        key,
      );
    },
    stop: () => stop(server),
  };
  server.on('request', (request, response) => {
    const path = request.url ?? '';
    issuer.asked.push(path);
    if (issuer.intercept?.(path, request, response)) return;
    if (path === '/.well-known/openid-configuration')
      return void response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }));
    if (path === '/keys')
      return void response.end(
        JSON.stringify({
          keys: issuer.keys.map(({ kid, alg, publicKey }) => ({
            ...publicKey.export({ format: 'jwk' }),
            kid,
            alg,
            use: 'sig',
          })),
        }),
      );
    response.writeHead(404).end();
  });
  return issuer;
}

async function stop(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
