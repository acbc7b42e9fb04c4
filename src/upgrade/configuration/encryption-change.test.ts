/** Keys of encryption through API servers that are a table: each reads with what its file has. Killed at every step and run again; nothing ever becomes unreadable. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { secrets } from '#client/refs.ts';
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

async function change(killAt?: string): Promise<boolean> {
  const clock = skippingClock();
  const tools = {
    api: cluster.api,
    at: cluster.at.bind(cluster),
    clock,
    gates: cluster.gates(clock),
    driver: {
      change({ name }: { readonly name: string }, { configuration = '' }) {
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
    await assert.rejects(change(killAt), Killed, killAt);
    assert.equal(await change(), true, killAt);
    assert.ok(
      [...has.values()].every((file) => file === 'target'),
      killAt,
    );
    check();
    assert.deepEqual([...stored], ['new'], killAt);
  }
});

test('an API server that does not follow stops it where all still read everything', async () => {
  deaf.add('m2');
  assert.equal(await change(), false);
  assert.ok([...has.values()].every((file) => file === 'current'));
  deaf.clear();
  await assert.rejects(change('write m3'), Killed);
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
