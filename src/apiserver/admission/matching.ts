/**
 * Matches requests to admission webhooks and policies: rules with wildcards, scope, matchPolicy Equivalent, selectors of the namespace and of the
 * object. After upstream's webhook/predicates and policy/matching. Match conditions are separate: expressions.ts.
 */
import {
  mutatingAdmissionPolicies,
  mutatingAdmissionPolicyBindings,
  mutatingWebhookConfigurations,
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
  validatingWebhookConfigurations,
} from '#api/refs.ts';
import { statusErrors } from '#machinery/errors.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import type { GroupVersionKind, GroupVersionResource, KubeObject } from '#machinery/object.ts';
import { requestName } from './plugin.ts';
import type { AdmissionKinds, GroupAndResource } from './kinds.ts';
import { isNamespace, NAMESPACES } from './namespace-resource.ts';
import type { AdmissionAttributes, AdmissionOperation } from './plugin.ts';

/** RuleWithOperations of webhooks; with resourceNames, NamedRuleWithOperations of policies. */
export interface MatchRule {
  readonly operations?: readonly string[] | undefined;
  readonly apiGroups?: readonly string[] | undefined;
  readonly apiVersions?: readonly string[] | undefined;
  /** As in a rule: pods, pods/log, pods/*, *, and both parts as stars. */
  readonly resources?: readonly string[] | undefined;
  readonly scope?: string | undefined;
  /** Absent or empty: every name. */
  readonly resourceNames?: readonly string[] | undefined;
}

export interface MatchCriteria {
  /** Absent: every request. Empty: none. (Policies mean every request by an empty list: pass undefined for it.) */
  readonly resourceRules?: readonly MatchRule[] | undefined;
  readonly excludeResourceRules?: readonly MatchRule[] | undefined;
  /** 'Exact' or 'Equivalent'; absent: Exact. */
  readonly matchPolicy?: string | undefined;
  /** Absent: selects everything, as an empty one. */
  readonly namespaceSelector?: LabelSelectorObject | undefined;
  readonly objectSelector?: LabelSelectorObject | undefined;
}

/** The resource that the rule names, and the kind of its requests. */
export interface Match {
  readonly gvr: GroupVersionResource;
  readonly gvk: GroupVersionKind;
}

type Target = GroupAndResource & { readonly subresource: string };

const ADMISSION_GROUP = 'admissionregistration.k8s.io';
const EXEMPT: ReadonlySet<string> = new Set(
  [
    mutatingWebhookConfigurations,
    validatingWebhookConfigurations,
    validatingAdmissionPolicies,
    validatingAdmissionPolicyBindings,
    mutatingAdmissionPolicies,
    mutatingAdmissionPolicyBindings,
  ].map(({ plural }) => plural),
);

/** Configuration of admission itself, which no webhook and no policy ever sees: else a bad one could not be mended. */
function isExempt({ group, resource }: GroupAndResource): boolean {
  return group === ADMISSION_GROUP && EXEMPT.has(resource);
}

/** Compiled once per configuration. Throws LabelSelectorError for a selector that validation did not see. */
export class RequestMatcher {
  readonly #criteria: MatchCriteria;
  readonly #namespaces: LabelSelector;
  readonly #objects: LabelSelector;

  constructor(criteria: MatchCriteria) {
    this.#criteria = criteria;
    this.#namespaces = compileLabelSelector(criteria.namespaceSelector ?? {});
    this.#objects = compileLabelSelector(criteria.objectSelector ?? {});
  }

  /** False when no request of this sort can match, whatever its object: for AdmissionPlugin.handles. */
  mayMatch(operation: AdmissionOperation, target: Target, kinds: AdmissionKinds): boolean {
    if (isExempt(target)) return false;
    const { resourceRules, matchPolicy } = this.#criteria;
    if (!resourceRules) return true;
    const faces = matchPolicy === 'Equivalent' ? kinds.cohabitants(target) : [target];
    return resourceRules.some(
      (rule) =>
        matchesOperation(rule, operation) &&
        faces.some(
          ({ group, resource }) =>
            includes(rule.apiGroups, group) &&
            matchesResource(rule, { resource, subresource: target.subresource }),
        ),
    );
  }

