/** Fields of features that upstream disables by default: dropped on write, unless the stored object has them already, or their gate is on. */
import type { PodSpec, PodStatus, PodTemplateSpec, VolumeProjection } from '#api/types.ts';
import type { HookContext } from '../../define.ts';
import { eachContainer } from './visit.ts';

/** ClusterTrustBundleProjection, PodCertificateRequest. */
const PROJECTIONS = ['clusterTrustBundle', 'podCertificate'] as const;

type Gates = Pick<HookContext, 'features'>;

export function dropDisabledFields(
  spec: PodSpec | undefined,
  stored: PodSpec | undefined,
  { features }: Gates,
): void {
  if (!spec) return;
  if (spec.schedulingGroup && !stored?.schedulingGroup && !features?.has('GenericWorkload'))
    delete spec.schedulingGroup;
  if (spec.volumes)
    for (const field of PROJECTIONS) if (!projects(stored, field)) dropProjection(spec, field);
  dropStopSignals(spec, stored);
}

export function dropDisabledTemplateFields(
  template: PodTemplateSpec | undefined,
  stored: PodTemplateSpec | undefined,
  gates: Gates,
): void {
  dropDisabledFields(template?.spec, stored?.spec, gates);
}

function projects(spec: PodSpec | undefined, field: keyof VolumeProjection): boolean {
  return spec?.volumes?.some(({ projected }) => projected?.sources?.some((source) => source[field])) ?? false;
}

function dropProjection(spec: PodSpec, field: keyof VolumeProjection): void {
  for (const { projected } of spec.volumes ?? []) {
    if (projected?.sources)
      for (const source of projected.sources) if (source[field] !== undefined) delete source[field];
  }
}

/** ContainerStopSignals */
function dropStopSignals(spec: PodSpec, stored: PodSpec | undefined): void {
  let inUse: boolean | undefined;
  eachContainer(spec, '', (container) => {
    if (container.lifecycle?.stopSignal === undefined || (inUse ??= hasStopSignals(stored))) return;
    delete container.lifecycle.stopSignal;
    if (!container.lifecycle.preStop && !container.lifecycle.postStart) delete container.lifecycle;
  });
}

function hasStopSignals(spec: PodSpec | undefined): boolean {
  let found = false;
  if (spec)
    eachContainer(spec, '', ({ lifecycle }) => {
      if (lifecycle?.stopSignal !== undefined) found = true;
    });
  return found;
}

export function dropDisabledStatusFields(status: PodStatus, stored: PodStatus | undefined): void {
  // DRANodeAllocatableResources
  if (!stored?.nodeAllocatableResourceClaimStatuses?.length)
    delete status.nodeAllocatableResourceClaimStatuses;
  if (!hasVolumeStatus(stored))
    eachVolumeMount(status, (mount) => {
      delete mount.volumeStatus;
    });
}

type VolumeMountStatus = NonNullable<
  NonNullable<PodStatus['containerStatuses']>[number]['volumeMounts']
>[number];

function eachVolumeMount(status: PodStatus | undefined, visit: (mount: VolumeMountStatus) => void): void {
  for (const field of ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'] as const) {
    for (const { volumeMounts } of status?.[field] ?? [])
      if (volumeMounts) for (const mount of volumeMounts) visit(mount);
  }
}

/** ImageVolumeWithDigest */
function hasVolumeStatus(status: PodStatus | undefined): boolean {
  let found = false;
  eachVolumeMount(status, ({ volumeStatus }) => {
    if (volumeStatus) found = true;
  });
  return found;
}
