/** Passwords from a file: right, wrong, locked out, in floods; what is remembered and for how long; nothing secret in errors. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { isStatusError } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import type { ApiRequest } from '../../http/request.ts';
import type { Authenticated } from '../authenticator.ts';
import { BasicAuthenticator } from './basic-authenticator.ts';
import { Gate } from './gate.ts';
import { Lockout } from './lockout.ts';
import { BackendUnavailable, type PasswordBackend, WrongPassword } from './password-backend.ts';
import { parseUsers, PasswordFile } from './password-file.ts';
import { hashPassword, matchesHash, parsePasswordHash } from './password-hash.ts';

const HASH = await hashPassword('tell-nobody');

function request(header: string, remoteAddress = '192.0.2.1'): ApiRequest {
  return {
    method: 'GET',
    path: '/api',
    query: '',
    headers: { authorization: header },
    body: () => Promise.resolve(Buffer.alloc(0)),
    onAbort: () => {},
    remoteAddress,
  };
}

function basic(username: string, password: string, remoteAddress?: string): ApiRequest {
  return request(`Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`, remoteAddress);
}

/** Knows alice:right; counts how often it is asked. */
class FakeBackend implements PasswordBackend {
  readonly name = 'fake';
  generation = 1;
  asked = 0;
  down = false;

  async check({
    username,
    password,
  }: {
    readonly username: string;
    readonly password: string;
  }): Promise<Authenticated | undefined> {
    this.asked += 1;
    await Promise.resolve();
    if (this.down) throw new BackendUnavailable('down');
    if (username !== 'alice') return undefined;
    if (password !== 'right') throw new WrongPassword('the password is wrong');
    return { user: { name: 'alice', groups: ['devs'] } };
  }
}

function world(): {
  readonly clock: FakeClock;
  readonly backend: FakeBackend;
  readonly authenticator: BasicAuthenticator;
} {
  const clock = new FakeClock();
  const backend = new FakeBackend();
  return { clock, backend, authenticator: new BasicAuthenticator({ backends: [backend], clock }) };
}

async function outcome(authenticator: BasicAuthenticator, of: ApiRequest): Promise<string> {
  try {
    return (await authenticator.authenticate(of))?.user.name ?? 'nobody';
  } catch (error) {
    return isStatusError(error)
      ? `${error.code}${error.status.details?.retryAfterSeconds ? ` ${error.status.details.retryAfterSeconds}` : ''}`
      : (error as Error).name;
  }
}

test('a hash is of the password it was made of, whatever its Unicode form', async () => {
  const hash = parsePasswordHash(await hashPassword('pässword'));
  assert.equal(await matchesHash('pa\u0308ssword', hash), true);
  assert.equal(await matchesHash('password', hash), false);
  assert.notEqual(await hashPassword('same'), await hashPassword('same'));
});

test('hashes that are weak, monstrous or none are refused without being quoted', () => {
  const [salt, digest] = [
    Buffer.alloc(16).toString('base64').replaceAll('=', ''),
    Buffer.alloc(32).toString('base64').replaceAll('=', ''),
  ];
  const of =
    (parameters: string, s = salt, d = digest): (() => unknown) =>
    () =>
      parsePasswordHash(`$scrypt$${parameters}$${s}$${d}`);
  assert.doesNotThrow(of('ln=15,r=8,p=1'));
  for (const [make, says] of [
    [of('ln=10,r=8,p=1'), /ln=10; it should be from 14 to 20/],
    [of('ln=15,r=4,p=1'), /r=4/],
    [of('ln=15,r=8,p=99'), /p=99/],
    [of('ln=20,r=32,p=1'), /needs more than 256 MiB/],
    [of('ln=15,r=8,p=1', 'c2FsdA'), /salt .* has 4 bytes/],
    [of('ln=15,r=8,p=1', salt, 'c2hvcnQ'), /hash has 5 bytes/],
    [(): unknown => parsePasswordHash('tell-nobody'), /not a hash of the form/],
  ] as const)
    assert.throws(make, (error: Error) => says.test(error.message) && !error.message.includes('tell-nobody'));
});

test('the file is read strictly, and its problems name the record', () => {
  const { users } = parseUsers('f', `# comment\n"${HASH}",alice,7,"devs, ops"\n\n"${HASH}",bob\n`);
  assert.deepEqual(users.get('alice')?.authenticated, {
    user: { name: 'alice', uid: '7', groups: ['devs', 'ops'] },
  });
  assert.deepEqual(users.get('bob')?.authenticated, { user: { name: 'bob', groups: [] } });
  for (const [text, says] of [
    ['tell-nobody,alice', /record 1: the password is not a hash/],
    [`"${HASH}"`, /it has 1 columns/],
    [`"${HASH}",a,1,g,x`, /it has 5 columns/],
    [`"${HASH}",`, /the user name is empty/],
    [`"${HASH}",a:b`, /one with a colon/],
    [`"${HASH}",a\n"${HASH}",a`, /record 2: user "a" appears twice/],
    ['"tell-nobody', /password|quotes/],
  ] as const)
    assert.throws(
      () => parseUsers('f', text),
      (error: Error) =>
        says.test(error.message) && !error.message.includes('tell-nobody') && !error.message.includes(HASH),
    );
});

