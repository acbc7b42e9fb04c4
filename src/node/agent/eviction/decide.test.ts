/** Which thresholds there are, what a round decides, and what it would free first. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decideEviction, INITIAL_STATE, isResolved, planFor, type EvictionState } from './decide.ts';
import {
  evictionThresholds,
  reservedFor,
  withContainerFs,
  type Observations,
  type Signal,
} from './thresholds.ts';

const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;

function free(amounts: Partial<Record<Signal, number>>, capacity = 1000 * MIB): Observations {
  return new Map(
    Object.entries(amounts).map(([signal, available]) => [signal as Signal, { available, capacity }]),
  );
}

describe('thresholds', () => {
  it("are upstream's where nothing is set, and hold pods to the node's allocatable memory too", () => {
    assert.deepEqual(
      evictionThresholds().map(({ signal }) => signal),
      [
        'memory.available',
        'nodefs.available',
        'nodefs.inodesFree',
        'imagefs.available',
        'imagefs.inodesFree',
        'allocatableMemory.available',
      ],
    );
  });

  it('of 0% and 100% do not exist', () => {
    assert.deepEqual(
      evictionThresholds({ hard: { 'memory.available': '0%', 'nodefs.available': '100%' } }),
      [],
    );
  });

  it('that are wrong are named', () => {
    const cases: readonly (readonly [Parameters<typeof evictionThresholds>[0], RegExp])[] = [
      [
        { hard: { memory: '1Gi' } },
        /eviction-hard has "memory"; it should be a signal: memory.available, nodefs/,
      ],
      [
        { hard: { 'memory.available': '-1' } },
        /eviction-hard has "-1" for memory.available; it should be a posit/,
      ],
      [{ hard: { 'nodefs.available': '101%' } }, /eviction-hard has "101%"/],
      [
        { soft: { 'memory.available': '1Gi' } },
        /eviction-soft has memory.available; eviction-soft-grace-period should have it too/,
      ],
      [
        { soft: { 'memory.available': '1Gi' }, softGracePeriod: { 'memory.available': '1' } },
        /eviction-soft-grace-period has "1" for memory.available; it should be a duration such as 1m30s/,
      ],
      [{ minimumReclaim: { 'memory.available': '0%' } }, /eviction-minimum-reclaim has "0%"/],
    ];
    for (const [set, message] of cases) assert.throws(() => evictionThresholds(set), message);
  });

  it('of containerfs are those of the file system that it is on, whatever was set', () => {
    const set = evictionThresholds({
      hard: { 'nodefs.available': '1Gi', 'imagefs.available': '2Gi', 'containerfs.available': '3Gi' },
    });
    const containers = (dedicatedImages: boolean, splitContainers: boolean): string[] =>
      withContainerFs(set, { dedicatedImages, splitContainers })
        .filter(({ signal }) => signal === 'containerfs.available')
        .map(({ value }) => ('amount' in value ? value.amount.toString() : ''));
    assert.deepEqual(containers(false, false), ['1Gi']);
    assert.deepEqual(containers(true, false), ['2Gi']);
    assert.deepEqual(containers(true, true), ['1Gi']);
  });

  it('that are hard reduce what is allocatable', () => {
    const thresholds = evictionThresholds({
      hard: { 'nodefs.available': '10%' },
      soft: { 'memory.available': '1Gi' },
      softGracePeriod: { 'memory.available': '1m' },
    });
    assert.equal(reservedFor('nodefs.available', { thresholds, capacity: 1000 }), 100);
    assert.equal(reservedFor('memory.available', { thresholds, capacity: 1000 }), 0);
  });
});

describe('a round', () => {
  const thresholds = evictionThresholds({
    hard: { 'nodefs.available': '10%', 'memory.available': '100Mi' },
    soft: { 'pid.available': '20%' },
    softGracePeriod: { 'pid.available': '1m' },
    minimumReclaim: { 'nodefs.available': '50Mi' },
  });

  function round(observations: Observations, nowMs: number, state: EvictionState = INITIAL_STATE) {
    const decision = decideEviction({ thresholds, observations, state, nowMs, transitionMs: 5 * MINUTE_MS });
    return { ...decision, due: decision.due.map(({ signal }) => signal) };
  }

  it('with enough of everything, or without a measurement, decides nothing', () => {
    const { due, pressures } = round(free({ 'nodefs.available': 100 * MIB }), 0);
    assert.deepEqual({ due, pressures }, { due: [], pressures: [] });
  });

  it('acts on memory first', () => {
    const { due, pressures } = round(free({ 'nodefs.available': 0, 'memory.available': 0 }), 0);
    assert.deepEqual(due, ['memory.available', 'nodefs.available']);
    assert.deepEqual(pressures, ['MemoryPressure', 'DiskPressure']);
  });

  it('acts on a soft threshold after its grace period, which begins anew when it was not met', () => {
    const short = free({ 'pid.available': 1 });
    const first = round(short, 0);
    assert.deepEqual([first.due, first.pressures], [[], ['PIDPressure']]);
    assert.deepEqual(round(short, MINUTE_MS, first.state).due, ['pid.available']);
    const between = round(free({ 'pid.available': 900 * MIB }), MINUTE_MS / 2, first.state);
    assert.deepEqual(round(short, MINUTE_MS, between.state).due, []);
  });

  it('goes on until the minimum reclaim is there, and shows the pressure for the transition period', () => {
    const first = round(free({ 'nodefs.available': 99 * MIB }), 0);
    assert.deepEqual(first.due, ['nodefs.available']);
    const second = round(free({ 'nodefs.available': 149 * MIB }), 10_000, first.state);
    assert.deepEqual(second.due, ['nodefs.available']);
    const third = round(free({ 'nodefs.available': 150 * MIB }), 20_000, second.state);
    assert.deepEqual([third.due, third.pressures], [[], ['DiskPressure']]);
    const last = round(free({ 'nodefs.available': 149 * MIB }), 10_000 + 5 * MINUTE_MS, third.state);
    assert.deepEqual([last.due, last.pressures], [[], []]);
  });

  it('is over when every threshold is resolved with its minimum reclaim', () => {
    assert.equal(isResolved(thresholds, free({ 'nodefs.available': 149 * MIB })), false);
    assert.equal(isResolved(thresholds, free({ 'nodefs.available': 150 * MIB })), true);
  });
});

it('which use of disk counts and what is freed depends on the file systems', () => {
  const all = { parts: ['rootfs', 'logs', 'volumes'], reclaim: ['containers', 'images'] };
  const one = { dedicatedImages: false, splitContainers: false };
  const two = { dedicatedImages: true, splitContainers: false };
  const split = { dedicatedImages: true, splitContainers: true };
  assert.deepEqual(planFor('memory.available', one), { parts: [], reclaim: [] });
  assert.deepEqual(planFor('nodefs.available', one), all);
  assert.deepEqual(planFor('imagefs.inodesFree', one), all);
  assert.deepEqual(planFor('nodefs.available', two), { parts: ['logs', 'volumes'], reclaim: [] });
  assert.deepEqual(planFor('imagefs.available', two), {
    parts: ['rootfs'],
    reclaim: ['containers', 'images'],
  });
  assert.deepEqual(planFor('containerfs.available', split), {
    parts: ['rootfs', 'logs', 'volumes'],
    reclaim: ['containers'],
  });
  assert.deepEqual(planFor('imagefs.available', split), { parts: [], reclaim: ['images'] });
});
