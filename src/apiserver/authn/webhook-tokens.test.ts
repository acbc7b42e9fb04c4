/** Webhook tokens against a real HTTPS server. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { startWebhookPeer, type PeerAnswer, type PeerCall, type WebhookPeer } from '#testing/webhook-peer.ts';
import type { Authenticated } from './authenticator.ts';
import { WebhookTokens, type WebhookTokenOptions } from './webhook-tokens.ts';

const AUDIENCES = ['api'];
const review = (status: object, version = 'v1'): PeerAnswer => ({
  body: { kind: 'TokenReview', apiVersion: `authentication.k8s.io/${version}`, status },
});
const JANE = {
  authenticated: true,
  user: { username: 'jane', uid: '7', groups: ['dev'], extra: { 'x.org/a': ['b'] } },
};

async function world(
  t: TestContext,
  answer: (call: PeerCall) => PeerAnswer | Promise<PeerAnswer>,
  options: Partial<WebhookTokenOptions> = {},
): Promise<{ peer: WebhookPeer; tokens: WebhookTokens; clock: FakeClock }> {
  const peer = await startWebhookPeer(answer);
  const clock = new FakeClock();
  const tokens = new WebhookTokens({
    configFile: peer.kubeconfig,
    version: 'v1',
    cacheTtlMs: 120_000,
    apiAudiences: AUDIENCES,
    clock,
    log: silentLogger,
    ...options,
  });
  t.after(async () => {
    tokens.close();
    await peer.stop();
  });
  return { peer, tokens, clock };
}

const ask = async (
  tokens: WebhookTokens,
  token: string,
  audiences = AUDIENCES,
): Promise<Authenticated | undefined> => tokens.authenticateToken(token, audiences);

test('a TokenReview goes out, a user comes back and is remembered', async (t) => {
  const { peer, tokens, clock } = await world(t, () => review(JANE));
  const expected = {
    user: { name: 'jane', uid: '7', groups: ['dev'], extra: { 'x.org/a': ['b'] } },
    audiences: AUDIENCES,
  };
  const both = await Promise.all([ask(tokens, 'x'), ask(tokens, 'x')]);
  assert.deepEqual(both, [expected, expected]);
  assert.deepEqual(
    peer.calls.map(({ body }) => body),
    [
      {
        kind: 'TokenReview',
        apiVersion: 'authentication.k8s.io/v1',
        metadata: {},
        spec: { token: 'x', audiences: AUDIENCES },
      },
    ],
    'asked once',
  );
  assert.equal(peer.calls[0]!.clientName, 'kube-apiserver');
  assert.equal(
    tokens.authenticateToken('x', AUDIENCES),
    both[0],
    'remembered: answered at once, the same answer',
  );
  await clock.advance(120_001);
  await ask(tokens, 'x');
  assert.equal(peer.calls.length, 2);
});

test('version v1beta1', async (t) => {
  const { peer, tokens } = await world(t, () => review(JANE, 'v1beta1'), { version: 'v1beta1' });
  assert.equal((await ask(tokens, 'x'))?.user.name, 'jane');
  assert.equal((peer.calls[0]!.body as { apiVersion: string }).apiVersion, 'authentication.k8s.io/v1beta1');
});

test('a no is remembered too, with its reason; other tokens are asked about', async (t) => {
  const { peer, tokens } = await world(t, ({ body }) => {
    const { token } = (body as { spec: { token: string } }).spec;
    return review(
      token === 'good'
        ? JANE
        : token === 'revoked'
          ? { authenticated: false, error: 'revoked yesterday' }
          : {},
    );
  });
  for (let n = 0; n < 2; n++) {
    assert.equal(await ask(tokens, 'unknown'), undefined);
    await assert.rejects(ask(tokens, 'revoked'), /^Error: revoked yesterday$/);
  }
  assert.ok(await ask(tokens, 'good'));
  assert.equal(peer.calls.length, 3);
});

test('audiences', async (t) => {
  let given: string[] | undefined;
  const { tokens } = await world(t, () => review({ ...JANE, ...(given ? { audiences: given } : {}) }), {
    cacheTtlMs: 0,
    apiAudiences: ['api', 'api2'],
  });
  assert.deepEqual(
    (await ask(tokens, 'x', ['api', 'vault']))?.audiences,
    ['api'],
    "a server that knows no audiences speaks for the API server's",
  );
  assert.equal(await ask(tokens, 'x', ['vault']), undefined);
  given = ['vault', 'other'];
  assert.deepEqual((await ask(tokens, 'x', ['vault', 'api']))?.audiences, ['vault']);
  assert.equal(await ask(tokens, 'x', ['api']), undefined);
});

test('failures are tried again, not remembered, and not told to the client', async (t) => {
  const lines: string[] = [];
  let fails = 2;
  const { peer, tokens } = await world(t, () => (fails-- > 0 ? { status: 500 } : review(JANE)), {
    clock: realClock,
    log: createLogger({ write: (line) => void lines.push(line) }),
  });
  assert.ok(await ask(tokens, 'x'));
  assert.equal(peer.calls.length, 3);
  peer.answer(() => ({ status: 403 }));
  await assert.rejects(
    ask(tokens, 'y'),
    (error: Error) => error.message === 'webhook authenticator: the request failed',
  );
  peer.answer(() => review({}, 'v2'));
  await assert.rejects(ask(tokens, 'y'), /the request failed/);
  assert.match(lines.join(''), /the server answered 403[^]*no TokenReview of authentication.k8s.io\/v1/);
  assert.ok(!lines.join('').includes('"y"'), 'no token in the log');
  peer.answer(() => review(JANE));
  assert.ok(await ask(tokens, 'y'));
});

test('answers that make no user', async (t) => {
  let status: object = {};
  const { tokens } = await world(t, () => review(status), { cacheTtlMs: 0 });
  for (status of [
    { authenticated: 'true', user: { username: 'x' } },
    { authenticated: true },
    { authenticated: true, user: { username: '' } },
    { authenticated: true, user: { username: 7 } },
  ])
    assert.equal(await ask(tokens, 'x'), undefined);
  status = { authenticated: true, user: { username: 'x', groups: 'no', uid: 1, extra: [] } };
  assert.deepEqual((await ask(tokens, 'x'))?.user, { name: 'x', groups: [] });
});

test('a server that hangs is asked by a bounded number; closing ends the waiting', async (t) => {
  const { tokens } = await world(t, () => new Promise(() => {}));
  const waiting = Array.from({ length: 1000 }, (_, n) => ask(tokens, `t${n}`));
  for (const one of waiting) one.catch(() => {});
  assert.throws(
    () => tokens.authenticateToken('one more', AUDIENCES),
    /too many tokens are asked about already/,
  );
  assert.equal(
    tokens.authenticateToken('t0', AUDIENCES) instanceof Promise,
    true,
    'one that is asked about already may join',
  );
  tokens.close();
  for (const one of await Promise.allSettled(waiting)) assert.equal(one.status, 'rejected');
});
