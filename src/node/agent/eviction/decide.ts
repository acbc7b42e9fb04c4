/**
 * One round of node-pressure eviction: from measurements and what earlier rounds saw to the node's pressure conditions and the threshold to act on.
 * Pure; after upstream's eviction manager.
 *
 *   threshold met ──► its condition, until it was not met for the transition period
 *        └─ met for its grace period ──► acted on: reclaim from the node, then evict one pod
 *              └─ until minimumReclaim more is available
 */
import {
  thresholdsMet,
  type FileSystems,
  type Observations,
  type Signal,
  type Threshold,
} from './thresholds.ts';

const PRESSURES = ['MemoryPressure', 'DiskPressure', 'PIDPressure'] as const;
export type Pressure = (typeof PRESSURES)[number];

/** What a round leaves to the next one. Times are monotonic, in ms. */
export interface EvictionState {
  /** Of thresholds that are met: when that was first seen. */
  readonly firstMetMs: ReadonlyMap<Threshold, number>;
  readonly pressureSeenMs: ReadonlyMap<Pressure, number>;
  /** Those that were acted on and are not resolved. */
  readonly active: readonly Threshold[];
}

export const INITIAL_STATE: EvictionState = {
  firstMetMs: new Map(),
  pressureSeenMs: new Map(),
  active: [],
};

interface Round {
  readonly thresholds: readonly Threshold[];
  readonly observations: Observations;
  readonly state: EvictionState;
  readonly nowMs: number;
  /** How long a condition stays after it was last seen. */
  readonly transitionMs: number;
}

export interface EvictionDecision {
  readonly state: EvictionState;
  readonly pressures: readonly Pressure[];
  /** Those met for their grace period, the first to act on first: memory, then in the given order. */
  readonly due: readonly Threshold[];
}

export function decideEviction({
  thresholds,
  observations,
  state,
  nowMs,
  transitionMs,
}: Round): EvictionDecision {
  const unresolved = thresholdsMet(state.active, { observations, reclaim: true });
  const met = [...new Set([...thresholdsMet(thresholds, { observations }), ...unresolved])];
  const firstMetMs = new Map(met.map((one) => [one, state.firstMetMs.get(one) ?? nowMs]));
  const pressureSeenMs = new Map([
    ...state.pressureSeenMs,
    ...met.map(({ signal }) => [pressureOf(signal), nowMs] as const),
  ]);
  const due = met.filter((one) => nowMs - (firstMetMs.get(one) ?? nowMs) >= one.graceMs);
  return {
    state: { firstMetMs, pressureSeenMs, active: due },
    pressures: PRESSURES.filter(
      (one) => nowMs - (pressureSeenMs.get(one) ?? -Infinity) < transitionMs || isMet(one, met),
    ),
    due: [
      ...due.filter(({ signal }) => pressureOf(signal) === 'MemoryPressure'),
      ...due.filter(({ signal }) => pressureOf(signal) !== 'MemoryPressure'),
    ],
  };
}

function isMet(pressure: Pressure, met: readonly Threshold[]): boolean {
  return met.some(({ signal }) => pressureOf(signal) === pressure);
}

function pressureOf(signal: Signal): Pressure {
  if (signal.endsWith('emory.available')) return 'MemoryPressure';
  return signal === 'pid.available' ? 'PIDPressure' : 'DiskPressure';
}

/** Whether every threshold is resolved, by its minimum reclaim. */
export function isResolved(thresholds: readonly Threshold[], observations: Observations): boolean {
  return thresholdsMet(thresholds, { observations, reclaim: true }).length === 0;
}

/** What pods use of a file system. */
export type DiskPart = 'rootfs' | 'logs' | 'volumes';
/** What the node can free before pods must go: records and layers of ended containers, unused images. */
export type Reclaim = 'containers' | 'images';

interface SignalPlan {
  /** What ranks pods by their use of disk. */
  readonly parts: readonly DiskPart[];
  readonly reclaim: readonly Reclaim[];
}

const NOTHING: SignalPlan = { parts: [], reclaim: [] };
const ROOT: readonly DiskPart[] = ['rootfs'];
const LOCAL: readonly DiskPart[] = ['logs', 'volumes'];
const ALL: readonly DiskPart[] = ['rootfs', 'logs', 'volumes'];

/** By which file systems are one. */
export function planFor(signal: Signal, { dedicatedImages, splitContainers }: FileSystems): SignalPlan {
  const [fileSystem = ''] = signal.split('.');
  if (!['nodefs', 'imagefs', 'containerfs'].includes(fileSystem)) return NOTHING;
  if (!dedicatedImages) return { parts: ALL, reclaim: ['containers', 'images'] };
  if (splitContainers)
    return fileSystem === 'imagefs'
      ? { parts: [], reclaim: ['images'] }
      : { parts: ALL, reclaim: ['containers'] };
  return fileSystem === 'nodefs'
    ? { parts: LOCAL, reclaim: [] }
    : { parts: ROOT, reclaim: ['containers', 'images'] };
}
