/** Audit policies (audit.k8s.io/v1 Policy): reading a file, and which level and stages a request has. The first rule that fits decides. */
import { readFileSync } from 'node:fs';
import { errorMessage } from '#stdx/log.ts';
import { fieldErrorBody, fieldErrors, isStatusError, type FieldError } from '#machinery/errors.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import type { UserInfo } from '#machinery/object.ts';
import { parseYaml } from '#machinery/yaml.ts';
import type { RequestInfo } from '../http/request-info.ts';

export const LEVELS = ['None', 'Metadata', 'Request', 'RequestResponse'] as const;
export type AuditLevel = (typeof LEVELS)[number];
export const STAGES = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const;
export type AuditStage = (typeof STAGES)[number];

export interface AuditPolicy {
  readonly rules: readonly PolicyRule[];
}

export interface GroupResources {
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

/** user undefined: nobody is known. */
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
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`Cannot read audit policy file ${file}: ${errorMessage(error)}`, { cause: error });
  }
  return parseAuditPolicy(text, file);
}

export function parseAuditPolicy(text: string, file: string): AuditPolicy {
  const refuse = (why: string): Error => new Error(`audit policy file ${file}: ${why}`);
  let value: unknown;
  try {
    const parsed = parseYaml(text);
    if (parsed.problems.length > 0) throw refuse(parsed.problems.join(', '));
    ({ value } = parsed);
  } catch (error) {
    throw isStatusError(error) ? refuse(error.message) : error;
  }
  if (!isJsonObject(value)) throw refuse('it holds no object');
  if (value['apiVersion'] !== 'audit.k8s.io/v1' || value['kind'] !== 'Policy')
    throw refuse(
      `it is of kind ${JSON.stringify(value['kind'] ?? '')} and version ${JSON.stringify(value['apiVersion'] ?? '')}; it should be kind Policy of audit.k8s.io/v1`,
    );
  const errors: FieldError[] = [];
  const policy = new PolicyReader(errors).policy(value);
  if (errors.length > 0)
    throw refuse(errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`).join(', '));
  if (policy.rules.length === 0) throw refuse('loaded illegal policy with 0 rules');
  return policy;
}

const POLICY_FIELDS = new Set(['apiVersion', 'kind', 'metadata', 'rules', 'omitStages', 'omitManagedFields']);
const RULE_FIELDS = new Set([
  'level',
  'users',
  'userGroups',
  'verbs',
  'resources',
  'namespaces',
  'nonResourceURLs',
  'omitStages',
  'omitManagedFields',
]);
const RESOURCE_FIELDS = new Set(['group', 'resources', 'resourceNames']);

class PolicyReader {
  readonly #errors: FieldError[];

  constructor(errors: FieldError[]) {
    this.#errors = errors;
  }

  policy(value: JsonObject): AuditPolicy {
    this.#known(value, POLICY_FIELDS, '');
    const stages = this.#stages(value['omitStages'], 'omitStages');
    const managed = this.#boolean(value['omitManagedFields'], 'omitManagedFields') ?? false;
    return {
      rules: this.#list(value['rules'], 'rules').map((rule, i) =>
        this.#rule(rule, { at: `rules[${i}]`, stages, managed }),
      ),
    };
  }

  #rule(
    value: unknown,
    {
      at,
      stages,
      managed,
    }: { readonly at: string; readonly stages: readonly AuditStage[]; readonly managed: boolean },
  ): PolicyRule {
    if (!isJsonObject(value)) {
      this.#errors.push(fieldErrors.typeInvalid(at, value, 'must be an object'));
      return NOTHING;
    }
    this.#known(value, RULE_FIELDS, `${at}.`);
    const rule: PolicyRule = {
      level: this.#level(value['level'], `${at}.level`),
      users: this.#texts(value['users'], `${at}.users`),
      userGroups: this.#texts(value['userGroups'], `${at}.userGroups`),
      verbs: this.#texts(value['verbs'], `${at}.verbs`),
      namespaces: this.#texts(value['namespaces'], `${at}.namespaces`),
      nonResourceURLs: this.#texts(value['nonResourceURLs'], `${at}.nonResourceURLs`),
      resources: this.#list(value['resources'], `${at}.resources`).map((one, i) =>
        this.#resources(one, `${at}.resources[${i}]`),
      ),
      omitStages: new Set([...stages, ...this.#stages(value['omitStages'], `${at}.omitStages`)]),
      omitManagedFields: this.#boolean(value['omitManagedFields'], `${at}.omitManagedFields`) ?? managed,
    };
    if (rule.nonResourceURLs.length > 0 && (rule.resources.length > 0 || rule.namespaces.length > 0)) {
      this.#errors.push(
        fieldErrors.invalid(
          `${at}.nonResourceURLs`,
          rule.nonResourceURLs,
          'rules cannot apply to both regular resources and non-resource URLs',
        ),
      );
    }
    rule.nonResourceURLs.forEach((url, i) => this.#url(url, `${at}.nonResourceURLs[${i}]`));
    return rule;
  }

  #resources(value: unknown, at: string): GroupResources {
    if (!isJsonObject(value)) {
      this.#errors.push(fieldErrors.typeInvalid(at, value, 'must be an object'));
      return { group: '', resources: [], resourceNames: [] };
    }
    this.#known(value, RESOURCE_FIELDS, `${at}.`);
    const group = this.#text(value['group'] ?? '', `${at}.group`);
    const found = {
      group,
      resources: this.#texts(value['resources'], `${at}.resources`),
      resourceNames: this.#texts(value['resourceNames'], `${at}.resourceNames`),
    };
    if (group !== '')
      for (const why of validateDNS1123Subdomain(group))
        this.#errors.push(fieldErrors.invalid(`${at}.group`, group, why));
    if (found.resourceNames.length > 0 && found.resources.length === 0)
      this.#errors.push(
        fieldErrors.invalid(
          `${at}.resourceNames`,
          found.resourceNames,
          'using resourceNames requires at least one resource',
        ),
      );
    return found;
  }

  #url(url: string, at: string): void {
    if (url === '*') return;
    if (!url.startsWith('/'))
      this.#errors.push(
        fieldErrors.invalid(at, url, "non-resource URL rules must begin with a '/' character"),
      );
    if (url.slice(0, -1).includes('*'))
      this.#errors.push(
        fieldErrors.invalid(
          at,
          url,
          "non-resource URL wildcards '*' must be the final character of the rule",
        ),
      );
  }

  #level(value: unknown, at: string): AuditLevel {
    if (value === undefined || value === '') this.#errors.push(fieldErrors.required(at));
    else if (!LEVELS.includes(value as AuditLevel))
      this.#errors.push(fieldErrors.notSupported(at, value, LEVELS));
    return value as AuditLevel;
  }

  #stages(value: unknown, at: string): AuditStage[] {
    const stages = this.#texts(value, at);
    stages.forEach((stage, i) => {
      if (!STAGES.includes(stage as AuditStage))
        this.#errors.push(
          fieldErrors.invalid(`${at}[${i}]`, stage, `allowed stages are ${STAGES.join(',')}`),
        );
    });
    return stages as AuditStage[];
  }

  #boolean(value: unknown, at: string): boolean | undefined {
    if (value === undefined || value === null || typeof value === 'boolean') return value ?? undefined;
    this.#errors.push(fieldErrors.typeInvalid(at, value, 'must be true or false'));
    return undefined;
  }

  #text(value: unknown, at: string): string {
    if (typeof value === 'string') return value;
    this.#errors.push(fieldErrors.typeInvalid(at, value, 'must be a string'));
    return '';
  }

  #texts(value: unknown, at: string): string[] {
    return this.#list(value, at).map((one, i) => this.#text(one, `${at}[${i}]`));
  }

  #list(value: unknown, at: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.#errors.push(fieldErrors.typeInvalid(at, value, 'must be a list'));
    return [];
  }

  #known(value: JsonObject, fields: ReadonlySet<string>, prefix: string): void {
    for (const name of Object.keys(value))
      if (!fields.has(name))
        this.#errors.push(fieldErrors.invalid(`${prefix}${name}`, name, 'unknown field'));
  }
}
