/**
 * Maps objects to nodes by the references of the pods bound to them. Kept current by watches; the edges of upstream's node authorizer graph, stored
 * flat as one counted set of references per node.
 */
import { isMirrorPod } from '#component-helpers/static-pods.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../registry/loopback-client.ts';

export type VertexKind =
  | 'secret'
  | 'configmap'
  | 'persistentvolumeclaim'
  | 'serviceaccount'
  | 'resourceclaim'
  | 'pod';

interface Reference {
  readonly name?: string;
  readonly secretName?: string;
}
interface ContainerShape {
  readonly env?: readonly {
    readonly valueFrom?: { readonly secretKeyRef?: Reference; readonly configMapKeyRef?: Reference };
  }[];
  readonly envFrom?: readonly { readonly secretRef?: Reference; readonly configMapRef?: Reference }[];
}
type VolumeShape = Readonly<Record<string, unknown>> & { readonly name?: string };
interface PodShape extends KubeObject {
  spec?: {
    nodeName?: string;
    serviceAccountName?: string;
    imagePullSecrets?: readonly Reference[];
    containers?: readonly ContainerShape[];
    initContainers?: readonly ContainerShape[];
    ephemeralContainers?: readonly ContainerShape[];
    volumes?: readonly VolumeShape[];
    resourceClaims?: readonly { readonly name?: string; readonly resourceClaimName?: string }[];
  };
  status?: {
    resourceClaimStatuses?: readonly { readonly resourceClaimName?: string }[];
    extendedResourceClaimStatus?: { readonly resourceClaimName?: string };
  };
}

export function vertexKey(kind: VertexKind, namespace: string, name: string): string {
  return `${kind}/${namespace}/${name}`;
}

export class NodeGraph {
  /** node → reference → how many of the node's pods hold it. */
  readonly #nodes = new Map<string, Map<string, number>>();
  /** pod key → its edges. */
  readonly #pods = new Map<string, { readonly nodeName: string; readonly references: readonly string[] }>();
  /** secret → claims whose bound volume names it. */
  readonly #claimsOfSecret = new Map<string, Set<string>>();
  readonly #volumes = new Map<string, { readonly claim: string; readonly secrets: readonly string[] }>();

  has(nodeName: string, key: string): boolean {
    return this.#nodes.get(nodeName)?.has(key) ?? false;
  }

