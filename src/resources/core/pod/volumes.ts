/** Volumes of pods: one check per volume type, and rules across volumes. After upstream's core validation of VolumeSource. */
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import type {
  DownwardAPIVolumeFile,
  FCVolumeSource,
  ISCSIVolumeSource,
  KeyToPath,
  ProjectedVolumeSource,
  Volume,
  VolumeProjection,
} from '#api/types.ts';
import { between, checkDnsLabel, checkLabelSelector } from '../../checks.ts';
import { checkClaimTemplate } from '../claim-spec.ts';
import { checkDriverName, parseResourceQuantity } from '../../resource-list.ts';
import { checkClusterTrustBundleName, checkSignerName } from '../../certificates/signer-names.ts';
import type { Errors, Path } from '../../field-path.ts';
import { checkFieldRef, checkResourceFieldRef, VOLUME_FIELD_PATHS } from './downward.ts';

interface VolumeContext {
  readonly volumeName: string;
  /** Metadata of the pod; undefined in templates. */
  readonly podName: string | undefined;
  /** The volume's path: that of the list item, or of the spec. */
  readonly at: Path;
  /** For persistent volumes: whether they have node affinity. */
  readonly pinned?: boolean;
}

export type VolumeCheck = (source: any, path: Path, errors: Errors, context: VolumeContext) => void;

/** Only required string fields: most of the old in-tree types. */
export function requires(...fields: readonly string[]): VolumeCheck {
  return (source, path, errors) => {
    for (const field of fields)
      if (!source[field] || source[field].length === 0) errors.required(path.child(field));
  };
}

const FILE_MODE = 'must be a number between 0 and 0777 (octal), both inclusive';
const HOST_PATH_TYPES = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
];

function checkMode(mode: number | undefined, path: Path, field: string, errors: Errors): void {
  if (mode !== undefined && (mode < 0 || mode > 0o777)) errors.invalid(path.child(field), mode, FILE_MODE);
}

export function checkNoBacksteps(value: string, path: Path, errors: Errors): boolean {
  if (!value.includes('..') || !value.split('/').includes('..')) return true;
  errors.invalid(path, value, "must not contain '..'");
  return false;
}

export function checkRelativePath(value: string, path: Path, errors: Errors): void {
  if (value.startsWith('/')) errors.invalid(path, value, 'must be a relative path');
  checkNoBacksteps(value, path, errors);
}

/** Relative, and not starting with '..', which is reserved for the kubelet's atomic writer. */
function checkProjectedPath(value: string, path: Path, errors: Errors): void {
  checkRelativePath(value, path, errors);
  if (value.startsWith('..') && !value.startsWith('../'))
    errors.invalid(path, value, "must not start with '..'");
}

function checkKeyToPath(item: KeyToPath, path: Path, errors: Errors): void {
  if (!item.key) errors.required(path.child('key'));
  if (!item.path) errors.required(path.child('path'));
  checkProjectedPath(item.path ?? '', path.child('path'), errors);
  checkMode(item.mode, path, 'mode', errors);
}

