/**
 * PodGroupProtection: a PodGroup is not removed while pods use it. PodGroupWorkloadExists: the template that it names is there. Both are there with the gate
 * GenericWorkload only.
 */
import type { PodGroup, Workload } from '#api/generated/types/scheduling-v1alpha2.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const FINALIZER = 'scheduling.k8s.io/podgroup-protection';
const WORKLOADS = { group: 'scheduling.k8s.io', resource: 'workloads' };

const isNewGroup: AdmissionPlugin['handles'] = (operation, target) =>
  operation === 'CREATE' && isTarget(target, 'scheduling.k8s.io', 'podgroups');

export const podGroupProtection: AdmissionPlugin = {
  name: 'PodGroupProtection',
  handles: isNewGroup,
  admit({ object }) {
    if (!object) return;
    const meta = (object.metadata ??= {});
    if (!meta.finalizers?.includes(FINALIZER)) meta.finalizers = [...(meta.finalizers ?? []), FINALIZER];
  },
};

export const podGroupWorkloadExists: AdmissionPlugin = {
  name: 'PodGroupWorkloadExists',
  handles: isNewGroup,
  validate(attributes) {
    const problem = templateProblem(attributes);
    if (problem !== undefined) throw forbid(attributes, `PodGroup rejected: ${problem}`);
  },
};

function templateProblem({ object, namespace, internal }: AdmissionAttributes): string | undefined {
  const wanted = (object as PodGroup | undefined)?.spec?.podGroupTemplateRef?.workload;
  if (!wanted) return undefined;
  const { workloadName, podGroupTemplateName } = wanted;
  const workload = internal.get(WORKLOADS, { name: workloadName, namespace }) as Workload | undefined;
  if (!workload) return `Workload "${workloadName}" not found`;
  if (workload.metadata?.deletionTimestamp) return `Workload "${workloadName}" is being deleted`;
  return workload.spec.podGroupTemplates.some(({ name }) => name === podGroupTemplateName)
    ? undefined
    : `PodGroupTemplate "${podGroupTemplateName}" not found in Workload "${workloadName}"`;
}
