/** Defaults of pods and pod templates, after upstream's core/v1 defaults. Idempotent; also applied to objects read from the store. */
import type {
  Container,
  EphemeralContainer,
  LocalObjectReference,
  Pod,
  PodSpec,
  PodTemplateSpec,
  Probe,
  ResourceRequirements,
  Volume,
  VolumeProjection,
} from '#api/types.ts';
import { defaultClaimSpec } from '../claim-spec.ts';
import { isHugePages, parseResourceQuantity } from '../../resource-list.ts';
import { aggregateContainers } from '#component-helpers/pod-resources.ts';
import { own } from '../../checks.ts';

export function defaultPod(pod: Pod): void {
  const spec = (pod.spec ??= { containers: [] });
  defaultPodSpec(spec);
  for (const field of ['containers', 'initContainers'] as const) {
    const list = spec[field];
    if (list) for (const container of list) requestWhatIsLimited(container.resources);
  }
  if (spec.resources) requestForWholePod(spec, spec.resources);
  spec.enableServiceLinks ??= true;
  if (spec.hostNetwork)
    for (const list of [spec.containers, spec.initContainers])
      for (const container of list ?? []) defaultHostPorts(container);
}

/** Requests default to limits. */
function requestWhatIsLimited(resources: ResourceRequirements | undefined): void {
  if (!resources?.limits) return;
  for (const name in resources.limits) {
    const requests = (resources.requests ??= {});
    if (!Object.hasOwn(requests, name)) requests[name] = resources.limits[name]!;
  }
}

/** Pod level: huge page limits default to the containers' sum; requests default to the containers' sum if they have any, otherwise to the limit. */
function requestForWholePod(spec: PodSpec, resources: ResourceRequirements): void {
  if (isEmpty(resources.limits) && isEmpty(resources.requests)) return;
  for (const [name, amount] of aggregateContainers({ spec }, 'limits')) {
    if (
      isHugePages(name) &&
      own(resources.requests, name) === undefined &&
      own(resources.limits, name) === undefined
    )
      (resources.limits ??= {})[name] = amount.toString();
  }
  const { limits } = resources;
  if (!limits || isEmpty(limits)) return;
  for (const [name, amount] of aggregateContainers({ spec }, 'requests')) {
    if ((name === 'cpu' || name === 'memory') && own(resources.requests, name) === undefined)
      (resources.requests ??= {})[name] = amount.toString();
  }
  for (const name in limits) {
    if (
      (name === 'cpu' || name === 'memory' || isHugePages(name)) &&
      own(resources.requests, name) === undefined
    )
      (resources.requests ??= {})[name] = limits[name]!;
  }
}

function isEmpty(amounts: object | undefined): boolean {
  for (const _ in amounts) return false;
  return true;
}

function defaultHostPorts(container: Container): void {
  for (const port of container.ports ?? []) if (!port.hostPort) port.hostPort = port.containerPort;
}

export function defaultPodTemplate(template: PodTemplateSpec | undefined): void {
  if (!template) return;
  defaultPodSpec((template.spec ??= { containers: [] }));
}

/** In upstream's declaration order, so that they are serialised in that order. */
function defaultPodSpec(spec: PodSpec): void {
  spec.restartPolicy ||= 'Always';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.dnsPolicy ||= 'ClusterFirst';
  spec.securityContext ??= {};
  spec.schedulerName ||= 'default-scheduler';
  if (
    spec.serviceAccountName === undefined
      ? spec.serviceAccount !== undefined
      : spec.serviceAccount !== spec.serviceAccountName
  )
    syncServiceAccount(spec);
  if (spec.containers) for (const container of spec.containers) defaultContainer(container);
  if (spec.initContainers) for (const container of spec.initContainers) defaultContainer(container);
  if (spec.ephemeralContainers) for (const container of spec.ephemeralContainers) defaultContainer(container);
  if (spec.volumes) for (const volume of spec.volumes) defaultVolume(volume);
  if (spec.overhead) roundUp(spec.overhead);
}

/** The deprecated field is a copy of the new one, and sets it when that is empty. */
function syncServiceAccount(spec: PodSpec): void {
  if (!spec.serviceAccountName && spec.serviceAccount) spec.serviceAccountName = spec.serviceAccount;
  if (spec.serviceAccountName) spec.serviceAccount = spec.serviceAccountName;
  else delete spec.serviceAccount;
}

function defaultContainer(container: Container | EphemeralContainer): void {
  container.resources ??= {};
  container.terminationMessagePath ||= '/dev/termination-log';
  container.terminationMessagePolicy ||= 'File';
  container.imagePullPolicy ||= pullsLatest(container.image) ? 'Always' : 'IfNotPresent';
  roundUp(container.resources.limits);
  roundUp(container.resources.requests);
  if (container.ports) for (const port of container.ports) port.protocol ||= 'TCP';
  if (container.env) for (const { valueFrom } of container.env) defaultEnvSource(valueFrom);
  if (container.livenessProbe) defaultProbe(container.livenessProbe);
  if (container.readinessProbe) defaultProbe(container.readinessProbe);
  if (container.startupProbe) defaultProbe(container.startupProbe);
  for (const hook of [container.lifecycle?.postStart, container.lifecycle?.preStop])
    if (hook?.httpGet) defaultHttpGet(hook.httpGet);
}

/** Domain, path, tag and digest of an image reference. */
const IMAGE =
  /^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?\/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$/;
/** Longer references are invalid; this bounds the matching. */
const IMAGE_MAX = 1024;
/** Maximum length of domain and path. */
const IMAGE_NAME_MAX = 255;

