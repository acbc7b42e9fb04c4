/**
 * The provisioner of the default StorageClass: volumes are directories of the node that the scheduler chose. It writes only to the API, as an
 * external provisioner does: the node's agent makes and removes the directories.
 *
 *   claim with selected-node ──► PersistentVolume (local, node affinity, finalizer) ──► Bound … Released ──► deleted here ──► directory removed,
 *                                                                                                              finalizer released by the node
 */
import type { Node, PersistentVolume, PersistentVolumeClaim, StorageClass } from '#api/types.ts';
import { nodes, persistentVolumeClaims, persistentVolumes, storageClasses } from '#client/refs.ts';
import {
  LOCAL_PATH_DIRECTORY,
  LOCAL_PATH_FINALIZER,
  LOCAL_PATH_NODE,
  LOCAL_PATH_PROVISIONER,
} from '#component-helpers/local-path.ts';
import {
  classOfClaim,
  isClaimFullyBound,
  PROVISIONED_BY,
  requestedStorage,
  SELECTED_NODE,
  STORAGE_PROVISIONER,
  waitsForFirstConsumer,
} from '#component-helpers/persistent-volumes.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';

const CLAIM = 'claim ';
const VOLUME = 'volume ';
const BY_NODE = 'local-path-node';
const HOSTNAME = 'kubernetes.io/hostname';
const RESYNC_MS = 60_000;

const LOCAL_PATH_CLASS: StorageClass = {
  metadata: {
    name: 'local-path',
    annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' },
    labels: { 'app.kubernetes.io/managed-by': 'capstan' },
  },
  provisioner: LOCAL_PATH_PROVISIONER,
  reclaimPolicy: 'Delete',
  volumeBindingMode: 'WaitForFirstConsumer',
  allowVolumeExpansion: false,
};

export const localPathProvisionerController = defineController({
  name: 'local-path-provisioner-controller',
  serviceAccount: 'local-path-provisioner',
  eventSource: LOCAL_PATH_PROVISIONER,
  watches: [
    watch(persistentVolumeClaims, { keys: (claim) => (isOurs(claim) ? [CLAIM + objectKey(claim)] : []) }),
    watch(persistentVolumes, { keys: (volume) => (isMade(volume) ? [VOLUME + volume.metadata.name] : []) }),
    watch(storageClasses, { keys: () => [] }),
    watch(nodes, {
      changed: (node, previous) => directoryOf(node) !== directoryOf(previous),
      keys: (node, { informer }) =>
        informer(persistentVolumes)
          .byIndex(BY_NODE, node.metadata.name)
          .map(({ metadata }) => VOLUME + metadata.name),
    }),
  ],
  indexes: [
    {
      resource: persistentVolumes,
      name: BY_NODE,
      values: (({ metadata }: PersistentVolume) => {
        const name = metadata?.labels?.[LOCAL_PATH_NODE];
        return name === undefined ? [] : [name];
      }) as (object: never) => readonly string[],
    },
  ],
  resyncEveryMs: RESYNC_MS,
  async reconcile(context) {
    const { key } = context;
    if (key === '') return ensureClass(context);
    return key.startsWith(CLAIM)
      ? provision(context, key.slice(CLAIM.length))
      : reclaim(context, key.slice(VOLUME.length));
  },
});

function isOurs({ metadata }: PersistentVolumeClaim): boolean {
  return metadata?.annotations?.[STORAGE_PROVISIONER] === LOCAL_PATH_PROVISIONER;
}

function isMade({ metadata }: PersistentVolume): boolean {
  return metadata?.annotations?.[PROVISIONED_BY] === LOCAL_PATH_PROVISIONER;
}

function directoryOf({ metadata }: Node): string | undefined {
  return metadata?.annotations?.[LOCAL_PATH_DIRECTORY];
}

/** Once for each leader: an administrator may change it, or delete it until the next start. */
async function ensureClass({ api, informer, memory }: ReconcileContext): Promise<void> {
  if (memory.has('class')) return;
  if (!informer(storageClasses).get(LOCAL_PATH_CLASS.metadata!.name!))
    await api.create(storageClasses, LOCAL_PATH_CLASS).catch((error: unknown) => {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    });
  memory.set('class', true);
}

async function provision(context: ReconcileContext, key: string): Promise<void> {
  const { api, informer, events } = context;
  const claim = informer(persistentVolumeClaims).get(key);
  if (!claim || !isOurs(claim) || claim.metadata.deletionTimestamp || claim.spec?.volumeName) return;
  const storageClass = informer(storageClasses).get(classOfClaim(claim));
  const nodeName = claim.metadata.annotations?.[SELECTED_NODE];
  if (!storageClass || isClaimFullyBound(claim)) return;
  // The scheduler will choose one.
  if (nodeName === undefined && waitsForFirstConsumer(storageClass)) return;
  const node = nodeName === undefined ? undefined : informer(nodes).get(nodeName);
  const problem = refusal(claim, { nodeName, node });
  if (problem !== undefined) return fail(context, claim, problem);
  const volume = volumeFor(claim, { node: node!, storageClass });
  if (informer(persistentVolumes).get(volume.metadata!.name!)) return;
  try {
    await api.create(persistentVolumes, volume);
  } catch (error) {
    if (isStatusError(error, 'AlreadyExists')) return;
    throw error;
  }
  events.event(claim, {
    type: 'Normal',
    reason: 'ProvisioningSucceeded',
    message: `Successfully provisioned volume ${volume.metadata!.name}`,
  });
}

