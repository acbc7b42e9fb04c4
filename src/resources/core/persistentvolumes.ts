/** PersistentVolume. */
import type { PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity } from '#api/types.ts';
import { fieldErrors } from '#machinery/errors.ts';
import { isGivenEmpty } from '#machinery/given-empty.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { checkDnsLabel, checkDnsSubdomain, checkImmutable, checkOptionalEnum } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path, SPEC } from '../field-path.ts';
import { checkDriverName, checkPositiveQuantity, parseResourceQuantity } from '../resource-list.ts';
import { keepAllButStatus, keepField, semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkAccessModes, VOLUME_MODES } from './claim-spec.ts';
import { defaultAzureDisk, defaultIscsi, defaultRbd, roundUp } from './pod/defaults.ts';
import { checkNodeSelector } from './pod/scheduling.ts';
import {
  checkIscsi,
  checkNoBacksteps,
  checkSecretRefName,
  checkVolumeSource,
  ISCSI_PORTAL_TOO_LONG,
  requires,
  SHARED_VOLUME_CHECKS,
  type VolumeCheck,
} from './pod/volumes.ts';
import { nodeSelectorWarnings } from './pod/warnings.ts';

const RECLAIM_POLICIES = ['Delete', 'Recycle', 'Retain'];
/** In upstream's order. */
const DEPRECATED: readonly (readonly [type: keyof PersistentVolumeSpec, since: string, name?: string])[] = [
  ['cephfs', 'v1.28, non-functional in v1.31+'],
  ['photonPersistentDisk', 'v1.11, non-functional in v1.16+'],
  ['scaleIO', 'v1.16, non-functional in v1.22+'],
  ['storageos', 'v1.22, non-functional in v1.25+', 'storageOS'],
  ['glusterfs', 'v1.25, non-functional in v1.26+'],
  ['rbd', 'v1.28, non-functional in v1.31+'],
];
const MOUNT_ANNOTATION = 'volume.beta.kubernetes.io/mount-options';
const CLASS_ANNOTATION = 'volume.beta.kubernetes.io/storage-class';

