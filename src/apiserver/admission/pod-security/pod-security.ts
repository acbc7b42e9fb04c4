/**
 * PodSecurity: the Pod Security Standards a namespace asks for by labels pod-security.kubernetes.io/{enforce,warn,audit}. Enforce
 * refuses pods; warn answers warnings and audit annotates audit events, also for workloads that will make such pods. Versions older than
 * the newest are accepted and judged by the newest rules.
 */
import type { ObjectMeta, Pod, PodSpec } from '#api/types.ts';
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';
import { BASELINE, RESTRICTED, type PodToCheck, type Violation } from './checks.ts';

const LEVELS = ['privileged', 'baseline', 'restricted'] as const;
export type Level = (typeof LEVELS)[number];
const PREFIX = 'pod-security.kubernetes.io/';
type Mode = 'enforce' | 'audit' | 'warn';
const MODES: readonly Mode[] = ['enforce', 'audit', 'warn'];
/** Pods of a namespace looked at when its level is raised; more are not, and the warning says so. */
const EXISTING_PODS_LIMIT = 3000;

export interface LevelVersion { readonly level: Level; /** 'latest' or 'v1.N'. */ readonly version: string }

export interface PodSecurityOptions {
  readonly defaults?: Partial<Readonly<Record<Mode, LevelVersion>>>;
  readonly exemptions?: { readonly usernames?: readonly string[]; readonly runtimeClasses?: readonly string[]; readonly namespaces?: readonly string[] };
}

/** Where each workload keeps its pod template. */
const TEMPLATES: Readonly<Record<string, (object: KubeObject) => unknown>> = {
  '/replicationcontrollers': (object) => at(object, 'spec', 'template'),
  '/podtemplates': (object) => object['template'],
  'apps/deployments': (object) => at(object, 'spec', 'template'),
  'apps/replicasets': (object) => at(object, 'spec', 'template'),
  'apps/statefulsets': (object) => at(object, 'spec', 'template'),
  'apps/daemonsets': (object) => at(object, 'spec', 'template'),
  'batch/jobs': (object) => at(object, 'spec', 'template'),
  'batch/cronjobs': (object) => at(object, 'spec', 'jobTemplate', 'spec', 'template'),
};

function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce((current, key) => (current as Record<string, unknown> | undefined)?.[key], value);
}

export function podSecurity(options: PodSecurityOptions = {}): AdmissionPlugin {
  return {
    name: 'PodSecurity',
    handles(operation, { group, resource, subresource }) {
      if (operation !== 'CREATE' && operation !== 'UPDATE') return false;
      if (group === '' && resource === 'pods') return subresource === '' || subresource === 'ephemeralcontainers';
      return subresource === '' && ((group === '' && resource === 'namespaces') || TEMPLATES[`${group}/${resource}`] !== undefined);
    },
    validate(attributes) {
      const { gvr } = attributes;
      if (gvr.resource === 'namespaces') return validateNamespace(attributes, options);
      if (gvr.resource === 'pods') return validatePod(attributes, options);
      return validateTemplate(attributes, options);
    },
  };
}

function validatePod(attributes: AdmissionAttributes, options: PodSecurityOptions): void {
  const { metadata = {}, spec } = attributes.object as Pod;
  if (!spec || isExempt(attributes, { spec, options }) || !isSignificant(attributes)) return;
  const policy = policyFor(attributes, options);
  attributes.annotate?.(`${PREFIX}enforce-policy`, `${policy.enforce.level}:${policy.enforce.version}`);
  annotateViolations(attributes, { pod: { metadata, spec }, policy: policy.audit });
  const violations = evaluate({ metadata, spec }, policy.enforce.level);
  if (violations.length > 0) throw forbid(attributes, `violates PodSecurity ${describe(policy.enforce)}: ${explain(violations)}`);
  warnOf(attributes, { pod: { metadata, spec }, policy: policy.warn });
}

/** A template is only warned about: the pods made of it are what enforce refuses. */
function validateTemplate(attributes: AdmissionAttributes, options: PodSecurityOptions): void {
  const template = TEMPLATES[`${attributes.gvr.group}/${attributes.gvr.resource}`]?.(attributes.object ?? {}) as { metadata?: ObjectMeta; spec?: PodSpec } | undefined;
  if (!template?.spec || isExempt(attributes, { spec: template.spec, options })) return;
  const pod = { metadata: template.metadata ?? {}, spec: template.spec };
  const policy = policyFor(attributes, options);
  annotateViolations(attributes, { pod, policy: policy.audit });
  warnOf(attributes, { pod, policy: policy.warn });
}

function annotateViolations({ annotate }: AdmissionAttributes, { pod, policy }: { readonly pod: PodToCheck; readonly policy: LevelVersion }): void {
  if (!annotate) return;
  const violations = evaluate(pod, policy.level);
  if (violations.length > 0) annotate(`${PREFIX}audit-violations`, `would violate PodSecurity ${describe(policy)}: ${explain(violations)}`);
}

function warnOf(attributes: AdmissionAttributes, { pod, policy }: { readonly pod: PodToCheck; readonly policy: LevelVersion }): void {
  const violations = evaluate(pod, policy.level);
  if (violations.length > 0) attributes.warn(`would violate PodSecurity ${describe(policy)}: ${explain(violations)}`);
}

