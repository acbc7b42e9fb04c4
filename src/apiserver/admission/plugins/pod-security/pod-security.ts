/**
 * PodSecurity: enforces the Pod Security Standards selected by a namespace's labels pod-security.kubernetes.io/{enforce,warn,audit}. Enforce
 * refuses pods; warn returns warnings and audit annotates audit events, also for workloads with a pod template. A version (…-version: v1.N)
 * applies the rules of that release. After upstream's k8s.io/pod-security-admission.
 */
import type { ObjectMeta, Pod, PodSpec } from '#api/types.ts';
import { fieldErrorBody, fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../plugin.ts';
import { selectChecks, type PodToCheck, type Violation } from './checks.ts';
import { LEVELS, type LevelVersion } from './level.ts';
import { PodSecurityMetrics } from './metrics.ts';

const PREFIX = 'pod-security.kubernetes.io/';
type Mode = 'enforce' | 'audit' | 'warn';
const MODES: readonly Mode[] = ['enforce', 'audit', 'warn'];
/** Maximum of a namespace's pods checked when its level is raised; the warning mentions that more were skipped. */
const EXISTING_PODS_LIMIT = 3000;

export interface PodSecurityOptions {
  readonly defaults?: Partial<Readonly<Record<Mode, LevelVersion>>>;
  readonly exemptions?: {
    readonly usernames?: readonly string[];
    readonly runtimeClasses?: readonly string[];
    readonly namespaces?: readonly string[];
  };
}

/** Path of the pod template in each workload. */
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

/** Options and metrics of one server. */
interface Judge {
  readonly options: PodSecurityOptions;
  readonly metrics: PodSecurityMetrics;
}

export function podSecurity(options: PodSecurityOptions = {}): AdmissionPlugin {
  const judge: Judge = { options, metrics: new PodSecurityMetrics() };
  return {
    name: 'PodSecurity',
    start({ metrics }) {
      metrics.collect(() => judge.metrics.render());
    },
    handles(operation, { group, resource, subresource }) {
      if (operation !== 'CREATE' && operation !== 'UPDATE') return false;
      if (group === '' && resource === 'pods')
        return subresource === '' || subresource === 'ephemeralcontainers' || subresource === 'resize';
      return (
        subresource === '' &&
        ((group === '' && resource === 'namespaces') || TEMPLATES[`${group}/${resource}`] !== undefined)
      );
    },
    validate(attributes) {
      const { gvr } = attributes;
      if (gvr.resource === 'namespaces') return validateNamespace(attributes, options);
      if (gvr.resource === 'pods') return validatePod(attributes, judge);
      return validateTemplate(attributes, judge);
    },
  };
}

function validatePod(attributes: AdmissionAttributes, judge: Judge): void {
  const { metadata = {}, spec } = attributes.object as Pod;
  if (!spec || isExempt(attributes, judge)) return;
  const policy = policyFor(attributes, judge);
  if (!isSignificant(attributes) || hasExemptRuntimeClass(attributes, { spec, judge })) return;
  attributes.annotate?.(`${PREFIX}enforce-policy`, `${policy.enforce.level}:${policy.enforce.version}`);
  const pod = { metadata, spec };
  const violations = evaluate(pod, policy.enforce);
  judge.metrics.evaluated(attributes, {
    mode: 'enforce',
    policy: policy.enforce,
    allowed: violations.length === 0,
  });
  reportErrors(attributes, { policy, judge });
  annotateViolations(attributes, { pod, policy: policy.audit, judge });
  if (violations.length > 0)
    throw forbid(attributes, `violates PodSecurity ${describe(policy.enforce)}: ${explain(violations)}`);
  warnOf(attributes, { pod, policy: policy.warn, judge });
}

/** Templates get warnings only: enforce applies to the pods created from them. */
function validateTemplate(attributes: AdmissionAttributes, judge: Judge): void {
  const template = TEMPLATES[`${attributes.gvr.group}/${attributes.gvr.resource}`]?.(
    attributes.object ?? {},
  ) as { metadata?: ObjectMeta; spec?: PodSpec } | undefined;
  if (isExempt(attributes, judge)) return;
  const policy = policyFor(attributes, judge);
  if (
    policy.errors === undefined &&
    policy.warn.level === 'privileged' &&
    policy.audit.level === 'privileged'
  )
    return;
  if (!template?.spec || hasExemptRuntimeClass(attributes, { spec: template.spec, judge })) return;
  const pod = { metadata: template.metadata ?? {}, spec: template.spec };
  reportErrors(attributes, { policy, judge });
  annotateViolations(attributes, { pod, policy: policy.audit, judge });
  warnOf(attributes, { pod, policy: policy.warn, judge });
}

interface Question {
  readonly pod: PodToCheck;
  readonly policy: LevelVersion;
  readonly judge: Judge;
}

function annotateViolations(attributes: AdmissionAttributes, { pod, policy, judge }: Question): void {
  const violations = evaluate(pod, policy);
  if (violations.length === 0) return;
  attributes.annotate?.(
    `${PREFIX}audit-violations`,
    `would violate PodSecurity ${describe(policy)}: ${explain(violations)}`,
  );
  judge.metrics.evaluated(attributes, { mode: 'audit', policy, allowed: false });
}

function warnOf(attributes: AdmissionAttributes, { pod, policy, judge }: Question): void {
  const violations = evaluate(pod, policy);
  if (violations.length === 0) return;
  attributes.warn(`would violate PodSecurity ${describe(policy)}: ${explain(violations)}`);
  judge.metrics.evaluated(attributes, { mode: 'warn', policy, allowed: false });
}

/** Labels that cannot be read are no reason to refuse by themselves. */
function reportErrors(
  attributes: AdmissionAttributes,
  { policy, judge }: { readonly policy: Policy; readonly judge: Judge },
): void {
  if (policy.errors === undefined) return;
  attributes.annotate?.(`${PREFIX}error`, `Failed to parse policy: ${policy.errors}`);
  judge.metrics.failed(attributes);
}

/** Refuses labels that say nothing; warns of pods that a raised level would no longer let in. */
function validateNamespace(attributes: AdmissionAttributes, options: PodSecurityOptions): void {
  const labels = attributes.object?.metadata?.labels ?? {};
  const previousLabels = attributes.oldObject?.metadata?.labels ?? {};
  const errors = labelErrors(labels);
  // Existing violations may remain, so that other changes stay possible.
  if (
    errors.length > 0 &&
    (attributes.operation === 'CREATE' ||
      JSON.stringify(labelErrors(previousLabels)) !== JSON.stringify(errors))
  ) {
    throw statusErrors.invalid({ group: '', kind: 'Namespace', name: attributes.name }, errors);
  }
  if (attributes.operation !== 'UPDATE' || attributes.subresource !== '') return;
  const wanted = policyOf(labels, options).enforce;
  const previous = policyOf(previousLabels, options).enforce;
  if (
    wanted.level === 'privileged' ||
    (wanted.version === previous.version && LEVELS.indexOf(wanted.level) <= LEVELS.indexOf(previous.level))
  )
    return;
  if (!options.exemptions?.namespaces?.includes(attributes.name))
    warnOfExisting(attributes, { policy: wanted, options });
}

function warnOfExisting(
  attributes: AdmissionAttributes,
  { policy, options }: { readonly policy: LevelVersion; readonly options: PodSecurityOptions },
): void {
  const all = attributes.internal.list(
    { group: '', resource: 'pods' },
    { namespace: attributes.name },
  ) as Pod[];
  const byProblem = new Map<string, string[]>();
  for (const { metadata = {}, spec } of all.slice(0, EXISTING_PODS_LIMIT)) {
    const violations =
      spec && !options.exemptions?.runtimeClasses?.includes(spec.runtimeClassName ?? '')
        ? evaluate({ metadata, spec }, policy)
        : [];
    if (violations.length === 0) continue;
    const problem = violations.map(({ reason }) => reason).join(', ');
    byProblem.set(problem, [...(byProblem.get(problem) ?? []), metadata.name ?? '']);
  }
  if (all.length > EXISTING_PODS_LIMIT)
    attributes.warn(
      `new PodSecurity enforce level only checked against the first ${EXISTING_PODS_LIMIT} of ${all.length} existing pods`,
    );
  if (byProblem.size > 0)
    attributes.warn(
      `existing pods in namespace ${JSON.stringify(attributes.name)} violate the new PodSecurity enforce level ${describe(policy)}`,
    );
  const texts = [...byProblem].map(([problem, names]) => {
    const others =
      names.length === 1
        ? ''
        : names.length === 2
          ? ' (and 1 other pod)'
          : ` (and ${names.length - 1} other pods)`;
    return `${names.toSorted()[0] ?? ''}${others}: ${problem}`;
  });
  texts.toSorted().forEach((text) => attributes.warn(text));
}

function isExempt(attributes: AdmissionAttributes, { options, metrics }: Judge): boolean {
  const { exemptions } = options;
  if (!exemptions) return false;
  const { user, namespace, annotate } = attributes;
  const why = exemptions.namespaces?.includes(namespace)
    ? 'namespace'
    : exemptions.usernames?.includes(user.name)
      ? 'user'
      : undefined;
  if (why === undefined) return false;
  annotate?.(`${PREFIX}exempt`, why);
  metrics.exempted(attributes);
  return true;
}

function hasExemptRuntimeClass(
  attributes: AdmissionAttributes,
  { spec, judge }: { readonly spec: PodSpec; readonly judge: Judge },
): boolean {
  if (
    spec.runtimeClassName === undefined ||
    !judge.options.exemptions?.runtimeClasses?.includes(spec.runtimeClassName)
  )
    return false;
  attributes.annotate?.(`${PREFIX}exempt`, 'runtimeClass');
  judge.metrics.exempted(attributes);
  return true;
}

const PROFILE_ANNOTATIONS = [
  'seccomp.security.alpha.kubernetes.io/pod',
  'container.seccomp.security.alpha.kubernetes.io/',
  'container.apparmor.security.beta.kubernetes.io/',
];

/** Of mutable fields only images, new containers and security profiles matter: labels and resources must stay mutable for every pod. */
function isSignificant({ operation, object, oldObject }: AdmissionAttributes): boolean {
  if (operation === 'CREATE') return true;
  const relevant = (pod: Pod | undefined): string =>
    JSON.stringify([
      [pod?.spec?.containers, pod?.spec?.initContainers, pod?.spec?.ephemeralContainers].map((list) =>
        (list ?? []).map(({ name, image }) => [name, image]),
      ),
      Object.entries(pod?.metadata?.annotations ?? {})
        .filter(([key]) => PROFILE_ANNOTATIONS.some((prefix) => key.startsWith(prefix)))
        .toSorted(),
    ]);
  return relevant(object as Pod) !== relevant(oldObject as Pod | undefined);
}

type Policy = Readonly<Record<Mode, LevelVersion>> & {
  /** Parse errors of the labels. */ readonly errors: string | undefined;
};

function policyFor({ internal, namespace }: AdmissionAttributes, { options }: Judge): Policy {
  return policyOf(
    internal.get({ group: '', resource: 'namespaces' }, { name: namespace })?.metadata?.labels ?? {},
    options,
  );
}

const FALLBACK: LevelVersion = { level: 'privileged', version: 'latest' };

/** An unparsable level is the strictest for enforce, and none for warnings; an unparsable version is the newest. The enforced level also warns. */
function policyOf(labels: Readonly<Record<string, string>>, { defaults = {} }: PodSecurityOptions): Policy {
  const { enforce = FALLBACK, audit = FALLBACK, warn = FALLBACK } = defaults;
  if (!hasLabels(labels)) return { enforce, audit, warn, errors: undefined };
  const read = (mode: Mode, fallback: LevelVersion): LevelVersion => {
    const level = labels[PREFIX + mode],
      version = labels[`${PREFIX}${mode}-version`] ?? fallback.version;
    const known =
      LEVELS.find((candidate) => candidate === level) ?? (mode === 'enforce' ? 'restricted' : 'privileged');
    return {
      level: level === undefined ? fallback.level : known,
      version: isVersion(version) ? version : 'latest',
    };
  };
  const enforced = read('enforce', enforce),
    warned = read('warn', warn);
  const isAskedFor =
    LEVELS.some((level) => level === labels[`${PREFIX}enforce`]) &&
    labels[`${PREFIX}warn`] === undefined &&
    LEVELS.indexOf(enforced.level) > LEVELS.indexOf(warned.level);
  const errors = labelErrors(labels);
  return {
    enforce: enforced,
    audit: read('audit', audit),
    warn: isAskedFor
      ? {
          level: enforced.level,
          version: labels[`${PREFIX}warn-version`] === undefined ? enforced.version : warned.version,
        }
      : warned,
    errors:
      errors.length > 0
        ? errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`).join(', ')
        : undefined,
  };
}

/** Cheap: most namespaces have none. */
function hasLabels(labels: Readonly<Record<string, string>>): boolean {
  for (const name in labels) if (name.startsWith(PREFIX)) return true;
  return false;
}

function isVersion(text: string): boolean {
  return text === 'latest' || /^v1\.(0|[1-9][0-9]*)$/.test(text);
}

function labelErrors(labels: Readonly<Record<string, string>>): FieldError[] {
  return MODES.flatMap((mode) => {
    const level = labels[PREFIX + mode];
    const version = labels[`${PREFIX}${mode}-version`];
    const levelOk = level === undefined || LEVELS.some((known) => known === level);
    const versionOk = version === undefined || isVersion(version);
    return [
      ...(levelOk
        ? []
        : [
            fieldErrors.invalid(
              `metadata.labels[${PREFIX}${mode}]`,
              level,
              `must be one of ${LEVELS.join(', ')}`,
            ),
          ]),
      ...(versionOk
        ? []
        : [
            fieldErrors.invalid(
              `metadata.labels[${PREFIX}${mode}-version]`,
              version,
              'must be "latest" or "v1.x"',
            ),
          ]),
    ];
  });
}

/** The pod's violations of the standard. */
export function evaluate(pod: PodToCheck, { level, version }: LevelVersion): Violation[] {
  if (level === 'privileged') return [];
  return selectChecks(level, version === 'latest' ? Infinity : Number(version.slice('v1.'.length))).flatMap(
    (check) => check(pod) ?? [],
  );
}

function describe({ level, version }: LevelVersion): string {
  return JSON.stringify(`${level}:${version}`);
}

function explain(violations: readonly Violation[]): string {
  return violations
    .map(({ reason, detail }) => (detail === '' ? reason : `${reason} (${detail})`))
    .join(', ');
}