export const persistentvolumes = defineResource<PersistentVolume>({
  group: '',
  plural: 'persistentvolumes',
  applyDefaults: (volume) => {
    const spec = (volume.spec ??= {});
    volume.status ??= {};
    volume.status.phase ||= 'Pending';
    spec.persistentVolumeReclaimPolicy ||= 'Retain';
    spec.volumeMode ??= 'Filesystem';
    roundUp(spec.capacity);
    if (spec.hostPath) spec.hostPath.type ??= '';
    if (spec.iscsi) defaultIscsi(spec.iscsi);
    if (spec.rbd) defaultRbd(spec.rbd);
    if (spec.azureDisk) defaultAzureDisk(spec.azureDisk);
    // Always written, as null when there is none.
    if (spec.azureFile) (spec.azureFile as { secretNamespace?: string | null }).secretNamespace ??= null;
    if (spec.scaleIO) (spec.scaleIO as { secretRef?: object | null }).secretRef ??= null;
    if (spec.scaleIO) {
      spec.scaleIO.storageMode ||= 'ThinProvisioned';
      spec.scaleIO.fsType ||= 'xfs';
    }
  },
  prepareForCreate: (volume, context) => {
    volume.status = {
      phase: 'Pending',
      lastPhaseTransitionTime: formatTime(context.nowMs),
    };
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (volume) => {
    const errors = new Errors();
    checkVolumeSpec(volume.spec ?? {}, nameOf(volume), SPEC, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors(),
      spec = next.spec ?? {},
      stored = previous.spec ?? {};
    checkVolumeSpec(spec, nameOf(next), SPEC, errors);
    // As upstream, it is validated twice.
    if (errors.any) checkVolumeSpec(spec, nameOf(next), SPEC, errors);
    checkSameSource(spec, stored, errors);
    checkImmutable(spec.volumeMode, stored.volumeMode, Path.root('volumeMode'), errors);
    if (
      stored.nodeAffinity &&
      ![stored.nodeAffinity, withoutBetaLabels(stored.nodeAffinity)].some((kept) =>
        semanticEqual(spec.nodeAffinity, kept),
      )
    ) {
      errors.invalid(
        Path.root('nodeAffinity'),
        spec.nodeAffinity,
        'field is immutable, except for updating from beta label to GA',
      );
    }
    if (stored.volumeAttributesClassName !== undefined && spec.volumeAttributesClassName === undefined)
      errors.forbidden(
        SPEC.child('volumeAttributesClassName'),
        'update from non-nil value to nil is forbidden',
      );
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous, context) => {
      keepAllButStatus(next, previous);
      const status = (next.status ??= {}),
        stored = previous.status ?? {};
      const saysTime =
        status.lastPhaseTransitionTime && status.lastPhaseTransitionTime !== stored.lastPhaseTransitionTime;
      if (status.phase !== stored.phase && !saysTime)
        status.lastPhaseTransitionTime = formatTime(context.nowMs);
    },
  },
  warnings: (volume) => {
    const { spec = {} } = volume,
      list = classAnnotationWarnings(volume);
    if (volume.metadata?.annotations?.[MOUNT_ANNOTATION] !== undefined)
      list.push(
        `metadata.annotations[${MOUNT_ANNOTATION}]: deprecated since v1.31; use "mountOptions" attribute instead`,
      );
    if (spec.persistentVolumeReclaimPolicy === 'Recycle')
      list.push(
        'spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.',
      );
    list.push(
      ...nodeSelectorWarnings(
        spec.nodeAffinity?.required?.nodeSelectorTerms,
        'spec.nodeAffinity.required.nodeSelectorTerms',
      ),
      ...DEPRECATED.flatMap(([type, since, name = type]) =>
        spec[type] ? [`spec.${name}: deprecated in ${since}`] : [],
      ),
    );
    return list;
  },
  table: {
    columns: columns(
      'Name',
      'Capacity',
      'Access Modes',
      'Reclaim Policy',
      'Status',
      'Claim',
      'StorageClass',
      'VolumeAttributesClass',
      'Reason',
      'Age',
      'VolumeMode:wide',
    ),
    row: (volume, context) => {
      const { spec = {}, status = {}, metadata } = volume;
      const claim = spec.claimRef ? `${spec.claimRef.namespace ?? ''}/${spec.claimRef.name ?? ''}` : '';
      return [
        nameOf(volume),
        spec.capacity?.['storage'] ?? '0',
        accessModesText(spec.accessModes),
        spec.persistentVolumeReclaimPolicy ?? '',
        metadata?.deletionTimestamp ? 'Terminating' : (status.phase ?? ''),
        claim,
        metadata?.annotations?.[CLASS_ANNOTATION] ?? spec.storageClassName ?? '',
        spec.volumeAttributesClassName ?? '<unset>',
        status.reason ?? '',
        formatAge(volume, context),
        spec.volumeMode ?? '<unset>',
      ];
    },
  },
});

export function classAnnotationWarnings({ metadata }: KubeObject): string[] {
  return metadata?.annotations?.[CLASS_ANNOTATION] === undefined
    ? []
    : [
        `metadata.annotations[${CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" attribute instead`,
      ];
}

const MODE_LETTERS: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};

export function accessModesText(modes: readonly string[] | undefined): string {
  return Object.keys(MODE_LETTERS)
    .filter((mode) => modes?.includes(mode))
    .map((mode) => MODE_LETTERS[mode]!)
    .join(',');
}

const requiresSecretRef: VolumeCheck = (source, path, errors) => {
  checkSecretRefName(source, path, errors);
  if (source.secretRef && !source.secretRef.namespace)
    errors.required(path.child('secretRef').child('namespace'));
};

const SECRET_REFS = [
  'controllerPublishSecretRef',
  'controllerExpandSecretRef',
  'nodePublishSecretRef',
  'nodeExpandSecretRef',
] as const;