/** Refuses labels that say nothing; warns of pods that a raised level would no longer let in. */
function validateNamespace(attributes: AdmissionAttributes, options: PodSecurityOptions): void {
  const labels = attributes.object?.metadata?.labels ?? {};
  const previousLabels = attributes.oldObject?.metadata?.labels ?? {};
  const errors = labelErrors(labels);
  // What was wrong before may stay wrong, so that other changes remain possible.
  if (errors.length > 0 && (attributes.operation === 'CREATE' || labelErrors(previousLabels).length === 0)) {
    throw statusErrors.invalid({ group: '', kind: 'Namespace', name: attributes.name }, errors);
  }
  if (attributes.operation !== 'UPDATE') return;
  const wanted = policyOf(labels, options).enforce;
  const previous = policyOf(previousLabels, options).enforce;
  if (LEVELS.indexOf(wanted.level) > LEVELS.indexOf(previous.level) && !options.exemptions?.namespaces?.includes(attributes.name)) warnOfExisting(attributes, wanted);
}

function warnOfExisting(attributes: AdmissionAttributes, policy: LevelVersion): void {
  const all = attributes.internal.list({ group: '', resource: 'pods' }, { namespace: attributes.name }) as Pod[];
  const byProblem = new Map<string, string[]>();
  for (const { metadata = {}, spec } of all.slice(0, EXISTING_PODS_LIMIT)) {
    const violations = spec ? evaluate({ metadata, spec }, policy.level) : [];
    if (violations.length === 0) continue;
    const problem = violations.map(({ reason }) => reason).join(', ');
    byProblem.set(problem, [...byProblem.get(problem) ?? [], metadata.name ?? '']);
  }
  if (byProblem.size > 0) attributes.warn(`existing pods in namespace ${JSON.stringify(attributes.name)} violate the new PodSecurity enforce level ${describe(policy)}`);
  for (const [problem, names] of byProblem) {
    const others = names.length === 1 ? '' : names.length === 2 ? ' (and 1 other pod)' : ` (and ${names.length - 1} other pods)`;
    attributes.warn(`${names.toSorted()[0] ?? ''}${others}: ${problem}`);
  }
  if (all.length > EXISTING_PODS_LIMIT) attributes.warn(`new PodSecurity enforce level only checked against the first ${EXISTING_PODS_LIMIT} of ${all.length} existing pods`);
}

function isExempt({ user, namespace, annotate }: AdmissionAttributes, { spec, options }: { readonly spec: PodSpec; readonly options: PodSecurityOptions }): boolean {
  const { usernames, runtimeClasses, namespaces } = options.exemptions ?? {};
  const why = namespaces?.includes(namespace) ? 'namespace' : usernames?.includes(user.name) ? 'user' : spec.runtimeClassName !== undefined && runtimeClasses?.includes(spec.runtimeClassName) ? 'runtimeClass' : undefined;
  if (why) annotate?.(`${PREFIX}exempt`, why);
  return why !== undefined;
}

/** An update that leaves containers and security settings alone is let through, whatever they are: labels must stay changeable. */
function isSignificant({ operation, object, oldObject }: AdmissionAttributes): boolean {
  if (operation === 'CREATE') return true;
  const relevant = (pod: Pod | undefined): string => JSON.stringify([pod?.spec?.containers, pod?.spec?.initContainers, pod?.spec?.ephemeralContainers, pod?.spec?.securityContext]);
  return relevant(object as Pod) !== relevant(oldObject as Pod | undefined);
}

type Policy = Readonly<Record<Mode, LevelVersion>>;

function policyFor({ internal, namespace }: AdmissionAttributes, options: PodSecurityOptions): Policy {
  return policyOf(internal.get({ group: '', resource: 'namespaces' }, { name: namespace })?.metadata?.labels ?? {}, options);
}

/** A level that cannot be read is the strictest for enforce, and none for warnings. */
function policyOf(labels: Readonly<Record<string, string>>, { defaults = {} }: PodSecurityOptions): Policy {
  const read = (mode: Mode): LevelVersion => {
    const fallback = defaults[mode] ?? { level: 'privileged', version: 'latest' };
    const level = labels[PREFIX + mode];
    const version = labels[`${PREFIX}${mode}-version`] ?? fallback.version;
    if (level === undefined) return { level: fallback.level, version };
    const known = LEVELS.find((candidate) => candidate === level);
    return { level: known ?? (mode === 'enforce' ? 'restricted' : 'privileged'), version };
  };
  return { enforce: read('enforce'), audit: read('audit'), warn: read('warn') };
}

function labelErrors(labels: Readonly<Record<string, string>>): FieldError[] {
  return MODES.flatMap((mode) => {
    const level = labels[PREFIX + mode];
    const version = labels[`${PREFIX}${mode}-version`];
    const levelOk = level === undefined || LEVELS.some((known) => known === level);
    const versionOk = version === undefined || version === 'latest' || /^v1\.(0|[1-9][0-9]*)$/.test(version);
    return [
      ...(levelOk ? [] : [fieldErrors.invalid(`metadata.labels[${PREFIX}${mode}]`, level, `must be one of ${LEVELS.join(', ')}`)]),
      ...(versionOk ? [] : [fieldErrors.invalid(`metadata.labels[${PREFIX}${mode}-version]`, version, 'must be "latest" or "v1.x"')]),
    ];
  });
}

/** What of the standard the pod does not keep to. */
export function evaluate(pod: PodToCheck, level: Level): Violation[] {
  if (level === 'privileged') return [];
  return (level === 'baseline' ? BASELINE : RESTRICTED).flatMap((check) => check(pod) ?? []);
}

function describe({ level, version }: LevelVersion): string {
  return JSON.stringify(`${level}:${version}`);
}

function explain(violations: readonly Violation[]): string {
  return violations.map(({ reason, detail }) => (detail === '' ? reason : `${reason} (${detail})`)).join(', ');
}
