/** StatefulSet. */
import type { PodTemplateSpec, StatefulSet, StatefulSetSpec, Volume } from '#api/types.ts';
import {
  checkAtMost100Percent,
  checkDnsLabel,
  checkEnum,
  checkNonNegative,
  checkPositiveIntOrPercent,
  intOrPercentValue,
} from '../checks.ts';
import { checkClaimSpec, claimSpecWarnings, defaultClaimSpec } from '../core/claim-spec.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepAllButStatus, semanticEqual } from '../strategy.ts';
import { formatAge, columns, containerImages, containerNames, nameOf } from '../tables.ts';
import { checkCounts, checkPodOwner, prepareCreate, prepareUpdate, replicasScale } from './pod-owner.ts';
import { checkStatefulSetStatus } from './replica-status.ts';

const NAMES = { kind: 'statefulset', title: 'StatefulSet', unreadable: '' };
const UPDATABLE =
  "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'";
const MUTABLE = new Set<keyof StatefulSetSpec>([
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
]);

export const statefulsets = defineResource<StatefulSet>({
  group: 'apps',
  plural: 'statefulsets',
  // Stored ones with other names are from before the rule, and accepted.
  nameRule: 'dns-label',
  applyDefaults: (set) => {
    const spec = (set.spec ??= {} as StatefulSetSpec);
    spec.podManagementPolicy ||= 'OrderedReady';
    const strategy = (spec.updateStrategy ??= {});
    // For claim templates that specify the type, only nested fields are defaulted.
    if (!strategy.type) {
      strategy.type = 'RollingUpdate';
      strategy.rollingUpdate ??= {};
    }
    if (strategy.type === 'RollingUpdate' && strategy.rollingUpdate) strategy.rollingUpdate.partition ??= 0;
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
  prepareForCreate: (set, context) => {
    prepareCreate(set, context);
    set.status = { replicas: 0, availableReplicas: 0 };
    dropMaxUnavailable(set.spec, undefined);
  },
  prepareForUpdate: (next, previous, context) => {
    dropMaxUnavailable(next.spec, previous.spec);
    prepareUpdate(next, previous, context);
  },
  validate: (set) => {
    const errors = new Errors();
    checkSpec(set.spec, errors, { isNew: true });
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec, errors, { isNew: false });
    const fields = [
      ...new Set([...Object.keys(next.spec ?? {}), ...Object.keys(previous.spec ?? {})]),
    ] as (keyof StatefulSetSpec)[];
    if (
      fields.some(
        (field) => !MUTABLE.has(field) && !semanticEqual(next.spec?.[field], previous.spec?.[field]),
      )
    ) {
      errors.forbidden(SPEC, `updates to statefulset spec for fields other than ${UPDATABLE} are forbidden`);
    }
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next, previous) => checkStatefulSetStatus(next.status ?? {}, previous.status ?? {}),
  },
  warnings: (set, previous) => {
    const list = workloadWarnings(set, previous, { template: set.spec?.template, path: 'spec.template' });
    set.spec?.volumeClaimTemplates?.forEach(({ spec }, i) =>
      list.push(...claimSpecWarnings(spec, `spec.volumeClaimTemplates[${i}]${previous ? '.Spec' : ''}`)),
    );
    if ((set.spec?.revisionHistoryLimit ?? 0) < 0)
      list.push(
        'spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended',
      );
    return list;
  },
  scale: replicasScale,
  table: {
    columns: columns('Name', 'Ready', 'Age', 'Containers:wide', 'Images:wide'),
    row: (set, context) => [
      nameOf(set),
      `${set.status?.readyReplicas ?? 0}/${set.spec?.replicas ?? 0}`,
      formatAge(set, context),
      containerNames(set.spec?.template?.spec),
      containerImages(set.spec?.template?.spec),
    ],
  },
});

/** MaxUnavailableStatefulSet is disabled, and so is the field. */
function dropMaxUnavailable(spec: StatefulSetSpec | undefined, stored: StatefulSetSpec | undefined): void {
  const rolling = spec?.updateStrategy?.rollingUpdate;
  if (
    rolling?.maxUnavailable !== undefined &&
    stored?.updateStrategy?.rollingUpdate?.maxUnavailable === undefined
  )
    delete rolling.maxUnavailable;
}

/** Immutable parts are not validated again: they may be from before a rule. */
function checkSpec(
  given: StatefulSetSpec | undefined,
  errors: Errors,
  { isNew }: { readonly isNew: boolean },
): void {
  const spec = given ?? ({} as StatefulSetSpec);
  if (!spec.podManagementPolicy) errors.required(SPEC.child('podManagementPolicy'));
  else if (spec.podManagementPolicy !== 'OrderedReady' && spec.podManagementPolicy !== 'Parallel')
    errors.invalid(
      SPEC.child('podManagementPolicy'),
      spec.podManagementPolicy,
      "must be 'OrderedReady' or 'Parallel'",
    );
  checkStrategy(spec, errors);
  const retention = spec.persistentVolumeClaimRetentionPolicy;
  if (retention)
    for (const field of ['whenDeleted', 'whenScaled'] as const)
      checkEnum(
        retention[field],
        ['Retain', 'Delete'],
        SPEC.child('persistentVolumeClaimRetentionPolicy'),
        field,
        errors,
      );
  if (isNew)
    spec.volumeClaimTemplates?.forEach((claim, i) =>
      checkClaimSpec(claim.spec, SPEC.child('volumeClaimTemplates').index(i).child('spec'), errors),
    );
  checkCounts(spec, errors);
  checkNonNegative(spec.ordinals?.start, SPEC.child('ordinals'), 'start', errors);
  if (isNew && spec.serviceName) checkDnsLabel(spec.serviceName, SPEC, 'serviceName', errors);
  checkPodOwner({ ...spec, template: templateOfPods(spec) }, NAMES, errors);
}

/** The template as the set's pods will have it: with their names, and a volume for each claim. */
function templateOfPods({ template = {}, volumeClaimTemplates = [] }: StatefulSetSpec): PodTemplateSpec {
  if (!template.spec) return template;
  const { hostname: _hostname, subdomain: _subdomain, ...spec } = template.spec;
  const claims = new Map(
    volumeClaimTemplates.map(({ metadata: { name = '' } = {} }): [string, Volume] => [
      name,
      { name, persistentVolumeClaim: { claimName: name } },
    ]),
  );
  if (claims.size > 0)
    spec.volumes = [...claims.values(), ...(spec.volumes ?? []).filter(({ name }) => !claims.has(name))];
  return { ...template, spec };
}

function checkStrategy(spec: StatefulSetSpec, errors: Errors): void {
  const path = SPEC.child('updateStrategy'),
    { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (!type) errors.required(path);
  else if (type === 'OnDelete') {
    if (rollingUpdate)
      errors.invalid(
        path.child('rollingUpdate'),
        rollingUpdate,
        "only allowed for updateStrategy 'RollingUpdate'",
      );
  } else if (type !== 'RollingUpdate')
    errors.invalid(path, spec.updateStrategy, "must be 'RollingUpdate' or 'OnDelete'");
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