function checkDownwardFile(file: DownwardAPIVolumeFile, path: Path, errors: Errors): void {
  if (!file.path) errors.required(path.child('path'));
  checkProjectedPath(file.path ?? '', path.child('path'), errors);
  if (file.fieldRef) {
    checkFieldRef(file.fieldRef, VOLUME_FIELD_PATHS, path.child('fieldRef'), errors);
    if (file.resourceFieldRef)
      errors.invalid(path, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously');
  } else if (file.resourceFieldRef) {
    checkResourceFieldRef(file.resourceFieldRef, path.child('resourceFieldRef'), errors, { inVolume: true });
  } else errors.required(path, 'one of fieldRef and resourceFieldRef is required');
  checkMode(file.mode, path, 'mode', errors);
}

const IQN_FORMS: Readonly<Record<string, RegExp>> = {
  iqn: /iqn\.\d{4}-\d{2}\.([a-zA-Z0-9-.]+)(:[^,;*&$|\s]+)$/,
  eui: /^eui.[a-zA-Z0-9]{16}$/,
  naa: /^naa.[a-zA-Z0-9]{32}$/,
};

/** Far above the 223 bytes that iSCSI allows: bounds the matching. */
const ISCSI_NAME_MAX = 1024;

function checkQualifiedIscsiName(name: string, path: Path, errors: Errors, wrongStart: string): void {
  const form = IQN_FORMS[name.slice(0, 3)];
  if (form === undefined) errors.invalid(path, name, wrongStart);
  else if (name.length > ISCSI_NAME_MAX || !form.test(name))
    errors.invalid(path, name, 'must be valid format');
}

/** Shared by inline and persistent iSCSI volumes. */
export function checkIscsi(source: ISCSIVolumeSource, path: Path, errors: Errors, wrongStart: string): void {
  if (!source.iqn) errors.required(path.child('iqn'));
  else checkQualifiedIscsiName(source.iqn, path.child('iqn'), errors, wrongStart);
  if ((source.lun ?? 0) < 0 || (source.lun ?? 0) > 255)
    errors.invalid(path.child('lun'), source.lun, between(0, 255));
  if ((source.chapAuthDiscovery || source.chapAuthSession) && !source.secretRef)
    errors.required(path.child('secretRef'));
  if (source.initiatorName !== undefined)
    checkQualifiedIscsiName(source.initiatorName, path.child('initiatorname'), errors, wrongStart);
}

export const ISCSI_PORTAL_TOO_LONG =
  'Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.';

function checkFC(source: FCVolumeSource, path: Path, errors: Errors): void {
  const targets = source.targetWWNs ?? [],
    ids = source.wwids ?? [];
  if (targets.length === 0 && ids.length === 0)
    errors.required(path.child('targetWWNs'), 'must specify either targetWWNs or wwids, but not both');
  if (targets.length > 0 && ids.length > 0)
    errors.invalid(
      path.child('targetWWNs'),
      targets,
      'targetWWNs and wwids can not be specified simultaneously',
    );
  if (targets.length === 0) return;
  if (source.lun === undefined)
    errors.required(path.child('lun'), 'lun is required if targetWWNs is specified');
  else if (source.lun < 0 || source.lun > 255) errors.invalid(path.child('lun'), source.lun, between(0, 255));
}

function checkPartition(nameField: string): VolumeCheck {
  const required = requires(nameField);
  return (source, path, errors, context) => {
    required(source, path, errors, context);
    if ((source.partition ?? 0) < 0 || (source.partition ?? 0) > 255)
      errors.invalid(path.child('partition'), source.partition, between(1, 255));
  };
}

export function checkSecretRefName(
  source: { secretRef?: { name?: string } },
  path: Path,
  errors: Errors,
): void {
  if (source.secretRef && !source.secretRef.name) errors.required(path.child('secretRef').child('name'));
}

/** Volume types with the same rules for inline and persistent volumes. */
export const SHARED_VOLUME_CHECKS: Readonly<Record<string, VolumeCheck>> = {
  hostPath: (source, path, errors) => {
    if (!source.path) {
      errors.required(path.child('path'));
      return;
    }
    checkNoBacksteps(source.path, path.child('path'), errors);
    if (source.type !== undefined && !HOST_PATH_TYPES.includes(source.type))
      errors.notSupported(path.child('type'), source.type, HOST_PATH_TYPES);
  },
  gcePersistentDisk: checkPartition('pdName'),
  awsElasticBlockStore: checkPartition('volumeID'),
  nfs: (source, path, errors, context) => {
    requires('server', 'path')(source, path, errors, context);
    if (!source.path?.startsWith('/'))
      errors.invalid(path.child('path'), source.path ?? '', 'must be an absolute path');
  },
  rbd: requires('monitors', 'image'),
  quobyte: (source, path, errors) => {
    const pairs = 'must be a host:port pair or multiple pairs separated by commas';
    if (!source.registry) errors.required(path.child('registry'), pairs);
    else if ((source.tenant ?? '').length >= 65)
      errors.required(path.child('tenant'), 'must be a UUID and may not exceed a length of 64 characters');
    else
      for (const pair of source.registry.split(','))
        if (!/^(\[[^\]]*\]|[^:]*):[^:]*$/.test(pair))
          errors.invalid(path.child('registry'), source.registry, pairs);
    if (!source.volume) errors.required(path.child('volume'));
  },
  flocker: (source, path, errors) => {
    if (!source.datasetName && !source.datasetUUID)
      errors.required(path, 'one of datasetName and datasetUUID is required');
    if (source.datasetName && source.datasetUUID)
      errors.invalid(path, 'resource', 'datasetName and datasetUUID can not be specified simultaneously');
    if (source.datasetName?.includes('/'))
      errors.invalid(path.child('datasetName'), source.datasetName, "must not contain '/'");
  },
  cephfs: requires('monitors'),
  fc: checkFC,
  flexVolume: (source, path, errors, context) => {
    requires('driver')(source, path, errors, context);
    for (const option in source.options) {
      const namespace = `.${option.split('/')[0]!.toLowerCase()}`;
      if (namespace.endsWith('.kubernetes.io') || namespace.endsWith('.k8s.io'))
        errors.invalid(
          path.child('options').key(option),
          option,
          'kubernetes.io and k8s.io namespaces are reserved',
        );
    }
  },
  azureDisk: (source, path, errors, context) => {
    requires('diskName', 'diskURI')(source, path, errors, context);
    const caching = ['None', 'ReadOnly', 'ReadWrite'],
      kinds = ['Dedicated', 'Managed', 'Shared'];
    if (source.cachingMode !== undefined && !caching.includes(source.cachingMode))
      errors.notSupported(path.child('cachingMode'), source.cachingMode, caching);
    if (source.kind !== undefined && !kinds.includes(source.kind))
      errors.notSupported(path.child('kind'), source.kind, kinds);
    const uri = source.diskURI ?? '';
    if (source.kind === 'Managed' && !uri.startsWith('/subscriptions/'))
      errors.notSupported(path.child('diskURI'), uri, [
        '/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}',
      ]);
    if (source.kind !== undefined && source.kind !== 'Managed' && !uri.startsWith('https://'))
      errors.notSupported(path.child('diskURI'), uri, [
        'https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd',
      ]);
  },
  vsphereVolume: requires('volumePath'),
  photonPersistentDisk: requires('pdID'),
  portworxVolume: requires('volumeID'),
  scaleIO: requires('gateway', 'system', 'volumeName'),
};

