/** What surrounds the Kerberos library: replays, floods, groups of a directory. The library itself is tested with a KDC in ../logins.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isStatusError } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { ApiRequest } from '../../http/request.ts';
import { BackendUnavailable } from '../basic/password-backend.ts';
import type { Accepted } from './gssapi.ts';
import { NegotiateAuthenticator, type NegotiateOptions } from './negotiate.ts';

function request(token: string): ApiRequest {
  return {
    method: 'GET',
    path: '/api',
    query: '',
    headers: { authorization: `Negotiate ${Buffer.from(token).toString('base64')}` },
    body: () => Promise.resolve(Buffer.alloc(0)),
    onAbort: () => {},
    remoteAddress: '192.0.2.1',
  };
}

function authenticator(
  changes: Partial<NegotiateOptions> = {},
  accept: () => Promise<Accepted> = () =>
    Promise.resolve({ principal: 'alice@A', answer: Buffer.from('proof') }),
): { readonly clock: FakeClock; readonly way: NegotiateAuthenticator } {
  const clock = new FakeClock();
  const options: NegotiateOptions = { keytab: '', service: 'HTTP', nameMapping: [], clock, ...changes };
  return {
    clock,
    way: new NegotiateAuthenticator(options, {
      acceptor: { accept },
      mapName: (principal) => principal.split('@')[0]!,
    }),
  };
}

test("groups are the directory's, and the answer proves the server", async () => {
  const { way } = authenticator({
    groupsOf: (name) => Promise.resolve({ uid: `${name}-7`, groups: ['devs'] }),
  });
  const of = request('a');
  assert.deepEqual((await way.authenticate(of))?.user, {
    name: 'alice',
    uid: 'alice-7',
    groups: ['devs'],
    extra: { 'authentication.capstan.dev/kerberos-principal': ['alice@A'] },
  });
  assert.deepEqual(way.answerHeaders(of), {
    'www-authenticate': `Negotiate ${Buffer.from('proof').toString('base64')}`,
  });
  assert.equal(way.answerHeaders(request('a')), undefined);
});

test('a token is taken once, also when both come at the same moment', async () => {
  const { way } = authenticator();
  const first = way.authenticate(request('a'));
  assert.throws(() => way.authenticate(request('a')), /used before/);
  assert.equal((await first)?.user.name, 'alice');
  assert.equal((await way.authenticate(request('b')))?.user.name, 'alice');
});

test('a directory that is down is 503, a flood 429, other schemes are not its concern', async () => {
  const { way: down } = authenticator({ groupsOf: () => Promise.reject(new BackendUnavailable('down')) });
  await assert.rejects(
    async () => down.authenticate(request('a')),
    (error) => isStatusError(error, 'ServiceUnavailable'),
  );
  const { way } = authenticator({}, () => new Promise(() => {}));
  const answers = Array.from({ length: 200 }, (_, index) =>
    Promise.resolve(way.authenticate(request(`t${index}`))),
  );
  const refused = await Promise.race(
    answers.map((answer) =>
      answer.then(
        () => undefined,
        (error: unknown) => error,
      ),
    ),
  );
  assert.ok(isStatusError(refused, 'TooManyRequests'));
  assert.equal(way.authenticate({ ...request('a'), headers: { authorization: 'Bearer x' } }), undefined);
});
