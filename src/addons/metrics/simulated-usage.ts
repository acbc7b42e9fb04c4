/**
 * What the pods of simulated nodes would use: nothing of them runs, so there is no kubelet to ask. A pod uses what its annotations say, or else a part of
 * what it requests that differs between pods and swings slowly; a node uses what its pods do, and a little itself.
 *
 *   capstan.dev/simulate-cpu      '250m': of the pod, shared among its containers
 *   capstan.dev/simulate-memory   '64Mi'
 */
import type { Container, Pod } from '#api/types.ts';
import { tryParseQuantity } from '#machinery/quantity.ts';
import { timeMs } from '#machinery/time.ts';
import type { MetricsPoint, NodeMeasurements } from './resource-page.ts';

const CPU_ANNOTATION = 'capstan.dev/simulate-cpu';
const MEMORY_ANNOTATION = 'capstan.dev/simulate-memory';
/** Of containers that request nothing. */
const IDLE_CORES = 0.005;
const IDLE_BYTES = 24 * 1024 * 1024;
const PAGE_BYTES = 4096;
/** Of the node's own services. */
const NODE_CORES = 0.05;
const NODE_BYTES = 300 * 1024 * 1024;
/** The part of its requests that a pod uses is between these, and swings by SWING within PERIOD_MS. */
const LEAST_PART = 0.2;
const MOST_PART = 0.6;
const SWING = 0.1;
const PERIOD_MS = 10 * 60_000;

/** What is kept of a pod on a simulated node. */
export interface SimulatedPod {
  readonly uid: string;
  readonly startMs: number;
  readonly containers: readonly SimulatedContainer[];
}

interface SimulatedContainer {
  readonly name: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Its usage was given: it does not swing. */
  readonly isGiven: boolean;
}

/** Undefined: none of its containers runs. */
export function simulatedPod(pod: Pod): SimulatedPod | undefined {
  const running = (pod.status?.containerStatuses ?? []).filter(({ state }) => state?.running);
  const startMs = timeMs(running[0]?.state?.running?.startedAt);
  if (startMs === undefined) return undefined;
  const names = new Set(running.map(({ name }) => name));
  const containers = (pod.spec?.containers ?? []).filter(({ name }) => names.has(name));
  const annotations = pod.metadata?.annotations ?? {};
  const part = partOf(pod.metadata?.uid ?? '');
  const share = {
    cores: amount(annotations[CPU_ANNOTATION], containers.length),
    bytes: amount(annotations[MEMORY_ANNOTATION], containers.length),
  };
  return {
    uid: pod.metadata?.uid ?? '',
    startMs,
    containers: containers.map((container) => ({
      name: container.name,
      cores: share.cores ?? requested(container, 'cpu', IDLE_CORES) * part,
      memoryBytes: wholePages(share.bytes ?? requested(container, 'memory', IDLE_BYTES) * part),
      isGiven: share.cores !== undefined,
    })),
  };
}

function amount(text: string | undefined, containers: number): number | undefined {
  const quantity = text === undefined ? undefined : tryParseQuantity(text);
  return quantity && quantity.sign >= 0 ? quantity.asApproximateFloat64() / containers : undefined;
}

function requested({ resources }: Container, resource: string, otherwise: number): number {
  const text = resources?.requests?.[resource];
  return text === undefined
    ? otherwise
    : (tryParseQuantity(String(text))?.asApproximateFloat64() ?? otherwise);
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

/** The same for a pod in every process. */
function partOf(uid: string): number {
  return LEAST_PART + (MOST_PART - LEAST_PART) * fraction(uid);
}

/** FNV-1a of the text, in [0, 1). */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return (hash >>> 0) / 2 ** 32;
}

interface Counted {
  readonly atMs: number;
  /** By the container's name. */
  readonly cpuSeconds: ReadonlyMap<string, number>;
}

/** Counts the CPU time of pods on simulated nodes from one look to the next. */
export class SimulatedUsage {
  /** By uid; pods of the last look at their node. */
  #counted = new Map<string, Counted>();
  readonly #nodes = new Map<string, { readonly atMs: number; readonly cpuSeconds: number }>();

  /** The next look at each node keeps only what it sees. */
  startRound(): { measure(node: string, of: MeasuredNode): NodeMeasurements; end(): void } {
    const counted = new Map<string, Counted>();
    const seen = new Set<string>();
    return {
      measure: (node, of) => {
        seen.add(node);
        return this.#measure(node, of, counted);
      },
      end: () => {
        this.#counted = counted;
        for (const node of this.#nodes.keys()) if (!seen.has(node)) this.#nodes.delete(node);
      },
    };
  }

  #measure(node: string, { nowMs, pods }: MeasuredNode, counted: Map<string, Counted>): NodeMeasurements {
    const measured = new Map<string, ReadonlyMap<string, MetricsPoint>>();
    let cores = NODE_CORES,
      bytes = NODE_BYTES;
    for (const [key, pod] of pods) {
      const before = this.#counted.get(pod.uid);
      const points = new Map<string, MetricsPoint>();
      for (const container of pod.containers) {
        const rate = container.isGiven ? container.cores : container.cores * swing(pod.uid, nowMs);
        const sinceMs = Math.max(before?.atMs ?? pod.startMs, pod.startMs);
        const cpuSeconds =
          (before?.cpuSeconds.get(container.name) ?? 0) + used(rate, Math.max(0, nowMs - sinceMs));
        points.set(container.name, {
          startMs: pod.startMs,
          atMs: nowMs,
          cpuSeconds,
          memoryBytes: container.memoryBytes,
        });
        cores += rate;
        bytes += container.memoryBytes;
      }
      counted.set(pod.uid, {
        atMs: nowMs,
        cpuSeconds: new Map(Array.from(points, ([name, point]) => [name, point.cpuSeconds])),
      });
      measured.set(key, points);
    }
    return { node: this.#countNode(node, { nowMs, cores, bytes }), pods: measured };
  }

  #countNode(
    node: string,
    { nowMs, cores, bytes }: { readonly nowMs: number; readonly cores: number; readonly bytes: number },
  ): MetricsPoint {
    const before = this.#nodes.get(node);
    const cpuSeconds = (before?.cpuSeconds ?? 0) + used(cores, nowMs - (before?.atMs ?? nowMs));
    this.#nodes.set(node, { atMs: nowMs, cpuSeconds });
    return { startMs: 0, atMs: nowMs, cpuSeconds, memoryBytes: bytes };
  }
}

/** Seconds of CPU, in whole nanoseconds. */
function used(cores: number, forMs: number): number {
  return Math.round(cores * forMs * 1e6) / 1e9;
}

interface MeasuredNode {
  readonly nowMs: number;
  /** Running pods by 'namespace/name'. */
  readonly pods: Iterable<readonly [key: string, pod: SimulatedPod]>;
}

function swing(uid: string, nowMs: number): number {
  return 1 + SWING * Math.sin(2 * Math.PI * (nowMs / PERIOD_MS + fraction(uid)));
}
