/** Audit policies (audit.k8s.io/v1 Policy): reading a file, and which level and stages a request has. The first rule that fits decides. */
import { readFileSync } from 'node:fs';
import { errorMessage } from '#stdx/log.ts';
import { configKind, readConfig } from '#machinery/config/read.ts';
import { flag, listOf, opaque, struct, text } from '#machinery/config/schema.ts';
import { fieldErrorBody, fieldErrors, type FieldError } from '#machinery/errors.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { RequestInfo } from '../http/request-info.ts';

export const LEVELS = ['None', 'Metadata', 'Request', 'RequestResponse'] as const;
export type AuditLevel = (typeof LEVELS)[number];
const STAGES = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const;
export type AuditStage = (typeof STAGES)[number];

export interface AuditPolicy {
  readonly rules: readonly PolicyRule[];
}

interface GroupResources {
  readonly group: string;
  readonly resources: readonly string[];
  readonly resourceNames: readonly string[];
}

/** Empty lists fit everything. */
export interface PolicyRule {
  readonly level: AuditLevel;
  readonly users: readonly string[];
  readonly userGroups: readonly string[];
  readonly verbs: readonly string[];
  readonly resources: readonly GroupResources[];
  readonly namespaces: readonly string[];
  readonly nonResourceURLs: readonly string[];
  /** With those of the whole policy. */
  readonly omitStages: ReadonlySet<AuditStage>;
  readonly omitManagedFields: boolean;
}

const NOTHING: PolicyRule = {
  level: 'None',
  users: [],
  userGroups: [],
  verbs: [],
  resources: [],
  namespaces: [],
  nonResourceURLs: [],
  omitStages: new Set(),
  omitManagedFields: false,
};

/** user undefined: unauthenticated. */
export function ruleFor(
  { rules }: AuditPolicy,
  { user, info }: { readonly user: UserInfo | undefined; readonly info: RequestInfo },
): PolicyRule {
  return rules.find((rule) => fits(rule, user, info)) ?? NOTHING;
}

function fits(rule: PolicyRule, user: UserInfo | undefined, info: RequestInfo): boolean {
  const { users, userGroups, verbs, namespaces, resources, nonResourceURLs } = rule;
  if (users.length > 0 && !(user && users.includes(user.name))) return false;
  if (userGroups.length > 0 && !user?.groups.some((group) => userGroups.includes(group))) return false;
  if (verbs.length > 0 && !verbs.includes(info.verb)) return false;
  if (namespaces.length > 0 || resources.length > 0) return fitsResource(rule, info);
  if (nonResourceURLs.length > 0)
    return (
      !info.isResourceRequest &&
      nonResourceURLs.some((url) =>
        url.endsWith('*') ? info.path.startsWith(url.slice(0, -1)) : info.path === url,
      )
    );
  return true;
}

function fitsResource(
  { namespaces, resources }: PolicyRule,
  { isResourceRequest, namespace, group, resource, subresource, name }: RequestInfo,
): boolean {
  if (!isResourceRequest || (namespaces.length > 0 && !namespaces.includes(namespace))) return false;
  if (resources.length === 0) return true;
  const full = subresource === '' ? resource : `${resource}/${subresource}`;
  return resources.some(
    (one) =>
      one.group === group &&
      (one.resources.length === 0 ||
        ((one.resourceNames.length === 0 || one.resourceNames.includes(name)) &&
          one.resources.some(
            (wanted) =>
              wanted === '*' ||
              wanted === full ||
              (subresource !== '' && wanted === `*/${subresource}`) ||
              wanted === `${resource}/*`,
          ))),
  );
}

// --------------------------------------------------------------------------------------------------------------- reading

/** Throws an Error of one sentence that names file and fields. */
export function readAuditPolicy(file: string): AuditPolicy {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`Cannot read audit policy file ${file}: ${errorMessage(error)}`, { cause: error });
  }
  return parseAuditPolicy(content, file);
}

const STAGES_FIELD = listOf(text);

const POLICY = configKind(
  { group: 'audit.k8s.io', versions: ['v1'], kind: 'Policy' },
  {
    metadata: opaque,
    rules: listOf(
      struct('PolicyRule', {
        level: text,
        users: listOf(text),
        userGroups: listOf(text),
        verbs: listOf(text),
        resources: listOf(
          struct('GroupResources', { group: text, resources: listOf(text), resourceNames: listOf(text) }),
        ),
        namespaces: listOf(text),
        nonResourceURLs: listOf(text),
        omitStages: STAGES_FIELD,
        omitManagedFields: flag,
      }),
    ),
    omitStages: STAGES_FIELD,
    omitManagedFields: flag,
  },
);

