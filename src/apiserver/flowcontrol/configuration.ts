/**
 * FlowSchemas and PriorityLevelConfigurations in the form requests are matched against. Pure. After upstream's
 * k8s.io/apiserver/pkg/util/flowcontrol (rule.go, apf_controller.go).
 */
import type { FlowSchema, PriorityLevelConfiguration } from '#api/types.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { RequestInfo } from '../http/request-info.ts';

export const GROUP = 'flowcontrol.apiserver.k8s.io';
export const FLOW_SCHEMAS = { group: GROUP, resource: 'flowschemas' } as const;
export const PRIORITY_LEVELS = { group: GROUP, resource: 'prioritylevelconfigurations' } as const;

type Distinguisher = 'ByUser' | 'ByNamespace' | undefined;

interface ResourceRule {
  readonly verbs: Matcher;
  readonly groups: Matcher;
  readonly resources: Matcher;
  readonly namespaces: Matcher;
  readonly clusterScope: boolean;
}
interface PathRule {
  readonly verbs: Matcher;
  readonly exact: ReadonlySet<string>;
  readonly prefixes: readonly string[];
}
interface Rule {
  readonly users: Matcher;
  readonly groups: Matcher;
  readonly accountPrefixes: readonly string[];
  readonly resources: readonly ResourceRule[];
  readonly paths: readonly PathRule[];
}

/** undefined = everything ('*'). */
type Matcher = ReadonlySet<string> | undefined;

export interface Schema {
  readonly name: string;
  readonly uid: string;
  readonly level: string;
  readonly precedence: number;
  readonly distinguisher: Distinguisher;
  readonly rules: readonly Rule[];
}

export interface Level {
  readonly name: string;
  readonly uid: string;
  readonly exempt: boolean;
  readonly shares: number;
  readonly lendablePercent: number;
  /** undefined: up to all seats of the server. */
  readonly borrowingLimitPercent: number | undefined;
  /** undefined: what finds no seat is refused. */
  readonly queuing: Queuing | undefined;
}

export interface Queuing {
  readonly queues: number;
  readonly handSize: number;
  readonly queueLengthLimit: number;
}

const matcher = (values: readonly string[] | undefined): Matcher =>
  values?.includes('*') ? undefined : new Set(values);
const matches = (set: Matcher, value: string): boolean => set === undefined || set.has(value);

export function schemaOf(object: KubeObject): Schema {
  const { metadata, spec } = object as FlowSchema & KubeObject;
  return {
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    level: spec?.priorityLevelConfiguration?.name ?? '',
    precedence: spec?.matchingPrecedence ?? 1000,
    distinguisher: spec?.distinguisherMethod?.type as Distinguisher,
    rules: (spec?.rules ?? []).map(ruleOf),
  };
}

type SpecRule = NonNullable<NonNullable<FlowSchema['spec']>['rules']>[number];

function ruleOf({ subjects = [], resourceRules = [], nonResourceRules = [] }: SpecRule): Rule {
  const users: string[] = [];
  const groups: string[] = [];
  const accountPrefixes: string[] = [];
  for (const subject of subjects) {
    if (subject.kind === 'User') users.push(subject.user?.name ?? '');
    else if (subject.kind === 'Group') groups.push(subject.group?.name ?? '');
    else if (subject.kind === 'ServiceAccount') {
      const { namespace = '', name = '' } = subject.serviceAccount ?? {};
      if (name === '*') accountPrefixes.push(`system:serviceaccount:${namespace}:`);
      else users.push(`system:serviceaccount:${namespace}:${name}`);
    }
  }
  return {
    users: matcher(users),
    groups: matcher(groups),
    accountPrefixes,
    resources: resourceRules.map((rule) => ({
      verbs: matcher(rule.verbs),
      groups: matcher(rule.apiGroups),
      resources: matcher(rule.resources),
      namespaces: matcher(rule.namespaces),
      clusterScope: rule.clusterScope ?? false,
    })),
    paths: nonResourceRules.map(({ verbs, nonResourceURLs = [] }) => ({
      verbs: matcher(verbs),
      exact: new Set(nonResourceURLs.filter((url) => !url.endsWith('*'))),
      prefixes: nonResourceURLs.filter((url) => url.endsWith('*')).map((url) => url.slice(0, -1)),
    })),
  };
}

