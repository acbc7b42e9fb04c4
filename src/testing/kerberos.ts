/** A Kerberos realm of its own on loopback for tests: Debian's krb5kdc with a database, configuration and port of its own. Needs krb5-kdc, krb5-admin-server (for kadmin.local) and krb5-user. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAMS = {
  krb5kdc: '/usr/sbin/krb5kdc',
  kdb5_util: '/usr/sbin/kdb5_util',
  kadmin: '/usr/sbin/kadmin.local',
  kinit: '/usr/bin/kinit',
} as const;

/** false, or why a realm cannot be made here. */
export const kerberosMissing: string | false = Object.values(PROGRAMS).every((file) => existsSync(file))
  ? false
  : 'needs the packages krb5-kdc, krb5-admin-server and krb5-user';

export interface Realm {
  readonly name: string;
  /** What makes a process live in this realm: set it before the library is loaded. */
  readonly variables: { readonly KRB5_CONFIG: string; readonly KRB5RCACHENAME: string };
  /** A principal with a random key, in a new keytab file. */
  keytab(principal: string): string;
  /** 'alice' */
  addUser(name: string, password: string): void;
  /** Tickets of a user; the file they are in, for KRB5CCNAME. lifetime: '2s' */
  kinit(name: string, options: { readonly password: string; readonly lifetime?: string }): string;
  stop(): Promise<void>;
}

/** skewSeconds: how far clocks may differ, and old tokens be, to be believed. */
interface RealmOptions {
  readonly name?: string;
  readonly skewSeconds?: number;
}

/** A port that was free may be somebody else's by the time the server wants it: then another is tried. */
export async function startRealm(options: RealmOptions = {}): Promise<Realm> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startRealmOnce(options);
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

async function startRealmOnce({ name = 'CAPSTAN.TEST', skewSeconds = 300 }: RealmOptions): Promise<Realm> {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-krb5-'));
  const file = (base: string): string => join(dir, base);
  const port = await freePort();
  writeFileSync(
    file('krb5.conf'),
    [
      '[libdefaults]',
      ` default_realm = ${name}`,
      ' dns_lookup_kdc = false',
      ' dns_lookup_realm = false',
      ' rdns = false',
      ' dns_canonicalize_hostname = false',
      ' udp_preference_limit = 1',
      ` clockskew = ${skewSeconds}`,
      '[realms]',
      ` ${name} = {`,
      `  kdc = 127.0.0.1:${port}`,
      ' }',
      '[domain_realm]',
      ` localhost = ${name}`,
      ` .localhost = ${name}`,
      ` 127.0.0.1 = ${name}`,
      '',
    ].join('\n'),
  );
  writeFileSync(
    file('kdc.conf'),
    [
      '[kdcdefaults]',
      ` kdc_listen = 127.0.0.1:${port}`,
      ` kdc_tcp_listen = 127.0.0.1:${port}`,
      '[realms]',
      ` ${name} = {`,
      `  database_name = ${file('principal')}`,
      `  key_stash_file = ${file('stash')}`,
      `  acl_file = ${file('acl')}`,
      '  max_life = 1h',
      ' }',
      '[logging]',
      ` kdc = FILE:${file('kdc.log')}`,
      '',
    ].join('\n'),
  );
  const variables = { KRB5_CONFIG: file('krb5.conf'), KRB5RCACHENAME: `file2:${file('rcache')}` };
  const env = { ...process.env, ...variables, KRB5_KDC_PROFILE: file('kdc.conf') };
  const run = (program: string, words: readonly string[], input = ''): string => {
    const { status, stdout, stderr, error } = spawnSync(program, words, {
      env,
      input,
      encoding: 'utf8',
      timeout: 30_000,
    });
    if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${error?.message ?? stderr}`);
    return stdout;
  };
  run(PROGRAMS.kdb5_util, ['create', '-s', '-r', name, '-P', 'master']);
  const kdc = spawn(PROGRAMS.krb5kdc, ['-n'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  await started(kdc);
  let made = 0;
  return {
    name,
    variables,
    addUser: (user, password) => void run(PROGRAMS.kadmin, ['-q', `addprinc -pw ${password} ${user}`]),
    keytab: (principal) => {
      const path = file(`${++made}.keytab`);
      run(PROGRAMS.kadmin, ['-q', `addprinc -randkey ${principal}`]);
      run(PROGRAMS.kadmin, ['-q', `ktadd -k ${path} ${principal}`]);
      return path;
    },
    kinit: (user, { password, lifetime }) => {
      const cache = `FILE:${file(`${++made}.ccache`)}`;
      const { status, stderr } = spawnSync(
        PROGRAMS.kinit,
        [...(lifetime === undefined ? [] : ['-l', lifetime]), user],
        { env: { ...env, KRB5CCNAME: cache }, input: `${password}\n`, encoding: 'utf8', timeout: 30_000 },
      );
      if (status !== 0) throw new Error(`kinit ${user}: ${stderr}`);
      return cache;
    },
    async stop() {
      const ended = kdc.exitCode === null ? new Promise((resolve) => kdc.once('exit', resolve)) : undefined;
      kdc.kill();
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The KDC says so once it listens. */
function started(kdc: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const take = (chunk: Buffer): void => {
      text += chunk.toString();
      if (text.includes('starting')) resolve();
    };
    kdc.stdout?.on('data', take);
    kdc.stderr?.on('data', take);
    kdc.once('error', reject);
    kdc.once('exit', (code) => reject(new Error(`krb5kdc ended with ${code}: ${text}`)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
