/** LDAP against a real slapd: right, wrong, empty, injected; nested groups; TLS of every kind; servers that are down, slow, or somebody else. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { stringify } from 'yaml';
import { realClock } from '#stdx/clock.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import {
  ADMIN_DN,
  ADMIN_PASSWORD,
  slapdMissing,
  startSlapd,
  strangersCa,
  SUFFIX,
  type Slapd,
} from '#testing/slapd.ts';
import { parseLdapConfiguration } from './configuration.ts';
import { escapeFilterValue, fillFilter } from './filter.ts';
import { LdapBackend } from './ldap-backend.ts';

const skip = slapdMissing || (existsSync('/usr/bin/ldapadd') ? false : 'needs the package ldap-utils');

function person(uid: string, password: string): string {
  return `dn: uid=${uid},ou=people,${SUFFIX}\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: ${uid}\nemployeeNumber: ${uid}-7\nuserPassword: ${password}\n\n`;
}

function group(cn: string, ...members: string[]): string {
  return `dn: cn=${cn},ou=groups,${SUFFIX}\nobjectClass: groupOfNames\ncn: ${cn}\n${members.map((member) => `member: ${member}\n`).join('')}\n`;
}

const user = (uid: string): string => `uid=${uid},ou=people,${SUFFIX}`;
const groupDn = (cn: string): string => `cn=${cn},ou=groups,${SUFFIX}`;

// a → devs → engineering → everybody → devs (a circle), and a name that must be escaped.
const LDIF = [
  `dn: ou=people,${SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n`,
  `dn: ou=groups,${SUFFIX}\nobjectClass: organizationalUnit\nou: groups\n\n`,
  person('alice', 'alice-secret'),
  person('bob', 'bob-secret'),
  person('o*(br)', 'star-secret'),
  person('root', 'root-secret'),
  group('odd (one)', user('alice')),
  group('devs', user('alice'), groupDn('everybody')),
  group('engineering', groupDn('devs')),
  group('everybody', groupDn('engineering')),
  group('system:masters', user('root')),
].join('');

let slapd: Slapd;
let folder: string;

interface World {
  readonly backend: LdapBackend;
  readonly log: string[];
}

const file = (name: string): string => join(folder, name);

function configuration(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    apiVersion: 'authentication.capstan.dev/v1',
    kind: 'LDAPAuthenticationConfiguration',
    servers: [slapd.tlsUrl],
    tls: { certificateAuthorityFile: file('ca.crt') },
    bind: { dn: ADMIN_DN, passwordFile: file('password') },
    user: {
      baseDN: `ou=people,${SUFFIX}`,
      filter: '(&(objectClass=inetOrgPerson)(uid={username}))',
      uidAttribute: 'employeeNumber',
    },
    groups: { source: 'search', baseDN: `ou=groups,${SUFFIX}` },
    ...changes,
  };
}

let files = 0;

function open(t: TestContext, changes: Record<string, unknown> = {}): World {
  const log: string[] = [];
  const path = file(`config-${++files}.yaml`);
  writeFileSync(path, stringify(configuration(changes)));
  const backend = new LdapBackend(path, {
    clock: realClock,
    log: createLogger({ level: 'debug', write: (line) => log.push(line) }),
  });
  t.after(() => backend.close());
  return { backend, log };
}

const alice = { username: 'alice', password: 'alice-secret' };

describe('a real directory', { skip }, () => {
  before(async () => {
    slapd = await startSlapd(LDIF);
    folder = mkdtempSync(join(tmpdir(), 'capstan-ldap-'));
    writeFileSync(file('ca.crt'), slapd.caPem);
    writeFileSync(file('other.crt'), strangersCa());
    writeFileSync(file('password'), `${ADMIN_PASSWORD}\n`);
  });
  after(async () => {
    await slapd.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [how, changes] of [
    ['LDAPS', (): Record<string, unknown> => ({})],
    [
      'StartTLS',
      (): Record<string, unknown> => ({
        servers: [slapd.url],
        tls: { startTLS: true, certificateAuthorityFile: file('ca.crt') },
      }),
    ],
    [
      'StartTLS with the authority inline and another name',
      (): Record<string, unknown> => ({
        servers: [slapd.url],
        tls: { startTLS: true, certificateAuthorityData: slapd.caPem, serverName: 'localhost' },
      }),
    ],
  ] as const) {
    test(`${how}: the right password gives name, uid and groups; again on the same connections`, async (t) => {
      const { backend } = open(t, changes());
      for (let round = 0; round < 3; round++) {
        assert.deepEqual(await backend.check(alice), {
          user: { name: 'alice', uid: 'alice-7', groups: ['odd (one)', 'devs'] },
        });
        await assert.rejects(backend.check({ username: 'alice', password: 'wrong' }), {
          name: 'WrongPassword',
        });
      }
      assert.equal(await backend.check({ username: 'nobody', password: 'x' }), undefined);
    });
  }

  test('many at once share few connections', async (t) => {
    const { backend } = open(t, { connections: 2 });
    const results = await Promise.allSettled(
      Array.from({ length: 40 }, (_, index) =>
        backend.check(index % 2 === 0 ? alice : { username: 'bob', password: `wrong-${index}` }),
      ),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? 'fulfilled' : 'rejected')),
    );
  });

  test('an empty password is refused though the directory would take it for an anonymous bind', async (t) => {
    const { backend } = open(t);
    await assert.rejects(backend.check({ username: 'alice', password: '' }), { name: 'WrongPassword' });
  });

  test('no name changes the filter', async (t) => {
    const { backend } = open(t);
    for (const username of [
      '*',
      'ali*',
      'alice)(uid=*',
      '*)(objectClass=*',
      'alice)(&',
      'alice\u0000',
      '\\2a',
      'uid=alice',
      '{dn}',
      '',
      `alice${'x'.repeat(300)}`,
    ]) {
      assert.equal(await backend.check({ username, password: 'alice-secret' }), undefined, username);
    }
    assert.equal((await backend.check({ username: 'o*(br)', password: 'star-secret' }))?.user.name, 'o*(br)');
    assert.equal(
      (await backend.check({ username: 'ALICE', password: 'alice-secret' }))?.user.name,
      'alice',
      "the name is the directory's spelling",
    );
  });

  for (const source of ['search', 'memberOf'] as const) {
    const groups = (changes: Record<string, unknown>): Record<string, unknown> => ({
      groups: { source, ...(source === 'search' ? { baseDN: `ou=groups,${SUFFIX}` } : {}), ...changes },
    });
    test(`groups by ${source}: nested within the bound, circles end, prefixes and maximum`, async (t) => {
      const groupsAt = async (changes: Record<string, unknown>): Promise<string[]> =>
        [...(await open(t, groups(changes)).backend.check(alice))!.user.groups].toSorted();
      assert.deepEqual(await groupsAt({}), ['devs', 'odd (one)']);
      assert.deepEqual(await groupsAt({ nestedDepth: 1 }), ['devs', 'engineering', 'odd (one)']);
      assert.deepEqual(await groupsAt({ nestedDepth: 32, namePrefix: 'ldap:' }), [
        'ldap:devs',
        'ldap:engineering',
        'ldap:everybody',
        'ldap:odd (one)',
      ]);
      assert.deepEqual(
        await groupsAt({ nameAttribute: 'dn' }),
        [groupDn('devs'), groupDn('odd (one)')].toSorted(),
      );
      await assert.rejects(open(t, groups({ maximum: 1 })).backend.check(alice), /is in more than 1 groups/);
    });
  }

  test("reserved names are nobody's", async (t) => {
    const { backend, log } = open(t);
    assert.deepEqual((await backend.check({ username: 'root', password: 'root-secret' }))?.user.groups, []);
    assert.match(log.join(''), /reserved names are ignored/);
    await assert.rejects(
      open(t, { user: { ...(configuration()['user'] as object), namePrefix: 'system:' } }).backend.check(
        alice,
      ),
      /names that begin with system: are the cluster's own/,
    );
    assert.equal(
      (
        await open(t, {
          user: { ...(configuration()['user'] as object), namePrefix: 'corp:' },
        }).backend.check(alice)
      )?.user.name,
      'corp:alice',
    );
  });

  test('groups for a user whom something else authenticated', async (t) => {
    const { backend } = open(t);
    assert.deepEqual([...(await backend.lookup('alice')).groups].toSorted(), ['devs', 'odd (one)']);
    assert.deepEqual((await backend.lookup('stranger')).groups, []);
  });

  test('an untrusted server receives no password', async (t) => {
    for (const changes of [
      { tls: { certificateAuthorityFile: file('other.crt') } },
      { servers: [slapd.url], tls: { startTLS: true, certificateAuthorityFile: file('other.crt') } },
      { tls: { certificateAuthorityFile: file('ca.crt'), serverName: 'ldap.example.org' } },
      { tls: {} },
    ]) {
      const { backend, log } = open(t, changes);
      await assert.rejects(backend.check(alice), { name: 'BackendUnavailable' });
      assert.match(log.join(''), /certificate|altnames|self.signed/i);
    }
  });

  test('a wrong service account is distinguished from a wrong password', async (t) => {
    writeFileSync(file('wrong'), 'nonsense');
    await assert.rejects(
      open(t, { bind: { dn: ADMIN_DN, passwordFile: file('wrong') } }).backend.check(alice),
      /the service account cn=admin,dc=example,dc=com cannot bind/,
    );
    await assert.rejects(
      open(t, { bind: { dn: ADMIN_DN, passwordFile: file('absent') } }).backend.check(alice),
      { name: 'BackendUnavailable' },
    );
  });

  test('the next server is asked when one is down or says nothing', async (t) => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => void sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const { backend, log } = open(t, {
      servers: ['ldaps://127.0.0.1:1', `ldaps://127.0.0.1:${port}`, slapd.tlsUrl],
      timeouts: { connect: '200ms', request: '2s' },
    });
    assert.equal((await backend.check(alice))?.user.name, 'alice');
    const told = log.filter((line) => line.includes('does not answer')).length;
    assert.equal(told, 2);
    assert.equal((await backend.check(alice))?.user.name, 'alice');
    assert.equal(
      log.filter((line) => line.includes('does not answer')).length,
      told,
      'they are passed over for a while',
    );
    await assert.rejects(
      open(t, {
        servers: [`ldap://127.0.0.1:${port}`],
        tls: { startTLS: true },
        timeouts: { connect: '200ms', request: '200ms' },
      }).backend.check(alice),
      { name: 'BackendUnavailable' },
    );
  });

  test('a server that went away is found again', async (t) => {
    const { backend } = open(t);
    assert.equal((await backend.check(alice))?.user.name, 'alice');
    await slapd.stop();
    await assert.rejects(backend.check(alice), { name: 'BackendUnavailable' });
    await slapd.start();
    assert.equal((await backend.check(alice))?.user.name, 'alice');
  });

  test('a server that falls silent in the middle is given up in time', async (t) => {
    const { backend, log } = open(t, { timeouts: { connect: '300ms', request: '300ms' } });
    assert.equal((await backend.check(alice))?.user.name, 'alice');
    slapd.pause();
    try {
      await assert.rejects(backend.check(alice), { name: 'BackendUnavailable' });
      assert.match(log.join(''), /does not answer/);
    } finally {
      slapd.resume();
    }
    assert.equal((await backend.check(alice))?.user.name, 'alice');
  });

  test('the file is read again when it changes; a bad one changes nothing', async (t) => {
    const path = file('reloaded.yaml');
    writeFileSync(path, stringify(configuration()));
    const backend = new LdapBackend(path, { clock: realClock, log: silentLogger });
    t.after(() => backend.close());
    const { generation } = backend;
    writeFileSync(
      path,
      stringify(configuration({ user: { ...(configuration()['user'] as object), namePrefix: 'corp:' } })),
    );
    backend.look();
    assert.ok(backend.generation > generation);
    assert.equal((await backend.check(alice))?.user.name, 'corp:alice');
    writeFileSync(path, 'servers: [');
    backend.look();
    assert.equal((await backend.check(alice))?.user.name, 'corp:alice');
  });

  test('no password is ever logged or told', async (t) => {
    const { backend, log } = open(t, { servers: [slapd.tlsUrl] });
    const errors: string[] = [];
    for (const password of ['alice-secret', 'alice-wrong-secret'])
      await backend
        .check({ username: 'alice', password })
        .catch((error: Error) => errors.push(error.stack ?? ''));
    assert.doesNotMatch([...log, ...errors].join(''), /secret/);
  });
});

test('the configuration is decoded strictly, with the path of every problem', () => {
  const read =
    (changes: Record<string, unknown>): (() => unknown) =>
    () =>
      parseLdapConfiguration(
        'f.yaml',
        stringify({
          apiVersion: 'authentication.capstan.dev/v1',
          kind: 'LDAPAuthenticationConfiguration',
          servers: ['ldaps://h'],
          user: { baseDN: 'dc=x' },
          ...changes,
        }),
      );
  assert.doesNotThrow(read({}));
  const refused: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ kind: 'Other' }, /it should be LDAPAuthenticationConfiguration of authentication\.capstan\.dev\/v1/],
    [{ servers: [] }, /servers: at least one URL/],
    [{ servers: ['ldap://h'] }, /servers\[0\]: "ldap:\/\/h" would carry passwords in clear/],
    [{ servers: ['ldaps://h', 'http://h'] }, /servers\[1\]: "http:\/\/h" should be ldaps:/],
    [{ servers: ['ldaps://h'], tls: { startTLS: true } }, /is encrypted from the beginning/],
    [{ servers: ['ldaps://u:p@h/dc=x'] }, /servers\[0\]/],
    [{ user: {} }, /user\.baseDN: a value is required/],
    [{ user: { baseDN: 'dc=x', filter: '(uid=alice)' } }, /user\.filter: it should contain \{username\}/],
    [{ user: { baseDN: 'dc=x', filter: '(uid={username}' } }, /its parentheses do not match/],
    [{ user: { baseDN: 'dc=x', scope: 'tree' } }, /user\.scope: "tree" should be one of sub, one, base/],
    [{ user: { baseDN: 'dc=x', filtr: 'x' } }, /unknown field "user\.filtr"/],
    [{ bind: { dn: 'x' } }, /bind\.passwordFile: a value is required/],
    [{ bind: { dn: 'x', password: 'y', passwordFile: 'z' } }, /unknown field "bind\.password"/],
    [{ groups: { source: 'search' } }, /groups\.baseDN: a value is required/],
    [
      { groups: { source: 'search', baseDN: 'x', filter: '(memberUid={username})', nestedDepth: 2 } },
      /groups\.nestedDepth: groups of groups are found by \{dn\}/,
    ],
    [
      { groups: { source: 'memberOf', filter: '(x={dn})' } },
      /groups\.filter: it does nothing with source memberOf/,
    ],
    [
      { groups: { source: 'memberOf', nestedDepth: 99 } },
      /groups\.nestedDepth: it should be a whole number from 0 to 32/,
    ],
    [{ timeouts: { connect: '1' } }, /time: missing unit in duration "1"/],
    [{ timeouts: { connect: '2m' } }, /timeouts\.connect: "2m0s" should be a duration from 100ms to 60s/],
    [{ connections: 0 }, /connections: it should be a whole number from 1 to 64/],
    [{ tls: [] }, /cannot unmarshal array into Go struct field .*tls/],
  ];
  for (const [changes, says] of refused) assert.throws(read(changes), says);
  const ad = parseLdapConfiguration(
    'f',
    stringify({
      apiVersion: 'authentication.capstan.dev/v1',
      kind: 'LDAPAuthenticationConfiguration',
      servers: ['ldaps://h'],
      user: { baseDN: 'dc=x' },
      groups: { source: 'adMatchingRule', baseDN: 'dc=x' },
    }),
  );
  assert.equal(
    fillFilter(ad.groups!.filter, { dn: 'cn=a*,dc=x' }),
    String.raw`(&(objectClass=group)(member:1.2.840.113556.1.4.1941:=cn\3da\2a,dc\3dx))`,
  );
});

test('values are escaped in filters, once', () => {
  assert.equal(escapeFilterValue('a*b(c)d\\e\u0000é'), String.raw`a\2ab\28c\29d\5ce\00é`);
  assert.equal(
    fillFilter('(a={username}{dn}{other})', { username: '{dn}', dn: '*' }),
    String.raw`(a={dn}\2a{other})`,
  );
});
