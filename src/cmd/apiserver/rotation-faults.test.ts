/**
 * Faults of a rotation of authorities, at each of its changes of a file and each of its requests in turn: the first run meets the fault at its first one, the
 * next at its second, and so on until one ends. After each the cluster lets in who it let in before, what is on the disk would start, and nothing is lost.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { nodes, secrets, serviceAccounts } from '#client/refs.ts';
import type { Transport } from '#client/transport.ts';
import { TransportError } from '#client/transport-error.ts';
import { dataDir, UserError } from '#deploy/data-dir.ts';
import { inspectCertificates } from '#deploy/phases/certificates-check.ts';
import type { RotateOptions } from '#deploy/phases/rotation/options.ts';
import { readRotation } from '#deploy/phases/rotation/record.ts';
import { abortRotation, rotateAuthorities } from '#deploy/phases/rotation/rotate.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { interceptFiles } from '#stdx/testing/faulty-files.ts';
import { until } from '#testing/cluster.ts';
import { clusterSigning } from '../controller-manager/cluster-signing.ts';
import { hashes, startRotating, whoIs, type RotatingCluster } from './testing/rotating-cluster.ts';

const ADMIN = 'kubernetes-admin';
const ACCOUNT = 'system:serviceaccount:default:default';
const RECORD = '/api/v1/namespaces/kube-system/configmaps/capstan-ca-rotation';
const FILES = [
  'begin ca.new.key',
  'begin sa.old.key',
  'begin rotation.json',
  'overlap ca.crt',
  'overlap sa.pub',
  'overlap admin.kubeconfig',
  'issue ca.key',
  'issue ca.crt',
  'issue front-proxy-ca.key',
  'issue sa.key',
  'issue apiserver.crt',
  'issue admin.kubeconfig',
  'drop ca.crt',
];
const MAX_STEPS = 500;
const YEAR_MS = 365 * 86_400_000;
/** Looks again at once. */
const hasty: Clock = { ...realClock, sleep: (ms, signal) => realClock.sleep(Math.min(ms, 10), signal) };

/** The process of the run has ended: it changes nothing more. */
class Killed extends Error {}

interface Fault {
  readonly name: string;
  /** Which of the changes meet it; 'PUT /api/…' is a request, 'rename ca.key' a file. */
  meets(change: string): boolean;
  /** What it throws. */
  make(): Error;
  /** A request was answered, and the answer is lost. */
  readonly isAfter?: boolean;
  /** What the user reads. */
  readonly message: RegExp;
}

const isRequest = (change: string): boolean => /^[A-Z]/.test(change);
const KILL: Fault = {
  name: 'killed',
  // A draft is nobody's until its rename; who only reads changes nothing.
  meets: (change) => !/^(?:open|write|fsync|GET) /.test(change),
  make: () => new Killed('killed'),
  message: /^killed$/,
};
const FULL: Fault = {
  name: 'disk full',
  meets: (change) => /^(?:write|mkdir) /.test(change),
  make: () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }),
  message: /^The disk that holds .*pki is full: free some space and run this again; nothing was lost\.$/,
};
const AWAY: Fault = {
  name: 'API away',
  meets: isRequest,
  make: () => new TransportError('refused', 'connect ECONNREFUSED'),
  message: /^connect ECONNREFUSED$/,
};
const LOST: Fault = {
  name: 'answer lost',
  meets: (change) => isRequest(change) && !change.startsWith('GET'),
  make: () => new TransportError('reset', 'the connection broke'),
  isAfter: true,
  message: /^the connection broke$/,
};

interface Faulted {
  readonly fault: Fault;
  /** Where a run met it already. */
  readonly known: ReadonlySet<string>;
  readonly root: string;
  work(): Promise<unknown>;
}

/** The first change that is not known meets it, and all that come after. Returns that one, if any, when the work has ended. */
async function underFault(
  one: RotatingCluster,
  { fault, known, root, work }: Faulted,
): Promise<{ readonly hit: string | undefined; readonly result: unknown }> {
  let hit: string | undefined;
  const before = (change: string): void => {
    const step = `${phaseOf(one)}: ${change}`;
    if (!fault.meets(change) || (hit === undefined && known.has(step))) return;
    hit ??= step;
    throw fault.make();
  };
  const end = interceptFiles({ root, before });
  one.through = (transport: Transport): Transport => ({
    close: () => transport.close(),
    async request(request) {
      const change = `${request.method} ${request.path.split('?')[0]}`;
      if (!fault.isAfter) before(change);
      const response = await transport.request(request);
      if (fault.isAfter) before(change);
      return response;
    },
  });
  try {
    return { result: await work().catch((error: unknown) => error), hit };
  } finally {
    end();
    one.through = (transport) => transport;
  }
}

