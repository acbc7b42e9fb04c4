/** Tokens: round trips of every algorithm, and tokens that must not verify. */
import assert from 'node:assert/strict';
import { createHmac, createPublicKey, generateKeyPairSync, sign, constants } from 'node:crypto';
import { test } from 'node:test';
import {
  JwtSigner,
  parseJwt,
  SIGNING_ALGORITHMS,
  verificationKey,
  verifyJwt,
  verifySignature,
} from './jwt.ts';

const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' } as const;
const CLAIMS = { iss: 'me', sub: 'you', n: 1 };

function ecKey(curve = 'P-256'): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

function rsaKey(modulusLength = 2048): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

const RSA = rsaKey();
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Signs as another implementation does. */
function signedElsewhere(header: Record<string, unknown>, pem: string): string {
  const signed = `${encode(header)}.${encode(CLAIMS)}`;
  const alg = String(header['alg']);
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const key = { key: pem, dsaEncoding: 'ieee-p1363' as const, ...(alg.startsWith('PS') ? pss : {}) };
  return `${signed}.${sign(`sha${alg.slice(2)}`, Buffer.from(signed), key).toString('base64url')}`;
}

test('verifies tokens of another implementation, for every algorithm', async () => {
  for (const algorithm of SIGNING_ALGORITHMS) {
    const pem = algorithm in CURVES ? ecKey(CURVES[algorithm as keyof typeof CURVES]) : RSA;
    const token = parseJwt(signedElsewhere({ alg: algorithm }, pem))!;
    const key = { id: '', algorithm, key: createPublicKey(pem) };
    assert.equal(await verifySignature(token, [key]), true, algorithm);
    assert.deepEqual(token.claims, CLAIMS);
    const other = SIGNING_ALGORITHMS.find(
      (one) => one !== algorithm && one.startsWith(algorithm.slice(0, 2)),
    );
    if (algorithm.startsWith('ES')) continue;
    assert.equal(await verifySignature(token, [{ ...key, algorithm: other! }]), false, 'the key decides');
  }
});

test('the key determines the algorithm', async () => {
  for (const [pem, alg] of [
    [RSA, 'RS256'],
    [ecKey(), 'ES256'],
    [ecKey('P-384'), 'ES384'],
    [ecKey('P-521'), 'ES512'],
  ] as const) {
    const token = parseJwt(await new JwtSigner(pem).sign(CLAIMS))!;
    assert.deepEqual(token.header, { alg, kid: verificationKey(pem).id });
    assert.equal(await verifyJwt(token, [verificationKey(ecKey()), verificationKey(pem)]), true);
    assert.equal(await verifyJwt(token, [verificationKey(ecKey()), verificationKey(rsaKey())]), false);
  }
});

test('unsigned, HMAC-signed, extended and changed tokens do not verify', async () => {
  const pem = ecKey();
  const keys = [verificationKey(pem)];
  const token = await new JwtSigner(pem).sign(CLAIMS);
  const [head, body, tail] = token.split('.') as [string, string, string];
  const hmac = encode({ alg: 'HS256' });
  const secret = createPublicKey(pem).export({ type: 'spki', format: 'pem' });
  for (const forged of [
    `${encode({ alg: 'none' })}.${body}.${tail}`,
    `${hmac}.${body}.${createHmac('sha256', secret).update(`${hmac}.${body}`).digest('base64url')}`,
    `${head}.${encode({ ...CLAIMS, sub: 'root' })}.${tail}`,
    `${head}.${body}.${tail.slice(0, -4)}AAAA`,
    `${head}.${body}.AA`,
    signedElsewhere({ alg: 'ES256', crit: ['exp'], exp: 1 }, pem),
    signedElsewhere({ alg: 'ES256', crit: ['b64'], b64: false }, pem),
    signedElsewhere({ alg: 'ES256', jwk: createPublicKey(ecKey()).export({ format: 'jwk' }) }, ecKey()),
  ])
    assert.equal(await verifyJwt(parseJwt(forged)!, keys), false, forged);
  assert.equal(await verifyJwt(parseJwt(token)!, keys), true);
});

test('malformed tokens', () => {
  for (const text of [
    '',
    'a',
    'a.b',
    'a.b.c',
    `${encode({})}.${encode([])}.AA`,
    `${encode({})}.${encode({})}.`,
  ])
    assert.equal(parseJwt(text), undefined, text);
  assert.equal(parseJwt(`${encode({})}.${encode({})}.A A`), undefined);
});

test('rejects keys of other kinds, and RSA keys of fewer than 2048 bits, by name', () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  assert.throws(() => new JwtSigner(pem), /must be RSA or ECDSA \(P-256, P-384, P-521\), not ed25519/);
  assert.throws(() => verificationKey(rsaKey(1024)), /must have at least 2048 bits, not 1024/);
});
