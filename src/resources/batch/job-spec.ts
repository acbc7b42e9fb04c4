/** The spec of jobs, also of those that CronJobs will make. After upstream's pkg/apis/batch/validation. */
import type { Job, JobSpec, PodFailurePolicyRule } from '#api/types.ts';
import { checkImmutable, checkLabelSelector, checkNonNegative, checkOptionalEnum, checkQualifiedName, selectorMatches } from '../checks.ts';
import { checkPodTemplate } from '../core/pod/spec.ts';
import { type Errors, METADATA, type Path, SPEC } from '../field-path.ts';

const RESTART_POLICIES = ['Never', 'OnFailure'];
const PARALLEL_INDEXED_MAX = 100000;

export function checkJob(job: Job, errors: Errors): void {
  const spec = job.spec ?? ({} as JobSpec);
  if (!spec.selector) errors.required(SPEC.child('selector'));
  else checkLabelSelector(spec.selector, SPEC.child('selector'), errors);
  if (spec.manualSelector !== true) checkGenerated(job, errors);
  if (spec.selector && !selectorMatches(spec.selector, spec.template?.metadata?.labels)) {
    errors.invalid(SPEC.child('template').child('metadata').child('labels'), spec.template?.metadata?.labels ?? {}, '`selector` does not match template `labels`');
  }
  checkJobSpec(spec, SPEC, errors);
  if (spec.completionMode === 'Indexed' && (spec.completions ?? 0) > 0) {
    const longest = `${job.metadata?.name ?? ''}-${spec.completions! - 1}`;
    if (longest.length > 63) errors.invalid(METADATA.child('name'), job.metadata?.name, 'will not able to create pod with invalid DNS label: must be no more than 63 characters');
  }
}

/** The labels the server made must be there, unchanged. */
function checkGenerated(job: Job, errors: Errors): void {
  const { uid, name } = job.metadata ?? {}, labels = job.spec?.template?.metadata?.labels ?? {};
  const path = SPEC.child('template').child('metadata').child('labels');
  if (!uid) return;
  for (const [key, value] of [['batch.kubernetes.io/controller-uid', uid], ['controller-uid', uid], ['batch.kubernetes.io/job-name', name], ['job-name', name]] as const) {
    if (labels[key] === undefined) errors.required(path.key(key), `must be '${value}'`);
    else if (labels[key] !== value) errors.invalid(path.key(key), labels, `must be '${value}'`);
  }
  const selected = job.spec?.selector?.matchLabels ?? {};
  if (selected['batch.kubernetes.io/controller-uid'] !== uid && selected['controller-uid'] !== uid) {
    errors.invalid(SPEC.child('selector'), job.spec?.selector, '`selector` not auto-generated');
  }
}

export function checkJobSpec(spec: JobSpec, path: Path, errors: Errors): void {
  for (const field of ['parallelism', 'completions', 'activeDeadlineSeconds', 'backoffLimit', 'ttlSecondsAfterFinished', 'backoffLimitPerIndex', 'maxFailedIndexes'] as const) checkNonNegative(spec[field], path, field, errors);
  checkIndexed(spec, path, errors);
  if (spec.podFailurePolicy) checkFailurePolicy(spec, path.child('podFailurePolicy'), errors);
  if (spec.successPolicy) checkSuccessPolicy(spec, path.child('successPolicy'), errors);
  if (spec.managedBy !== undefined) {
    checkQualifiedName(spec.managedBy, path.child('managedBy'), errors);
    if (!spec.managedBy.includes('/')) errors.invalid(path.child('managedBy'), spec.managedBy, 'should be a domain-prefixed path (such as "acme.io/foo")');
    if (spec.managedBy.length > 63) errors.tooLong(path.child('managedBy'), 63);
  }
  checkOptionalEnum(spec.podReplacementPolicy, ['Failed', 'TerminatingOrFailed'], path, 'podReplacementPolicy', errors);
  if (spec.podFailurePolicy && spec.podReplacementPolicy === 'TerminatingOrFailed') errors.notSupported(path.child('podReplacementPolicy'), spec.podReplacementPolicy, ['Failed']);
  checkPodTemplate(spec.template, path.child('template'), errors);
  const restartPolicy = spec.template?.spec?.restartPolicy, at = path.child('template').child('spec').child('restartPolicy');
  if (restartPolicy === 'Always' || restartPolicy === undefined || restartPolicy === '') errors.required(at, 'valid values: "OnFailure", "Never"');
  else if (!RESTART_POLICIES.includes(restartPolicy)) errors.notSupported(at, restartPolicy, RESTART_POLICIES);
  else if (spec.podFailurePolicy && restartPolicy !== 'Never') errors.invalid(at, restartPolicy, 'only "Never" is supported when podFailurePolicy is specified');
}

