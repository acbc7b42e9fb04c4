/** An LDAP directory on loopback for tests: Debian's slapd as a process of its own, in clear with StartTLS and over TLS. Needs the package slapd. */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';

const SLAPD = '/usr/sbin/slapd';

/** false, or why no directory can be run here. */
export const slapdMissing: string | false =
  existsSync(SLAPD) && existsSync('/etc/ldap/schema/core.schema') ? false : 'needs the package slapd';

export const SUFFIX = 'dc=example,dc=com';
export const ADMIN_DN = `cn=admin,${SUFFIX}`;
export const ADMIN_PASSWORD = 'admin-secret';

export interface Slapd {
  readonly url: string;
  readonly tlsUrl: string;
  /** PEM of the authority its certificate (for localhost and 127.0.0.1) chains to. */
  readonly caPem: string;
  /** Ends it; its data stays. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Keeps its connections and answers nothing until it is resumed. */
  pause(): void;
  resume(): void;
  /** Ends it and removes everything. */
  remove(): Promise<void>;
}

/** ldif: entries below SUFFIX; the suffix itself and the administrator are made. memberOf: the overlay that fills memberOf. */
export async function startSlapd(ldif: string): Promise<Slapd> {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-slapd-'));
  const file = (name: string): string => join(dir, name);
  mkdirSync(file('data'));
  const nowMs = Date.now();
  const ca = createAuthority({ commonName: 'test LDAP CA', nowMs, lifetimeMs: 86_400_000 });
  const leaf = certificateFor(ca, nowMs);
  writeFileSync(file('ca.crt'), ca.certificatePem);
  writeFileSync(file('tls.crt'), leaf.certificatePem);
  writeFileSync(file('tls.key'), leaf.keyPem);
  writeFileSync(
    file('slapd.conf'),
    [
      ...['core', 'cosine', 'inetorgperson', 'nis'].map((name) => `include /etc/ldap/schema/${name}.schema`),
      'modulepath /usr/lib/ldap',
      'moduleload back_mdb',
      'moduleload memberof',
      `pidfile ${file('pid')}`,
      'loglevel none',
      `TLSCACertificateFile ${file('ca.crt')}`,
      `TLSCertificateFile ${file('tls.crt')}`,
      `TLSCertificateKeyFile ${file('tls.key')}`,
      'database mdb',
      'maxsize 10485760',
      `suffix "${SUFFIX}"`,
      `rootdn "${ADMIN_DN}"`,
      `rootpw ${ADMIN_PASSWORD}`,
      `directory ${file('data')}`,
      'sizelimit 500',
      'overlay memberof',
      'memberof-group-oc groupOfNames',
      '',
    ].join('\n'),
  );
  const [port, tlsPort] = [await freePort(), await freePort()];
  const url = `ldap://127.0.0.1:${port}`;
  const tlsUrl = `ldaps://localhost:${tlsPort}`;
  let running: ReturnType<typeof spawn> | undefined;
  const start = async (): Promise<void> => {
    const child = spawn(
      SLAPD,
      ['-d', '0', '-f', file('slapd.conf'), '-h', `${url} ldaps://127.0.0.1:${tlsPort}`],
      { stdio: 'ignore' },
    );
    running = child;
    await Promise.race([
      Promise.all([untilOpen(port), untilOpen(tlsPort)]),
      new Promise((_, reject) => child.once('exit', (code) => reject(new Error(`slapd ended with ${code}`)))),
    ]);
  };
  const stop = async (): Promise<void> => {
    const child = running;
    running = undefined;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  const base = `dn: ${SUFFIX}\nobjectClass: organization\nobjectClass: dcObject\no: example\ndc: example\n\n`;
  await start();
  // Through the running server: the memberof overlay sees only what is added so.
  const added = addEntries(url, `${base}${ldif}`);
  if (added !== undefined) {
    await stop();
    throw new Error(`ldapadd: ${added}`);
  }
  return {
    url,
    tlsUrl,
    caPem: ca.certificatePem,
    stop,
    start,
    pause() {
      running?.kill('SIGSTOP');
      // The signal reaches one thread after the other: none may answer any more afterwards.
      while (running?.pid !== undefined && !isStopped(running.pid)) Atomics.wait(TICK, 0, 0, 1);
    },
    resume: () => void running?.kill('SIGCONT'),
    async remove() {
      await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const TICK = new Int32Array(new SharedArrayBuffer(4));

/** Whether every thread is stopped, or the process is gone. */
function isStopped(pid: number): boolean {
  try {
    const tasks = `/proc/${pid}/task`;
    return readdirSync(tasks).every((task) =>
      /\) [TtZX] /.test(readFileSync(join(tasks, task, 'stat'), 'utf8')),
    );
  } catch {
    return true;
  }
}

/** An authority that vouches for nobody here. */
export function strangersCa(): string {
  return createAuthority({ commonName: 'stranger', nowMs: Date.now(), lifetimeMs: 86_400_000 })
    .certificatePem;
}

function addEntries(url: string, ldif: string): string | undefined {
  const { status, stderr } = spawnSync('ldapadd', ['-x', '-H', url, '-D', ADMIN_DN, '-w', ADMIN_PASSWORD], {
    input: ldif,
    encoding: 'utf8',
  });
  return status === 0 ? undefined : stderr;
}

function certificateFor(ca: KeyPair, nowMs: number): KeyPair {
  return issueCertificate(ca, {
    subject: { commonName: 'localhost' },
    usages: ['serverAuth'],
    altNames: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
    nowMs,
    lifetimeMs: 86_400_000,
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** Resolves when something listens there. */
async function untilOpen(port: number): Promise<void> {
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' }, () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