const CHECKS: Readonly<Record<string, VolumeCheck>> = {
  hostPath: SHARED_VOLUME_CHECKS['hostPath']!,
  gcePersistentDisk: SHARED_VOLUME_CHECKS['gcePersistentDisk']!,
  awsElasticBlockStore: SHARED_VOLUME_CHECKS['awsElasticBlockStore']!,
  glusterfs: (source, path, errors, context) => {
    requires('endpoints', 'path')(source, path, errors, context);
    const namespace = source.endpointsNamespace;
    if (namespace === '')
      errors.invalid(
        path.child('endpointsNamespace'),
        namespace,
        'if the endpointnamespace is set, it must be a valid namespace name',
      );
    else if (namespace !== undefined)
      errors.invalidEach(path.child('endpointsNamespace'), namespace, validateDNS1123Label(namespace));
  },
  flocker: SHARED_VOLUME_CHECKS['flocker']!,
  nfs: SHARED_VOLUME_CHECKS['nfs']!,
  rbd: SHARED_VOLUME_CHECKS['rbd']!,
  quobyte: SHARED_VOLUME_CHECKS['quobyte']!,
  cephfs: SHARED_VOLUME_CHECKS['cephfs']!,
  iscsi: (source, path, errors, context) => {
    requires('targetPortal')(source, path, errors, context);
    if (source.initiatorName !== undefined && `${context.volumeName}:${source.targetPortal}`.length > 64)
      errors.invalid(path.child('targetportal'), source.targetPortal, ISCSI_PORTAL_TOO_LONG);
    checkIscsi(source, path, errors, 'must be valid format');
    checkSecretRefName(source, path, errors);
  },
  cinder: (source, path, errors, context) => {
    requires('volumeID')(source, path, errors, context);
    requiresSecretRef(source, path, errors, context);
  },
  fc: SHARED_VOLUME_CHECKS['fc']!,
  flexVolume: SHARED_VOLUME_CHECKS['flexVolume']!,
  azureFile: (source, path, errors, context) => {
    requires('secretName', 'shareName')(source, path, errors, context);
    if (source.secretNamespace === '') errors.required(path.child('secretNamespace'));
  },
  vsphereVolume: SHARED_VOLUME_CHECKS['vsphereVolume']!,
  photonPersistentDisk: SHARED_VOLUME_CHECKS['photonPersistentDisk']!,
  portworxVolume: SHARED_VOLUME_CHECKS['portworxVolume']!,
  azureDisk: SHARED_VOLUME_CHECKS['azureDisk']!,
  scaleIO: SHARED_VOLUME_CHECKS['scaleIO']!,
  local: (source, path, errors, context) => {
    if (!source.path) errors.required(path.child('path'));
    else checkNoBacksteps(source.path, path.child('path'), errors);
    if (context.pinned === false)
      errors.required(context.at.child('nodeAffinity'), 'Local volume requires node affinity');
  },
  storageos: (source, path, errors, context) => {
    if (!source.volumeName) errors.required(path.child('volumeName'));
    else checkDnsLabel(source.volumeName, path, 'volumeName', errors);
    if (source.volumeNamespace) checkDnsLabel(source.volumeNamespace, path, 'volumeNamespace', errors);
    requiresSecretRef(source, path, errors, context);
  },
  csi: (source, path, errors) => {
    checkDriverName(source.driver, path.child('driver'), errors);
    if (!source.volumeHandle) errors.required(path.child('volumeHandle'));
    for (const field of SECRET_REFS) {
      const ref = source[field];
      if (!ref) continue;
      if (!ref.name) errors.required(path.child(field).child('name'));
      else errors.invalidEach(path.child(field).child('name'), ref.name, validateDNS1123Subdomain(ref.name));
      if (!ref.namespace) errors.required(path.child(field).child('namespace'));
      else
        errors.invalidEach(
          path.child(field).child('namespace'),
          ref.namespace,
          validateDNS1123Label(ref.namespace),
        );
    }
  },
};
const SOURCE_TYPES = Object.keys(CHECKS);
/** Fields that are also allowed. */
const BESIDE = new Set(['flexVolume']);

/** Also for the inline volumes of VolumeAttachments, which have fewer fields. */
export function checkVolumeSpec(
  spec: PersistentVolumeSpec,
  name: string,
  path: Path,
  errors: Errors,
  inline = false,
): void {
  const notInline = 'may not be specified in the context of inline volumes';
  if (inline) {
    for (const field of ['claimRef', 'capacity', 'nodeAffinity', 'storageClassName'] as const)
      if (spec[field]) errors.forbidden(path.child(field), notInline);
    if (!spec.csi) errors.required(path.child('csi'), 'has to be specified in the context of inline volumes');
    if (spec.persistentVolumeReclaimPolicy && spec.persistentVolumeReclaimPolicy !== 'Retain')
      errors.forbidden(
        path.child('persistentVolumeReclaimPolicy'),
        'may only be Retain in the context of inline volumes',
      );
    if (spec.volumeMode !== undefined && spec.volumeMode !== 'Filesystem')
      errors.forbidden(
        path.child('volumeMode'),
        'may not specify volumeMode other than Filesystem in the context of inline volumes',
      );
  }
  if (!spec.accessModes?.length) errors.required(path.child('accessModes'));
  checkAccessModes(spec.accessModes ?? [], path, errors);
  if (!inline) checkOwnFields(spec, path, errors);
  checkVolumeSource(spec, path, errors, {
    table: CHECKS,
    order: SOURCE_TYPES,
    context: { volumeName: name, podName: undefined, at: path, pinned: spec.nodeAffinity !== undefined },
    beside: BESIDE,
  });
  if (
    spec.hostPath?.path !== undefined &&
    /^\/+\.?$/.test(spec.hostPath.path) &&
    spec.persistentVolumeReclaimPolicy === 'Recycle'
  )
    errors.forbidden(
      path.child('persistentVolumeReclaimPolicy'),
      "may not be 'recycle' for a hostPath mount of '/'",
    );
  if (!inline && spec.storageClassName)
    checkDnsSubdomain(spec.storageClassName, path, 'storageClassName', errors);
  if (!inline) checkOptionalEnum(spec.volumeMode, VOLUME_MODES, path, 'volumeMode', errors);
  if (inline || spec.volumeAttributesClassName === undefined) return;
  if (spec.volumeAttributesClassName === '')
    errors.required(path.child('volumeAttributesClassName'), 'an empty string is disallowed');
  else checkDnsSubdomain(spec.volumeAttributesClassName, path, 'volumeAttributesClassName', errors);
  if (!spec.csi)
    errors.required(path.child('csi'), 'has to be specified when using volumeAttributesClassName');
}

