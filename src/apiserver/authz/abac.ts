/**
 * ABAC: policies from a file with one JSON object a line, read once at the start. After upstream's pkg/auth/authorizer/abac, also for lines without
 * apiVersion (the oldest format, where omitted fields match everything).
 *
 *   {"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "bob", "namespace": "blue", "resource": "pods", "apiGroup": "", "readonly": true}}
 *
 * Stricter than upstream in one point: an unknown field is an error. A misspelled "readonly" would grant writes silently.
 */
import { readFileSync } from 'node:fs';
import type { UserInfo } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { Authorizer, NonResourceRule, ResourceRule, UserRules } from './authorizer.ts';
import { pathMatches } from './rbac-rules.ts';

interface AbacPolicy {
  /** '' = any, when group is set. */
  readonly user: string;
  readonly group: string;
  readonly readonly: boolean;
  readonly apiGroup: string;
  readonly namespace: string;
  readonly resource: string;
  readonly nonResourcePath: string;
}

const API_VERSION = 'abac.authorization.kubernetes.io/v1beta1';
const ALL_AUTHENTICATED = 'system:authenticated';
/** The maximum of upstream's line scanner. */
const MAX_LINE_BYTES = 64 * 1024;
const READ_VERBS: ReadonlySet<string> = new Set(['get', 'list', 'watch']);

const ALLOW: AuthorizationDecision = { decision: 'allow', reason: '' };
const NO_OPINION: AuthorizationDecision = { decision: 'no-opinion', reason: 'No policy matched.' };

export class AbacAuthorizer implements Authorizer {
  readonly #policies: readonly AbacPolicy[];

  constructor(policies: readonly AbacPolicy[]) {
    this.#policies = policies;
  }