function checkIndexed(spec: JobSpec, path: Path, errors: Errors): void {
  checkOptionalEnum(spec.completionMode, ['Indexed', 'NonIndexed'], path, 'completionMode', errors);
  if (spec.completionMode !== 'Indexed') {
    if (spec.backoffLimitPerIndex !== undefined) errors.invalid(path.child('backoffLimitPerIndex'), spec.backoffLimitPerIndex, 'requires indexed completion mode');
    if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined) errors.required(path.child('backoffLimitPerIndex'), 'when maxFailedIndexes is specified');
    return;
  }
  if (spec.completions === undefined) errors.required(path.child('completions'), 'when completion mode is Indexed');
  if ((spec.parallelism ?? 0) > PARALLEL_INDEXED_MAX) errors.invalid(path.child('parallelism'), spec.parallelism, `must be less than or equal to ${PARALLEL_INDEXED_MAX} when completion mode is Indexed`);
  if (spec.completions !== undefined && spec.maxFailedIndexes !== undefined && spec.maxFailedIndexes > spec.completions) errors.invalid(path.child('maxFailedIndexes'), spec.maxFailedIndexes, 'must be less than or equal to completions');
  if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined) errors.required(path.child('backoffLimitPerIndex'), 'when maxFailedIndexes is specified');
  if (spec.maxFailedIndexes !== undefined && spec.maxFailedIndexes > PARALLEL_INDEXED_MAX) errors.invalid(path.child('maxFailedIndexes'), spec.maxFailedIndexes, `must be less than or equal to ${PARALLEL_INDEXED_MAX}`);
}

const ACTIONS = ['Count', 'FailIndex', 'FailJob', 'Ignore'];

function checkFailurePolicy(spec: JobSpec, path: Path, errors: Errors): void {
  const rules = spec.podFailurePolicy!.rules ?? [], at = path.child('rules');
  if (rules.length > 20) errors.tooMany(at, rules.length, 20);
  const names = new Set([...(spec.template?.spec?.containers ?? []), ...(spec.template?.spec?.initContainers ?? [])].map(({ name }) => name));
  rules.forEach((rule, i) => checkFailureRule(rule, spec, { path: at.index(i), errors, names }));
}

function checkFailureRule(rule: PodFailurePolicyRule, spec: JobSpec, { path, errors, names }: { path: Path; errors: Errors; names: ReadonlySet<string> }): void {
  if (!rule.action) errors.required(path.child('action'), `valid values: ${ACTIONS.map((action) => JSON.stringify(action)).join(', ')}`);
  else if (!ACTIONS.includes(rule.action)) errors.notSupported(path.child('action'), rule.action, ACTIONS);
  else if (rule.action === 'FailIndex' && spec.backoffLimitPerIndex === undefined) errors.invalid(path.child('action'), rule.action, 'requires the backoffLimitPerIndex to be set');
  const codes = rule.onExitCodes, conditions = rule.onPodConditions ?? [];
  if (codes) {
    const at = path.child('onExitCodes');
    if (!codes.operator) errors.required(at.child('operator'), 'valid values: "In", "NotIn"');
    else if (codes.operator !== 'In' && codes.operator !== 'NotIn') errors.notSupported(at.child('operator'), codes.operator, ['In', 'NotIn']);
    if (codes.containerName !== undefined && !names.has(codes.containerName)) errors.invalid(at.child('containerName'), codes.containerName, 'must be one of the container or initContainer names in the pod template');
    const values = codes.values ?? [];
    if (values.length === 0) errors.invalid(at.child('values'), values, 'at least one value is required');
    if (values.length > 255) errors.tooMany(at.child('values'), values.length, 255);
    else values.forEach((value, i) => {
      if (codes.operator === 'In' && value === 0) errors.invalid(at.child('values').index(i), value, "must not be 0 for the In operator");
      if (values.indexOf(value) < i) errors.duplicate(at.child('values').index(i), value);
      else if (i > 0 && values[i - 1]! > value) errors.invalid(at.child('values'), values, 'must be ordered');
    });
  }
  if (conditions.length > 20) errors.tooMany(path.child('onPodConditions'), conditions.length, 20);
  conditions.forEach((pattern, i) => {
    const at = path.child('onPodConditions').index(i);
    if (!pattern.type) errors.required(at.child('type'));
    else checkQualifiedName(pattern.type, at.child('type'), errors);
    checkOptionalEnum(pattern.status, ['False', 'True', 'Unknown'], at, 'status', errors);
  });
  if (codes && conditions.length > 0) errors.invalid(path, '', 'specifying both OnExitCodes and OnPodConditions is not supported');
  if (!codes && conditions.length === 0) errors.invalid(path, '', 'specifying one of OnExitCodes and OnPodConditions is required');
}