  /** Undefined when the request does not match. Throws StatusError 404 when the namespace, whose labels are needed, does not exist. */
  match(attributes: AdmissionAttributes, kinds: AdmissionKinds): Match | undefined {
    if (isExempt(attributes.gvr) || !this.#matchesObject(attributes)) return undefined;
    const namespaceLabels = this.#namespaceLabels(attributes);
    if (namespaceLabels && namespaceLabels !== 'missing' && !this.#namespaces.matches(namespaceLabels))
      return undefined;
    const { resourceRules, excludeResourceRules = [], matchPolicy } = this.#criteria;
    if (
      excludeResourceRules.length > 0 &&
      matchRules(excludeResourceRules, { attributes, matchPolicy, kinds })
    )
      return undefined;
    const found = resourceRules
      ? matchRules(resourceRules, { attributes, matchPolicy, kinds })
      : { gvr: attributes.gvr, gvk: attributes.gvk };
    // Only a request that it is for is refused for want of its namespace.
    if (found && namespaceLabels === 'missing')
      throw statusErrors.notFound({ ...NAMESPACES, name: attributes.namespace });
    return found;
  }

  #matchesObject({ object, oldObject }: AdmissionAttributes): boolean {
    return this.#objects.isEverything || this.#selects(object) || this.#selects(oldObject);
  }

  /** Options of CONNECT have no metadata, and are selected by nothing. */
  #selects(object: KubeObject | undefined): boolean {
    return object?.metadata !== undefined && this.#objects.matches(object.metadata.labels);
  }

  /** Undefined: the selector matches every namespace. A namespace that is being written is matched by its new labels. */
  #namespaceLabels({
    gvr,
    subresource,
    operation,
    namespace,
    object,
    internal,
  }: AdmissionAttributes): Readonly<Record<string, string>> | 'missing' | undefined {
    if (this.#namespaces.isEverything) return undefined;
    const ofNamespace = isNamespace(gvr);
    if (namespace === '' && !ofNamespace) return undefined;
    if (ofNamespace && subresource === '' && (operation === 'CREATE' || operation === 'UPDATE'))
      return object?.metadata?.labels ?? {};
    const found = internal.get(NAMESPACES, { name: namespace });
    return found ? (found.metadata?.labels ?? {}) : 'missing';
  }
}

interface Request {
  readonly attributes: AdmissionAttributes;
  readonly matchPolicy: string | undefined;
  readonly kinds: AdmissionKinds;
}

function matchRules(
  rules: readonly MatchRule[],
  { attributes, matchPolicy, kinds }: Request,
): Match | undefined {
  const { gvr, gvk, subresource } = attributes;
  if (rules.some((rule) => matchesRule(rule, attributes, gvr))) return { gvr, gvk };
  if (matchPolicy !== 'Equivalent') return undefined;
  const equivalents = kinds.equivalents(gvr, subresource);
  if (equivalents.length === 0) return undefined;
  // The first rule that fits has its way.
  for (const rule of rules) {
    const equivalent = equivalents.find((candidate) => matchesRule(rule, attributes, candidate));
    if (!equivalent) continue;
    const kind = kinds.kindOf(equivalent, subresource);
    if (!kind)
      throw statusErrors.internal(
        `unable to convert to ${equivalent.group}/${equivalent.version}, Resource=${equivalent.resource}: unknown kind`,
      );
    return { gvr: equivalent, gvk: kind };
  }
  return undefined;
}

function matchesRule(
  rule: MatchRule,
  attributes: AdmissionAttributes,
  { group, version, resource }: GroupVersionResource,
): boolean {
  const { operation, subresource } = attributes;
  return (
    matchesOperation(rule, operation) &&
    includes(rule.apiGroups, group) &&
    includes(rule.apiVersions, version) &&
    matchesResource(rule, { resource, subresource }) &&
    matchesScope(rule, attributes) &&
    (!rule.resourceNames?.length || rule.resourceNames.includes(requestName(attributes)))
  );
}

function includes(values: readonly string[] | undefined, value: string): boolean {
  return values !== undefined && (values.includes('*') || values.includes(value));
}

function matchesOperation({ operations }: MatchRule, operation: AdmissionOperation): boolean {
  return includes(operations, operation);
}

function matchesResource(
  { resources = [] }: MatchRule,
  { resource, subresource }: { readonly resource: string; readonly subresource: string },
): boolean {
  return resources.some((entry) => {
    const slash = entry.indexOf('/');
    const [name, part] = slash < 0 ? [entry, ''] : [entry.slice(0, slash), entry.slice(slash + 1)];
    return (name === '*' || name === resource) && (part === '*' || part === subresource);
  });
}

/** A Namespace's attributes name itself as their namespace, yet it is cluster-scoped. */
function matchesScope({ scope = '*' }: MatchRule, { gvr, namespace }: AdmissionAttributes): boolean {
  const isClusterScoped = namespace === '' || isNamespace(gvr);
  return (
    scope === '*' || (scope === 'Cluster' ? isClusterScoped : scope === 'Namespaced' && !isClusterScoped)
  );
}