/** In upstream's order, which determines which one is 'more than 1'. */
const VOLUME_CHECKS: Readonly<Record<string, VolumeCheck>> = {
  emptyDir: (source, path, errors) => {
    if (source.sizeLimit !== undefined && parseResourceQuantity(source.sizeLimit).sign < 0)
      errors.forbidden(path.child('sizeLimit'), 'SizeLimit field must be a valid resource quantity');
  },
  hostPath: SHARED_VOLUME_CHECKS['hostPath']!,
  gitRepo: (source, path, errors, context) => {
    requires('repository')(source, path, errors, context);
    checkRelativePath(source.directory ?? '', path.child('directory'), errors);
  },
  gcePersistentDisk: SHARED_VOLUME_CHECKS['gcePersistentDisk']!,
  awsElasticBlockStore: SHARED_VOLUME_CHECKS['awsElasticBlockStore']!,
  secret: (source, path, errors, context) => {
    requires('secretName')(source, path, errors, context);
    checkFiles(source, path, errors);
  },
  nfs: SHARED_VOLUME_CHECKS['nfs']!,
  iscsi: (source, path, errors, context) => {
    requires('targetPortal')(source, path, errors, context);
    checkIscsi(source, path, errors, 'must be valid format starting with iqn, eui, or naa');
    if (source.initiatorName !== undefined && `${context.volumeName}:${source.targetPortal}`.length > 64)
      errors.invalid(context.at.child('name'), context.volumeName, ISCSI_PORTAL_TOO_LONG);
  },
  glusterfs: requires('endpoints', 'path'),
  flocker: SHARED_VOLUME_CHECKS['flocker']!,
  persistentVolumeClaim: requires('claimName'),
  rbd: SHARED_VOLUME_CHECKS['rbd']!,
  cinder: (source, path, errors, context) => {
    requires('volumeID')(source, path, errors, context);
    checkSecretRefName(source, path, errors);
  },
  cephfs: SHARED_VOLUME_CHECKS['cephfs']!,
  quobyte: SHARED_VOLUME_CHECKS['quobyte']!,
  downwardAPI: (source, path, errors) => {
    checkMode(source.defaultMode, path, 'defaultMode', errors);
    for (const file of source.items ?? []) checkDownwardFile(file, path, errors);
  },
  fc: SHARED_VOLUME_CHECKS['fc']!,
  flexVolume: SHARED_VOLUME_CHECKS['flexVolume']!,
  configMap: (source, path, errors, context) => {
    requires('name')(source, path, errors, context);
    checkFiles(source, path, errors);
  },
  azureFile: requires('secretName', 'shareName'),
  vsphereVolume: SHARED_VOLUME_CHECKS['vsphereVolume']!,
  photonPersistentDisk: SHARED_VOLUME_CHECKS['photonPersistentDisk']!,
  portworxVolume: SHARED_VOLUME_CHECKS['portworxVolume']!,
  azureDisk: SHARED_VOLUME_CHECKS['azureDisk']!,
  storageos: (source, path, errors) => {
    if (!source.volumeName) errors.required(path.child('volumeName'));
    else checkDnsLabel(source.volumeName, path, 'volumeName', errors);
    if (source.volumeNamespace) checkDnsLabel(source.volumeNamespace, path, 'volumeNamespace', errors);
    checkSecretRefName(source, path, errors);
  },
  projected: checkProjected,
  scaleIO: SHARED_VOLUME_CHECKS['scaleIO']!,
  csi: (source, path, errors) => {
    checkDriverName(source.driver, path.child('driver'), errors);
    const ref = source.nodePublishSecretRef;
    if (!ref) return;
    if (!ref.name) errors.required(path.child('nodePublishSecretRef').child('name'));
    else errors.invalidEach(path.child('name'), ref.name, validateDNS1123Subdomain(ref.name));
  },
  ephemeral: (source, path, errors, { podName, volumeName, at }) => {
    if (!source.volumeClaimTemplate) errors.required(path.child('volumeClaimTemplate'));
    else checkClaimTemplate(source.volumeClaimTemplate, path.child('volumeClaimTemplate'), errors);
    if (!podName || !volumeName) return;
    const claim = `${podName}-${volumeName}`;
    for (const problem of validateDNS1123Subdomain(claim))
      errors.invalid(at.child('name'), volumeName, `PVC name ${JSON.stringify(claim)}: ${problem}`);
  },
  image: (source, path, errors) => {
    if (!source.reference) errors.required(path.child('reference'));
    const policies = ['Always', 'IfNotPresent', 'Never'];
    if (source.pullPolicy !== undefined && source.pullPolicy !== '' && !policies.includes(source.pullPolicy))
      errors.notSupported(path.child('pullPolicy'), source.pullPolicy, policies);
  },
};
const VOLUME_TYPES = Object.keys(VOLUME_CHECKS);

