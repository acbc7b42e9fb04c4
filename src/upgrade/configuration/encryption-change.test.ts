/** Keys of encryption through API servers that are a table: each reads with what its file has. Killed at every step and run again; nothing ever becomes unreadable. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { secrets } from '#client/refs.ts';
import { TransportError } from '#client/transport-error.ts';
import { UserError } from '#deploy/data-dir.ts';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { FakeCluster, Killed } from '../testing/fake-cluster.ts';
import { beginEncryptionChange, changeEncryption } from './encryption-change.ts';

const KNOWN = ['current', 'read', 'write', 'target'] as const;
type File = (typeof KNOWN)[number];
/** The key that a file writes with, and those that it reads. */
const KEYS: Readonly<Record<File, readonly string[]>> = {
  current: ['old'],
  read: ['old', 'new'],
  write: ['new', 'old'],
  target: ['new'],
};

let cluster: FakeCluster;
let has: Map<string, File>;
/** Machines whose API server does not follow its file. */
let deaf: Set<string>;
/** Keys of stored objects. */
let stored: Set<string>;
let steps: string[];

beforeEach(async () => {
  cluster = await FakeCluster.start(['m1', 'm2', 'm3', 'w1']);
  has = new Map();
  deaf = new Set();
  reset();
});
afterEach(() => cluster.stop());

function reset(): void {
  stored = new Set(['old']);
  for (const { name, role } of cluster.machines) if (role === 'control-plane') use(name, 'current');
  steps = [];
}

function use(name: string, file: File): void {
  has.set(name, file);
  const hash = createHash('sha256').update(file).digest('hex');
  cluster.find(name).metrics =
    `apiserver_encryption_config_controller_last_config_info{apiserver_id_hash="sha256:0",hash="sha256:${hash}"} 1\n`;
}

/** Every server writes at every moment, and reads what any of them wrote. */
function check(): void {
  for (const file of has.values()) stored.add(KEYS[file][0]!);
  for (const [name, file] of has)
    for (const key of stored) assert.ok(KEYS[file].includes(key), `${name} with ${file} cannot read ${key}`);
}

interface Faults {
  readonly killAt?: string | undefined;
  /** Throws, in place of a request. */
  readonly request?: (name: string) => void;
  /** Throws, after a request was answered. */
  readonly answer?: (name: string) => void;
  /** Throws, in place of a change of a machine. */
  readonly machine?: (name: string) => void;
  readonly now?: () => number;
}

/** The API as the run reaches it. */
function reached({ request: asked, answer }: Faults): Client {
  const { transport } = cluster.api;
  return createClient(
    {
      close: () => Promise.resolve(),
      async request(request) {
        const name = `${request.method} ${request.path.split('?')[0]}`;
        asked?.(name);
        const response = await transport.request(request);
        answer?.(name);
        return response;
      },
    },
    { userAgent: 'test' },
  );
}

async function change(faults: Faults = {}): Promise<boolean> {
  const { killAt, machine, now } = faults;
  const clock = { ...skippingClock(), ...(now ? { now } : {}) };
  const tools = {
    api: reached(faults),
    at: cluster.at.bind(cluster),
    clock,
    gates: cluster.gates(clock),
    driver: {
      change({ name }: { readonly name: string }, { configuration = '' }) {
        machine?.(`${configuration} ${name}`);
        steps.push(`${configuration} ${name}`);
        if (!deaf.has(name)) use(name, configuration as File);
        check();
        return Promise.resolve();
      },
    },
    print: () => {},
    before(step: string) {
      check();
      if (step === killAt) throw new Killed(step);
      if (step.startsWith('rewrite ')) rewritten();
      steps.push(`· ${step}`);
    },
  };
  // The file of the machine that runs it.
  const current = has.get('m1')!;
  const keys = {
    plan: { read: readOf(current), write: 'write', target: 'target', isRewritten: isSecret },
    current,
    configuration: (file: string) => file,
  };
  await beginEncryptionChange(keys, tools);
  return changeEncryption(keys, tools);
}

/** As planEncryption: what can read all already is not set back. */
const readOf = (current: File): File => (current === 'current' ? 'read' : current);
const isSecret = ({ plural }: { readonly plural: string }): boolean => plural === 'secrets';

