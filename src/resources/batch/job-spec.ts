/** The spec of jobs and of job templates of CronJobs. After upstream's pkg/apis/batch/validation. */
import type {
  Affinity,
  Container,
  Job,
  JobSpec,
  LabelSelector,
  PodFailurePolicyRule,
  SuccessPolicyRule,
} from '#api/types.ts';
import {
  checkDomainPrefixedPath,
  checkImmutable,
  checkLabelSelector,
  checkNonNegative,
  checkOptionalEnum,
  checkQualifiedName,
  eachRepeated,
  IMMUTABLE,
  selectorMatches,
  shownSelector,
} from '../checks.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
import { checkTemplateLabels } from '../apps/pod-owner.ts';
import { checkPodTemplate } from '../core/pod/spec.ts';
import { semanticEqual } from '../strategy.ts';
import { readIndexes } from './indexes.ts';
import { Errors, METADATA, type Path, SPEC } from '../field-path.ts';

const RESTART_POLICIES = ['OnFailure', 'Never'];
const PARALLEL_INDEXED_MAX = 100000;
/** Above this, a job with a backoff limit per index has limited parallelism and failures. */
export const COMPLETIONS_SOFT_MAX = 100000;
export const PARALLELISM_OF_MANY_MAX = 10000;
const FAILED_OF_MANY_MAX = 10000;
const SUCCEEDED_INDEXES_MAX_BYTES = 64 * 1024;

/** previous: for an update; jobs from before prefixed labels existed need not have them. */
export function checkJob(job: Job, previous: Job | undefined, errors: Errors): void {
  const spec = job.spec ?? ({} as JobSpec);
  if (spec.manualSelector !== true && spec.selector)
    checkGenerated(job, spec.selector, { errors, prefixed: !previous || hasPrefixed(previous) });
  checkSpecAndSelector(spec, errors);
  if (spec.completionMode === 'Indexed' && (spec.completions ?? 0) > 0) {
    const longest = `${job.metadata?.name ?? ''}-${spec.completions! - 1}`;
    if (validateDNS1123Label(longest).length > 0)
      errors.invalid(
        METADATA.child('name'),
        job.metadata?.name ?? '',
        `will not able to create pod with invalid DNS label: ${longest}`,
      );
  }
}

function checkSpecAndSelector(spec: JobSpec, errors: Errors): void {
  checkJobSpec(spec, SPEC, errors);
  if (checkSelector(spec.selector, errors))
    checkTemplateLabels(spec.template?.metadata?.labels, spec.selector, errors);
}

/** False when it is invalid. */
function checkSelector(selector: LabelSelector | undefined, errors: Errors): boolean {
  if (!selector) {
    errors.required(SPEC.child('selector'));
    return true;
  }
  const before = errors.list.length;
  checkLabelSelector(selector, SPEC.child('selector'), errors);
  return errors.list.length === before;
}

const CONTROLLER_UID = 'batch.kubernetes.io/controller-uid',
  JOB_NAME = 'batch.kubernetes.io/job-name';

function hasPrefixed({ spec }: Job): boolean {
  const labels = spec?.template?.metadata?.labels ?? {};
  return labels[CONTROLLER_UID] !== undefined && labels[JOB_NAME] !== undefined;
}

/** The generated labels must exist, unchanged, and the selector must match only them. */
function checkGenerated(
  job: Job,
  selector: LabelSelector,
  { errors, prefixed }: { readonly errors: Errors; readonly prefixed: boolean },
): void {
  const { uid, name = '' } = job.metadata ?? {},
    labels = job.spec?.template?.metadata?.labels ?? {};
  const path = SPEC.child('template').child('metadata').child('labels');
  if (!uid) return;
  const expected = {
    'controller-uid': uid,
    'job-name': name,
    ...(prefixed ? { [CONTROLLER_UID]: uid, [JOB_NAME]: name } : {}),
  };
  for (const [key, value] of Object.entries(expected)) {
    if (labels[key] === undefined) errors.required(path.key(key), `must be '${value}'`);
    else if (labels[key] !== value) errors.invalid(path.key(key), labels, `must be '${value}'`);
  }
  const scratch = new Errors();
  checkLabelSelector(selector, SPEC, scratch);
  if (!scratch.any && !selectorMatches(selector, expected))
    errors.invalid(SPEC.child('selector'), shownSelector(selector), '`selector` not auto-generated');
}