/** Field names of upstream's messages that differ from the API. */
const PATH_NAMES: Readonly<Record<string, string>> = { gcePersistentDisk: 'persistentDisk' };
/** And where it is one too many. */
const EXTRA_PATH_NAMES: Readonly<Record<string, string>> = { cephfs: 'cephFS', downwardAPI: 'downwarAPI' };

function checkFiles(source: { defaultMode?: number; items?: KeyToPath[] }, path: Path, errors: Errors): void {
  checkMode(source.defaultMode, path, 'defaultMode', errors);
  source.items?.forEach((item, i) => checkKeyToPath(item, path.child('items').index(i), errors));
}

/** Validates the volume type that is set in a volume or a persistent volume's spec; none or a second one is an error. */
export function checkVolumeSource(
  source: object,
  path: Path,
  errors: Errors,
  checks: {
    readonly table: Readonly<Record<string, VolumeCheck>>;
    readonly order: readonly string[];
    readonly context: VolumeContext;
    /** Types that may be combined with others. */ readonly beside?: ReadonlySet<string>;
  },
): void {
  let found = 0;
  for (const type of presentTypes(source, checks.order)) {
    if (++found > 1 && !checks.beside?.has(type)) {
      errors.forbidden(path.child(EXTRA_PATH_NAMES[type] ?? type), 'may not specify more than 1 volume type');
      continue;
    }
    checks.table[type]!(
      (source as Record<string, unknown>)[type],
      path.child(PATH_NAMES[type] ?? type),
      errors,
      checks.context,
    );
  }
  if (found === 0) errors.required(path, 'must specify a volume type');
}