function fileWorld(t: TestContext): {
  readonly path: string;
  readonly file: PasswordFile;
  readonly authenticator: BasicAuthenticator;
} {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-basic-'));
  const path = join(dir, 'users.csv');
  writeFileSync(path, `"${HASH}",alice,7,devs\n`);
  const clock = new FakeClock();
  const file = new PasswordFile(path, { clock, log: silentLogger });
  t.after(async () => {
    await file.close();
    rmSync(dir, { recursive: true });
  });
  return { path, file, authenticator: new BasicAuthenticator({ backends: [file], clock }) };
}

test('a real file: the right password only; a user taken out of it is out at once', async (t) => {
  const { path, file, authenticator } = fileWorld(t);
  assert.equal(await outcome(authenticator, basic('alice', 'tell-nobody')), 'alice');
  for (const [name, password] of [
    ['alice', 'other'],
    ['nobody', 'tell-nobody'],
    ['Alice', 'tell-nobody'],
  ] as const)
    assert.equal(await outcome(authenticator, basic(name, password)), 'WrongPassword');
  writeFileSync(path, '');
  file.look();
  assert.equal(await outcome(authenticator, basic('alice', 'tell-nobody')), 'WrongPassword');
});

test('an unknown name costs one hash, as a known one does', async (t) => {
  const { file } = fileWorld(t);
  const cpuOf = async (username: string): Promise<number> => {
    const before = process.cpuUsage();
    await file.check({ username, password: 'wrong' }).catch(() => {});
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  // Not a timing to be met, but work that is done at all: a lookup without a hash takes less than a hundredth.
  const [known, unknown] = [await cpuOf('alice'), await cpuOf('nobody')];
  assert.ok(unknown > known / 10, `${unknown} µs for an unknown name, ${known} µs for a known one`);
});

test('headers that are not quite credentials', async () => {
  const { authenticator, backend } = world();
  assert.equal(authenticator.authenticate(request('Bearer x')), undefined);
  assert.equal(authenticator.authenticate(request('Basic')), undefined);
  for (const [text, why] of [
    ['alice', 'no colon'],
    [':right', 'no name'],
    ['alice:', 'no password'],
    ['alice\u0000:right', 'control characters'],
    [`alice:${'x'.repeat(3000)}`, 'oversized'],
  ] as const) {
    assert.equal(
      await outcome(authenticator, request(`Basic ${Buffer.from(text).toString('base64')}`)),
      'WrongPassword',
      why,
    );
  }
  assert.equal(
    await outcome(authenticator, request(`basic ${Buffer.from([0xff, 0x3a, 0xff]).toString('base64')}`)),
    'WrongPassword',
  );
  assert.equal(backend.asked, 0);
});

test('whatever the header says, it is nobody, somebody or refused', async () => {
  const { clock, authenticator } = world();
  const known = new Set(['nobody', 'alice', 'WrongPassword', '429 30', '429 60']);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string().map((text) => `Basic ${text}`),
        fc.uint8Array().map((bytes) => `basic ${Buffer.from(bytes).toString('base64')}`),
      ),
      async (header) => {
        await clock.advance(15 * 60_000);
        assert.ok(known.has(await outcome(authenticator, request(header))), JSON.stringify(header));
      },
    ),
    { numRuns: 500 },
  );
});

test('a burst is one check; a success is remembered for a minute, a failure never', async () => {
  const { clock, backend, authenticator } = world();
  await Promise.all(Array.from({ length: 50 }, () => outcome(authenticator, basic('alice', 'right'))));
  assert.equal(backend.asked, 1);
  assert.equal(await outcome(authenticator, basic('alice', 'right')), 'alice');
  assert.equal(backend.asked, 1);
  await clock.advance(60_001);
  assert.equal(await outcome(authenticator, basic('alice', 'right')), 'alice');
  assert.equal(backend.asked, 2);
  backend.generation += 1;
  await outcome(authenticator, basic('alice', 'right'));
  assert.equal(backend.asked, 3, 'nothing remembered from before the backend changed');
  await outcome(authenticator, basic('alice', 'wrong'));
  await outcome(authenticator, basic('alice', 'wrong'));
  assert.equal(backend.asked, 5);
});

