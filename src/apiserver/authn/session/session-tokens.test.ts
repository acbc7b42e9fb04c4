/** Session tokens: what they carry, how they end, how they are revoked, and that nothing else passes for one. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { JwtSigner } from '#stdx/jwt.ts';
import { createLogger } from '#stdx/log.ts';
import { SESSION_ISSUER, SessionTokens } from './session-tokens.ts';

const AUDIENCES = ['https://kubernetes.default.svc'];
const ALICE = {
  name: 'alice',
  uid: '7',
  groups: ['devs', 'system:authenticated'],
  extra: { 'acme.com/project': ['p'] },
};

function newKey(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

function sessions(changes: Partial<ConstructorParameters<typeof SessionTokens>[0]> = {}): {
  readonly tokens: SessionTokens;
  readonly clock: FakeClock;
  readonly log: string[];
  readonly pem: string;
} {
  const clock = new FakeClock();
  const log: string[] = [];
  const pem = newKey();
  return {
    clock,
    log,
    pem,
    tokens: new SessionTokens({
      key: { pem },
      apiAudiences: AUDIENCES,
      lifetimeMs: 3_600_000,
      clock,
      log: createLogger({ write: (line) => log.push(line) }),
      ...changes,
    }),
  };
}

test('a session carries who logged in, and a mark of its own', async () => {
  const { tokens } = sessions();
  const { token, expirationTimestamp } = await tokens.issue(ALICE, { method: 'pwd' });
  assert.equal(expirationTimestamp, '2026-01-01T01:00:00Z');
  const found = await tokens.authenticateToken(token, AUDIENCES);
  const { extra, ...user } = found!.user;
  assert.deepEqual(user, { name: 'alice', uid: '7', groups: ['devs'] });
  assert.deepEqual(extra?.['acme.com/project'], ['p']);
  assert.match(extra?.['authentication.kubernetes.io/credential-id']?.[0] ?? '', /^JTI=[0-9a-f-]{36}$/);
  assert.equal(tokens.authenticateToken(token, AUDIENCES), found, 'verified once');
  assert.deepEqual((await tokens.authenticateToken(token, ['other', ...AUDIENCES]))?.audiences, AUDIENCES);
  assert.throws(() => tokens.authenticateToken(token, ['vault']), /for the API server alone/);
});

test('it ends, and never lasts longer than the bound', async () => {
  const { tokens, clock } = sessions();
  const short = await tokens.issue(ALICE, { method: 'pwd', seconds: 60 });
  const long = await tokens.issue(ALICE, { method: 'pwd', seconds: 1e9 });
  assert.equal(long.expirationTimestamp, '2026-01-01T01:00:00Z');
  await assert.rejects(tokens.issue(ALICE, { method: 'pwd', seconds: 59 }), RangeError);
  assert.ok(await tokens.authenticateToken(short.token, AUDIENCES));
  await clock.advance(60_000);
  assert.throws(() => tokens.authenticateToken(short.token, AUDIENCES), /expired/);
  assert.ok(await tokens.authenticateToken(long.token, AUDIENCES));
  await clock.advance(3_540_000);
  assert.throws(() => tokens.authenticateToken(long.token, AUDIENCES), /expired/);
});

test('what is not one, and what is forged', async () => {
  const { tokens, pem } = sessions();
  const { token } = await tokens.issue(ALICE, { method: 'pwd' });
  for (const other of [
    '',
    'x',
    'a.b.c',
    await new JwtSigner(pem).sign({ iss: 'https://elsewhere', sub: 'alice' }),
  ])
    assert.equal(tokens.authenticateToken(other, AUDIENCES), undefined);
  const [head, body, tail] = token.split('.') as [string, string, string];
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>;
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  for (const forged of [
    `${head}.${encode({ ...claims, sub: 'root' })}.${tail}`,
    `${encode({ alg: 'none' })}.${body}.${tail}`,
    `${head}.${body}.${tail.slice(0, -4)}AAAA`,
    await new JwtSigner(newKey()).sign(claims),
    await new JwtSigner(pem).sign({ ...claims, aud: ['other'] }),
    await new JwtSigner(pem).sign({ ...claims, exp: undefined }),
    await new JwtSigner(pem).sign({ ...claims, nbf: 4e9, exp: 5e9 }),
    await new JwtSigner(pem).sign({ iss: SESSION_ISSUER, exp: 4e9 }),
  ])
    await assert.rejects(async () => tokens.authenticateToken(forged, AUDIENCES), /session token/);
});

test('a replaced key revokes every session, a rotation with the old key behind it none', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-session-'));
  const file = join(dir, 'session.key');
  const [first, second] = [newKey(), newKey()];
  writeFileSync(file, first);
  const { tokens, log } = sessions({ key: { file } });
  try {
    const old = (await tokens.issue(ALICE, { method: 'pwd' })).token;
    assert.ok(await tokens.authenticateToken(old, AUDIENCES));
    writeFileSync(file, `${second}\n${first}`);
    tokens.look();
    const next = (await tokens.issue(ALICE, { method: 'pwd' })).token;
    assert.ok(await tokens.authenticateToken(old, AUDIENCES));
    assert.ok(await tokens.authenticateToken(next, AUDIENCES));
    writeFileSync(file, second);
    tokens.look();
    await assert.rejects(async () => tokens.authenticateToken(old, AUDIENCES), /invalid signature/);
    assert.ok(await tokens.authenticateToken(next, AUDIENCES));
    writeFileSync(file, 'nonsense');
    tokens.look();
    assert.ok(await tokens.authenticateToken(next, AUDIENCES), 'a bad file changes nothing');
    assert.match(log.join(''), /first PEM block should be a private key/);
    assert.doesNotMatch(log.join(''), /BEGIN|eyJ/);
  } finally {
    tokens.close();
    rmSync(dir, { recursive: true });
  }
});
