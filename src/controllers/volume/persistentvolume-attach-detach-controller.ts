/**
 * Attaches the volumes of scheduled pods to their nodes and detaches them when no pod there needs them: by VolumeAttachments, which the attacher of a CSI
 * driver carries out. After upstream's pkg/controller/volume/attachdetach.
 *
 *   pod on a node ──► VolumeAttachment made ──attacher: attached──► node.status.volumesAttached ──► the node agent mounts, volumesInUse
 *   no pod needs it ──► out of volumesAttached ──not in volumesInUse──► VolumeAttachment deleted ──► the attacher detaches
 *
 * A node agent mounts only what stands in volumesAttached of a Node whose volumesInUse has it, and this controller detaches only by a Node whose
 * volumesAttached lacks it and whose volumesInUse lacks it, too: both look at one version of one object, so that neither overtakes the other.
 */
import type { AttachedVolume, Node, PersistentVolume, Pod, VolumeAttachment } from '#api/types.ts';
import {
  csiDrivers,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  volumeAttachments,
} from '#client/refs.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { attachmentName, needsAttachment, uniqueVolumeName } from '#component-helpers/csi.ts';
import { claimNameOf, whyNotForPod } from '#component-helpers/persistent-volumes.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Stored } from '#machinery/object.ts';
import {
  defineController,
  watch,
  type ReconcileContext,
  type ReconcileResult,
  type SourceContext,
} from '#runtime/controller.ts';
import { podsByNode, podsOnNode } from '../core/pods-by-node.ts';
import { podsByClaim, podsOfClaim } from './pods-by-claim.ts';

/** A volume that pods of a node need there. */
interface Wanted {
  readonly volume: Stored<PersistentVolume>;
  readonly unique: string;
  readonly pods: Stored<Pod>[];
}

const MANAGED = 'volumes.kubernetes.io/controller-managed-attach-detach';
const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service';
const OURS = /^csi-[0-9a-f]{64}$/;
const CSI = 'kubernetes.io/csi/';
/** Upstream's: an unhealthy node that still uses a volume loses it after this time. */
const MAX_WAIT_FOR_UNMOUNT_MS = 6 * 60_000;
/** While another node holds a volume of one node. */
const HELD_MS = 1_000;
/** A VolumeAttachment that was made is in the cache by then. */
const MARK_MS = 30_000;

interface Mark {
  readonly nodeName: string;
  readonly atMs: number;
}

export const persistentVolumeAttachDetachController = defineController({
  name: 'persistentvolume-attach-detach-controller',
  serviceAccount: 'attachdetach-controller',
  eventSource: 'attachdetach-controller',
  watches: [
    watch(pods, { keys: (pod) => (pod.spec?.nodeName && usesClaims(pod) ? [pod.spec.nodeName] : []) }),
    watch(nodes, {
      changed: (node, previous) =>
        !deepEqual(node.status?.volumesInUse, previous.status?.volumesInUse) ||
        !deepEqual(node.status?.volumesAttached, previous.status?.volumesAttached) ||
        !deepEqual(node.metadata.annotations, previous.metadata.annotations) ||
        !deepEqual(node.spec?.taints, previous.spec?.taints),
    }),
    watch(volumeAttachments, { keys: ({ spec }) => [spec.nodeName] }),
    watch(persistentVolumeClaims, {
      changed: ({ spec }, previous) => spec?.volumeName !== previous.spec?.volumeName,
      keys: ({ metadata }, context) => nodesOf(context, `${metadata.namespace}/${metadata.name}`),
    }),
    watch(persistentVolumes, {
      changed: ({ spec }, previous) => spec?.claimRef?.uid !== previous.spec?.claimRef?.uid,
      keys: ({ spec }, context) =>
        spec?.claimRef ? nodesOf(context, `${spec.claimRef.namespace}/${spec.claimRef.name}`) : [],
    }),
    watch(csiDrivers, { keys: () => [] }),
  ],
  indexes: [
    podsByNode,
    podsByClaim,
    { resource: volumeAttachments, name: 'node', values: ({ spec }: VolumeAttachment) => [spec.nodeName] },
    {
      resource: volumeAttachments,
      name: 'volume',
      values: ({ spec }: VolumeAttachment) =>
        spec.source.persistentVolumeName ? [spec.source.persistentVolumeName] : [],
    },
  ],
  reconcile,
});

function usesClaims({ spec }: Pod): boolean {
  return (spec?.volumes ?? []).some(
    ({ persistentVolumeClaim, ephemeral }) => persistentVolumeClaim !== undefined || ephemeral !== undefined,
  );
}