  authorize(request: AuthorizationAttributes): AuthorizationDecision {
    for (const policy of this.#policies) if (policyAllows(policy, request)) return ALLOW;
    return NO_OPINION;
  }

  rulesFor(user: UserInfo, namespace: string): UserRules {
    const resourceRules: ResourceRule[] = [];
    const nonResourceRules: NonResourceRule[] = [];
    for (const policy of this.#policies) {
      if (!subjectMatches(policy, user) || (policy.namespace !== '*' && policy.namespace !== namespace))
        continue;
      const verbs = policy.readonly ? [...READ_VERBS] : ['*'];
      if (policy.resource !== '')
        resourceRules.push({ verbs, apiGroups: [policy.apiGroup], resources: [policy.resource] });
      if (policy.nonResourcePath !== '')
        nonResourceRules.push({ verbs, nonResourceURLs: [policy.nonResourcePath] });
    }
    return { resourceRules, nonResourceRules, incomplete: false };
  }
}

/** Subresources follow their resource: ABAC knows none. */
function policyAllows(policy: AbacPolicy, request: AuthorizationAttributes): boolean {
  if (policy.readonly && !READ_VERBS.has(request.verb)) return false;
  if (!subjectMatches(policy, request.user)) return false;
  if (!request.isResourceRequest) return pathMatches([policy.nonResourcePath], request.path);
  return (
    anyOr(policy.namespace, request.namespace) &&
    anyOr(policy.resource, request.resource) &&
    anyOr(policy.apiGroup, request.group)
  );
}

function anyOr(pattern: string, value: string): boolean {
  return pattern === '*' || pattern === value;
}

/** Both must match where both are given; a policy without a subject matches no one. */
function subjectMatches(policy: AbacPolicy, user: UserInfo): boolean {
  if (policy.user === '' && policy.group === '') return false;
  return (
    (policy.user === '' || policy.user === '*' || policy.user === user.name) &&
    (policy.group === '' || policy.group === '*' || user.groups.includes(policy.group))
  );
}

// ------------------------------------------------------------------------------------------------------------- the file

class AbacFileError extends Error {
  override readonly name = 'AbacFileError';
}

/** Throws an AbacFileError that names the file, the line and the error. */
export function readAbacFile(path: string): AbacPolicy[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new AbacFileError(`--authorization-policy-file ${path} cannot be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  return parseAbacPolicies(text, path);
}

export function parseAbacPolicies(text: string, path: string): AbacPolicy[] {
  return text.split('\n').flatMap((line, index) => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    try {
      return [parsePolicy(trimmed)];
    } catch (error) {
      const shown = trimmed.length > 200 ? `${trimmed.slice(0, 200)}…` : trimmed;
      throw new AbacFileError(
        `error reading policy file ${path}, line ${index + 1}: ${shown}: ${errorMessage(error)}`,
      );
    }
  });
}

type Fields = Readonly<Record<string, unknown>>;

function parsePolicy(line: string): AbacPolicy {
  if (Buffer.byteLength(line) > MAX_LINE_BYTES)
    throw new Error(`the line is longer than ${MAX_LINE_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`it is not a JSON object: ${errorMessage(error)}`, { cause: error });
  }
  const object = requireObject(value, 'the line');
  if (object['apiVersion'] === undefined && object['kind'] === undefined) return oldestFormat(object);
  if (object['apiVersion'] !== API_VERSION)
    throw new Error(`apiVersion is ${shownValue(object['apiVersion'])}; it should be "${API_VERSION}"`);
  if (object['kind'] !== 'Policy')
    throw new Error(`kind is ${shownValue(object['kind'])}; it should be "Policy"`);
  refuseUnknown(object, { at: '', known: ['apiVersion', 'kind', 'spec'] });
  const spec = requireObject(object['spec'] ?? {}, 'spec');
  refuseUnknown(spec, {
    at: 'spec.',
    known: ['user', 'group', 'readonly', 'apiGroup', 'namespace', 'resource', 'nonResourcePath'],
  });
  const text = (name: string): string => requireString(spec[name], `spec.${name}`);
  const policy = {
    user: text('user'),
    group: text('group'),
    readonly: requireBoolean(spec['readonly'], 'spec.readonly'),
    apiGroup: text('apiGroup'),
    namespace: text('namespace'),
    resource: text('resource'),
    nonResourcePath: text('nonResourcePath'),
  };
  return policy.user === '*' || policy.group === '*'
    ? { ...policy, user: '', group: ALL_AUTHENTICATED }
    : policy;
}

/** Without a version: omitted fields match everything, in all API groups. */
function oldestFormat(object: Fields): AbacPolicy {
  refuseUnknown(object, { at: '', known: ['user', 'group', 'readonly', 'resource', 'namespace'] });
  const [user, group, namespace, resource] = ['user', 'group', 'namespace', 'resource'].map((name) =>
    requireString(object[name], name),
  ) as [string, string, string, string];
  const everybody = user === '*' || group === '*' || (user === '' && group === '');
  return {
    ...(everybody ? { user: '', group: ALL_AUTHENTICATED } : { user, group }),
    readonly: requireBoolean(object['readonly'], 'readonly'),
    apiGroup: '*',
    namespace: namespace || '*',
    resource: resource || '*',
    nonResourcePath: namespace === '' && resource === '' ? '*' : '',
  };
}

function requireObject(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${what} is ${shownValue(value)}; it should be a JSON object`);
  return value as Fields;
}

function refuseUnknown(
  object: Fields,
  { at, known }: { readonly at: string; readonly known: readonly string[] },
): void {
  const unknown = Object.keys(object).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`unknown field ${JSON.stringify(at + unknown)}; there are ${known.join(', ')}`);
}

function requireString(value: unknown, what: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw new Error(`${what} is ${shownValue(value)}; it should be a text`);
  return value;
}

function requireBoolean(value: unknown, what: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean')
    throw new Error(`${what} is ${shownValue(value)}; it should be true or false`);
  return value;
}

function shownValue(value: unknown): string {
  return value === undefined ? 'absent' : JSON.stringify(value);
}
