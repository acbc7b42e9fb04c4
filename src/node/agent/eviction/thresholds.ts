/**
 * Eviction signals and thresholds: what of the node may run short, and from where on pods are evicted. Reads them from text and compares them with
 * measurements. Pure. Upstream's words and rules (node-pressure eviction).
 */
import { goDurationMs } from '#machinery/go-duration.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';

const SIGNALS = [
  'memory.available',
  'allocatableMemory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'pid.available',
] as const;
export type Signal = (typeof SIGNALS)[number];

/** As messages and events name it. */
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

/** In bytes, inodes or processes. */
export interface Observation {
  readonly available: number;
  readonly capacity: number;
}
export type Observations = ReadonlyMap<Signal, Observation>;

/** share: of the capacity, more than 0 and at most 1. */
type ThresholdValue = { readonly amount: Quantity } | { readonly share: number };

/** Met when less than its value is available. */
export interface Threshold {
  readonly signal: Signal;
  readonly value: ThresholdValue;
  /** How long it must be met before pods are evicted; 0: a hard threshold. */
  readonly graceMs: number;
  /** Once met, it is met until this much more than its value is available. */
  readonly minimumReclaim?: ThresholdValue | undefined;
}

/** By signal, as KubeletConfiguration has them. Structured-cloneable. */
export interface EvictionThresholds {
  readonly hard: Readonly<Record<string, string>>;
  readonly soft: Readonly<Record<string, string>>;
  readonly softGracePeriod: Readonly<Record<string, string>>;
  readonly minimumReclaim: Readonly<Record<string, string>>;
}

export const DEFAULT_HARD: Readonly<Record<string, string>> = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
};

const RESOURCES: Readonly<Record<Signal, StarvedResource>> = {
  'memory.available': 'memory',
  'allocatableMemory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
  'nodefs.inodesFree': 'inodes',
  'imagefs.available': 'ephemeral-storage',
  'imagefs.inodesFree': 'inodes',
  'containerfs.available': 'ephemeral-storage',
  'containerfs.inodesFree': 'inodes',
  'pid.available': 'pids',
};

export function starvedResource(signal: Signal): StarvedResource {
  return RESOURCES[signal];
}

/** Hard thresholds are upstream's where nothing else is set. Throws as parseThresholds. */
export function evictionThresholds(set: Partial<EvictionThresholds> = {}): Threshold[] {
  const { hard = DEFAULT_HARD, soft = {}, softGracePeriod = {}, minimumReclaim = {} } = set;
  return parseThresholds({ hard, soft, softGracePeriod, minimumReclaim });
}

/** Throws an Error that names the setting, its value and what it should be. */
function parseThresholds({ hard, soft, softGracePeriod, minimumReclaim }: EvictionThresholds): Threshold[] {
  const grace = new Map(entries('eviction-soft-grace-period', softGracePeriod, graceMsFrom));
  const reclaim = new Map(entries('eviction-minimum-reclaim', minimumReclaim, valueFrom));
  const made = (signal: Signal, value: ThresholdValue, graceMs: number): Threshold => ({
    signal,
    value,
    graceMs,
    minimumReclaim: reclaim.get(signal),
  });
  const hardOnes = effective('eviction-hard', hard).map(([signal, value]) => made(signal, value, 0));
  const softOnes = effective('eviction-soft', soft).map(([signal, value]) => {
    const graceMs = grace.get(signal);
    if (graceMs === undefined)
      throw new Error(`eviction-soft has ${signal}; eviction-soft-grace-period should have it too`);
    return made(signal, value, graceMs);
  });
  // As upstream: pods together are held to the node's allocatable memory too.
  const allocatable = hardOnes
    .filter(({ signal }) => signal === 'memory.available')
    .map((one): Threshold => ({ ...one, signal: 'allocatableMemory.available' }));
  return [...hardOnes, ...softOnes, ...allocatable];
}

