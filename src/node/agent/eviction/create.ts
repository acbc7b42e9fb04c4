/** Makes the eviction manager of a real node: its signals from this machine, its pods' use from the runtime and their files. */
import type { GarbageCollector } from '../garbage-collection.ts';
import type { NodeLimits } from '../cgroups.ts';
import { EvictionManager, type EvictionOptions } from './eviction-manager.ts';
import {
  compareFileSystems,
  fileSystemDirectories,
  observeNode,
  type NodeSignalsOptions,
} from './node-signals.ts';
import { measurePods, type PodUseDependencies } from './pod-use.ts';
import type { EvictionThresholds } from './thresholds.ts';

/** Structured-cloneable. */
export interface EvictionSettings extends Partial<EvictionThresholds> {
  /** How long a pressure condition stays after it was last seen; default 5 min. */
  readonly transitionMs?: number | undefined;
  /** Longest grace period of pods that a soft threshold evicts; default 0. */
  readonly maximumPodGraceSeconds?: number | undefined;
}

interface CreateEvictions
  extends
    EvictionSettings,
    PodUseDependencies,
    NodeSignalsOptions,
    Pick<
      EvictionOptions,
      'clock' | 'log' | 'events' | 'metrics' | 'nodeName' | 'thresholds' | 'workers' | 'onPressure'
    > {
  readonly cri: PodUseDependencies['cri'] & NodeSignalsOptions['cri'];
  readonly cgroups: PodUseDependencies['cgroups'];
  readonly limits: () => Promise<NodeLimits>;
  readonly garbage: Pick<GarbageCollector, 'removeEndedContainers' | 'removeUnusedImages'>;
}

const PRESSURE_TRANSITION_MS = 5 * 60_000;

export function createEvictions({
  transitionMs = PRESSURE_TRANSITION_MS,
  maximumPodGraceSeconds = 0,
  garbage,
  ...options
}: CreateEvictions): EvictionManager {
  return new EvictionManager({
    ...options,
    transitionMs,
    maximumPodGraceSeconds,
    directories: () => fileSystemDirectories(options),
    fileSystems: compareFileSystems,
    observe: (directories) => observeNode(options, directories),
    measure: (pods, disk) => measurePods(pods, { ...options, disk }),
    reclaim: {
      containers: () => garbage.removeEndedContainers(),
      images: () => garbage.removeUnusedImages(),
    },
  });
}