function nodesOf({ informer }: SourceContext, claim: string): string[] {
  return podsOfClaim(informer(pods), claim).flatMap(({ spec }) => (spec?.nodeName ? [spec.nodeName] : []));
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer } = context;
  const node = informer(nodes).get(key);
  const attachments = informer(volumeAttachments).byIndex('node', key).filter(isOurs);
  const wanted =
    node?.metadata.annotations?.[MANAGED] === 'true' ? wantedVolumes(context) : new Map<string, Wanted>();
  if (attachments.length === 0 && wanted.size === 0 && !hasCsiVolumes(node)) return;
  const present = new Map(attachments.map((one) => [one.metadata.name, one]));
  let waitMs = await attachMissing(context, { wanted, present });
  for (const [name, one] of wanted) noteState(context, { attachment: present.get(name), wanted: one });
  const fresh = await showAttached(context, { node, wanted, present });
  for (const attachment of attachments)
    if (!wanted.has(attachment.metadata.name) && !attachment.metadata.deletionTimestamp)
      waitMs = Math.min(waitMs, await detach(context, { attachment, node: fresh }));
  return waitMs === Infinity ? undefined : { requeueAfterMs: waitMs };
}

/** One that a person or a test made by another name is none of ours. */
function isOurs({ metadata, spec }: VolumeAttachment): boolean {
  return OURS.test(metadata?.name ?? '') && spec.source.persistentVolumeName !== undefined;
}

function hasCsiVolumes(node: Node | undefined): boolean {
  return (node?.status?.volumesAttached ?? []).some(({ name }) => name.startsWith(CSI));
}

/** By name of the VolumeAttachment. */
function wantedVolumes({ key, informer }: ReconcileContext): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const pod of podsOnNode(informer(pods), key)) {
    if (isPodTerminal(pod)) continue;
    for (const volume of volumesOf(pod, informer)) {
      const { driver, volumeHandle } = volume.spec!.csi!;
      const name = attachmentName({ driver, volumeHandle }, key);
      const known = wanted.get(name) ?? {
        volume,
        unique: uniqueVolumeName({ driver, volumeHandle }),
        pods: [],
      };
      known.pods.push(pod);
      wanted.set(name, known);
    }
  }
  return wanted;
}

/** Bound and to be attached. What is wrong with the others is for binder and node agent to say. */
function volumesOf(pod: Stored<Pod>, informer: ReconcileContext['informer']): Stored<PersistentVolume>[] {
  return (pod.spec?.volumes ?? []).flatMap((one) => {
    const name = claimNameOf(pod, one);
    const claim = name && informer(persistentVolumeClaims).get(`${pod.metadata.namespace}/${name}`);
    if (!claim || (one.ephemeral && whyNotForPod(pod, claim) !== undefined)) return [];
    const volume = informer(persistentVolumes).get(claim.spec?.volumeName ?? '');
    const driver = volume?.spec?.csi?.driver;
    if (!volume || driver === undefined || volume.spec?.claimRef?.uid !== claim.metadata.uid) return [];
    return needsAttachment(informer(csiDrivers).get(driver)) ? [volume] : [];
  });
}

interface Attaching {
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly present: ReadonlyMap<string, Stored<VolumeAttachment>>;
}

/** Returns when to look again. */
async function attachMissing(context: ReconcileContext, { wanted, present }: Attaching): Promise<number> {
  let waitMs = Infinity;
  const held = new Set<string>();
  for (const [name, one] of wanted) {
    if (present.has(name)) continue;
    const holder = holderOf(context, one.volume);
    if (holder === undefined) await attach(context, { name, volume: one.volume });
    else {
      for (const id of noteHeld(context, one)) held.add(id);
      waitMs = HELD_MS;
    }
  }
  if (held.size > 0) context.memory.set(`held/${context.key}`, held);
  else context.memory.delete(`held/${context.key}`);
  return waitMs;
}

/** The other node that has a volume of one node; this node may have it from then on. Nothing is awaited between the look and the mark. */
function holderOf(
  { key, informer, memory, clock }: ReconcileContext,
  { metadata, spec }: Stored<PersistentVolume>,
): string | undefined {
  if (!isForOneNode(spec?.accessModes)) return undefined;
  const other = informer(volumeAttachments)
    .byIndex('volume', metadata.name)
    .find((one) => one.spec.nodeName !== key);
  if (other) return other.spec.nodeName;
  const id = `holder/${metadata.name}`;
  const mark = memory.get(id) as Mark | undefined;
  // What another node's run has made may not have come by the watch yet.
  if (mark && mark.nodeName !== key && clock.monotonic() - mark.atMs < MARK_MS) return mark.nodeName;
  memory.set(id, { nodeName: key, atMs: clock.monotonic() } satisfies Mark);
  return undefined;
}

function isForOneNode(accessModes: readonly string[] = []): boolean {
  return (
    accessModes.length > 0 && !accessModes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany')
  );
}

async function attach(
  { key, api, memory, enqueue }: ReconcileContext,
  { name, volume }: { readonly name: string; readonly volume: Stored<PersistentVolume> },
): Promise<void> {
  try {
    await api.create(volumeAttachments, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name },
      spec: {
        attacher: volume.spec!.csi!.driver,
        nodeName: key,
        source: { persistentVolumeName: volume.metadata.name },
      },
    });
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) {
      memory.delete(`holder/${volume.metadata.name}`);
      throw error;
    }
    enqueue(key, HELD_MS);
  }
}