export function checkJobSpec(spec: JobSpec, path: Path, errors: Errors): void {
  for (const field of [
    'parallelism',
    'completions',
    'activeDeadlineSeconds',
    'backoffLimit',
    'ttlSecondsAfterFinished',
    'backoffLimitPerIndex',
    'maxFailedIndexes',
  ] as const)
    checkNonNegative(spec[field], path, field, errors);
  if (spec.managedBy !== undefined) {
    checkDomainPrefixedPath(spec.managedBy, path.child('managedBy'), errors);
    if (spec.managedBy.length > 63) errors.tooLong(path.child('managedBy'), 63);
  }
  checkIndexed(spec, path, errors);
  if (spec.podFailurePolicy) checkFailurePolicy(spec, path.child('podFailurePolicy'), errors);
  if (spec.successPolicy) checkSuccessPolicy(spec, path.child('successPolicy'), errors);
  checkOptionalEnum(
    spec.podReplacementPolicy,
    spec.podFailurePolicy ? ['Failed'] : ['Failed', 'TerminatingOrFailed'],
    path,
    'podReplacementPolicy',
    errors,
  );
  checkPodTemplate(spec.template, path.child('template'), errors);
  const restartPolicy = spec.template?.spec?.restartPolicy,
    at = path.child('template').child('spec').child('restartPolicy');
  if (restartPolicy === 'Always' || restartPolicy === undefined || restartPolicy === '')
    errors.required(at, 'valid values: "OnFailure", "Never"');
  else if (!RESTART_POLICIES.includes(restartPolicy))
    errors.notSupported(at, restartPolicy, RESTART_POLICIES);
  else if (spec.podFailurePolicy && restartPolicy !== 'Never')
    errors.invalid(at, restartPolicy, 'only "Never" is supported when podFailurePolicy is specified');
}

function checkIndexed(spec: JobSpec, path: Path, errors: Errors): void {
  const { completions, parallelism = 0, maxFailedIndexes, backoffLimitPerIndex } = spec;
  if (maxFailedIndexes !== undefined && backoffLimitPerIndex === undefined)
    errors.required(path.child('backoffLimitPerIndex'), 'when maxFailedIndexes is specified');
  checkOptionalEnum(spec.completionMode, ['NonIndexed', 'Indexed'], path, 'completionMode', errors);
  if (
    spec.completionMode !== undefined &&
    spec.completionMode !== 'NonIndexed' &&
    spec.completionMode !== 'Indexed'
  )
    return;
  if (spec.completionMode !== 'Indexed') {
    for (const field of ['backoffLimitPerIndex', 'maxFailedIndexes'] as const)
      if (spec[field] !== undefined)
        errors.invalid(path.child(field), spec[field], 'requires indexed completion mode');
    return;
  }
  const failedAt = path.child('maxFailedIndexes');
  if (completions === undefined)
    errors.required(path.child('completions'), 'when completion mode is Indexed');
  if (parallelism > PARALLEL_INDEXED_MAX)
    errors.invalid(
      path.child('parallelism'),
      parallelism,
      `must be less than or equal to ${PARALLEL_INDEXED_MAX} when completion mode is Indexed`,
    );
  if (completions !== undefined && maxFailedIndexes !== undefined && maxFailedIndexes > completions)
    errors.invalid(failedAt, maxFailedIndexes, 'must be less than or equal to completions');
  if (maxFailedIndexes !== undefined && maxFailedIndexes > PARALLEL_INDEXED_MAX)
    errors.invalid(failedAt, maxFailedIndexes, `must be less than or equal to ${PARALLEL_INDEXED_MAX}`);
  if ((completions ?? 0) <= COMPLETIONS_SOFT_MAX || backoffLimitPerIndex === undefined) return;
  const why = `when completions are above ${COMPLETIONS_SOFT_MAX} and used with backoff limit per index`;
  if (maxFailedIndexes === undefined)
    errors.required(failedAt, `must be specified when completions is above ${COMPLETIONS_SOFT_MAX}`);
  if (parallelism > PARALLELISM_OF_MANY_MAX)
    errors.invalid(
      path.child('parallelism'),
      parallelism,
      `must be less than or equal to ${PARALLELISM_OF_MANY_MAX} ${why}`,
    );
  if (maxFailedIndexes !== undefined && maxFailedIndexes > FAILED_OF_MANY_MAX)
    errors.invalid(failedAt, maxFailedIndexes, `must be less than or equal to ${FAILED_OF_MANY_MAX} ${why}`);
}

const ACTIONS = ['Count', 'FailIndex', 'FailJob', 'Ignore'];
const CONDITION_STATUSES = ['False', 'True', 'Unknown'];
const EXIT_CODES_MAX = 255;

