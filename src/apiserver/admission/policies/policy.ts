/** The parts of admission policies and their bindings that both kinds have, and following them. After upstream's plugin/policy/generic. */
import type { LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { MatchCondition } from '#resources/admissionregistration/expressions.ts';
import { RequestMatcher, type MatchCriteria, type MatchRule } from '../matching.ts';
import type { AdmissionOperation, AdmissionStart } from '../plugin.ts';

interface MatchResources {
  readonly resourceRules?: readonly MatchRule[];
  readonly excludeResourceRules?: readonly MatchRule[];
  readonly matchPolicy?: string;
  readonly namespaceSelector?: LabelSelectorObject;
  readonly objectSelector?: LabelSelectorObject;
}

export interface ParamKind {
  readonly apiVersion?: string;
  readonly kind?: string;
}

export interface ParamRef {
  readonly name?: string;
  readonly namespace?: string;
  readonly selector?: LabelSelectorObject;
  readonly parameterNotFoundAction?: string;
}

interface Variable {
  readonly name: string;
  readonly expression: string;
}

export interface PolicySpec {
  readonly paramKind?: ParamKind;
  readonly matchConstraints?: MatchResources;
  readonly matchConditions?: readonly MatchCondition[];
  readonly variables?: readonly Variable[];
  readonly failurePolicy?: string;
}

interface BindingSpec {
  readonly policyName?: string;
  readonly paramRef?: ParamRef;
  readonly matchResources?: MatchResources;
  /** Of validating bindings. */
  readonly validationActions?: readonly string[];
}

export interface BoundBinding {
  readonly name: string;
  readonly spec: BindingSpec;
  readonly matcher: RequestMatcher;
}

/** A policy that has bindings. */
export interface BoundPolicy<Evaluator> {
  readonly name: string;
  readonly spec: PolicySpec;
  readonly matcher: RequestMatcher;
  readonly bindings: readonly BoundBinding[];
  /** Compiled when the first request needs it. */
  readonly evaluator: () => Evaluator;
}

interface PolicySourceOptions<Evaluator> {
  /** Plurals of group admissionregistration.k8s.io. */
  readonly policies: string;
  readonly bindings: string;
  readonly compile: (spec: PolicySpec, name: string) => Evaluator;
}

const GROUP = 'admissionregistration.k8s.io';

/** Follows policies and their bindings: a change counts from the next request on. */
export class PolicySource<Evaluator> {
  readonly #options: PolicySourceOptions<Evaluator>;
  readonly #policies = new Map<
    string,
    { readonly spec: PolicySpec; readonly matcher: RequestMatcher; readonly evaluator: () => Evaluator }
  >();
  readonly #bindings = new Map<string, BoundBinding>();
  #bound: readonly BoundPolicy<Evaluator>[] = [];

  constructor(options: PolicySourceOptions<Evaluator>) {
    this.#options = options;
  }

  /** By name. */
  get bound(): readonly BoundPolicy<Evaluator>[] {
    return this.#bound;
  }

  start({ internal, handlesChanged }: Pick<AdmissionStart, 'internal' | 'handlesChanged'>): () => void {
    const { policies, bindings, compile } = this.#options;
    const follow = (
      resource: string,
      take: (name: string, object: KubeObject | undefined) => void,
    ): (() => void) => {
      const changed = (object: KubeObject, present: boolean): void => {
        take(object.metadata?.name ?? '', present ? object : undefined);
        this.#bind();
        handlesChanged();
      };
      return internal.watch(
        { group: GROUP, resource },
        {
          added: (object) => changed(object, true),
          updated: (object) => changed(object, true),
          deleted: (object) => changed(object, false),
        },
      );
    };
    const stops = [
      follow(policies, (name, object) => {
        if (!object) return void this.#policies.delete(name);
        const spec = (object['spec'] ?? {}) as PolicySpec;
        this.#policies.set(name, {
          spec,
          matcher: matcherOf(spec.matchConstraints),
          evaluator: once(() => compile(spec, name)),
        });
      }),
      follow(bindings, (name, object) => {
        if (!object) return void this.#bindings.delete(name);
        const spec = (object['spec'] ?? {}) as BindingSpec;
        this.#bindings.set(name, { name, spec, matcher: matcherOf(spec.matchResources) });
      }),
    ];
    return () => stops.forEach((stop) => stop());
  }

  /** False where no request can match any of them. */
  mayMatch(
    operation: AdmissionOperation,
    target: { readonly group: string; readonly resource: string; readonly subresource: string },
    { kinds }: Pick<AdmissionStart, 'kinds'>,
  ): boolean {
    return this.#bound.some(({ matcher }) => matcher.mayMatch(operation, target, kinds));
  }

  #bind(): void {
    const byPolicy = Map.groupBy(this.#bindings.values(), ({ spec }) => spec.policyName ?? '');
    this.#bound = Array.from(this.#policies, ([name, policy]) => ({
      name,
      ...policy,
      bindings: (byPolicy.get(name) ?? []).toSorted(byName),
    }))
      .filter(({ bindings }) => bindings.length > 0)
      .toSorted(byName);
  }
}

function byName(left: { readonly name: string }, right: { readonly name: string }): number {
  return left.name < right.name ? -1 : 1;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** No rules are every resource. */
function matcherOf(match: MatchResources = {}): RequestMatcher {
  const { resourceRules, ...rest } = match;
  return new RequestMatcher({
    ...rest,
    ...(resourceRules?.length ? { resourceRules } : {}),
  } satisfies MatchCriteria);
}

export interface Validation {
  readonly expression: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
}
export interface AuditAnnotation {
  readonly key: string;
  readonly valueExpression: string;
}
export interface ValidatingPolicySpec extends PolicySpec {
  readonly validations?: readonly Validation[];
  readonly auditAnnotations?: readonly AuditAnnotation[];
}