/** All write with the new key by then. */
function rewritten(): void {
  stored.clear();
}

test('read, write, rewrite, drop: one API server after the other', async () => {
  assert.equal(await change(), true);
  assert.deepEqual(
    steps.filter((step) => !step.startsWith('·')),
    ['read', 'write', 'target'].flatMap((file) => ['m1', 'm2', 'm3'].map((name) => `${file} ${name}`)),
  );
  assert.ok(steps.indexOf('· rewrite secrets') > steps.indexOf('write m3'));
  assert.ok(steps.indexOf('· rewrite secrets') < steps.indexOf('target m1'));
  assert.deepEqual([...stored], ['new']);
});

test('killed at every step and run again', async () => {
  await change();
  const points = steps.filter((step) => step.startsWith('·')).map((step) => step.slice(2));
  assert.ok(points.length >= 10, points.join());
  for (const killAt of points) {
    reset();
    await assert.rejects(change({ killAt }), Killed, killAt);
    assert.equal(await change(), true, killAt);
    assert.ok(
      [...has.values()].every((file) => file === 'target'),
      killAt,
    );
    check();
    assert.deepEqual([...stored], ['new'], killAt);
  }
});

/** The first of these that no run met yet, and all that come after in that run, until one meets none. Returns what was met. */
async function meetEach(
  where: 'request' | 'answer' | 'machine',
  { make, matches = () => true }: { make(): Error; matches?(name: string): boolean },
): Promise<readonly string[]> {
  const met: string[] = [];
  for (let isMet = true; isMet;) {
    isMet = false;
    const fault = (name: string): void => {
      // Where in the change: what every machine has by then.
      const step = `${[...has.values()].join()} ${name}`;
      if (!matches(name) || (!isMet && met.includes(step))) return;
      if (!isMet) met.push(step);
      isMet = true;
      throw make();
    };
    const result = await change({ [where]: fault }).catch((error: unknown) => error);
    assert.equal(isMet ? result instanceof Error : result, true, `${met.at(-1)}: ${String(result)}`);
    check();
  }
  assert.ok(
    [...has.values()].every((file) => file === 'target'),
    where,
  );
  assert.deepEqual([...stored], ['new'], where);
  return met;
}

test('no API server answers, or an answer is lost, from any request on; a disk is full on any machine', async () => {
  const away = (): Error => new TransportError('refused', 'connect ECONNREFUSED');
  const asked = await meetEach('request', { make: away });
  assert.ok(asked.length >= 20, asked.join('\n'));
  reset();
  const lost = await meetEach('answer', { make: away, matches: (name) => !name.startsWith('GET') });
  assert.ok(lost.length >= 3, lost.join('\n'));
  reset();
  const full = await meetEach('machine', { make: () => new UserError('The disk that holds /etc is full') });
  assert.ok(full.length >= 9, full.join('\n'));
});

test('a clock that jumps a year at every look', async () => {
  let years = 0;
  assert.equal(await change({ now: () => Date.now() + (years++ % 2 ? 1 : -1) * 365 * 86_400_000 }), true);
});

test('an API server that does not follow stops it where all still read everything', async () => {
  deaf.add('m2');
  assert.equal(await change(), false);
  assert.ok([...has.values()].every((file) => file === 'current'));
  deaf.clear();
  await assert.rejects(change({ killAt: 'write m3' }), Killed);
  deaf.add('m3');
  assert.equal(await change(), false);
  deaf.clear();
  assert.equal(await change(), true);
});

test('a file that nobody knows is refused before anything is changed', async () => {
  use('m3', 'other' as File);
  await assert.rejects(
    change(),
    /The API server of m3 has another encryption configuration \(sha256:.*the same first/,
  );
  assert.deepEqual(steps, []);
});

test('control planes that join get no old keys', async () => {
  const metadata = { name: 'kubeadm-certs', namespace: 'kube-system' };
  await cluster.api.create(secrets, { metadata, type: 'Opaque' });
  await change();
  await assert.rejects(cluster.api.get(secrets, metadata), /not found/);
});