interface Chain {
  readonly fault: Fault;
  readonly root: string;
  /** 'done' when there is nothing left to do. */
  run(): Promise<unknown>;
  check(hit: string): Promise<void>;
}

/** By what the run printed. */
function phaseOf({ lines }: RotatingCluster): string {
  return /phase (\w+)/.exec(lines.findLast((line) => line.includes('phase ')) ?? '')?.[1] ?? 'begin';
}

/** Where it was met, in order. */
async function faultAtEach(
  one: RotatingCluster,
  { fault, root, run, check }: Chain,
): Promise<ReadonlySet<string>> {
  const known = new Set<string>();
  while (known.size < MAX_STEPS) {
    one.lines.length = 0;
    const { hit, result } = await underFault(one, { fault, known, root, work: run });
    if (hit === undefined) {
      assert.ok(!(result instanceof Error), String(result));
      return known;
    }
    known.add(hit);
    // One that met it while it looked who is not there yet says so.
    if (result instanceof Error) assert.match(result.message, fault.message, `${fault.name} at ${hit}`);
    if (fault === FULL) assert.ok(result instanceof UserError, hit);
    await check(hit);
  }
  assert.fail(`${MAX_STEPS} steps did not end it`);
}

/** The cluster lets in who it let in before; this machine would start as it is. */
async function requireServing(
  one: RotatingCluster,
  { hit, token }: { readonly hit: string; readonly token: string },
): Promise<void> {
  assert.equal(await whoIs(one.admin()), ADMIN, hit);
  const record = await readRotation(one.dir.pki);
  if (record !== undefined && record.phase !== 'drop')
    assert.equal(await whoIs(bearer(one, token)), ACCOUNT, hit);
  await requireStarts(one, hit);
}