/** Iterates over the few fields that are set, not over all types; sorts only when there is more than one. */
function presentTypes(source: object, order: readonly string[]): string[] {
  const present = Object.keys(source).filter(
    (key) => order.includes(key) && (source as Record<string, unknown>)[key] != null,
  );
  return present.length > 1 ? present.sort((a, b) => order.indexOf(a) - order.indexOf(b)) : present;
}

/** Validates all and returns the valid ones by name. */
export function checkVolumes(
  volumes: readonly Volume[] | undefined,
  path: Path,
  errors: Errors,
  meta: ObjectMeta | undefined,
): ReadonlyMap<string, Volume> {
  const good = new Map<string, Volume>();
  if (!volumes) return good;
  const podName = meta?.name;
  const createdClaims = new Set(
    podName ? volumes.filter((volume) => volume.ephemeral).map((volume) => `${podName}-${volume.name}`) : [],
  );
  for (let i = 0; i < volumes.length; i++) {
    const volume = volumes[i]!,
      at = path.index(i);
    const before = errors.list.length;
    checkVolumeSource(volume, at, errors, {
      table: VOLUME_CHECKS,
      order: VOLUME_TYPES,
      context: { volumeName: volume.name, podName, at },
    });
    if (!volume.name) errors.required(at.child('name'));
    else checkDnsLabel(volume.name, at, 'name', errors);
    if (good.has(volume.name)) errors.duplicate(at.child('name'), volume.name);
    if (errors.list.length === before) good.set(volume.name, volume);
    const claimName = volume.persistentVolumeClaim?.claimName;
    if (claimName && createdClaims.has(claimName))
      errors.invalid(
        at.child('persistentVolumeClaim').child('claimName'),
        claimName,
        'must not reference a PVC that gets created for an ephemeral volume',
      );
  }
  return good;
}

function checkProjected(projected: ProjectedVolumeSource, path: Path, errors: Errors): void {
  checkMode(projected.defaultMode, path, 'defaultMode', errors);
  const taken = new Set<string>();
  const claim = (file: string, reported: string): void => {
    if (taken.has(file)) errors.invalid(path, reported, 'conflicting duplicate paths');
    taken.add(file);
  };
  projected.sources?.forEach((source, i) =>
    checkProjection(source, { path, at: path.child('sources').index(i), errors, claim }),
  );
}

interface ProjectionContext {
  path: Path;
  at: Path;
  errors: Errors;
  claim: (file: string, reported: string) => void;
}

function checkProjection(source: VolumeProjection, { path, at, errors, claim }: ProjectionContext): void {
  for (const type of ['secret', 'configMap'] as const) {
    const named = source[type];
    if (!named) continue;
    if (!named.name) errors.required(at.child(type).child('name'));
    named.items?.forEach((item, j) => {
      checkKeyToPath(item, at.child(type).child('items').index(j), errors);
      if (item.path) claim(item.path, named.name ?? '');
    });
  }
  for (const file of source.downwardAPI?.items ?? []) {
    checkDownwardFile(file, at.child('downwardAPI'), errors);
    if (file.path) claim(file.path, file.path);
  }
  if (source.serviceAccountToken)
    checkTokenProjection(source.serviceAccountToken, path, at.child('serviceAccountToken'), errors);
  if (source.clusterTrustBundle) {
    checkTrustBundleProjection(source.clusterTrustBundle, at.child('clusterTrustBundle'), errors);
    claim(source.clusterTrustBundle.path ?? '', source.clusterTrustBundle.path ?? '');
  }
  if (source.podCertificate)
    checkPodCertificateProjection(source.podCertificate, at.child('podCertificate'), errors, claim);
  const kinds = Object.values(source).filter((value) => value != null).length;
  if (kinds > 1) errors.forbidden(at, 'may not specify more than 1 volume type per source');
}