/** Matching order of schemas: lower precedence first, then by name. */
export function inMatchingOrder(schemas: readonly Schema[]): Schema[] {
  return schemas.toSorted(
    (left, right) => left.precedence - right.precedence || (left.name < right.name ? -1 : 1),
  );
}

export function matchesSchema({ rules }: Schema, user: UserInfo, info: RequestInfo): boolean {
  return rules.some(
    (rule) =>
      matchesSubject(rule, user) &&
      (info.isResourceRequest
        ? rule.resources.some((resource) => matchesResource(resource, info))
        : rule.paths.some((path) => matchesPath(path, info))),
  );
}

function matchesSubject(
  { users, groups, accountPrefixes }: Rule,
  { name, groups: memberOf }: UserInfo,
): boolean {
  return (
    matches(users, name) ||
    groups === undefined ||
    memberOf.some((group) => groups.has(group)) ||
    accountPrefixes.some((prefix) => name.startsWith(prefix) && name.length > prefix.length)
  );
}

function matchesResource(
  rule: ResourceRule,
  { verb, group, resource, subresource, namespace }: RequestInfo,
): boolean {
  return (
    matches(rule.verbs, verb) &&
    matches(rule.groups, group) &&
    matches(rule.resources, subresource === '' ? resource : `${resource}/${subresource}`) &&
    (namespace === '' ? rule.clusterScope : matches(rule.namespaces, namespace))
  );
}

function matchesPath({ verbs, exact, prefixes }: PathRule, { verb, path }: RequestInfo): boolean {
  return matches(verbs, verb) && (exact.has(path) || prefixes.some((prefix) => path.startsWith(prefix)));
}

/** Namespaces that some rule names: between all others no schema can tell. */
export function namedNamespaces(schemas: readonly Schema[]): ReadonlySet<string> {
  return new Set(
    schemas.flatMap(({ rules }) =>
      rules.flatMap(({ resources }) => resources.flatMap(({ namespaces }) => [...(namespaces ?? [])])),
    ),
  );
}

/** undefined = its spec fits no type: it is treated as if it did not exist. */
export function createLevel(object: KubeObject): Level | undefined {
  const { metadata, spec } = object as PriorityLevelConfiguration & KubeObject;
  const base = { name: metadata?.name ?? '', uid: metadata?.uid ?? '' };
  if ((spec?.type === 'Exempt') !== (base.name === 'exempt')) return undefined;
  if (spec?.type === 'Exempt') {
    const { nominalConcurrencyShares = 0, lendablePercent = 0 } = spec.exempt ?? {};
    return {
      ...base,
      exempt: true,
      shares: nominalConcurrencyShares,
      lendablePercent,
      borrowingLimitPercent: undefined,
      queuing: undefined,
    };
  }
  if (spec?.type !== 'Limited' || !spec.limited) return undefined;
  const {
    nominalConcurrencyShares = 30,
    lendablePercent = 0,
    borrowingLimitPercent,
    limitResponse,
  } = spec.limited;
  const queues = limitResponse?.queuing;
  if ((limitResponse?.type === 'Queue') !== (queues !== undefined)) return undefined;
  return {
    ...base,
    exempt: false,
    shares: nominalConcurrencyShares,
    lendablePercent,
    borrowingLimitPercent: borrowingLimitPercent ?? undefined,
    queuing: queues && {
      queues: queues.queues || 64,
      handSize: queues.handSize || 8,
      queueLengthLimit: queues.queueLengthLimit || 50,
    },
  };
}