test('ten failures lock a user for half a minute, then longer; the right password does not help meanwhile', async () => {
  const { clock, authenticator, backend } = world();
  for (let index = 0; index < 10; index++)
    assert.equal(
      await outcome(authenticator, basic('alice', `guess-${index}`, `198.51.100.${index}`)),
      'WrongPassword',
    );
  assert.equal(await outcome(authenticator, basic('alice', 'right')), '429 30');
  assert.equal(backend.asked, 10);
  await clock.advance(30_000);
  assert.equal(await outcome(authenticator, basic('alice', 'again')), 'WrongPassword');
  assert.equal(await outcome(authenticator, basic('alice', 'right')), '429 60');
  await clock.advance(60_000);
  assert.equal(await outcome(authenticator, basic('alice', 'right')), 'alice');
  assert.equal(
    await outcome(authenticator, basic('alice', 'x')),
    'WrongPassword',
    'a success forgets the failures',
  );
});

test('after a lock, a burst with the right password gets in as one', async () => {
  const { clock, authenticator } = world();
  for (let index = 0; index < 10; index++) await outcome(authenticator, basic('alice', `x-${index}`));
  await clock.advance(30_000);
  assert.deepEqual(
    await Promise.all(Array.from({ length: 5 }, () => outcome(authenticator, basic('alice', 'right')))),
    ['alice', 'alice', 'alice', 'alice', 'alice'],
  );
});

test('other spellings of a name are not other users', async () => {
  const { authenticator } = world();
  for (const [index, name] of [
    'alice',
    'Alice',
    'ALICE',
    ' alice',
    'alice ',
    'aLice',
    'alICE',
    'ａlice',
    'Alice ',
    'aliCe',
  ].entries())
    await outcome(authenticator, basic(name, 'x', `198.51.100.${index}`));
  assert.match(await outcome(authenticator, basic('alice', 'right', '198.51.100.99')), /^429/);
});

test('guesses at once gain nothing', async () => {
  const { authenticator, backend } = world();
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, index) => outcome(authenticator, basic('alice', `guess-${index}`))),
  );
  assert.equal(backend.asked, 10);
  assert.equal(answers.filter((answer) => answer.startsWith('429')).length, 190);
});

test('an address that tries many names is locked; a user stays welcome where he was before', async () => {
  const { authenticator } = world();
  assert.equal(await outcome(authenticator, basic('alice', 'right', '10.0.0.1')), 'alice');
  for (let index = 0; index < 20; index++)
    await outcome(authenticator, basic(`user-${index}`, 'x', '203.0.113.9'));
  assert.match(await outcome(authenticator, basic('someone', 'x', '203.0.113.9')), /^429/);
  for (let index = 0; index < 20; index++)
    await outcome(authenticator, basic('alice', `x-${index}`, `198.51.100.${index}`));
  assert.match(await outcome(authenticator, basic('alice', 'right', '198.51.100.200')), /^429/);
  assert.equal(await outcome(authenticator, basic('alice', 'right', '10.0.0.1')), 'alice');
});

test('one IPv6 network is one address, and memory is bounded', () => {
  const clock = new FakeClock();
  const lockout = new Lockout({ clock, perAddress: 3, remembered: 100 });
  for (const tail of ['1', 'ffff:1', 'a:b:c:d'])
    lockout.begin({
      user: tail,
      address: `2001:db8:0:1:${tail.split(':').length === 4 ? tail : `:${tail}`}`.replace(':::', '::'),
    });
  assert.ok(lockout.lockedForMs({ user: 'x', address: '2001:0db8::1:0:0:0:9' }) > 0);
  assert.equal(lockout.lockedForMs({ user: 'x', address: '2001:db8:0:2::9' }), 0);
  for (const address of ['::ffff:192.0.2.1', '192.0.2.1', '::ffff:192.0.2.1'])
    lockout.begin({ user: address, address });
  assert.ok(lockout.lockedForMs({ user: 'x', address: '192.0.2.1' }) > 0);
  for (let index = 0; index < 10_000; index++)
    lockout.begin({ user: `u${index}`, address: `10.${index >> 8}.${index & 255}.1` });
  assert.equal(lockout.lockedForMs({ user: 'x', address: '192.0.2.1' }), 0, 'forgotten, not kept for ever');
});

test('a directory that is down locks nobody out, and says so', async () => {
  const { authenticator, backend } = world();
  backend.down = true;
  for (let index = 0; index < 30; index++)
    assert.equal(await outcome(authenticator, basic('alice', `x-${index}`)), '503');
  backend.down = false;
  assert.equal(await outcome(authenticator, basic('alice', 'right')), 'alice');
});

test('a gate lets a few run, a few wait, and turns the rest away', async () => {
  const gate = new Gate({ atOnce: 2, maxWaiting: 3 });
  let running = 0;
  let most = 0;
  const ends: (() => void)[] = [];
  const jobs = Array.from({ length: 6 }, () =>
    gate.run(async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => ends.push(resolve));
      running -= 1;
    }),
  );
  const settled = Promise.allSettled(jobs);
  await assert.rejects(jobs[5]!, { name: 'GateFull' });
  while (ends.length > 0) {
    ends.shift()!();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(
    (await settled).map(({ status }) => status).filter((status) => status === 'rejected').length,
    1,
  );
  assert.equal(most, 2);
});
