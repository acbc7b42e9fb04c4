/**
 * The last two measurements of every node and container, and the usage between them: metrics-server's storage, its rules and its rounding. A node that
 * did not answer in the last round, and a pod that its node no longer reports, has no metrics.
 */
import { formatGoDuration } from '#machinery/go-duration.ts';
import { Quantity } from '#machinery/quantity.ts';
import { formatTime } from '#machinery/time.ts';
import type { MetricsPoint, NodeMeasurements } from './resource-page.ts';

/** Fields of NodeMetrics and PodMetrics. */
interface TimeInfo {
  readonly timestamp: string;
  /** Go's form: '15.02s'. */
  readonly window: string;
}
type Usage = Readonly<Record<'cpu' | 'memory', string>>;

interface NodeUsage extends TimeInfo {
  readonly usage: Usage;
}

interface ContainerUsage {
  readonly name: string;
  readonly usage: Usage;
}

interface PodUsage extends TimeInfo {
  readonly containers: readonly ContainerUsage[];
}

/** What one round of scrapes measured, by node. */
export type Round = ReadonlyMap<string, NodeMeasurements>;

type Containers = ReadonlyMap<string, MetricsPoint>;

/** A container that started since the last round counts from its start, when that is at least this long ago. */
const FRESH_CONTAINER_MS = 10_000;

export class MetricsStorage {
  readonly #resolutionMs: number;
  #nodes: Generations<MetricsPoint> = { last: new Map(), previous: new Map() };
  #pods: Generations<Containers> = { last: new Map(), previous: new Map() };

  constructor({ resolutionMs }: { readonly resolutionMs: number }) {
    this.#resolutionMs = resolutionMs;
  }

  store(round: Round): void {
    this.#storeNodes(round);
    this.#storePods(round);
  }

  clear(): void {
    this.store(new Map());
  }

  /** How many nodes and containers there are metrics of. */
  counts(): { readonly nodes: number; readonly containers: number } {
    let containers = 0;
    for (const pod of this.#pods.previous.values()) containers += pod.size;
    return { nodes: this.#nodes.previous.size, containers };
  }

  node(name: string): NodeUsage | undefined {
    const last = this.#nodes.last.get(name),
      previous = this.#nodes.previous.get(name);
    const used = last && previous && between(previous, last);
    return used && { ...timeInfo(used), usage: used.usage };
  }

  /** key: 'namespace/name'. Undefined also while a container has only one measurement. */
  pod(key: string): PodUsage | undefined {
    const last = this.#pods.last.get(key),
      previous = this.#pods.previous.get(key);
    if (!last || !previous) return undefined;
    const containers: ContainerUsage[] = [];
    let earliest: Used | undefined;
    for (const [name, point] of last) {
      const before = previous.get(name);
      if (!before) return undefined;
      const used = between(before, point);
      if (!used) continue;
      containers.push({ name, usage: used.usage });
      if (!earliest || used.atMs < earliest.atMs) earliest = used;
    }
    return earliest && { ...timeInfo(earliest), containers };
  }

  #storeNodes(round: Round): void {
    const last = new Map<string, MetricsPoint>(),
      previous = new Map<string, MetricsPoint>();
    for (const [name, { node: point }] of round) {
      if (!point) continue;
      last.set(name, point);
      const before = earlierPoint(point, {
        last: this.#nodes.last.get(name),
        previous: this.#nodes.previous.get(name),
      });
      if (before) previous.set(name, before);
    }
    this.#nodes = { last, previous };
  }

  #storePods(round: Round): void {
    const last = new Map<string, Containers>(),
      previous = new Map<string, Containers>();
    for (const { pods } of round.values())
      for (const [key, containers] of pods) {
        if (last.has(key)) continue;
        last.set(key, containers);
        const before = this.#previousOf(key, containers);
        if (before.size > 0) previous.set(key, before);
      }
    this.#pods = { last, previous };
  }

  #previousOf(key: string, containers: Containers): Containers {
    const last = this.#pods.last.get(key),
      previous = this.#pods.previous.get(key);
    const found = new Map<string, MetricsPoint>();
    for (const [name, point] of containers) {
      const before = this.#isFresh(point)
        ? { ...point, atMs: point.startMs, cpuSeconds: 0 }
        : earlierPoint(point, { last: last?.get(name), previous: previous?.get(name) });
      if (before) found.set(name, before);
    }
    return found;
  }

  #isFresh({ startMs, atMs }: MetricsPoint): boolean {
    const ageMs = atMs - startMs;
    return ageMs >= FRESH_CONTAINER_MS && ageMs < this.#resolutionMs;
  }
}

interface Generations<T> {
  readonly last: ReadonlyMap<string, T>;
  readonly previous: ReadonlyMap<string, T>;
}

/** The stored point that a rate to the new one is computed from. Undefined: the container was restarted since, or there is none. */
function earlierPoint(
  point: MetricsPoint,
  {
    last,
    previous,
  }: { readonly last: MetricsPoint | undefined; readonly previous: MetricsPoint | undefined },
): MetricsPoint | undefined {
  if (!last || point.startMs >= last.atMs) return undefined;
  if (point.atMs > last.atMs) return last;
  return previous && previous.atMs < point.atMs ? previous : undefined;
}

interface Used {
  readonly atMs: number;
  readonly windowMs: number;
  readonly usage: Usage;
}

/** Undefined for a counter that went backwards. */
function between(previous: MetricsPoint, last: MetricsPoint): Used | undefined {
  if (last.startMs < previous.startMs || last.cpuSeconds < previous.cpuSeconds) return undefined;
  const windowMs = last.atMs - previous.atMs;
  if (windowMs <= 0) return undefined;
  const cpu = cpuText((nanos(last.cpuSeconds) - nanos(previous.cpuSeconds)) / (windowMs / 1000));
  return { atMs: last.atMs, windowMs, usage: { cpu, memory: memoryText(last.memoryBytes) } };
}

/** Whole nanoseconds, so that a rate is not one nanocore more by a rounding error. */
function nanos(seconds: number): number {
  return Math.round(seconds * 1e9);
}

function cpuText(nanocores: number): string {
  return Quantity.ofNano(Math.ceil(nanocores)).toString();
}

function memoryText(bytes: number): string {
  return Quantity.of(Math.trunc(bytes), 'BinarySI').toString();
}

function timeInfo({ atMs, windowMs }: Used): TimeInfo {
  return { timestamp: formatTime(atMs), window: formatGoDuration(BigInt(Math.round(windowMs * 1e6))) };
}