/** 0% and 100% mean that there is no threshold. */
function effective(
  setting: string,
  map: Readonly<Record<string, string>>,
): readonly (readonly [Signal, ThresholdValue])[] {
  const wanted = Object.entries(map).filter(([, text]) => text !== '0%' && text !== '100%');
  return entries(setting, Object.fromEntries(wanted), valueFrom);
}

function entries<Value>(
  setting: string,
  map: Readonly<Record<string, string>>,
  parse: (text: string) => Value | undefined,
): (readonly [Signal, Value])[] {
  return Object.entries(map).map(([name, text]) => {
    const signal = SIGNALS.find((one) => one === name);
    if (!signal)
      throw new Error(
        `${setting} has ${JSON.stringify(name)}; it should be a signal: ${SIGNALS.filter((one) => !one.startsWith('allocatable')).join(', ')}`,
      );
    const value = parse(text);
    if (value !== undefined) return [signal, value];
    throw new Error(
      `${setting} has ${JSON.stringify(text)} for ${signal}; it should be ${setting.endsWith('period') ? 'a duration such as 1m30s' : 'a positive amount such as 500Mi, or a percentage such as 10%'}`,
    );
  });
}

function valueFrom(text: string): ThresholdValue | undefined {
  if (text.endsWith('%')) {
    const percent = /^\d+(\.\d+)?%$/.test(text) ? Number(text.slice(0, -1)) : NaN;
    return percent > 0 && percent <= 100 ? { share: percent / 100 } : undefined;
  }
  const amount = tryParseQuantity(text);
  return amount && amount.sign > 0 ? { amount } : undefined;
}

function graceMsFrom(text: string): number | undefined {
  try {
    const ms = goDurationMs(text);
    return ms >= 0 ? ms : undefined;
  } catch {
    return undefined;
  }
}

/** Which directories share a file system. */
export interface FileSystems {
  /** Images are not on the file system of the pods' volumes and logs. */
  readonly dedicatedImages: boolean;
  /** Containers' writable layers are not on that of the images. */
  readonly splitContainers: boolean;
}

/** Thresholds of containerfs are those of the file system that it is on, whatever was set for it; as upstream. */
export function withContainerFs(
  thresholds: readonly Threshold[],
  { dedicatedImages, splitContainers }: FileSystems,
): Threshold[] {
  const from = dedicatedImages && !splitContainers ? 'imagefs' : 'nodefs';
  const own = thresholds.filter(({ signal }) => !signal.startsWith('containerfs.'));
  const copies = own
    .filter(({ signal }) => signal.startsWith(`${from}.`))
    .map((one): Threshold => ({ ...one, signal: one.signal.replace(from, 'containerfs') as Signal }));
  return [...own, ...copies];
}

export function isHard({ graceMs }: Threshold): boolean {
  return graceMs === 0;
}

/** The value as an amount of this capacity. */
export function thresholdAmount(value: ThresholdValue, capacity: number): Quantity {
  return 'amount' in value ? value.amount : Quantity.of(Math.floor(capacity * value.share), 'BinarySI');
}

/** Those met, whatever their grace period. reclaim: those that are not resolved by their minimum reclaim. */
export function thresholdsMet(
  thresholds: readonly Threshold[],
  { observations, reclaim = false }: { readonly observations: Observations; readonly reclaim?: boolean },
): Threshold[] {
  return thresholds.filter(({ signal, value, minimumReclaim }) => {
    const observed = observations.get(signal);
    if (!observed) return false;
    const more = reclaim && minimumReclaim ? thresholdAmount(minimumReclaim, observed.capacity).value() : 0;
    return observed.available < thresholdAmount(value, observed.capacity).value() + more;
  });
}

/** What hard thresholds keep from pods, of this much memory or disk: it is not allocatable. */
export function reservedFor(
  signal: 'memory.available' | 'nodefs.available',
  { thresholds, capacity }: { readonly thresholds: readonly Threshold[]; readonly capacity: number },
): number {
  const hard = thresholds.find((one) => one.signal === signal && isHard(one));
  return hard ? thresholdAmount(hard.value, capacity).value() : 0;
}
