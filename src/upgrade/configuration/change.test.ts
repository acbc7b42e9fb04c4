/** A changed configuration onto machines that are a table: killed before each and run again, and a gate that stays shut. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { observeMachines } from '../observe.ts';
import { FakeCluster, Killed } from '../testing/fake-cluster.ts';
import { changeMachines } from './change.ts';

let cluster: FakeCluster;
/** By machine. */
let has: Map<string, string>;
/** Machines whose agent does not come up with what it is given. */
let broken: Set<string>;
let given: string[];

beforeEach(async () => {
  cluster = await FakeCluster.start(['m1', 'm2', 'w1']);
  has = new Map(cluster.machines.map(({ name }) => [name, 'old']));
  broken = new Set();
  given = [];
});
afterEach(() => cluster.stop());

interface Run {
  readonly killAt?: string;
  readonly extra?: () => Promise<string | undefined>;
}

async function change({ killAt, extra }: Run = {}): Promise<boolean> {
  const { api } = cluster;
  const at = cluster.at.bind(cluster);
  const clock = skippingClock();
  const gates = cluster.gates(clock, extra);
  await gates.remember();
  const runs = (name: string): boolean => !(broken.has(name) && has.get(name) === 'new');
  const sleep = async (ms: number): Promise<void> => {
    await clock.sleep(ms);
    for (const name of has.keys()) if (runs(name)) await cluster.renewLease(name, clock.now());
  };
  return changeMachines(
    { machines: await observeMachines(api, at), from: 'old', to: 'new' },
    {
      api,
      clock: { ...clock, sleep },
      gates,
      driver: {
        change({ name }, { step, configuration = '' }) {
          assert.equal(step, 'configure');
          given.push(`${name} ${configuration}`);
          has.set(name, configuration);
          return Promise.resolve();
        },
      },
      print: () => {},
      before(step) {
        if (step === killAt) throw new Killed(step);
      },
    },
  );
}

test('every machine, one after the other', async () => {
  assert.equal(await change(), true);
  assert.deepEqual(given, ['m1 new', 'm2 new', 'w1 new']);
});

test('killed before each machine and run again', async () => {
  for (const killAt of ['configure m1', 'configure m2', 'configure w1']) {
    for (const name of has.keys()) has.set(name, 'old');
    await assert.rejects(change({ killAt }), Killed);
    assert.equal(await change(), true);
    assert.ok([...has.values()].every((value) => value === 'new'));
  }
});

test('an agent that does not come up takes all back', async () => {
  broken.add('m2');
  assert.equal(await change(), false);
  assert.deepEqual(given, ['m1 new', 'm2 new', 'm2 old', 'm1 old']);
});

test('a gate that stays shut takes all back', async () => {
  const extra = (): Promise<string | undefined> =>
    Promise.resolve(has.get('m2') === 'new' ? 'the test says so' : undefined);
  assert.equal(await change({ extra }), false);
  assert.ok([...has.values()].every((value) => value === 'old'));
});
