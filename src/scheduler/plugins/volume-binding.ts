/**
 * VolumeBinding: a pod goes where its bound volumes can be reached, and where each claim that waits for its first consumer finds a volume or can
 * have one made. What was found for a node is in the cycle's state; the scheduler writes it (volume-binder.ts). After upstream's volumebinding.
 */
import type { PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '#api/types.ts';
import {
  claimNameOf,
  classOfClaim,
  findMatchingVolume,
  isClaimFullyBound,
  isReachableFrom,
  matchesTopologies,
  NO_PROVISIONER,
  requestedStorage,
  SELECTED_NODE,
  waitsForFirstConsumer,
  whyNotForPod,
} from '#component-helpers/persistent-volumes.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import { compareQuantities } from '#machinery/quantity.ts';
import type { NodeInfo } from '../node-info.ts';
import { refusal, type Cycle, type SchedulerPlugin } from '../plugin.ts';
import type { StorageObjects } from '../storage.ts';
import { concernsClaimOf } from './claims-of-pod.ts';

const NAME = 'VolumeBinding';

/** What has to be written before the pod is bound to a node. */
export interface PodVolumes {
  readonly bindings: readonly { readonly claim: PersistentVolumeClaim; readonly volume: PersistentVolume }[];
  readonly provisions: readonly PersistentVolumeClaim[];
}

interface State {
  readonly bound: readonly PersistentVolumeClaim[];
  readonly waiting: readonly PersistentVolumeClaim[];
  /** By node. */
  readonly found: Map<string, PodVolumes>;
}

export const volumeBinding: SchedulerPlugin = {
  name: NAME,
  readsPods: false,
  queueingHints: [
    'claim-added',
    'claim-updated',
    'volume-added',
    'volume-updated',
    'storage-class-added',
    'storage-class-updated',
    'csi-node-added',
    'csi-node-updated',
    'csi-driver-updated',
    'csi-storage-capacity-added',
    'csi-storage-capacity-updated',
    'node-added',
    'node-updated',
  ],
  isHelpedBy: concernsClaimOf,
  preFilter({ pod, snapshot, state }) {
    const claims = readClaims(pod.pod, snapshot.volumes);
    if (claims === undefined) return 'skip';
    if ('problem' in claims) return refusal(NAME, claims.problem, { resolvable: false });
    state.set(NAME, { ...claims, found: new Map() } satisfies State);
    return undefined;
  },
  filter({ state, snapshot }, node) {
    const { bound, waiting, found } = state.get(NAME) as State;
    const reasons: string[] = [];
    const planned = planWaiting(waiting, { node, objects: snapshot.volumes });
    if (planned === 'no-match') reasons.push("node(s) didn't find available persistent volumes to bind");
    const reach = reachOf(bound, { node, objects: snapshot.volumes });
    if (reach === 'conflict') reasons.push("node(s) didn't match PersistentVolume's node affinity");
    if (planned === 'no-space') reasons.push('node(s) did not have enough free storage');
    if (reach === 'missing')
      reasons.push('node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)');
    if (reasons.length > 0) return refusal(NAME, reasons, { resolvable: false });
    if (typeof planned === 'object') found.set(node.name, planned);
    return undefined;
  },
};

/** What was found for the pod on a node that passed the filter; undefined: nothing has to be written. */
export function plannedVolumes({ state }: Cycle, node: string): PodVolumes | undefined {
  const planned = (state.get(NAME) as State | undefined)?.found.get(node);
  return planned && planned.bindings.length + planned.provisions.length > 0 ? planned : undefined;
}

/** undefined: the pod has no claims. */
function readClaims(
  pod: Pod,
  objects: StorageObjects,
): Omit<State, 'found'> | { readonly problem: string } | undefined {
  const bound: PersistentVolumeClaim[] = [];
  const waiting: PersistentVolumeClaim[] = [];
  let immediate = false;
  for (const volume of pod.spec?.volumes ?? []) {
    const name = claimNameOf(pod, volume);
    if (name === undefined) continue;
    const claim = objects.claim(pod.metadata?.namespace ?? '', name);
    const problem = claimProblem(pod, { name, claim, isEphemeral: volume.ephemeral !== undefined });
    if (!claim || problem !== undefined) return { problem: problem ?? '' };
    if (isClaimFullyBound(claim)) bound.push(claim);
    else if (claim.spec?.volumeName || !waitsForFirstConsumer(objects.storageClass(classOfClaim(claim))))
      immediate = true;
    else waiting.push(claim);
  }
  if (immediate) return { problem: 'pod has unbound immediate PersistentVolumeClaims' };
  return bound.length + waiting.length === 0 ? undefined : { bound, waiting };
}

function claimProblem(
  pod: Pod,
  {
    name,
    claim,
    isEphemeral,
  }: {
    readonly name: string;
    readonly claim: PersistentVolumeClaim | undefined;
    readonly isEphemeral: boolean;
  },
): string | undefined {
  const quoted = JSON.stringify(name);
  if (!claim)
    return isEphemeral
      ? `waiting for ephemeral volume controller to create the persistentvolumeclaim ${quoted}`
      : `persistentvolumeclaim ${quoted} not found`;
  if (claim.status?.phase === 'Lost')
    return `persistentvolumeclaim ${quoted} bound to non-existent persistentvolume ${JSON.stringify(claim.spec?.volumeName ?? '')}`;
  if (claim.metadata?.deletionTimestamp) return `persistentvolumeclaim ${quoted} is being deleted`;
  return isEphemeral ? whyNotForPod(pod, claim) : undefined;
}

interface Place {
  readonly node: NodeInfo;
  readonly objects: StorageObjects;
}

function reachOf(
  bound: readonly PersistentVolumeClaim[],
  { node, objects }: Place,
): 'reachable' | 'conflict' | 'missing' {
  for (const claim of bound) {
    const volume = objects.volume(claim.spec?.volumeName ?? '');
    if (!volume) return 'missing';
    if (!isReachableFrom(volume, node)) return 'conflict';
  }
  return 'reachable';
}

/** Smaller claims choose first, so that they do not take volumes that only larger ones fill. */
function planWaiting(
  waiting: readonly PersistentVolumeClaim[],
  place: Place,
): PodVolumes | 'no-match' | 'no-space' {
  const bindings: PodVolumes['bindings'][number][] = [];
  const provisions: PersistentVolumeClaim[] = [];
  const taken = new Set<string>();
  for (const claim of waiting.toSorted((a, b) =>
    compareQuantities(requestedStorage(a), requestedStorage(b)),
  )) {
    const selected = claim.metadata?.annotations?.[SELECTED_NODE];
    if (selected !== undefined && selected !== place.node.name) return 'no-match';
    const volume = selected === undefined ? findVolume(claim, { ...place, taken }) : undefined;
    if (volume) {
      taken.add(volume.metadata?.name ?? '');
      bindings.push({ claim, volume });
    } else provisions.push(claim);
  }
  for (const claim of provisions) {
    const outcome = mayProvision(claim, place);
    if (outcome !== 'yes') return outcome;
  }
  return { bindings, provisions };
}

function findVolume(
  claim: PersistentVolumeClaim,
  { node, objects, taken }: Place & { readonly taken: ReadonlySet<string> },
): PersistentVolume | undefined {
  return findMatchingVolume(claim, {
    volumes: objects.volumesOfClass(classOfClaim(claim)),
    node,
    excluded: taken,
    waits: true,
  });
}

function mayProvision(
  claim: PersistentVolumeClaim,
  { node, objects }: Place,
): 'yes' | 'no-match' | 'no-space' {
  const storageClass = objects.storageClass(classOfClaim(claim));
  const { provisioner = '', allowedTopologies } = storageClass ?? {};
  if (!storageClass || provisioner === '' || provisioner === NO_PROVISIONER) return 'no-match';
  if (!matchesTopologies(allowedTopologies, node.labels)) return 'no-match';
  return hasCapacity(claim, { node, objects, storageClass }) ? 'yes' : 'no-space';
}

/** Only drivers that publish their capacity are held to it. */
function hasCapacity(
  claim: PersistentVolumeClaim,
  { node, objects, storageClass }: Place & { readonly storageClass: StorageClass },
): boolean {
  if (objects.csiDriver(storageClass.provisioner ?? '')?.spec?.storageCapacity !== true) return true;
  for (const { storageClassName, capacity, maximumVolumeSize, nodeTopology } of objects.capacities()) {
    const limit = maximumVolumeSize ?? capacity;
    if (storageClassName !== storageClass.metadata?.name || limit === undefined || !nodeTopology) continue;
    if (compareQuantities(limit, requestedStorage(claim)) < 0) continue;
    if (compileLabelSelector(nodeTopology).matches(node.labels)) return true;
  }
  return false;
}
