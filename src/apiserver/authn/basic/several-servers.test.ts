/** Two API servers on one real etcd: failures at both count together, and a lock that one made holds at the other. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { SharedMap } from '../../registry/core/configmaps/shared-map.ts';
import type { TestServer } from '../../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../../testing/shared-etcd.ts';
import { Lockout } from './lockout.ts';

const program = someEtcd();

describe('lock-outs at two API servers', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let servers: readonly TestServer[];
  let clock: FakeClock;
  let one: Lockout;
  let two: Lockout;
  before(async () => {
    shared = await startSharedEtcd(program!);
    servers = await Promise.all([shared.start(), shared.start()]);
    clock = new FakeClock();
    [one, two] = servers.map(({ server }) => {
      const map = new SharedMap({ name: 'capstan-lockouts', clock, log: silentLogger });
      map.attach(server.internal);
      return new Lockout({ clock, perUser: 3, perAddress: 100, shared: map });
    }) as [Lockout, Lockout];
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await shared.close();
  });

  const map = async (): Promise<{ data?: Record<string, string> }> =>
    (await servers[0]!.request('GET /api/v1/namespaces/kube-system/configmaps/capstan-lockouts'))
      .body as Awaited<ReturnType<typeof map>>;
  const data = async (): Promise<Record<string, string>> => (await map()).data ?? {};
  const jane = { user: 'jane', address: '192.0.2.7' };
  const fail = (lockout: Lockout): void => lockout.begin(jane).failed();
  const isLocked = (lockout: Lockout, who = jane): boolean => lockout.lockedForMs(who) > 0;

  test('a lock holds at the other server, and from then on every failure locks at any of them', async () => {
    for (let i = 0; i < 2; i++) fail(one);
    assert.ok(!isLocked(one) && !isLocked(two));
    fail(one);
    assert.ok(isLocked(one));
    await until('the other has it', async () => isLocked(two));
    assert.ok(!isLocked(two, { ...jane, user: 'joe' }), 'others are not locked');

    await clock.advance(31_000);
    assert.deepEqual([one.lockedForMs(jane), two.lockedForMs(jane)], [0, 0]);
    fail(two);
    assert.ok(two.lockedForMs(jane) > 30_000, 'at the first failure, for twice as long');
    await until('the first has it', async () => one.lockedForMs(jane) > 30_000);
  });

  test('whoever gets in is free again everywhere, and what is shared names nobody', async () => {
    const locks = Object.keys(await data()).filter((key) => !key.endsWith('.failures'));
    assert.equal(locks.length, 1);
    assert.doesNotMatch(JSON.stringify(await data()), /jane|192\.0\.2/);
    await clock.advance(61_000);
    one.begin(jane).succeeded();
    await until(
      'it is forgotten',
      async () => !Object.keys(await data()).some((key) => key.startsWith('user.')),
    );
    fail(one);
    assert.ok(!isLocked(one), 'it counts from the beginning');
  });

  test('guesses spread over both servers are counted together', async () => {
    const spread = { ...jane, user: 'spread' };
    const failSpread = (lockout: Lockout): void => lockout.begin(spread).failed();
    const told = async (): Promise<number> => {
      const key = `user.${hash('sha256', 'spread').slice(0, 40)}.failures`;
      return Number((await data())[key]?.split(' ')[1] ?? 0);
    };
    failSpread(one);
    failSpread(two);
    await clock.advance(1_000);
    await until('both are counted', async () => (await told()) === 2);
    await until('the first knows', () => {
      const attempt = one.begin(spread);
      const isThird = isLocked(one, spread);
      if (isThird) attempt.failed();
      else attempt.undecided();
      return isThird;
    });
    await until('the other has the lock', () => isLocked(two, spread));
    await clock.advance(31_000);
    one.begin(spread).succeeded();
    await until('it is forgotten', async () => (await told()) === 0);
  });

  test('an attempt under way is no lock for others before it fails', async () => {
    const attempts = [1, 2, 3].map(() => two.begin({ ...jane, user: 'slow' }));
    await servers[0]!.request('GET /api/v1/namespaces/kube-system/configmaps/capstan-lockouts');
    assert.ok(!isLocked(one, { ...jane, user: 'slow' }));
    for (const attempt of attempts) attempt.undecided();
  });
});