const ACCESS_MODES = ['ReadWriteOnce', 'ReadWriteOncePod'];

/** Why no volume can be made; undefined: one can. */
function refusal(
  { spec }: Stored<PersistentVolumeClaim>,
  { nodeName, node }: { readonly nodeName: string | undefined; readonly node: Node | undefined },
): string | undefined {
  if (spec?.volumeMode === 'Block') return 'volumes of mode Block are not supported';
  if (spec?.selector) return 'claim.spec.selector is not supported';
  if (spec?.dataSourceRef ?? spec?.dataSource) return 'a data source is not supported';
  if (spec?.volumeAttributesClassName) return 'a VolumeAttributesClass is not supported';
  const mode = spec?.accessModes?.find((one) => !ACCESS_MODES.includes(one));
  if (mode !== undefined)
    return `access mode ${mode} is not supported: a directory of one node is read and written there`;
  if (nodeName === undefined)
    return 'no node was selected: the StorageClass needs volumeBindingMode WaitForFirstConsumer';
  if (!node) return `node ${JSON.stringify(nodeName)} not found`;
  if (directoryOf(node) === undefined)
    return `node ${JSON.stringify(nodeName)} offers no directory for volumes (annotation ${LOCAL_PATH_DIRECTORY})`;
  return undefined;
}

/** The scheduler chooses another node when the selected one is taken back. */
async function fail(
  { api, events }: ReconcileContext,
  claim: Stored<PersistentVolumeClaim>,
  problem: string,
): Promise<void> {
  events.event(claim, {
    type: 'Warning',
    reason: 'ProvisioningFailed',
    message: `failed to provision volume with StorageClass ${JSON.stringify(classOfClaim(claim))}: ${problem}`,
  });
  const { [SELECTED_NODE]: selected, ...annotations } = claim.metadata.annotations ?? {};
  if (selected !== undefined)
    await api.update(persistentVolumeClaims, { ...claim, metadata: { ...claim.metadata, annotations } });
}

function volumeFor(
  claim: Stored<PersistentVolumeClaim>,
  { node, storageClass }: { readonly node: Node; readonly storageClass: StorageClass },
): PersistentVolume {
  const name = `pvc-${claim.metadata.uid}`;
  const nodeName = node.metadata!.name!;
  const hostname = node.metadata?.labels?.[HOSTNAME] ?? nodeName;
  const terms = [{ matchExpressions: [{ key: HOSTNAME, operator: 'In', values: [hostname] }] }];
  return {
    metadata: {
      name,
      labels: { [LOCAL_PATH_NODE]: nodeName },
      annotations: { [PROVISIONED_BY]: LOCAL_PATH_PROVISIONER },
      finalizers: [LOCAL_PATH_FINALIZER],
    },
    spec: {
      capacity: { storage: requestedStorage(claim) },
      accessModes: claim.spec?.accessModes ?? [],
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: storageClass.metadata!.name!,
      volumeMode: 'Filesystem',
      local: { path: `${directoryOf(node)}/${name}` },
      nodeAffinity: { required: { nodeSelectorTerms: terms } },
      claimRef: {
        kind: 'PersistentVolumeClaim',
        apiVersion: 'v1',
        namespace: claim.metadata.namespace!,
        name: claim.metadata.name,
        uid: claim.metadata.uid,
      },
    },
  };
}

async function reclaim(context: ReconcileContext, name: string): Promise<void> {
  const { api, informer } = context;
  const volume = informer(persistentVolumes).get(name);
  if (!volume || !isMade(volume)) return;
  if (volume.metadata.deletionTimestamp) return releaseFromMissingNode(context, volume);
  if (volume.status?.phase !== 'Released' || volume.spec?.persistentVolumeReclaimPolicy !== 'Delete') return;
  await api.delete(persistentVolumes, { name }, { preconditions: { uid: volume.metadata.uid } });
}

/** Its Node was deleted: nobody will remove the directory for the cluster. Asks the API before, because that cannot be undone. */
async function releaseFromMissingNode(
  { api, informer, events }: ReconcileContext,
  volume: Stored<PersistentVolume>,
): Promise<void> {
  const { finalizers = [], labels } = volume.metadata;
  const nodeName = labels?.[LOCAL_PATH_NODE] ?? '';
  const isLast = finalizers.length === 1 && finalizers[0] === LOCAL_PATH_FINALIZER;
  if (!isLast || informer(nodes).get(nodeName)) return;
  const lives = await api.get(nodes, { name: nodeName }).then(
    () => true,
    (error: unknown) => {
      if (isStatusError(error, 'NotFound')) return false;
      throw error;
    },
  );
  if (lives) return;
  events.event(volume, {
    type: 'Warning',
    reason: 'VolumeFailedDelete',
    message: `node ${JSON.stringify(nodeName)} was deleted: directory ${volume.spec?.local?.path ?? ''} is left on it`,
  });
  await api.update(persistentVolumes, { ...volume, metadata: { ...volume.metadata, finalizers: [] } });
}