/** The decoded file. */
interface WireRule {
  readonly level?: string;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly resources?: readonly Partial<GroupResources>[];
  readonly namespaces?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly omitStages?: readonly string[];
  readonly omitManagedFields?: boolean;
}
interface WirePolicy {
  readonly rules?: readonly WireRule[];
  readonly omitStages?: readonly string[];
  readonly omitManagedFields?: boolean;
}

export function parseAuditPolicy(content: string, file: string): AuditPolicy {
  const refuse = (why: string, cause?: unknown): Error =>
    new Error(`audit policy file ${file}: ${why}`, { cause });
  let wire: WirePolicy;
  try {
    wire = readConfig<WirePolicy>(content, [POLICY]);
  } catch (error) {
    throw refuse(errorMessage(error), error);
  }
  const errors: FieldError[] = [];
  const omitStages = stagesOf(wire.omitStages, { at: 'omitStages', errors });
  const { omitManagedFields = false } = wire;
  const rules = (wire.rules ?? []).map((rule, i) =>
    ruleOf(rule, { at: `rules[${i}]`, errors, omitStages, omitManagedFields }),
  );
  if (errors.length > 0)
    throw refuse(errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`).join(', '));
  if (rules.length === 0) throw refuse('loaded illegal policy with 0 rules');
  return { rules };
}

interface Checking {
  readonly at: string;
  readonly errors: FieldError[];
}
/** Settings of the policy that apply to each rule. */
interface Inherited {
  readonly omitStages: readonly AuditStage[];
  readonly omitManagedFields: boolean;
}

function ruleOf(wire: WireRule, { at, errors, ...inherited }: Checking & Inherited): PolicyRule {
  const own = stagesOf(wire.omitStages, { at: `${at}.omitStages`, errors });
  const rule: PolicyRule = {
    level: createLevel(wire.level, { at: `${at}.level`, errors }),
    users: wire.users ?? [],
    userGroups: wire.userGroups ?? [],
    verbs: wire.verbs ?? [],
    namespaces: wire.namespaces ?? [],
    nonResourceURLs: wire.nonResourceURLs ?? [],
    resources: (wire.resources ?? []).map((one, i) =>
      resourcesOf(one, { at: `${at}.resources[${i}]`, errors }),
    ),
    omitStages: new Set([...inherited.omitStages, ...own]),
    omitManagedFields: wire.omitManagedFields ?? inherited.omitManagedFields,
  };
  const field = `${at}.nonResourceURLs`;
  if (rule.nonResourceURLs.length > 0 && (rule.resources.length > 0 || rule.namespaces.length > 0)) {
    const why = 'rules cannot apply to both regular resources and non-resource URLs';
    errors.push(fieldErrors.invalid(field, rule.nonResourceURLs, why));
  }
  rule.nonResourceURLs.forEach((url, i) => checkUrl(url, { at: `${field}[${i}]`, errors }));
  return rule;
}

function resourcesOf(
  { group = '', resources = [], resourceNames = [] }: Partial<GroupResources>,
  { at, errors }: Checking,
): GroupResources {
  if (group !== '')
    for (const why of validateDNS1123Subdomain(group))
      errors.push(fieldErrors.invalid(`${at}.group`, group, why));
  if (resourceNames.length > 0 && resources.length === 0) {
    const why = 'using resourceNames requires at least one resource';
    errors.push(fieldErrors.invalid(`${at}.resourceNames`, resourceNames, why));
  }
  return { group, resources, resourceNames };
}

function checkUrl(url: string, { at, errors }: Checking): void {
  if (url === '*') return;
  if (!url.startsWith('/'))
    errors.push(fieldErrors.invalid(at, url, "non-resource URL rules must begin with a '/' character"));
  if (url.slice(0, -1).includes('*')) {
    const why = "non-resource URL wildcards '*' must be the final character of the rule";
    errors.push(fieldErrors.invalid(at, url, why));
  }
}

function createLevel(level: string | undefined, { at, errors }: Checking): AuditLevel {
  if (level === undefined || level === '') errors.push(fieldErrors.required(at));
  else if (!LEVELS.includes(level as AuditLevel)) errors.push(fieldErrors.notSupported(at, level, LEVELS));
  return level as AuditLevel;
}

function stagesOf(stages: readonly string[] = [], { at, errors }: Checking): readonly AuditStage[] {
  stages.forEach((stage, i) => {
    if (!STAGES.includes(stage as AuditStage))
      errors.push(fieldErrors.invalid(`${at}[${i}]`, stage, `allowed stages are ${STAGES.join(',')}`));
  });
  return stages as readonly AuditStage[];
}
