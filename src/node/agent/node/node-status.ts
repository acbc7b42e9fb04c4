/** Computes a Node's status from measurements. Pure; conditions in upstream's words (kubelet/nodestatus). */
import type { ContainerImage, NodeCondition, NodeStatus, NodeSystemInfo } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import type { Image } from '../../cri/types.ts';
import type { Pressure } from '../eviction/decide.ts';

interface NodeFacts {
  readonly before: NodeStatus | undefined;
  readonly nowMs: number;
  readonly nodeName: string;
  readonly addresses: readonly string[];
  readonly kubeletPort: number;
  /** Of the machine's own resources. */
  readonly capacity: Readonly<Record<string, string>>;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly systemInfo: NodeSystemInfo;
  readonly images: readonly Image[];
  readonly pressures: readonly Pressure[];
  /** Why the node cannot run pods now; undefined: it can. */
  readonly problem: string | undefined;
  /** Unique names of attachable volumes: they are not detached meanwhile. */
  readonly volumesInUse: readonly string[];
  /** The largest ones; default 50, -1: all. */
  readonly maximumImages?: number | undefined;
  /** A cloud controller manager adds further addresses, which stay. */
  readonly externalCloudProvider?: boolean | undefined;
}

/** Upstream's node-status-max-images and names per image. */
const MAX_IMAGES = 50;
const MAX_NAMES = 5;

/** Upstream's names of features that pods may need from a node; in order. */
const DECLARED_FEATURES = ['RestartAllContainersOnContainerExits'];

export function nodeStatus(facts: NodeFacts): NodeStatus {
  const extended = extendedResources(facts.before);
  return {
    capacity: { ...extended, ...facts.capacity },
    allocatable: { ...extended, ...facts.allocatable },
    conditions: conditions(facts),
    addresses: addressesOf(facts),
    daemonEndpoints: { kubeletEndpoint: { Port: facts.kubeletPort } },
    nodeInfo: facts.systemInfo,
    images: imageList(facts.images, facts.maximumImages),
    ...inUse(facts),
    declaredFeatures: [...DECLARED_FEATURES],
  };
}

function addressesOf({
  addresses,
  nodeName,
  before,
  externalCloudProvider = false,
}: NodeFacts): NonNullable<NodeStatus['addresses']> {
  // Once they are the cloud controller manager's, as upstream.
  if (externalCloudProvider && before?.addresses?.length) return [...before.addresses];
  return [
    ...addresses.map((address) => ({ type: 'InternalIP', address })),
    { type: 'Hostname', address: nodeName },
  ];
}

/** Nodes without any do not show the field. */
function inUse({ volumesInUse, before }: NodeFacts): Pick<NodeStatus, 'volumesInUse'> {
  if (volumesInUse.length === 0 && !before?.volumesInUse?.length) return {};
  return { volumesInUse: [...volumesInUse] };
}

/** As upstream: those that an administrator put into the capacity are allocatable as a whole. */
function extendedResources(before: NodeStatus = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(before.capacity ?? {}).filter(([name]) => isExtendedResource(name)),
  );
}

/** Of a domain that is not Kubernetes' own. */
export function isExtendedResource(name: string): boolean {
  return name.includes('/') && !name.includes('kubernetes.io/') && !name.startsWith('requests.');
}

function conditions(facts: NodeFacts): NodeCondition[] {
  const has = (pressure: Pressure): boolean => facts.pressures.includes(pressure);
  const own: readonly Omit<NodeCondition, 'lastHeartbeatTime' | 'lastTransitionTime'>[] = [
    has('MemoryPressure')
      ? {
          type: 'MemoryPressure',
          status: 'True',
          reason: 'KubeletHasInsufficientMemory',
          message: 'kubelet has insufficient memory available',
        }
      : {
          type: 'MemoryPressure',
          status: 'False',
          reason: 'KubeletHasSufficientMemory',
          message: 'kubelet has sufficient memory available',
        },
    has('DiskPressure')
      ? {
          type: 'DiskPressure',
          status: 'True',
          reason: 'KubeletHasDiskPressure',
          message: 'kubelet has disk pressure',
        }
      : {
          type: 'DiskPressure',
          status: 'False',
          reason: 'KubeletHasNoDiskPressure',
          message: 'kubelet has no disk pressure',
        },
    has('PIDPressure')
      ? {
          type: 'PIDPressure',
          status: 'True',
          reason: 'KubeletHasInsufficientPID',
          message: 'kubelet has insufficient PID available',
        }
      : {
          type: 'PIDPressure',
          status: 'False',
          reason: 'KubeletHasSufficientPID',
          message: 'kubelet has sufficient PID available',
        },
    facts.problem === undefined
      ? { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' }
      : { type: 'Ready', status: 'False', reason: 'KubeletNotReady', message: facts.problem },
  ];
  const now = formatTime(facts.nowMs);
  const kept = (facts.before?.conditions ?? []).filter(({ type }) => !own.some((one) => one.type === type));
  return [
    ...kept,
    ...own.map((one) => {
      const before = facts.before?.conditions?.find(({ type }) => type === one.type);
      return {
        ...one,
        lastHeartbeatTime: now,
        lastTransitionTime:
          before?.status === one.status && before.lastTransitionTime ? before.lastTransitionTime : now,
      };
    }),
  ];
}

const EVENTS: Readonly<Record<string, { readonly on: string; readonly off: string }>> = {
  MemoryPressure: { on: 'NodeHasInsufficientMemory', off: 'NodeHasSufficientMemory' },
  DiskPressure: { on: 'NodeHasDiskPressure', off: 'NodeHasNoDiskPressure' },
  PIDPressure: { on: 'NodeHasInsufficientPID', off: 'NodeHasSufficientPID' },
  Ready: { on: 'NodeReady', off: 'NodeNotReady' },
};

/** Upstream's reasons of events of the Node, for each of the agent's conditions that changed. */
export function conditionEvents(before: NodeStatus | undefined, after: NodeStatus): string[] {
  return (after.conditions ?? []).flatMap(({ type, status }) => {
    const reasons = EVENTS[type];
    const changed = before?.conditions?.find((one) => one.type === type)?.status !== status;
    return reasons && changed ? [status === 'True' ? reasons.on : reasons.off] : [];
  });
}

/** The largest ones. */
function imageList(images: readonly Image[], maximum = MAX_IMAGES): ContainerImage[] {
  return [...images]
    .sort((a, b) => b.size - a.size)
    .slice(0, maximum < 0 ? undefined : maximum)
    .map(({ repoDigests, repoTags, size }) => ({
      names: [...repoDigests, ...repoTags].slice(0, MAX_NAMES),
      sizeBytes: size,
    }));
}

/** Fields whose change is worth an early write: everything but the heartbeats. */
export function essence(status: NodeStatus): string {
  return JSON.stringify({
    ...status,
    conditions: status.conditions?.map(({ lastHeartbeatTime: _heartbeat, ...condition }) => condition),
  });
}
