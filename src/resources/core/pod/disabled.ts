/** Fields of features that upstream has off by default: they go from what is written, unless the stored object has them already. */
import type { PodSpec, PodTemplateSpec, VolumeProjection } from '#api/types.ts';
import { eachContainer } from './visit.ts';

/** ClusterTrustBundleProjection, PodCertificateRequest. */
const PROJECTIONS = ['clusterTrustBundle', 'podCertificate'] as const;

export function dropDisabledFields(spec: PodSpec | undefined, stored: PodSpec | undefined): void {
  if (!spec) return;
  // GenericWorkload
  if (spec.schedulingGroup && !stored?.schedulingGroup) delete spec.schedulingGroup;
  if (spec.volumes) for (const field of PROJECTIONS) if (!projects(stored, field)) dropProjection(spec, field);
  dropStopSignals(spec, stored);
}

export function dropDisabledTemplateFields(template: PodTemplateSpec | undefined, stored: PodTemplateSpec | undefined): void {
  dropDisabledFields(template?.spec, stored?.spec);
}

function projects(spec: PodSpec | undefined, field: keyof VolumeProjection): boolean {
  return spec?.volumes?.some(({ projected }) => projected?.sources?.some((source) => source[field])) ?? false;
}

function dropProjection(spec: PodSpec, field: keyof VolumeProjection): void {
  for (const { projected } of spec.volumes ?? []) {
    if (projected?.sources) for (const source of projected.sources) if (source[field] !== undefined) delete source[field];
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
  if (spec) eachContainer(spec, '', ({ lifecycle }) => { if (lifecycle?.stopSignal !== undefined) found = true; });
  return found;
}