function checkSuccessPolicy(spec: JobSpec, path: Path, errors: Errors): void {
  const rules = spec.successPolicy!.rules ?? [], at = path.child('rules');
  if (spec.completionMode !== 'Indexed') errors.invalid(path, spec.successPolicy, 'requires indexed completion mode');
  if (rules.length === 0) errors.required(at, 'at least one rules must be specified');
  if (rules.length > 20) errors.tooMany(at, rules.length, 20);
  rules.forEach((rule, i) => {
    if (rule.succeededCount === undefined && rule.succeededIndexes === undefined) errors.required(at.index(i), 'at least one of succeededCount or succeededIndexes must be specified');
    checkNonNegative(rule.succeededCount, at.index(i), 'succeededCount', errors);
    if (rule.succeededCount !== undefined && spec.completions !== undefined && rule.succeededCount > spec.completions) errors.invalid(at.index(i).child('succeededCount'), rule.succeededCount, `must be less than or equal to ${spec.completions} (the number of specified completions)`);
    if (rule.succeededIndexes !== undefined && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(rule.succeededIndexes)) errors.invalid(at.index(i).child('succeededIndexes'), rule.succeededIndexes, 'error parsing succeededIndexes: cannot convert string to integer for index');
  });
}

export function checkJobUpdate(next: Job, previous: Job, errors: Errors): void {
  const spec = next.spec ?? ({} as JobSpec), stored = previous.spec ?? ({} as JobSpec);
  const elastic = spec.completionMode === 'Indexed' && spec.completions !== undefined && spec.completions === spec.parallelism;
  if (!elastic) checkImmutable(spec.completions, stored.completions, SPEC.child('completions'), errors);
  checkImmutable(spec.selector, stored.selector, SPEC.child('selector'), errors);
  checkTemplateUpdate(next, previous, errors);
  checkImmutable(spec.completionMode, stored.completionMode, SPEC.child('completionMode'), errors);
  checkImmutable(spec.podFailurePolicy, stored.podFailurePolicy, SPEC.child('podFailurePolicy'), errors);
  checkImmutable(spec.backoffLimitPerIndex, stored.backoffLimitPerIndex, SPEC.child('backoffLimitPerIndex'), errors);
  checkImmutable(spec.managedBy, stored.managedBy, SPEC.child('managedBy'), errors);
  checkImmutable(spec.successPolicy, stored.successPolicy, SPEC.child('successPolicy'), errors);
}

const SCHEDULING = ['nodeSelector', 'affinity', 'tolerations', 'schedulingGates'] as const;

/** Where the pods go may change while a job is suspended and has not begun; all else of the template may not. */
function checkTemplateUpdate(next: Job, previous: Job, errors: Errors): void {
  const template = next.spec?.template, stored = previous.spec?.template;
  const mutable = previous.spec?.suspend === true && !previous.status?.startTime;
  if (!mutable || !template?.spec || !stored?.spec) { checkImmutable(template, stored, SPEC.child('template'), errors); return; }
  const spec = { ...template.spec } as Record<string, unknown>;
  for (const field of SCHEDULING) {
    if (stored.spec[field] === undefined) delete spec[field];
    else spec[field] = stored.spec[field];
  }
  checkImmutable({ ...template, metadata: stored.metadata, spec }, stored, SPEC.child('template'), errors);
}
