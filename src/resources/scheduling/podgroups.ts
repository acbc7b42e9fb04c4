/** PodGroup: pods that are scheduled together. Served with the feature gate GenericWorkload. After upstream's pkg/registry/scheduling/podgroup strategy. */
import type { PodGroup, PodGroupSpec } from '#api/generated/types/scheduling-v1alpha2.ts';
import { checkConditionList } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatusAndMetadata, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import {
  checkName,
  checkSchedulingPolicy,
  checkUnchanged,
  checkUnion,
  dropDisabledGroupFields,
  LONG_NAME,
  SHORT_NAME,
} from './pod-group-parts.ts';

export const podgroups = defineResource<PodGroup>({
  group: 'scheduling.k8s.io',
  plural: 'podgroups',
  written: { status: { without: ['spec', 'metadata'] } },
  // As in upstream, it has no generation.
  prepareForCreate: (group) => {
    group.status = {};
    resetGatedFields(group.spec, undefined);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    resetGatedFields(next.spec, previous.spec);
  },
  validate: ({ spec }) => {
    const errors = new Errors();
    checkTemplateRef(spec?.podGroupTemplateRef, errors);
    checkSchedulingPolicy(spec?.schedulingPolicy, SPEC.child('schedulingPolicy'), errors);
    return errors.list;
  },
  validateUpdate: ({ spec }, { spec: stored }) => {
    const errors = new Errors();
    // All that is not a disabled feature's.
    const fields = new Set([...Object.keys(stored ?? {}), ...Object.keys(spec ?? {})]) as Set<
      keyof PodGroup['spec']
    >;
    for (const field of fields) checkUnchanged(spec?.[field], stored?.[field], SPEC.child(field), errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => {
      keepAllButStatusAndMetadata(next, previous);
      // DRAWorkloadResourceClaims
      if (next.status && !previous.spec?.resourceClaims?.length) delete next.status.resourceClaimStatuses;
    },
    validateUpdate: ({ status }) => {
      const errors = new Errors();
      checkConditionList(status?.conditions, STATUS.child('conditions'), errors);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Policy', 'Workload', 'Status', 'Age'),
    row: (group, context) => [
      nameOf(group),
      group.spec?.schedulingPolicy?.gang ? 'Gang' : 'Basic',
      group.spec?.podGroupTemplateRef?.workload?.workloadName ?? '<none>',
      shownStatus(group),
      formatAge(group, context),
    ],
  },
});

function checkTemplateRef(ref: PodGroup['spec']['podGroupTemplateRef'], errors: Errors): void {
  if (!ref) return;
  const at = SPEC.child('podGroupTemplateRef');
  checkUnion(ref, ['workload'], at, errors);
  if (!ref.workload) return;
  const { workloadName, podGroupTemplateName } = ref.workload;
  checkName(workloadName, at.child('workload').child('workloadName'), LONG_NAME, errors);
  checkName(podGroupTemplateName, at.child('workload').child('podGroupTemplateName'), SHORT_NAME, errors);
}

function shownStatus({ status }: PodGroup): string {
  const find = (wanted: string) => status?.conditions?.findLast(({ type }) => type === wanted);
  const disrupted = find('DisruptionTarget');
  if (disrupted) return disrupted.reason;
  const scheduled = find('PodGroupScheduled');
  if (!scheduled) return 'Pending';
  return scheduled.status === 'True' ? 'Scheduled' : 'Unschedulable';
}

/** Readers are given the default of disruptionMode, whether or not its gate is on: it is what is stored. */
function resetGatedFields(spec: PodGroupSpec | undefined, stored: PodGroupSpec | undefined): void {
  dropDisabledGroupFields(spec, stored);
  if (spec) spec.disruptionMode = 'Pod';
}
