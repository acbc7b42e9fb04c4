/** Two API servers on one real etcd: a session that one gave is valid at the other, and revoked at both by replacing the shared key. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { generateKeyPem } from '#pki/keys.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { SharedSecret } from '../../registry/core/secrets/shared-secret.ts';
import type { TestServer } from '../../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../../testing/shared-etcd.ts';
import { SessionTokens } from './session-tokens.ts';

const SECRET = '/api/v1/namespaces/kube-system/secrets/capstan-session-key';
const AUDIENCES = ['api'];
const JANE = { name: 'jane', groups: ['devs'] };

const program = someEtcd();

describe('sessions at two API servers', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let servers: readonly TestServer[];
  let sessions: readonly SessionTokens[];
  before(async () => {
    shared = await startSharedEtcd(program!);
    servers = await Promise.all([shared.start(), shared.start()]);
    sessions = await Promise.all(
      servers.map(async ({ server }) => {
        const secret = new SharedSecret({
          name: 'capstan-session-key',
          field: 'session.key',
          make: generateKeyPem,
          log: silentLogger,
        });
        await secret.attach(server.internal);
        return new SessionTokens({
          key: { shared: secret },
          apiAudiences: AUDIENCES,
          lifetimeMs: 3_600_000,
          clock: realClock,
          log: silentLogger,
        });
      }),
    );
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await shared.close();
  });

  const issue = async (at: number): Promise<string> =>
    (await sessions[at]!.issue(JANE, { method: 'pwd' })).token;
  const isValid = async (at: number, token: string): Promise<boolean> => {
    try {
      return (await sessions[at]!.authenticateToken(token, AUDIENCES))?.user.name === 'jane';
    } catch {
      return false;
    }
  };

  const areValid = async (...tokens: string[]): Promise<boolean[]> =>
    Promise.all(tokens.flatMap((token) => [isValid(0, token), isValid(1, token)]));

  test('both made one key, and each takes the tokens of the other', async () => {
    const tokens = await Promise.all([issue(0), issue(1)]);
    await until('both have it', async () => !(await areValid(...tokens)).includes(false));
  });

  test('a replaced key revokes the sessions at both, a deleted one is recreated', async () => {
    const old = await issue(0);
    const data = { 'session.key': Buffer.from(generateKeyPem()).toString('base64') };
    const headers = { 'content-type': 'application/merge-patch+json' };
    assert.equal((await servers[0]!.request(`PATCH ${SECRET}`, { body: { data }, headers })).status, 200);
    await until('it is revoked', async () => !(await areValid(old)).includes(true));
    const next = await issue(0);
    assert.ok(await isValid(1, next));

    assert.equal((await servers[1]!.request(`DELETE ${SECRET}`)).status, 200);
    await until('it is revoked too', async () => !(await areValid(next)).includes(true));
    await until('another is there', async () => {
      const { status } = await servers[0]!.request(`GET ${SECRET}`);
      return status === 200 && (await isValid(1, await issue(0)));
    });
  });

  test('a key that cannot be used changes nothing', async () => {
    const token = await issue(0);
    const data = { 'session.key': Buffer.from('nonsense').toString('base64') };
    const headers = { 'content-type': 'application/merge-patch+json' };
    assert.equal((await servers[0]!.request(`PATCH ${SECRET}`, { body: { data }, headers })).status, 200);
    await servers[1]!.request(`GET ${SECRET}`);
    assert.deepEqual(await areValid(token), [true, true]);
  });

  test('a page of a list goes on at the other server', async () => {
    const maps = '/api/v1/namespaces/default/configmaps';
    for (let i = 0; i < 7; i++)
      await servers[0]!.request(`POST ${maps}`, { body: { metadata: { name: `m${i}` } } });
    const seen: string[] = [];
    let next = '';
    for (let page = 0; page === 0 || next !== ''; page++) {
      const answer = await servers[page % 2]!.request(`GET ${maps}?limit=3${next && `&continue=${next}`}`);
      assert.equal(answer.status, 200, answer.text);
      const { items, metadata } = answer.body as {
        items: { metadata: { name: string } }[];
        metadata: { continue?: string };
      };
      seen.push(...items.map((item) => item.metadata.name));
      // What is made meanwhile is not of this list.
      if (page === 0) await servers[1]!.request(`POST ${maps}`, { body: { metadata: { name: 'm65' } } });
      next = metadata.continue ?? '';
    }
    assert.deepEqual(seen, ['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6']);
  });
});