function checkTokenProjection(
  token: NonNullable<VolumeProjection['serviceAccountToken']>,
  volume: Path,
  at: Path,
  errors: Errors,
): void {
  const seconds = token.expirationSeconds ?? 0;
  if (seconds < 600)
    errors.invalid(at.child('expirationSeconds'), seconds, 'may not specify a duration less than 10 minutes');
  if (seconds > 2 ** 32)
    errors.invalid(
      at.child('expirationSeconds'),
      seconds,
      'may not specify a duration larger than 2^32 seconds',
    );
  if (!token.path) errors.required(volume.child('path'));
  else checkProjectedPath(token.path, volume.child('path'), errors);
}

function checkTrustBundleProjection(
  bundle: NonNullable<VolumeProjection['clusterTrustBundle']>,
  at: Path,
  errors: Errors,
): void {
  if (bundle.name !== undefined && bundle.signerName !== undefined)
    errors.invalid(at, bundle, 'only one of name and signerName may be used');
  else if (bundle.name !== undefined) {
    if (bundle.name === '') errors.required(at.child('name'), 'must be a valid object name');
    checkClusterTrustBundleName(bundle.name, at.child('name'), errors);
    if (bundle.labelSelector)
      errors.invalid(
        at.child('labelSelector'),
        bundle.labelSelector,
        'labelSelector must be unset if name is specified',
      );
  } else if (bundle.signerName !== undefined) {
    if (bundle.signerName === '') errors.required(at.child('signerName'), 'must be a valid signer name');
    checkSignerName(bundle.signerName, at.child('signerName'), errors);
    checkLabelSelector(bundle.labelSelector, at.child('labelSelector'), errors);
  } else errors.required(at, 'either name or signerName must be specified');
  if (!bundle.path) errors.required(at.child('path'));
  checkProjectedPath(bundle.path ?? '', at.child('path'), errors);
}

const KEY_TYPES = ['RSA3072', 'RSA4096', 'ECDSAP256', 'ECDSAP384', 'ECDSAP521', 'ED25519'];

function checkPodCertificateProjection(
  certificate: NonNullable<VolumeProjection['podCertificate']>,
  at: Path,
  errors: Errors,
  claim: ProjectionContext['claim'],
): void {
  checkSignerName(certificate.signerName ?? '', at.child('signerName'), errors);
  if (!KEY_TYPES.includes(certificate.keyType ?? ''))
    errors.notSupported(at.child('keyType'), certificate.keyType ?? '', KEY_TYPES);
  const lifetime = certificate.maxExpirationSeconds;
  if (lifetime !== undefined && lifetime < 3600)
    errors.invalid(
      at.child('maxExpirationSeconds'),
      lifetime,
      'if provided, maxExpirationSeconds must be >= 3600',
    );
  if (lifetime !== undefined && lifetime > 91 * 24 * 3600)
    errors.invalid(
      at.child('maxExpirationSeconds'),
      lifetime,
      'if provided, maxExpirationSeconds must be <= 7862400',
    );
  let paths = 0;
  for (const field of ['credentialBundlePath', 'keyPath', 'certificateChainPath'] as const) {
    const file = certificate[field];
    if (!file) continue;
    paths++;
    checkProjectedPath(file, at.child(field), errors);
    claim(file, file);
  }
  if (paths === 0)
    errors.required(at, 'specify at least one of credentialBundlePath, keyPath, and certificateChainPath');
}