/** Whether an image reference has the tag latest, explicitly or by default. False for an invalid one. */
function pullsLatest(image: string | undefined): boolean {
  if (!image || image.length > IMAGE_MAX) return false;
  const digest = image.indexOf('@'),
    name = digest < 0 ? image : image.slice(0, digest);
  const tag = name.indexOf(':', name.lastIndexOf('/') + 1);
  return (
    (tag < 0 ? digest < 0 : name.slice(tag + 1) === 'latest') &&
    (tag < 0 ? name.length : tag) <= IMAGE_NAME_MAX &&
    IMAGE.test(image)
  );
}

/** Rounds quantities up to milli precision. */
export function roundUp(amounts: Record<string, string> | undefined): void {
  for (const name in amounts) {
    const amount = amounts[name]!;
    if (/[nu]$|[.e]/i.test(amount)) amounts[name] = roundUpToMilli(amount);
  }
}

function roundUpToMilli(amount: string): string {
  const quantity = parseResourceQuantity(amount);
  const milli = quantity.scaledValue(-3);
  return quantity.compare(parseResourceQuantity(`${milli}m`)) === 0
    ? quantity.toString()
    : parseResourceQuantity(`${milli}m`).toString();
}

function defaultEnvSource(
  source:
    | {
        fieldRef?: { apiVersion?: string };
        resourceFieldRef?: { divisor?: string };
        fileKeyRef?: { optional?: boolean };
      }
    | undefined,
): void {
  if (source?.fieldRef) source.fieldRef.apiVersion ||= 'v1';
  if (source?.resourceFieldRef) source.resourceFieldRef.divisor ??= '0';
  if (source?.fileKeyRef) source.fileKeyRef.optional ??= false;
}

function defaultProbe(probe: Probe): void {
  probe.timeoutSeconds ||= 1;
  probe.periodSeconds ||= 10;
  probe.successThreshold ||= 1;
  probe.failureThreshold ||= 3;
  if (probe.httpGet) defaultHttpGet(probe.httpGet);
  if (probe.grpc) probe.grpc.service ??= '';
}

function defaultHttpGet(get: { path?: string; scheme?: string }): void {
  get.path ||= '/';
  get.scheme ||= 'HTTP';
}

const MODE = 0o644;

const VOLUME_TYPES = [
  'hostPath',
  'emptyDir',
  'gcePersistentDisk',
  'awsElasticBlockStore',
  'gitRepo',
  'secret',
  'nfs',
  'iscsi',
  'glusterfs',
  'persistentVolumeClaim',
  'rbd',
  'flexVolume',
  'cinder',
  'cephfs',
  'flocker',
  'downwardAPI',
  'fc',
  'azureFile',
  'configMap',
  'vsphereVolume',
  'quobyte',
  'azureDisk',
  'photonPersistentDisk',
  'projected',
  'portworxVolume',
  'scaleIO',
  'storageos',
  'csi',
  'ephemeral',
  'image',
] as const;

function defaultVolume(volume: Volume): void {
  if (!VOLUME_TYPES.some((type) => volume[type] != null)) volume.emptyDir = {};
  const { secret, configMap, downwardAPI, projected, hostPath } = volume;
  if (secret) secret.defaultMode ??= MODE;
  if (configMap) configMap.defaultMode ??= MODE;
  if (downwardAPI) {
    downwardAPI.defaultMode ??= MODE;
    for (const item of downwardAPI.items ?? []) defaultEnvSource(item);
  }
  if (projected) {
    projected.defaultMode ??= MODE;
    // Written even when empty.
    if (!projected.sources?.length) projected.sources = null as unknown as VolumeProjection[];
    else for (const source of projected.sources) defaultProjection(source);
  }
  if (hostPath) hostPath.type ??= '';
  if (volume.iscsi) defaultIscsi(volume.iscsi);
  if (volume.rbd) defaultRbd(volume.rbd);
  if (volume.azureDisk) defaultAzureDisk(volume.azureDisk);
  if (volume.scaleIO) {
    volume.scaleIO.storageMode ||= 'ThinProvisioned';
    volume.scaleIO.fsType ||= 'xfs';
    volume.scaleIO.secretRef ??= null as unknown as LocalObjectReference;
  }
  if (volume.ephemeral?.volumeClaimTemplate)
    defaultClaimSpec((volume.ephemeral.volumeClaimTemplate.spec ??= {}));
  if (volume.image)
    volume.image.pullPolicy ||= pullsLatest(volume.image.reference) ? 'Always' : 'IfNotPresent';
}

function defaultProjection(source: VolumeProjection): void {
  if (source.serviceAccountToken) source.serviceAccountToken.expirationSeconds ??= 3600;
  for (const item of source.downwardAPI?.items ?? []) defaultEnvSource(item);
  if (source.podCertificate) source.podCertificate.maxExpirationSeconds ??= 86400;
}

export function defaultIscsi(volume: { iscsiInterface?: string }): void {
  volume.iscsiInterface ||= 'default';
}

export function defaultRbd(volume: { pool?: string; user?: string; keyring?: string }): void {
  volume.pool ||= 'rbd';
  volume.user ||= 'admin';
  volume.keyring ||= '/etc/ceph/keyring';
}

export function defaultAzureDisk(volume: {
  cachingMode?: string;
  kind?: string;
  fsType?: string;
  readOnly?: boolean;
}): void {
  volume.cachingMode ??= 'ReadWrite';
  volume.kind ??= 'Shared';
  volume.fsType ??= 'ext4';
  volume.readOnly ??= false;
}