  /** A secret of a volume (CSI, flex, …) bound to a claim that a pod on the node uses. */
  hasVolumeSecret(nodeName: string, secretKey: string): boolean {
    for (const claim of this.#claimsOfSecret.get(secretKey) ?? []) if (this.has(nodeName, claim)) return true;
    return false;
  }

  setPod(object: KubeObject): void {
    const pod = object as PodShape;
    const key = `${pod.metadata?.namespace ?? ''}/${pod.metadata?.name ?? ''}`;
    const previous = this.#pods.get(key);
    const nodeName = pod.spec?.nodeName ?? '';
    const references = nodeName === '' ? [] : podReferences(pod);
    if (
      previous &&
      previous.nodeName === nodeName &&
      previous.references.length === references.length &&
      previous.references.every((reference, index) => reference === references[index])
    )
      return;
    this.deletePod(object);
    if (nodeName === '') return;
    let node = this.#nodes.get(nodeName);
    if (!node) this.#nodes.set(nodeName, (node = new Map()));
    for (const reference of references) node.set(reference, (node.get(reference) ?? 0) + 1);
    this.#pods.set(key, { nodeName, references });
  }

  deletePod(object: KubeObject): void {
    const key = `${object.metadata?.namespace ?? ''}/${object.metadata?.name ?? ''}`;
    const known = this.#pods.get(key);
    if (!known) return;
    this.#pods.delete(key);
    const node = this.#nodes.get(known.nodeName);
    for (const reference of known.references) {
      const count = (node?.get(reference) ?? 1) - 1;
      if (count > 0) node?.set(reference, count);
      else node?.delete(reference);
    }
    if (node?.size === 0) this.#nodes.delete(known.nodeName);
  }

  setVolume(object: KubeObject): void {
    this.deleteVolume(object);
    const claimRef = (object['spec'] as { claimRef?: { namespace?: string; name?: string } } | undefined)
      ?.claimRef;
    if (!claimRef) return;
    const claim = vertexKey('persistentvolumeclaim', claimRef.namespace ?? '', claimRef.name ?? '');
    const secrets = volumeSecrets(object, claimRef.namespace ?? '');
    for (const secret of secrets) {
      const claims = this.#claimsOfSecret.get(secret);
      if (claims) claims.add(claim);
      else this.#claimsOfSecret.set(secret, new Set([claim]));
    }
    this.#volumes.set(object.metadata?.name ?? '', { claim, secrets });
  }

  deleteVolume(object: KubeObject): void {
    const known = this.#volumes.get(object.metadata?.name ?? '');
    if (!known) return;
    this.#volumes.delete(object.metadata?.name ?? '');
    for (const secret of known.secrets) {
      const claims = this.#claimsOfSecret.get(secret);
      claims?.delete(known.claim);
      if (claims?.size === 0) this.#claimsOfSecret.delete(secret);
    }
  }
}

/** Everything a pod gives its node access to, sorted as found, each once. A mirror pod only gives access to itself: its node wrote it. */
function podReferences(pod: PodShape): string[] {
  const namespace = pod.metadata?.namespace ?? '';
  const found = new Set([vertexKey('pod', namespace, pod.metadata?.name ?? '')]);
  if (isMirrorPod(pod)) return [...found];
  const add = (kind: VertexKind, name: string | undefined): void => {
    if (name) found.add(vertexKey(kind, namespace, name));
  };
  const spec = pod.spec ?? {};
  add('serviceaccount', spec.serviceAccountName);
  for (const secret of spec.imagePullSecrets ?? []) add('secret', secret.name);
  for (const container of [
    ...(spec.initContainers ?? []),
    ...(spec.containers ?? []),
    ...(spec.ephemeralContainers ?? []),
  ])
    addContainer(container, add);
  for (const volume of spec.volumes ?? []) addVolume(volume, { add, podName: pod.metadata?.name ?? '' });
  for (const claim of spec.resourceClaims ?? []) add('resourceclaim', claim.resourceClaimName);
  for (const claim of pod.status?.resourceClaimStatuses ?? []) add('resourceclaim', claim.resourceClaimName);
  add('resourceclaim', pod.status?.extendedResourceClaimStatus?.resourceClaimName);
  return [...found];
}

type Add = (kind: VertexKind, name: string | undefined) => void;

function addContainer(container: ContainerShape, add: Add): void {
  for (const { valueFrom } of container.env ?? []) {
    add('secret', valueFrom?.secretKeyRef?.name);
    add('configmap', valueFrom?.configMapKeyRef?.name);
  }
  for (const { secretRef, configMapRef } of container.envFrom ?? []) {
    add('secret', secretRef?.name);
    add('configmap', configMapRef?.name);
  }
}

function addVolume(
  volume: VolumeShape,
  { add, podName }: { readonly add: Add; readonly podName: string },
): void {
  const source = (name: string): Record<string, never> | undefined =>
    volume[name] as Record<string, never> | undefined;
  add('secret', source('secret')?.['secretName']);
  add('configmap', source('configMap')?.['name']);
  add('persistentvolumeclaim', source('persistentVolumeClaim')?.['claimName']);
  if (volume['ephemeral']) add('persistentvolumeclaim', `${podName}-${volume.name ?? ''}`);
  for (const projection of (source('projected')?.['sources'] ?? []) as Record<
    string,
    Reference | undefined
  >[]) {
    add('secret', projection['secret']?.name);
    add('configmap', projection['configMap']?.name);
  }
  add('secret', source('azureFile')?.['secretName']);
  for (const name of ['cephfs', 'cinder', 'flexVolume', 'iscsi', 'rbd', 'scaleIO', 'storageos'])
    add('secret', (source(name)?.['secretRef'] as Reference | undefined)?.name);
  add('secret', (source('csi')?.['nodePublishSecretRef'] as Reference | undefined)?.name);
}

/** Secrets of controllers are not listed: nodes may not read them. */
const CSI_NODE_SECRETS = ['nodePublishSecretRef', 'nodeStageSecretRef', 'nodeExpandSecretRef'] as const;

function volumeSecrets(object: KubeObject, claimNamespace: string): string[] {
  const spec = (object['spec'] ?? {}) as Record<string, Record<string, unknown> | undefined>;
  const found = new Set<string>();
  const add = (reference: unknown, fallbackNamespace: string): void => {
    const { name, namespace } = (reference ?? {}) as { name?: string; namespace?: string };
    if (name) found.add(vertexKey('secret', namespace || fallbackNamespace, name));
  };
  for (const name of CSI_NODE_SECRETS) add(spec['csi']?.[name], '');
  for (const name of ['cephfs', 'cinder', 'flexVolume', 'iscsi', 'rbd', 'scaleIO', 'storageos'])
    add(spec[name]?.['secretRef'], claimNamespace);
  const azure = spec['azureFile'];
  if (azure) add({ name: azure['secretName'], namespace: azure['secretNamespace'] }, claimNamespace);
  return [...found];
}

/** Fills the graph and keeps it current. Returns the function that stops it. */
export function followNodeGraph(graph: NodeGraph, internal: InternalApi): () => void {
  const stops = [
    internal.watch(
      { group: '', resource: 'pods' },
      {
        added: (pod) => graph.setPod(pod),
        updated: (pod) => graph.setPod(pod),
        deleted: (pod) => graph.deletePod(pod),
      },
    ),
    internal.watch(
      { group: '', resource: 'persistentvolumes' },
      {
        added: (volume) => graph.setVolume(volume),
        updated: (volume) => graph.setVolume(volume),
        deleted: (volume) => graph.deleteVolume(volume),
      },
    ),
  ];
  return () => stops.forEach((stop) => stop());
}