function checkOwnFields(spec: PersistentVolumeSpec, path: Path, errors: Errors): void {
  const capacity = spec.capacity ?? {},
    at = path.child('capacity');
  if (Object.keys(capacity).length === 0) errors.required(at);
  if (capacity['storage'] === undefined || Object.keys(capacity).length > 1)
    errors.add([
      fieldErrors.notSupported(
        at.toString(),
        spec.capacity ? inOrder(spec.capacity) : isGivenEmpty(spec, 'capacity') ? {} : null,
        ['storage'],
      ),
    ]);
  for (const name in capacity) {
    const amount = parseResourceQuantity(capacity[name]!).value();
    if (Number(amount) < 0) errors.invalid(at.key(name), Number(amount), 'must be a valid resource quantity');
    checkPositiveQuantity(capacity[name]!, at.key(name), errors);
  }
  if (spec.persistentVolumeReclaimPolicy)
    checkOptionalEnum(
      spec.persistentVolumeReclaimPolicy,
      RECLAIM_POLICIES,
      path,
      'persistentVolumeReclaimPolicy',
      errors,
    );
  if (!spec.nodeAffinity) return;
  if (!spec.nodeAffinity.required)
    errors.required(path.child('nodeAffinity').child('required'), 'must specify required node constraints');
  else checkNodeSelector(spec.nodeAffinity.required, path.child('nodeAffinity').child('required'), errors);
}

/** As Go formats a map. */
function inOrder(amounts: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(amounts).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

const LABELS_SINCE_GA: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/os': 'kubernetes.io/os',
  'beta.kubernetes.io/arch': 'kubernetes.io/arch',
  'beta.kubernetes.io/instance-type': 'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region': 'topology.kubernetes.io/region',
};

function withoutBetaLabels(affinity: VolumeNodeAffinity): VolumeNodeAffinity {
  const nodeSelectorTerms = (affinity.required?.nodeSelectorTerms ?? []).map(
    ({ matchExpressions, ...term }) => ({
      ...term,
      ...(matchExpressions
        ? {
            matchExpressions: matchExpressions.map((expression) => ({
              ...expression,
              key: LABELS_SINCE_GA[expression.key] ?? expression.key,
            })),
          }
        : {}),
    }),
  );
  return {
    ...affinity,
    ...(affinity.required ? { required: { ...affinity.required, nodeSelectorTerms } } : {}),
  };
}

function checkSameSource(spec: PersistentVolumeSpec, stored: PersistentVolumeSpec, errors: Errors): void {
  for (const type of SOURCE_TYPES as (keyof PersistentVolumeSpec)[]) {
    let next: unknown = spec[type];
    if (type === 'csi' && stored.csi && spec.csi && !stored.csi.controllerExpandSecretRef) {
      const { controllerExpandSecretRef: _, ...rest } = spec.csi;
      next = rest;
    }
    if (semanticEqual(next, stored[type])) continue;
    errors.forbidden(
      SPEC.child('persistentvolumesource'),
      `spec.persistentvolumesource is immutable after creation\n- ${type}: ${JSON.stringify(stored[type])}\n+ ${type}: ${JSON.stringify(next)}\n`,
    );
    return;
  }
}