/** One event for each pod that waits. Returns which, by pod and volume. */
function noteHeld(
  { key, informer, memory, events }: ReconcileContext,
  { volume, pods: waiting }: Wanted,
): string[] {
  const noted = memory.get(`held/${key}`) as ReadonlySet<string> | undefined;
  const { name } = volume.metadata;
  const claim = `${volume.spec?.claimRef?.namespace}/${volume.spec?.claimRef?.name}`;
  const users = podsOfClaim(informer(pods), claim).filter(
    ({ spec }) => spec?.nodeName !== undefined && spec.nodeName !== key,
  );
  const why =
    users.length === 0
      ? "Volume is already exclusively attached to one node and can't be attached to another"
      : `Volume is already used by pod(s) ${users.map(({ metadata }) => metadata.name).join(', ')}`;
  return waiting.map((pod) => {
    const id = `${pod.metadata.uid}/${name}`;
    if (!noted?.has(id))
      events.event(pod, {
        type: 'Warning',
        reason: 'FailedAttachVolume',
        message: `Multi-Attach error for volume ${JSON.stringify(name)} ${why}`,
      });
    return id;
  });
}

/** Events of what the attacher said. */
function noteState(
  { memory, events }: ReconcileContext,
  {
    attachment,
    wanted,
  }: { readonly attachment: Stored<VolumeAttachment> | undefined; readonly wanted: Wanted },
): void {
  if (!attachment) return;
  const { name } = wanted.volume.metadata;
  memory.delete(`holder/${name}`);
  const { attached, attachError } = attachment.status ?? {};
  const id = `state/${attachment.metadata.name}`;
  const state = attached ? 'attached' : (attachError?.time ?? attachError?.message);
  if (state === undefined || memory.get(id) === state) return;
  memory.set(id, state);
  for (const pod of wanted.pods)
    events.event(
      pod,
      attached
        ? {
            type: 'Normal',
            reason: 'SuccessfulAttachVolume',
            message: `AttachVolume.Attach succeeded for volume ${JSON.stringify(name)} `,
          }
        : {
            type: 'Warning',
            reason: 'FailedAttachVolume',
            message: `AttachVolume.Attach failed for volume ${JSON.stringify(name)} : ${attachError?.message ?? ''}`,
          },
    );
}

/** Writes the node's volumesAttached. Returns the Node as the API has it then. */
async function showAttached(
  { key, api }: ReconcileContext,
  { node, wanted, present }: Attaching & { readonly node: Stored<Node> | undefined },
): Promise<Stored<Node> | undefined> {
  if (!node) return undefined;
  const before = node.status?.volumesAttached ?? [];
  const next: AttachedVolume[] = before.filter(({ name }) => !name.startsWith(CSI));
  for (const [name, { unique }] of wanted) {
    const attachment = present.get(name);
    if (attachment?.status?.attached && !attachment.metadata.deletionTimestamp)
      next.push({ name: unique, devicePath: '' });
  }
  next.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (sameNames(before, next)) return node;
  const patch = {
    metadata: { uid: node.metadata.uid },
    status: { volumesAttached: next.length > 0 ? next : null },
  };
  try {
    return await api.patch(nodes, { name: key }, { type: 'merge', subresource: 'status', patch });
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

function sameNames(a: readonly AttachedVolume[], b: readonly AttachedVolume[]): boolean {
  return deepEqual(a.map(({ name }) => name).sort(), b.map(({ name }) => name).sort());
}

/** Returns when to look again. */
async function detach(
  context: ReconcileContext,
  {
    attachment,
    node,
  }: { readonly attachment: Stored<VolumeAttachment>; readonly node: Stored<Node> | undefined },
): Promise<number> {
  const { api, clock, log, memory, informer, key } = context;
  const { name, uid } = attachment.metadata;
  const since = `unmount/${name}`;
  const volume = informer(persistentVolumes).get(attachment.spec.source.persistentVolumeName ?? '');
  const unique = volume?.spec?.csi ? uniqueVolumeName(volume.spec.csi) : undefined;
  if (node && unique && node.status?.volumesInUse?.includes(unique) && !isOutOfService(node)) {
    const sinceMs = (memory.get(since) as number | undefined) ?? clock.monotonic();
    memory.set(since, sinceMs);
    const leftMs = sinceMs + MAX_WAIT_FOR_UNMOUNT_MS - clock.monotonic();
    if (isConditionTrue(node.status?.conditions, 'Ready') || leftMs > 0) return Math.max(leftMs, HELD_MS);
    log.warn('volume detached by force: its node is not ready and has not unmounted it', {
      volume: unique,
      node: key,
    });
  }
  await api.delete(volumeAttachments, { name }, { preconditions: { uid } }).catch((error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
  });
  for (const id of [since, `state/${name}`, `holder/${attachment.spec.source.persistentVolumeName}`])
    memory.delete(id);
  return Infinity;
}

function isOutOfService({ spec }: Node): boolean {
  return spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ?? false;
}
