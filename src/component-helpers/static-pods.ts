/**
 * Static pods come from manifest files of a node; the API has a mirror pod for each. Their annotations, and the API objects that
 * they must not refer to, because the node does not read them for static pods.
 */
import type { PodSpec, Volume } from '#api/types.ts';

/** Annotation of a mirror pod: the hash of its static pod, which is the static pod's UID. */
export const MIRROR_POD = 'kubernetes.io/config.mirror';
/** Annotations of a static pod and of its mirror. */
export const CONFIG_HASH = 'kubernetes.io/config.hash';
export const CONFIG_SOURCE = 'kubernetes.io/config.source';
export const CONFIG_SEEN = 'kubernetes.io/config.seen';
/** Values of CONFIG_SOURCE. */
export const FROM_FILE = 'file';
export const FROM_API = 'api';

/** Predicates for mirror and static pods. */
interface Marked {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> | undefined } | undefined;
}

/** A pod of the API that mirrors a static pod. */
export function isMirrorPod({ metadata }: Marked): boolean {
  return metadata?.annotations?.[MIRROR_POD] !== undefined;
}

/** A pod of the API as the node treats it: its user cannot declare it a static pod, whose status and deletion follow other rules. */
export function fromApi<P extends Marked>(pod: P): P {
  const source = pod.metadata?.annotations?.[CONFIG_SOURCE];
  if (source === undefined || source === FROM_API || isMirrorPod(pod)) return pod;
  const annotations = { ...pod.metadata?.annotations, [CONFIG_SOURCE]: FROM_API };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

/** A pod that a node read from a manifest file. */
export function isStaticPod(pod: Marked): boolean {
  return pod.metadata?.annotations?.[CONFIG_SOURCE] === FROM_FILE && !isMirrorPod(pod);
}

/** The least priority of system-cluster-critical and system-node-critical. */
const CRITICAL_PRIORITY = 2_000_000_000;

/** A pod that the node needs: as upstream, a node under pressure admits it and does not evict it. */
export function isCriticalPod(
  pod: Marked & { readonly spec?: Pick<PodSpec, 'priority'> | undefined },
): boolean {
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec?.priority ?? 0) >= CRITICAL_PRIORITY;
}

/** The kind of the first API object that a pod refers to, and the field; undefined when there is none. */
export function readApiReference(spec: PodSpec): string | undefined {
  if (spec.serviceAccountName) return 'serviceaccounts';
  if (secretNames(spec).length > 0 || spec.imagePullSecrets?.length) return 'secrets';
  const containers = [
    ...(spec.initContainers ?? []),
    ...(spec.containers ?? []),
    ...(spec.ephemeralContainers ?? []),
  ];
  if (
    containers.some(
      (container) =>
        container.env?.some((env) => env.valueFrom?.configMapKeyRef) ||
        container.envFrom?.some((env) => env.configMapRef),
    )
  )
    return 'configmaps';
  const volumes = spec.volumes ?? [];
  if (
    volumes.some(
      (volume) => volume.configMap || volume.projected?.sources?.some((source) => source.configMap),
    )
  )
    return 'configmaps';
  if (spec.resourceClaims?.length) return 'resourceclaims';
  return volumes.map(referencedByVolume).find((kind) => kind !== undefined);
}

function referencedByVolume(volume: Volume): string | undefined {
  if (volume.csi) return 'csidrivers (via CSI volumes)';
  if (volume.glusterfs) return 'endpoints (via glusterFS volumes)';
  if (volume.persistentVolumeClaim) return 'persistentvolumeclaims';
  if (volume.ephemeral) return 'persistentvolumeclaims (via ephemeral volumes)';
  if (volume.azureFile) return 'secrets (via azureFile volumes)';
  for (const source of volume.projected?.sources ?? []) {
    if (source.serviceAccountToken) return 'serviceaccounts (via projected volumes)';
    if (source.clusterTrustBundle) return 'clustertrustbundles';
    if (source.podCertificate) return 'podcertificates';
  }
  return undefined;
}

/** Secrets in volumes, projected volumes and environment variables, with the field. */
export function secretNames(spec: PodSpec): { readonly where: string; readonly secret: string }[] {
  const found: { where: string; secret: string }[] = [];
  const add = (where: string, secret: string | undefined): void => {
    if (secret) found.push({ where, secret });
  };
  for (const volume of spec.volumes ?? []) {
    add('volume with', volume.secret?.secretName);
    for (const source of volume.projected?.sources ?? []) add('volume with', source.secret?.name);
    for (const other of [
      volume.cephfs,
      volume.cinder,
      volume.flexVolume,
      volume.iscsi,
      volume.rbd,
      volume.scaleIO,
      volume.storageos,
    ])
      add('volume with', other?.secretRef?.name);
    add('volume with', volume.azureFile?.secretName);
    add('volume with', volume.csi?.nodePublishSecretRef?.name);
  }
  for (const container of [
    ...(spec.initContainers ?? []),
    ...(spec.containers ?? []),
    ...(spec.ephemeralContainers ?? []),
  ]) {
    for (const env of container.env ?? [])
      add(
        `container ${container.name} with envVar ${env.name} referencing`,
        env.valueFrom?.secretKeyRef?.name,
      );
    for (const env of container.envFrom ?? [])
      add(`container ${container.name} with envFrom referencing`, env.secretRef?.name);
  }
  return found;
}