/** As Go formats a list of quoted strings. */
function quotedList(values: readonly string[]): string {
  return `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
}

function checkFailurePolicy(spec: JobSpec, path: Path, errors: Errors): void {
  const rules = spec.podFailurePolicy!.rules ?? [],
    at = path.child('rules');
  if (rules.length > 20) errors.tooMany(at, rules.length, 20);
  const names = new Set(
    [...(spec.template?.spec?.containers ?? []), ...(spec.template?.spec?.initContainers ?? [])].map(
      ({ name }) => name,
    ),
  );
  rules.forEach((rule, i) => checkFailureRule(rule, spec, { path: at.index(i), errors, names }));
}

function checkFailureRule(
  rule: PodFailurePolicyRule,
  spec: JobSpec,
  { path, errors, names }: { path: Path; errors: Errors; names: ReadonlySet<string> },
): void {
  if (!rule.action) errors.required(path.child('action'), `valid values: ${quotedList(ACTIONS)}`);
  else if (!ACTIONS.includes(rule.action)) errors.notSupported(path.child('action'), rule.action, ACTIONS);
  else if (rule.action === 'FailIndex' && spec.backoffLimitPerIndex === undefined)
    errors.invalid(path.child('action'), rule.action, 'requires the backoffLimitPerIndex to be set');
  const codes = rule.onExitCodes,
    conditions = rule.onPodConditions ?? [];
  if (codes) {
    const at = path.child('onExitCodes');
    if (!codes.operator)
      errors.required(at.child('operator'), `valid values: ${quotedList(['In', 'NotIn'])}`);
    else if (codes.operator !== 'In' && codes.operator !== 'NotIn')
      errors.notSupported(at.child('operator'), codes.operator, ['In', 'NotIn']);
    if (codes.containerName !== undefined && !names.has(codes.containerName))
      errors.invalid(
        at.child('containerName'),
        codes.containerName,
        'must be one of the container or initContainer names in the pod template',
      );
    const values = codes.values ?? [];
    if (values.length === 0)
      errors.invalid(at.child('values'), codes.values, 'at least one value is required');
    if (values.length > EXIT_CODES_MAX) errors.tooMany(at.child('values'), values.length, EXIT_CODES_MAX);
    values.forEach((value, i) => {
      if (codes.operator === 'In' && value === 0)
        errors.invalid(at.child('values').index(i), value, 'must not be 0 for the In operator');
    });
    eachRepeated(values, (value, i) => errors.duplicate(at.child('values').index(i), value));
    if (values.some((value, i) => i > 0 && values[i - 1]! > value))
      errors.invalid(at.child('values'), values, 'must be ordered');
  }
  if (conditions.length > 20) errors.tooMany(path.child('onPodConditions'), conditions.length, 20);
  conditions.forEach((pattern, i) => {
    const at = path.child('onPodConditions').index(i);
    checkQualifiedName(pattern.type ?? '', at.child('type'), errors);
    if (!pattern.status)
      errors.required(at.child('status'), `valid values: ${quotedList(CONDITION_STATUSES)}`);
    else if (!CONDITION_STATUSES.includes(pattern.status))
      errors.notSupported(at.child('status'), pattern.status, CONDITION_STATUSES);
  });
  if (codes && conditions.length > 0)
    errors.omitted(path, 'specifying both OnExitCodes and OnPodConditions is not supported');
  if (!codes && conditions.length === 0)
    errors.omitted(path, 'specifying one of OnExitCodes and OnPodConditions is required');
}

function checkSuccessPolicy(spec: JobSpec, path: Path, errors: Errors): void {
  const rules = spec.successPolicy!.rules ?? [],
    at = path.child('rules');
  if (spec.completionMode !== 'Indexed') {
    errors.invalid(path, spec.successPolicy, 'requires indexed completion mode');
    return;
  }
  if (rules.length === 0)
    errors.required(at, 'at least one rules must be specified when the successPolicy is specified');
  if (rules.length > 20) errors.tooMany(at, rules.length, 20);
  rules.forEach((rule, i) => checkSuccessRule(rule, spec.completions ?? 0, at.index(i), errors));
}

function checkSuccessRule(
  { succeededCount, succeededIndexes }: SuccessPolicyRule,
  completions: number,
  path: Path,
  errors: Errors,
): void {
  if (succeededCount === undefined && succeededIndexes === undefined)
    errors.required(path, 'at least one of succeededCount or succeededIndexes must be specified');
  let total = 0;
  if (succeededIndexes !== undefined) {
    const at = path.child('succeededIndexes'),
      read = readIndexes(succeededIndexes, completions);
    if (succeededIndexes.length > SUCCEEDED_INDEXES_MAX_BYTES)
      errors.tooLong(at, SUCCEEDED_INDEXES_MAX_BYTES);
    if (read.problem !== undefined)
      errors.invalid(at, succeededIndexes, `error parsing succeededIndexes: ${read.problem}`);
    total = read.total;
  }
  if (succeededCount === undefined) return;
  const at = path.child('succeededCount');
  checkNonNegative(succeededCount, path, 'succeededCount', errors);
  if (succeededCount > completions)
    errors.invalid(
      at,
      succeededCount,
      `must be less than or equal to ${completions} (the number of specified completions)`,
    );
  if (succeededIndexes !== undefined && succeededCount > total)
    errors.invalid(
      at,
      succeededCount,
      `must be less than or equal to ${total} (the number of indexes in the specified succeededIndexes field)`,
    );
}

export function checkJobUpdate(next: Job, previous: Job, errors: Errors): void {
  const spec = next.spec ?? ({} as JobSpec),
    stored = previous.spec ?? ({} as JobSpec);
  // As upstream, it is validated twice.
  if (errors.any) checkSpecAndSelector(spec, errors);
  if (spec.completionMode !== 'Indexed')
    checkImmutable(spec.completions, stored.completions, SPEC.child('completions'), errors);
  else if (
    spec.completions !== undefined &&
    spec.completions !== stored.completions &&
    spec.completions !== spec.parallelism
  )
    errors.invalid(
      SPEC.child('completions'),
      spec.completions,
      'can only be modified in tandem with spec.parallelism',
    );
  checkImmutable(spec.selector, stored.selector, SPEC.child('selector'), errors);
  checkTemplateUpdate(next, previous, errors);
  checkImmutable(spec.completionMode, stored.completionMode, SPEC.child('completionMode'), errors);
  checkImmutable(spec.podFailurePolicy, stored.podFailurePolicy, SPEC.child('podFailurePolicy'), errors);
  checkImmutable(
    spec.backoffLimitPerIndex,
    stored.backoffLimitPerIndex,
    SPEC.child('backoffLimitPerIndex'),
    errors,
  );
  checkImmutable(spec.managedBy, stored.managedBy, SPEC.child('managedBy'), errors);
  checkImmutable(spec.successPolicy, stored.successPolicy, SPEC.child('successPolicy'), errors);
}

const SCHEDULING = ['nodeSelector', 'tolerations', 'schedulingGates'] as const;

/** Scheduling directives and resources may change while a job is suspended and has no active pods; the rest of the template may not. */
function checkTemplateUpdate(next: Job, previous: Job, errors: Errors): void {
  const template = next.spec?.template,
    stored = previous.spec?.template,
    path = SPEC.child('template');
  if (!template?.spec || !stored?.spec || !isAtRest(previous)) {
    checkImmutable(template, stored, path, errors);
    return;
  }
  const spec = { ...template.spec } as Record<string, unknown>;
  for (const field of SCHEDULING) {
    if (stored.spec[field] === undefined) delete spec[field];
    else spec[field] = stored.spec[field];
  }
  spec['affinity'] = withNodeAffinityOf(stored.spec.affinity, template.spec.affinity);
  for (const field of ['containers', 'initContainers'] as const)
    if (template.spec[field]) spec[field] = withResourcesOf(stored.spec[field] ?? [], template.spec[field]);
  if (!semanticEqual(spec, stored.spec)) errors.invalid(path.child('spec'), template.spec, IMMUTABLE);
}

function isAtRest({ spec, status = {} }: Job): boolean {
  const isSuspended =
    status.conditions?.some(({ type, status: value }) => type === 'Suspended' && value === 'True') ?? false;
  return spec?.suspend === true && (!status.startTime || isSuspended) && (status.active ?? 0) === 0;
}

function withResourcesOf(stored: readonly Container[], next: readonly Container[]): readonly Container[] {
  if (stored.length !== next.length) return next;
  return next.map((container, i) =>
    container.name === stored[i]!.name
      ? ({ ...container, resources: stored[i]!.resources } as Container)
      : container,
  );
}

/** Only node affinity may change; an affinity without other parts can be added and removed as a whole. */
function withNodeAffinityOf(stored: Affinity | undefined, next: Affinity | undefined): Affinity | undefined {
  const { nodeAffinity, ...before } = stored ?? {},
    { nodeAffinity: _, ...after } = next ?? {};
  if (!next || !stored)
    return Object.keys(before).length === 0 && Object.keys(after).length === 0 ? stored : next;
  return nodeAffinity ? { ...after, nodeAffinity } : after;
}
