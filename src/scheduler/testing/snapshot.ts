/** Small clusters for scheduler tests: nodes, their pods, and a snapshot of both. */
import type {
  CSIDriver,
  CSINode,
  CSIStorageCapacity,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  PodSpec,
  StorageClass,
  VolumeAttachment,
} from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { SchedulerCache } from '../cache.ts';
import type { ResourceClaims } from '../dra/resource-claims.ts';
import { podInfo, type PodInfo } from '../pod-info.ts';
import { liveSnapshot, type Snapshot } from '../snapshot.ts';
import type { StorageObjects } from '../storage.ts';

let uids = 0;

export interface NodeOptions {
  readonly labels?: Record<string, string>;
  readonly cpu?: string;
  readonly memory?: string;
  readonly pods?: string;
  readonly spec?: Node['spec'];
  readonly images?: NonNullable<Node['status']>['images'];
}

export function node(name: string, options: NodeOptions = {}): Node {
  const allocatable = {
    cpu: options.cpu ?? '4',
    memory: options.memory ?? '8Gi',
    pods: options.pods ?? '110',
  };
  return {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...options.labels } },
    ...(options.spec ? { spec: options.spec } : {}),
    status: { allocatable, capacity: allocatable, ...(options.images ? { images: options.images } : {}) },
  };
}

export interface PodOptions {
  readonly labels?: Record<string, string>;
  readonly cpu?: string;
  readonly memory?: string;
  readonly on?: string;
  readonly priority?: number;
  readonly spec?: Partial<PodSpec>;
  readonly namespace?: string;
}

export function pod(name: string, options: PodOptions = {}): Pod {
  const requests = {
    ...(options.cpu ? { cpu: options.cpu } : {}),
    ...(options.memory ? { memory: options.memory } : {}),
  };
  return {
    metadata: {
      name,
      namespace: options.namespace ?? 'default',
      uid: `uid-${++uids}`,
      labels: options.labels ?? {},
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: {
      containers: [{ name: 'main', image: 'main:1', resources: { requests } }],
      priority: options.priority ?? 0,
      ...(options.on ? { nodeName: options.on } : {}),
      ...options.spec,
    },
    status: { phase: 'Pending' },
  };
}

interface StorageOptions {
  readonly claims?: readonly PersistentVolumeClaim[];
  readonly volumes?: readonly PersistentVolume[];
  readonly classes?: readonly StorageClass[];
  readonly csiNodes?: readonly CSINode[];
  readonly csiDrivers?: readonly CSIDriver[];
  readonly capacities?: readonly CSIStorageCapacity[];
  readonly attachments?: readonly VolumeAttachment[];
}

export function storage(options: StorageOptions): StorageObjects {
  const named = <T extends KubeObject>(list: readonly T[] = [], name: string): T | undefined =>
    list.find(({ metadata }) => metadata?.name === name);
  return {
    claim: (_namespace, name) => named(options.claims, name),
    volume: (name) => named(options.volumes, name),
    volumesOfClass: (name) =>
      (options.volumes ?? []).filter(({ spec }) => (spec?.storageClassName ?? '') === name),
    storageClass: (name) => named(options.classes, name),
    csiNode: (name) => named(options.csiNodes, name),
    csiDriver: (name) => named(options.csiDrivers, name),
    capacities: () => options.capacities ?? [],
    attachments: (node) => (options.attachments ?? []).filter(({ spec }) => spec?.nodeName === node),
  };
}

export const noResourceClaims: ResourceClaims = {
  claim: () => undefined,
  deviceClass: () => undefined,
  classOfExtendedResource: () => undefined,
  extendedResourceClaim: () => undefined,
  isBeingAllocated: () => false,
  pools: () => [],
  taken: { has: () => false, capacity: () => undefined },
  nowMs: () => 0,
};

interface World {
  readonly cache: SchedulerCache;
  readonly snapshot: Snapshot;
}

export interface WorldOptions {
  readonly nodes: readonly Node[];
  readonly pods?: readonly Pod[];
  readonly defaultSelector?: Snapshot['defaultSelector'];
  readonly nominated?: (node: string) => readonly PodInfo[];
  readonly volumes?: Snapshot['volumes'];
  readonly resourceClaims?: Snapshot['resourceClaims'];
}

export function world(options: WorldOptions): World {
  const cache = new SchedulerCache();
  for (const one of options.nodes) cache.setNode(one);
  for (const one of options.pods ?? []) cache.setPod(one);
  const snapshot = liveSnapshot(cache, {
    namespaceLabels: (name) => ({ 'kubernetes.io/metadata.name': name }),
    defaultSelector: options.defaultSelector ?? (() => undefined),
    nominated: options.nominated ?? (() => []),
    resourceClaims: options.resourceClaims ?? noResourceClaims,
    volumes: options.volumes ?? storage({}),
  });
  return { cache, snapshot };
}

export { podInfo };
