/** StatefulSet. */
import type { StatefulSet, StatefulSetSpec, Volume } from '#api/types.ts';
import { checkAtMost100Percent, checkEnum, checkNonNegative, checkPositiveIntOrPercent, intOrPercentValue } from '../checks.ts';
import { claimSpecWarnings, defaultClaimSpec } from '../core/claim-spec.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepAllButStatus, semanticEqual, startGeneration } from '../strategy.ts';
import { ageOf, columns, containerImages, containerNames, nameOf } from '../tables.ts';
import { checkCounts, checkSelector, checkTemplate, prepareUpdate, replicasScale } from './pod-owner.ts';
import { checkStatefulSetStatus } from './replica-status.ts';

const NAMES = { kind: 'statefulset', title: 'StatefulSet' };
const UPDATABLE = "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'";
const MUTABLE = new Set<keyof StatefulSetSpec>(['replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy', 'minReadySeconds']);

export const statefulsets = defineResource<StatefulSet>({
  group: 'apps',
  plural: 'statefulsets',
  nameRule: 'dns-subdomain',
  applyDefaults: (set) => {
    const spec = (set.spec ??= {} as StatefulSetSpec);
    spec.podManagementPolicy ||= 'OrderedReady';
    const strategy = (spec.updateStrategy ??= {});
    strategy.type ||= 'RollingUpdate';
    if (strategy.type === 'RollingUpdate') (strategy.rollingUpdate ??= {}).partition ??= 0;
    const retention = (spec.persistentVolumeClaimRetentionPolicy ??= {});
    retention.whenDeleted ||= 'Retain';
    retention.whenScaled ||= 'Retain';
    spec.replicas ??= 1;
    spec.revisionHistoryLimit ??= 10;
    defaultPodTemplate(spec.template);
    for (const claim of spec.volumeClaimTemplates ?? []) {
      claim.apiVersion ??= 'v1';
      claim.kind ??= 'PersistentVolumeClaim';
      defaultClaimSpec((claim.spec ??= {}));
      claim.status ??= {};
      claim.status.phase ||= 'Pending';
    }
  },
  prepareForCreate: (set) => {
    set.status = { replicas: 0, availableReplicas: 0 };
    startGeneration(set);
  },
  prepareForUpdate: prepareUpdate,
  validate: (set) => {
    const errors = new Errors();
    checkSpec(set.spec, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec, errors);
    const fields = [...new Set([...Object.keys(next.spec ?? {}), ...Object.keys(previous.spec ?? {})])] as (keyof StatefulSetSpec)[];
    if (fields.some((field) => !MUTABLE.has(field) && !semanticEqual(next.spec?.[field], previous.spec?.[field]))) {
      errors.forbidden(SPEC, `updates to statefulset spec for fields other than ${UPDATABLE} are forbidden`);
    }
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatus, validateUpdate: (next, previous) => checkStatefulSetStatus(next.status ?? {}, previous.status ?? {}) },
  warnings: (set, previous) => {
    const list = workloadWarnings(set, previous, { template: set.spec?.template, path: 'spec.template' });
    if (previous && previous.metadata?.generation === set.metadata?.generation) return list;
    set.spec?.volumeClaimTemplates?.forEach(({ spec }, i) => list.push(...claimSpecWarnings(spec, `spec.volumeClaimTemplates[${i}].spec`)));
    if ((set.spec?.revisionHistoryLimit ?? 0) < 0) list.push('spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended');
    return list;
  },
  scale: replicasScale,
  table: {
    columns: columns('Name', 'Ready', 'Age', 'Containers:wide', 'Images:wide'),
    row: (set, context) => [
      nameOf(set), `${set.status?.readyReplicas ?? 0}/${set.spec?.replicas ?? 0}`, ageOf(set, context),
      containerNames(set.spec?.template?.spec), containerImages(set.spec?.template?.spec),
    ],
  },
});

function checkSpec(given: StatefulSetSpec | undefined, errors: Errors): void {
  const spec = given ?? ({} as StatefulSetSpec);
  if (!spec.podManagementPolicy) errors.required(SPEC.child('podManagementPolicy'));
  else if (spec.podManagementPolicy !== 'OrderedReady' && spec.podManagementPolicy !== 'Parallel') errors.invalid(SPEC.child('podManagementPolicy'), spec.podManagementPolicy, "must be 'OrderedReady' or 'Parallel'");
  checkStrategy(spec, errors);
  const retention = spec.persistentVolumeClaimRetentionPolicy;
  if (retention) for (const field of ['whenDeleted', 'whenScaled'] as const) checkEnum(retention[field], ['Retain', 'Delete'], SPEC.child('persistentVolumeClaimRetentionPolicy'), field, errors);
  checkCounts(spec, errors);
  checkNonNegative(spec.ordinals?.start, SPEC.child('ordinals'), 'start', errors);
  checkSelector(spec.selector, NAMES, errors);
  checkTemplate(spec.template, spec.selector, { ...NAMES, furtherVolumes: claimVolumes(spec) }, errors);
}

/** Each claim template is a volume of its name in every pod. */
function claimVolumes({ volumeClaimTemplates = [] }: StatefulSetSpec): Volume[] {
  return volumeClaimTemplates.flatMap(({ metadata }) => (metadata?.name ? [{ name: metadata.name, persistentVolumeClaim: { claimName: metadata.name } }] : []));
}

function checkStrategy(spec: StatefulSetSpec, errors: Errors): void {
  const path = SPEC.child('updateStrategy'), { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (!type) errors.required(path);
  else if (type === 'OnDelete') {
    if (rollingUpdate) errors.invalid(path.child('rollingUpdate'), rollingUpdate, 'only allowed for updateStrategy \'RollingUpdate\'');
  } else if (type !== 'RollingUpdate') errors.invalid(path, spec.updateStrategy, "must be 'RollingUpdate' or 'OnDelete'");
  else if (rollingUpdate) {
    const at = path.child('rollingUpdate');
    checkNonNegative(rollingUpdate.partition, at, 'partition', errors);
    const most = rollingUpdate.maxUnavailable;
    if (most === undefined) return;
    checkPositiveIntOrPercent(most, at.child('maxUnavailable'), errors);
    if (intOrPercentValue(most) === 0) errors.invalid(at.child('maxUnavailable'), most, 'cannot be 0');
    checkAtMost100Percent(most, at.child('maxUnavailable'), errors);
  }
}