async function requireStarts({ dir, pkiOptions }: RotatingCluster, hit: string): Promise<void> {
  const copy = `${dir.path}.copy`;
  cpSync(dir.pki, copy, { recursive: true });
  try {
    const clusterSigningCertFile = join(copy, 'ca.crt');
    assert.ok(clusterSigning({ clusterSigningCertFile, clusterSigningKeyFile: join(copy, 'ca.key') }), hit);
    await ensurePki({ ...pkiOptions, dir: copy, nowMs: Date.now(), mayCreate: false });
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function bearer(one: RotatingCluster, token: string): HttpsOptions {
  const { server, ca } = one.admin();
  return { server, ca: ca!, token };
}

async function asAdmin<T>(
  one: RotatingCluster,
  work: (api: ReturnType<typeof createClient>) => Promise<T>,
): Promise<T> {
  const transport = createHttpsTransport(one.admin());
  const api = createClient(transport, { userAgent: 'test' });
  try {
    return await work(api);
  } finally {
    await api.close();
    await transport.close();
  }
}

function tokenOf(one: RotatingCluster): Promise<string> {
  return asAdmin(one, async (api) => {
    const name = { namespace: 'default', name: 'default' };
    await api.create(serviceAccounts, { metadata: name }).catch(() => {});
    const { status } = (await api.createSubresource(serviceAccounts, name, {
      subresource: 'token',
      body: { spec: {} } as never,
    })) as { readonly status?: { readonly token?: string } };
    return status?.token ?? '';
  });
}

/** Everything is new, and nothing of a run is left. */
async function requireRotated(
  one: RotatingCluster,
  before: { readonly admin: HttpsOptions; readonly ca: string; readonly token: string },
): Promise<void> {
  assert.equal(hashes(one.read('ca.crt')).length, 1);
  assert.notEqual(hashes(one.read('ca.crt'))[0], hashes(before.ca)[0]);
  requireTidy(one);
  await until(
    'the old administrator is nobody',
    async () => (await whoIs({ ...before.admin, ca: one.read('ca.crt') })) === 'Unauthorized',
  );
  await until(
    'tokens of before are refused',
    async () => (await whoIs(bearer(one, before.token))) === 'Unauthorized',
  );
  assert.equal(await whoIs(one.admin()), ADMIN);
  assert.deepEqual(
    await asAdmin(one, async (api) => (await api.list(secrets, { namespace: 'kube-system' })).items),
    [],
  );
  await requireNoProblems(one);
}

async function requireNoProblems(one: RotatingCluster, at = one.dir): Promise<void> {
  const { set } = await one.options({}, at);
  const rows = await inspectCertificates(set, { nowMs: Date.now() });
  assert.deepEqual(
    rows.flatMap(({ problems }) => problems),
    [],
  );
}

function requireTidy(one: RotatingCluster, at = one.dir): void {
  const left = readdirSync(at.pki, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    left.filter((name) => name.startsWith('rotation') || name.endsWith('.tmp')),
    [],
  );
}

function optionsOf(
  one: RotatingCluster,
  changes?: Partial<RotateOptions>,
  at = one.dir,
): Promise<RotateOptions> {
  return one.options({ clock: hasty, ...changes }, at);
}

for (const fault of [KILL, FULL, AWAY, LOST])
  test(`a rotation, ${fault.name} at each step`, { timeout: 300_000 }, async (t) => {
    const one = await startRotating(t);
    const before = { admin: one.admin(), ca: one.read('ca.crt'), token: await tokenOf(one) };
    const hits = await faultAtEach(one, {
      fault,
      root: one.dir.path,
      run: async () => rotateAuthorities(await optionsOf(one, { waitMs: 1_000 })),
      check: (hit) => requireServing(one, { hit, token: before.token }),
    });
    t.diagnostic(`${hits.size} steps`);
    await requireRotated(one, before);
    const expected =
      fault === KILL || fault === FULL
        ? FILES.map((file) => `${file.replace(' ', `: ${fault === KILL ? 'rename' : 'write'} .`)}.1.tmp`)
        : ['overlap', 'issue', 'drop'].map((phase) => `${phase}: PUT ${RECORD}`);
    for (const step of expected) assert.ok(hits.has(step), `${step}: ${[...hits].join('\n')}`);
  });

for (const fault of [KILL, FULL, AWAY])
  test(`an abort, ${fault.name} at each step`, { timeout: 120_000 }, async (t) => {
    const one = await startRotating(t);
    const [before, token] = [one.read('ca.crt'), await tokenOf(one)];
    await asAdmin(one, (api) => api.create(nodes, { metadata: { name: 'far' } }));
    assert.equal(await rotateAuthorities(await optionsOf(one, { waitMs: 0 })), 'waiting');
    const hits = await faultAtEach(one, {
      fault,
      root: one.dir.path,
      // The record goes last: without it everything is back.
      run: async () => existsSync(join(one.dir.pki, 'rotation')) && abortRotation(await optionsOf(one)),
      check: (hit) => requireServing(one, { hit, token }),
    });
    assert.ok(hits.size >= 2, [...hits].join());
    assert.equal(one.read('ca.crt'), before);
    assert.equal(await whoIs(bearer(one, token)), ACCOUNT);
    await asAdmin(one, (api) => api.delete(nodes, { name: 'far' }));
    // What a kill left beside goes with the next run, and the next rotation has keys of its own.
    if (existsSync(join(one.dir.pki, 'rotation.ended')))
      assert.equal(await rotateAuthorities(await optionsOf(one)), 'done');
    requireTidy(one);
    assert.equal(await rotateAuthorities(await optionsOf(one)), 'done');
    assert.notEqual(hashes(one.read('ca.crt'))[0], hashes(before)[0]);
    requireTidy(one);
  });

test(
  'another control plane, killed at each step of its part, and back after an abort',
  { timeout: 240_000 },
  async (t) => {
    const one = await startRotating(t);
    const other = dataDir(`${one.dir.path}.other`);
    cpSync(one.dir.path, other.path, { recursive: true });
    t.after(() => rmSync(other.path, { recursive: true, force: true }));
    const before = { admin: one.admin(), ca: one.read('ca.crt'), token: await tokenOf(one) };
    const labels = { 'node-role.kubernetes.io/control-plane': '' };
    const ownNodes = ['box', 'other'];
    await asAdmin(one, async (api) => {
      for (const name of ownNodes) await api.create(nodes, { metadata: { name, labels } });
    });
    const lead = async (): Promise<unknown> =>
      rotateAuthorities(await optionsOf(one, { ownNodes, waitMs: 0 }));
    const optionsOfOther = async (certificateKey?: string): Promise<RotateOptions> =>
      optionsOf(one, { machineName: 'other', ownNodes, certificateKey, waitMs: 0 }, other);
    const printedKey = (): string => /certificate-key ([0-9a-f]{64})$/m.exec(one.lines.join('\n'))?.[1] ?? '';

    assert.equal(await lead(), 'waiting');
    await assert.rejects(
      rotateAuthorities(await optionsOfOther()),
      /box leads a rotation: give the --certificate-key/,
    );
    assert.equal(await rotateAuthorities(await optionsOfOther(printedKey())), 'waiting');
    await abortRotation(await optionsOf(one, { ownNodes }));
    assert.equal(await rotateAuthorities(await optionsOfOther()), 'done');
    assert.equal(readFileSync(join(other.pki, 'ca.crt'), 'utf8'), before.ca);
    requireTidy(one, other);

    let result: unknown;
    for (const phase of ['overlap', 'issue', 'drop']) {
      one.lines.length = 0;
      result = await lead();
      const key = printedKey();
      assert.equal(result, phase === 'drop' ? 'done' : 'waiting', phase);
      assert.equal(key !== '', phase === 'overlap', 'the keys are shared once');
      if (phase === 'issue') await assert.rejects(abortRotation(await optionsOfOther()), /is in phase issue/);
      const hits = await faultAtEach(one, {
        fault: KILL,
        root: other.path,
        run: async () => rotateAuthorities(await optionsOfOther(key || undefined)),
        check: async (hit) => {
          assert.equal(await whoIs(one.admin()), ADMIN, hit);
          await requireStarts({ ...one, dir: other }, hit);
        },
      });
      t.diagnostic(`${phase}: ${hits.size} steps`);
    }
    await requireRotated(one, before);
    requireTidy(one, other);
    await requireNoProblems(one, other);
    assert.equal(readFileSync(join(other.pki, 'ca.key'), 'utf8'), one.read('ca.key'));
  },
);

test('two that would lead at once: one does', async (t) => {
  const one = await startRotating(t);
  await asAdmin(one, (api) => api.create(nodes, { metadata: { name: 'far' } }));
  const { connect, ...rest } = await optionsOf(one, { waitMs: 0 });
  let asked = 0;
  const late: RotateOptions = {
    ...rest,
    machineName: 'late',
    async connect() {
      // Between its look at the cluster and its first write the other one begins.
      if (++asked === 2)
        assert.equal(await rotateAuthorities(await optionsOf(one, { waitMs: 0 })), 'waiting');
      return connect();
    },
  };
  await assert.rejects(rotateAuthorities(late), /^UserError: box leads a rotation of this cluster/);
});

test(
  'clocks that jump a year: what is made serves, and nothing waits for the year to pass',
  { timeout: 120_000 },
  async (t) => {
    const one = await startRotating(t);
    const before = { admin: one.admin(), ca: one.read('ca.crt'), token: await tokenOf(one) };
    const at = (offsetMs: number): Clock => ({ ...hasty, now: () => Date.now() + offsetMs });
    const run = async (offsetMs: number): Promise<unknown> =>
      rotateAuthorities(await optionsOf(one, { clock: at(offsetMs), waitMs: 500, tokenOverlapMs: 60_000 }));
    // Ahead of the API server's: the new authorities are made, and none signs.
    assert.equal(await run(YEAR_MS), 'waiting');
    assert.match(one.lines.join('\n'), /phase overlap\n[^]*does not accept a client of the new authority/);
    for (const { validFromDate } of certificatesIn(one.read('ca.crt')))
      assert.ok(validFromDate.getTime() <= Date.now(), 'it is valid by the right clock too');
    // Right: they serve, and the overlap of tokens is counted from now.
    await until('the API server trusts them', async () => {
      one.lines.length = 0;
      assert.equal(await run(0), 'waiting');
      return one.lines.some((line) => line.includes('phase issue'));
    });
    assert.match(one.lines.join('\n'), /for 1 more minutes/);
    // Certificates from a time that has not come are renewed by the program itself, at its next look.
    await one.renew(Date.now() + YEAR_MS);
    assert.ok(new X509Certificate(one.read('apiserver.crt')).validFromDate.getTime() > Date.now());
    await one.renew();
    await until('the administrator is let in', async () => (await whoIs(one.admin())) === ADMIN);
    // Behind: the phase began then, and is over a minute later.
    assert.equal(await run(-YEAR_MS), 'waiting');
    assert.equal(await whoIs(bearer(one, before.token)), ACCOUNT);
    await one.renew();
    await until('it ends', async () => (await run(-YEAR_MS + 61_000)) === 'done');
    await one.renew();
    await requireRotated(one, before);
  },
);
