/**
 * An etcd for tests: where its program is, one member with mutual TLS on loopback, and a Store that counts revisions from 0, as the suite
 * does, though etcd's are those of all tests before.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Revision, Store, StoredValue, StoreEvent } from '../../store.ts';
import { StoreError } from '../../store.ts';
import { openEtcdStore, type EtcdStoreOptions } from './etcd-store.ts';

const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'capstan-tests');
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** etcd 3.4 as Debian 12 has it. */
export function installedEtcd(): string | undefined {
  return existsSync('/usr/bin/etcd') ? '/usr/bin/etcd' : undefined;
}

/** etcd 3.5 out of Debian 13's package, unpacked beside and not into the system. Undefined: it cannot be had here. */
export function unpackedEtcd35(): string | undefined {
  const dir = join(CACHE, 'etcd-3.5');
  const program = join(dir, 'root/usr/bin/etcd');
  if (existsSync(program)) return program;
  if (!existsSync(KEYRING)) return undefined;
  try {
    for (const made of ['lists/partial', 'archives/partial']) mkdirSync(join(dir, made), { recursive: true });
    const list = join(dir, 'sources.list');
    writeFileSync(list, `deb [signed-by=${KEYRING}] http://deb.debian.org/debian trixie main\n`);
    const settings = [
      `Dir::Etc::sourcelist=${list}`,
      'Dir::Etc::sourceparts=/nonexistent',
      // The machine's pins would keep to the version that it has.
      'Dir::Etc::preferences=/nonexistent',
      'Dir::Etc::preferencesparts=/nonexistent',
      `Dir::State::lists=${dir}/lists`,
      `Dir::Cache=${dir}`,
      'APT::Sandbox::User=root',
    ].flatMap((setting) => ['-o', setting]);
    execFileSync('apt-get', [...settings, 'update'], { stdio: 'ignore', timeout: 120_000 });
    execFileSync('apt-get', [...settings, 'download', 'etcd-server'], {
      cwd: dir,
      stdio: 'ignore',
      timeout: 120_000,
    });
    const deb = readdirSync(dir).find((name) => name.endsWith('.deb'))!;
    execFileSync('dpkg', ['-x', join(dir, deb), join(dir, 'root')], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  return existsSync(program) ? program : undefined;
}

export interface TestEtcd {
  readonly options: EtcdStoreOptions;
  /** Where its certificates are: ca.crt, leaf.crt, leaf.key. */
  readonly dir: string;
  /** Runs the system's etcdctl; its output. */
  ctl(...words: string[]): string;
  /** Resolves once it is stopped (SIGSTOP). */
  pause(): Promise<void>;
  goOn(): void;
  close(): Promise<void>;
}

/** flags: further ones, without dashes: 'quota-backend-bytes=2097152'. */
export async function startEtcd(program: string, flags: readonly string[] = []): Promise<TestEtcd> {
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'capstan-etcd-'));
  const [client, peer] = await freePorts();
  const file = makeCertificates(dir);
  const endpoint = `https://127.0.0.1:${client}`;
  const member = { name: 'm1', endpoint, peerUrl: `http://127.0.0.1:${peer}` };
  const child = spawn(program, [...memberFlags(member, { dir, members: [member] }), ...asFlags(flags)], {
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    options: {
      endpoints: [endpoint],
      caFile: file('ca.crt'),
      certFile: file('leaf.crt'),
      keyFile: file('leaf.key'),
    },
    dir,
    ctl: (...words) => etcdctl(dir, { endpoint, words }),
    async pause() {
      child.kill('SIGSTOP');
      while (!/\) T /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))) await sleep(5);
    },
    goOn: () => void child.kill('SIGCONT'),
    async close() {
      child.kill('SIGKILL');
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export interface MemberAddress {
  readonly name: string;
  readonly endpoint: string;
  readonly peerUrl: string;
}

export function asFlags(flags: readonly string[]): string[] {
  return flags.map((flag) => `--${flag}`);
}

/** Of one member; dir has the certificates, and its data below its name. */
export function memberFlags(
  { name, endpoint, peerUrl }: MemberAddress,
  { dir, members }: { readonly dir: string; readonly members: readonly MemberAddress[] },
): string[] {
  return asFlags([
    `name=${name}`,
    `data-dir=${join(dir, name)}`,
    `listen-client-urls=${endpoint}`,
    `advertise-client-urls=${endpoint}`,
    `listen-peer-urls=${peerUrl}`,
    `initial-advertise-peer-urls=${peerUrl}`,
    `initial-cluster=${members.map((one) => `${one.name}=${one.peerUrl}`).join(',')}`,
    'client-cert-auth=true',
    `trusted-ca-file=${join(dir, 'ca.crt')}`,
    `cert-file=${join(dir, 'leaf.crt')}`,
    `key-file=${join(dir, 'leaf.key')}`,
    `max-request-bytes=${4 * 1024 * 1024}`,
    'logger=zap',
    'log-level=error',
  ]);
}

/** Runs the system's etcdctl; its output. dir: where the certificates are. */
export function etcdctl(
  dir: string,
  { endpoint, words }: { readonly endpoint: string; readonly words: readonly string[] },
): string {
  const files = asFlags([
    `cacert=${join(dir, 'ca.crt')}`,
    `cert=${join(dir, 'leaf.crt')}`,
    `key=${join(dir, 'leaf.key')}`,
  ]);
  return execFileSync('etcdctl', [`--endpoints=${endpoint}`, ...files, ...words], {
    env: { ...process.env, ETCDCTL_API: '3' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** An authority and one leaf for servers and clients, in files. */
export function makeCertificates(
  dir: string,
  addresses: readonly string[] = ['127.0.0.1'],
): (name: string) => string {
  const file = (name: string): string => join(dir, name);
  const openssl = (...words: string[]): void => void execFileSync('openssl', words, { stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.crt'),
    '-subj',
    '/CN=etcd-ca',
    '-days',
    '2',
  );
  openssl('req', ...key, '-keyout', file('leaf.key'), '-out', file('leaf.csr'), '-subj', '/CN=capstan');
  const names = addresses.map((address) => `IP:${address}`).join(',');
  writeFileSync(file('san'), `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`);
  const signer = [
    '-CA',
    file('ca.crt'),
    '-CAkey',
    file('ca.key'),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    file('san'),
  ];
  openssl('x509', '-req', '-in', file('leaf.csr'), '-out', file('leaf.crt'), ...signer);
  return file;
}

export async function freePorts(count = 2): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) =>
          server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
        ),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Keys of its own; its revisions begin at 0. */
export async function openRebased(options: EtcdStoreOptions, keyPrefix: string): Promise<Store> {
  const store = await openEtcdStore({ ...options, keyPrefix });
  return rebased(store, store.revision);
}

function rebased(store: Store, base: Revision): Store {
  const value = (stored: StoredValue): StoredValue => ({
    ...stored,
    modRevision: stored.modRevision - base,
    createRevision: stored.createRevision - base,
  });
  const event = (one: StoreEvent): StoreEvent => ({
    ...one,
    revision: one.revision - base,
    ...(one.value && { value: value(one.value) }),
    ...(one.previous && { previous: value(one.previous) }),
  });
  const at = <T extends { readonly revision?: Revision }>(options: T | undefined): T =>
    ({ ...options, ...(options?.revision !== undefined && { revision: options.revision + base }) }) as T;
  const expecting = <T extends { readonly expected?: Revision }>(options: T | undefined): T =>
    ({ ...options, ...(options?.expected && { expected: options.expected + base }) }) as T;
  const failed = (error: unknown): never => {
    if (error instanceof StoreError && error.current)
      throw new StoreError(error.code, error.message, { current: value(error.current), cause: error });
    throw error;
  };
  return {
    get revision() {
      return store.revision - base;
    },
    get compactedRevision() {
      return Math.max(0, store.compactedRevision - base);
    },
    get: async (key, options) => {
      const found = await store.get(key, at(options));
      return found && value(found);
    },
    list: async (prefix, options) => {
      const { revision, items, more } = await store.list(prefix, at(options));
      return { revision: revision - base, items: items.map(value), more };
    },
    put: (key, bytes, options) => store.put(key, bytes, expecting(options)).then(value, failed),
    delete: (key, options) =>
      store
        .delete(key, expecting(options))
        .then(({ revision, previous }) => ({ revision: revision - base, previous: value(previous) }), failed),
    watch: (options) =>
      store.watch({
        ...options,
        afterRevision: options.afterRevision + base,
        onEvents: (events) => options.onEvents(events.map(event)),
        onReached: (revision) => options.onReached?.(revision - base),
      }),
    ttlSeconds: (key) => store.ttlSeconds!(key),
    compact: (revision) => store.compact(revision + base),
    stats: () => {
      const { revision, compactedRevision, ...rest } = store.stats();
      return { revision: revision - base, compactedRevision: Math.max(0, compactedRevision - base), ...rest };
    },
    close: () => store.close(),
  };
}
