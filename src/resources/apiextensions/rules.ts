/**
 * x-kubernetes-validations: compiled once per schema, with upstream's errors for rules that do not compile or are too expensive, and evaluated on
 * every write. Rules with oldSelf compare with the old value: of list items matched by key, of fields and map values.
 */
import { fieldErrorBody, fieldErrors, OMITTED, type FieldError } from '#machinery/errors.ts';
import { deepEqual, getOwn, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { fieldPathProblem } from './rule-field-path.ts';
import { hasRules } from './has-rules.ts';
import { itemKey, type Structural } from '#machinery/structural.ts';
import { oldItems } from './schema-validation.ts';
import { uses } from '#cel/ast.ts';
import { AUTHORIZER_EXTENSION } from '#cel/authorizer.ts';
import { BudgetError, Meter, PER_CALL_LIMIT, TOTAL_LIMIT } from '#cel/budget.ts';
import type { Scope } from '#cel/checker.ts';
import { compileSource } from '#cel/compile.ts';
import { costMessage, estimateCost, RULE_COST_LIMIT, SCHEMA_COST_LIMIT } from '#cel/cost.ts';
import { bounded } from '#cel/sizes.ts';
import { Optional } from '#cel/datatypes.ts';
import { declaredCount, declaredSizes, maxOccurrences } from '#cel/declared-sizes.ts';
import { CelCompileError, runtimeMessage } from '#cel/errors.ts';
import { Library } from '#cel/functions.ts';
import { kubernetesLibrary } from '#cel/library.ts';
import type { Program } from '#cel/program.ts';
import { optionalOf } from '#cel/type.ts';
import { CelTypes, type CelType } from '#cel/types.ts';

interface RuleSource {
  readonly rule?: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

interface Rule {
  readonly source: RuleSource;
  readonly evaluate: Program;
  readonly message: Program | undefined;
  /** Whether it uses oldSelf. */
  readonly isTransition: boolean;
  /** The relative path at which it reports. */
  readonly fieldPath: string;
}

/** The rules of a node and its descendants; nodes without any are not visited. */
interface Plan {
  readonly node: Structural;
  readonly type: CelType | undefined;
  readonly rules: readonly Rule[];
  readonly properties: ReadonlyMap<string, Plan>;
  readonly additional: Plan | undefined;
  readonly items: Plan | undefined;
  /** Rules of allOf, for the same value. */
  readonly also: readonly Plan[];
}

/** warn: receives the errors of unchanged values. */
export type EvaluateRules = (value: unknown, old: unknown, warn?: (message: string) => void) => FieldError[];

export interface CompiledRules {
  /** Errors have paths in the schema. */
  readonly errors: readonly FieldError[];
  /** undefined: there are no rules. */
  readonly evaluate: EvaluateRules | undefined;
}

/** path: that of the schema in the definition, whose rules have passed ../apiextensions/schema-checks.ts. */
export function compileSchemaRules(root: Structural, path: string): CompiledRules {
  if (!hasRules(root.schema)) return { errors: [], evaluate: undefined };
  const compiler = new Compiler(root);
  const plan = compiler.plan(root, root.schema, {
    path,
    isRoot: true,
    uncorrelatable: undefined,
    cardinality: 1,
  });
  compiler.checkTotal(path);
  return {
    errors: compiler.errors,
    evaluate: plan && ((value, old, warn) => run(plan, { value, old, warn })),
  };
}

/** For schemas that were validated when they were written. */
export function compileRules(root: Structural): EvaluateRules | undefined {
  return compileSchemaRules(root, '').evaluate;
}

function sourcesOf(schema: JsonObject): readonly RuleSource[] {
  return (schema['x-kubernetes-validations'] as RuleSource[] | undefined) ?? [];
}

// ----------------------------------------------------------------------------------------------------------- compilation

interface Place {
  readonly path: string;
  readonly isRoot: boolean;
  /** As in upstream, rules of allOf are not checked before they are evaluated. */
  readonly isUnchecked?: boolean;
  /** Below this node, old values cannot be matched. */
  readonly uncorrelatable: string | undefined;
  /** Maximum number of values of this node; undefined: unbounded. */
  readonly cardinality: number | undefined;
}

interface RuleSubject {
  readonly node: Structural;
  readonly type: CelType | undefined;
  readonly place: Place;
  readonly at: string;
}
interface Compiled {
  readonly evaluate: Program;
  readonly usesOld: boolean;
  /** Cost of one evaluation. */ readonly cost: number;
}
interface Subject {
  readonly node: Structural;
  readonly isRoot: boolean;
  /** The rule's own declarations, with the types of its variables. */ readonly scope: Scope;
}
class Compiler {
  readonly errors: FieldError[] = [];
  /** As upstream, nullable values have their declared type. */
  readonly #types = new CelTypes({ escaped: true, nullable: false });
  readonly #costs: { readonly path: string; readonly cost: number }[] = [];

  constructor(root: Structural) {
    this.#types.typeOf(root, { root: true });
  }

  /** validations: the schema whose rules are compiled: that of the node, or one of its allOf, which have no types. */
  plan(node: Structural, validations: JsonObject, place: Place): Plan | undefined {
    if (!hasRules(validations)) return undefined;
    const { path, uncorrelatable, cardinality } = place;
    const type = this.#types.typeOf(node);
    const rules = sourcesOf(validations).flatMap(
      (source, i) =>
        this.#rule(source, { node, type, place, at: `${path}.x-kubernetes-validations[${i}]` }) ?? [],
    );
    const lost = uncorrelatable ?? (node.atomicMap ? path : undefined);
    const count = declaredCount(node),
      inner = cardinality === undefined || count === undefined ? undefined : bounded(cardinality * count);
    const below = (
      child: Structural | undefined,
      schema: unknown,
      { at, gone }: { readonly at: string; readonly gone: string | undefined },
    ): Plan | undefined =>
      child && isJsonObject(schema)
        ? this.plan(child, schema, {
            ...place,
            path: `${path}.${at}`,
            isRoot: child.embedded,
            uncorrelatable: gone,
            cardinality: inner,
          })
        : undefined;
    const properties = new Map<string, Plan>();
    for (const [name, schema] of Object.entries((validations['properties'] ?? {}) as JsonObject)) {
      const plan = below(node.properties.get(name), schema, { at: `properties[${name}]`, gone: lost });
      if (plan) properties.set(name, plan);
    }
    return {
      node,
      type,
      rules,
      properties,
      additional:
        typeof node.additional === 'object'
          ? below(node.additional, validations['additionalProperties'], {
              at: 'additionalProperties',
              gone: lost,
            })
          : undefined,
      items: below(node.items, validations['items'], {
        at: 'items',
        gone: uncorrelatable ?? (node.listType === 'map' ? undefined : path),
      }),
      also: ((validations['allOf'] as JsonObject[] | undefined) ?? []).flatMap(
        (schema, i) =>
          this.plan(node, schema, { ...place, path: `${path}.allOf[${i}]`, isUnchecked: true }) ?? [],
      ),
    };
  }

  #rule(source: RuleSource, { node, type, place, at }: RuleSubject): Rule | undefined {
    const { rule = '' } = source;
    if (rule.trim() === '') return undefined;
    const known = this.errors.length,
      costs = this.#costs.length;
    const made = this.#checkedRule(source, { node, type, place, at });
    if (place.isUnchecked) {
      this.errors.length = known;
      this.#costs.length = costs;
    }
    return made;
  }

  #checkedRule(source: RuleSource, { node, type, place, at }: RuleSubject): Rule | undefined {
    const { rule = '', messageExpression } = source;
    if (!type) {
      this.errors.push(
        fieldErrors.invalid(
          `${at}.rule`,
          shown(source),
          'compilation failed: rules are not possible where x-kubernetes-preserve-unknown-fields leaves the type open',
        ),
      );
      return undefined;
    }
    const subject: Subject = {
      node,
      isRoot: place.isRoot,
      scope: scopeOf(type, source.optionalOldSelf === true),
    };
    const compiled = compileText(rule, { ...subject, wants: 'bool' });
    if (typeof compiled === 'string')
      this.errors.push(fieldErrors.invalid(`${at}.rule`, shown(source), compiled));
    else
      this.#observeCost(bounded(compiled.cost * (place.cardinality ?? maxOccurrences(node))), {
        field: `${at}.rule`,
        what: 'rule',
      });
    // The message expression is only checked for a valid rule.
    const message =
      typeof compiled === 'object' && messageExpression
        ? this.#message(messageExpression, { source, subject, at })
        : undefined;
    const usesOld = typeof compiled === 'object' && compiled.usesOld;
    if (usesOld && place.uncorrelatable !== undefined)
      this.errors.push(
        fieldErrors.invalid(
          `${at}.rule`,
          rule,
          `oldSelf cannot be used on the uncorrelatable portion of the schema within ${place.uncorrelatable}`,
        ),
      );
    if (source.optionalOldSelf !== undefined && !usesOld)
      this.errors.push(
        fieldErrors.invalid(
          `${at}.optionalOldSelf`,
          source.optionalOldSelf,
          'may not be set if oldSelf is not used in rule',
        ),
      );
    // A rule that is too expensive is rejected on write; a stored one is kept.
    if (typeof compiled === 'string') return undefined;
    const fieldPath = source.fieldPath ? fieldPathProblem(source.fieldPath, node.schema).text : '';
    return { source, evaluate: compiled.evaluate, message, isTransition: usesOld, fieldPath };
  }

  #message(
    text: string,
    { source, subject, at }: { readonly source: RuleSource; readonly subject: Subject; readonly at: string },
  ): Program | undefined {
    const compiled = compileText(text, { ...subject, wants: 'string' }),
      field = `${at}.messageExpression`;
    if (typeof compiled === 'string')
      return void this.errors.push(fieldErrors.invalid(field, shown(source), compiled));
    this.#observeCost(compiled.cost, { field, what: 'messageExpression' });
    return compiled.evaluate;
  }

  #observeCost(cost: number, { field, what }: { readonly field: string; readonly what: string }): void {
    this.#costs.push({ path: field, cost });
    if (cost > RULE_COST_LIMIT)
      this.errors.push(
        fieldErrors.forbidden(field, costMessage(`estimated ${what} cost`, { cost, limit: RULE_COST_LIMIT })),
      );
  }

  /** Names the most expensive rules. */
  checkTotal(path: string): void {
    const total = this.#costs.reduce((sum, { cost }) => sum + cost, 0);
    if (total <= SCHEMA_COST_LIMIT) return;
    for (const most of this.#costs.toSorted((left, right) => right.cost - left.cost).slice(0, 4)) {
      if (most.cost >= SCHEMA_COST_LIMIT / 100)
        this.errors.push(
          fieldErrors.forbidden(
            most.path,
            'contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema',
          ),
        );
    }
    this.errors.push(
      fieldErrors.forbidden(
        path,
        costMessage('x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema', {
          cost: bounded(total),
          limit: SCHEMA_COST_LIMIT,
        }),
      ),
    );
  }
}

let library: Library | undefined;

/** With the functions of the authorizer, which upstream declares here too, though rules have no such variable: errors of expressions tell. */
function rulesLibrary(): Library {
  return (library ??= new Library(kubernetesLibrary(false)).add(AUTHORIZER_EXTENSION));
}

function scopeOf({ type }: CelType, isOptional: boolean): Scope {
  return {
    library: rulesLibrary(),
    constructs: false,
    variables: new Map([
      ['self', type],
      ['oldSelf', isOptional ? optionalOf(type) : type],
    ]),
  };
}

/** As upstream formats a rule: the fields of its Go type. */
function shown({
  rule = '',
  message = '',
  messageExpression = '',
  reason = '',
  fieldPath = '',
  optionalOldSelf,
}: RuleSource): JsonObject {
  return {
    Rule: rule,
    Message: message,
    MessageExpression: messageExpression,
    Reason: reason || null,
    FieldPath: fieldPath,
    OptionalOldSelf: optionalOldSelf ?? null,
  };
}

/** Returns the compilation error, if any. */
function compileText(
  text: string,
  { node, isRoot, scope, wants }: Subject & { readonly wants: 'bool' | 'string' },
): Compiled | string {
  try {
    const { root, program } = compileSource(text, scope);
    if (root.type.name !== wants)
      return wants === 'bool'
        ? 'cel expression must evaluate to a bool'
        : 'messageExpression must evaluate to a string';
    const cost = estimateCost(root, declaredSizes(node, { isRoot }));
    return { evaluate: program, usesOld: uses(root, 'oldSelf'), cost };
  } catch (error) {
    if (!(error instanceof CelCompileError)) throw error;
    return `${wants === 'bool' ? '' : 'messageExpression '}compilation failed: ${error.message}`;
  }
}

// ------------------------------------------------------------------------------------------------------------ evaluation

interface Run {
  readonly errors: FieldError[];
  budget: number;
  readonly warn: ((message: string) => void) | undefined;
}

class OutOfBudget extends Error {}

function run(
  plan: Plan,
  { value, old, warn }: { readonly value: unknown; readonly old: unknown; readonly warn: Run['warn'] },
): FieldError[] {
  const state: Run = { errors: [], budget: TOTAL_LIMIT, warn };
  try {
    visit(plan, { value, old, path: '', isSame: () => old !== undefined && deepEqual(value, old) }, state);
  } catch (error) {
    if (!(error instanceof OutOfBudget)) throw error;
  }
  return state.errors;
}

interface Spot {
  readonly value: unknown;
  readonly old: unknown;
  readonly path: string;
  /** Whether the value is unchanged; for one without an old counterpart, its parent. */
  isSame(): boolean;
}

function visit(plan: Plan, spot: Spot, state: Run): void {
  const { value, old, path, isSame } = spot;
  if (value === undefined || value === null) return;
  if (plan.rules.length > 0) runRules(plan, spot, state);
  for (const also of plan.also) visit(also, spot, state);
  const inner = (of: unknown, was: unknown): Omit<Spot, 'path'> => ({
    value: of,
    old: was,
    isSame: was === undefined ? isSame : () => deepEqual(of, was),
  });
  if (Array.isArray(value)) {
    const { items } = plan;
    if (!items) return;
    const before = oldItems(plan.node, old);
    value.forEach((item, i) =>
      visit(items, { ...inner(item, before?.get(itemKey(plan.node, item))), path: `${path}[${i}]` }, state),
    );
  } else if (isJsonObject(value)) {
    const before = isJsonObject(old) ? old : undefined;
    for (const [name, below] of plan.properties)
      visit(
        below,
        {
          ...inner(getOwn(value, name), before && getOwn(before, name)),
          path: path === '' ? name : `${path}.${name}`,
        },
        state,
      );
    const { additional } = plan;
    if (additional)
      for (const key of Object.keys(value))
        if (!plan.node.properties.has(key))
          visit(
            additional,
            { ...inner(value[key], before && getOwn(before, key)), path: `${path}[${key}]` },
            state,
          );
  }
}

function runRules({ node, type, rules }: Plan, spot: Spot, state: Run): void {
  const { old, path } = spot,
    hasOld = old !== undefined && old !== null;
  // Converted when a rule reads them, so that an unreadable value fails the rules that do.
  const self = once(() => type!.convert(spot.value)),
    oldSelf = once(() => (hasOld ? type!.convert(old) : undefined));
  for (const rule of rules) {
    const optional = rule.source.optionalOldSelf === true;
    if (rule.isTransition && !hasOld && !optional) continue;
    const variables = {
      get self(): unknown {
        return self();
      },
      get oldSelf(): unknown {
        return optional ? Optional.of(oldSelf()) : oldSelf();
      },
    };
    runRule(rule, { variables, spot, type: node.type, path: path === '' ? '<nil>' : path }, state);
  }
}

/** Failures are not kept. */
function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

interface Evaluated {
  readonly variables: Readonly<Record<string, unknown>>;
  readonly spot: Spot;
  /** That of the schema. */ readonly type: string;
  readonly path: string;
}

const OUT_OF_BUDGET = 'running out of cost budget, no further validation rules will be run';

function runRule(rule: Rule, { variables, spot, type, path }: Evaluated, state: Run): void {
  const text = rule.source.message ? rule.source.message.trim() : rule.source.rule!.trim();
  const give = (detail: string): unknown => state.errors.push(fieldErrors.invalid(path, type, detail));
  let holds: boolean;
  try {
    const { result, cost } = Meter.measure(Math.min(PER_CALL_LIMIT, state.budget), (meter) =>
      rule.evaluate(variables, meter),
    );
    state.budget -= cost;
    holds = result === true;
  } catch (error) {
    if (!(error instanceof BudgetError)) {
      give(runtimeMessage(error, { text, what: 'rule' }));
      return;
    }
    give(
      state.budget < PER_CALL_LIMIT
        ? `validation failed due to ${OUT_OF_BUDGET}`
        : `'${error.message}': no further validation rules will be run due to call cost exceeds limit for rule: ${text}`,
    );
    throw new OutOfBudget();
  }
  if (!holds) report(rule, { variables, spot, type, path }, state);
}

/** An unchanged value was accepted before: it only causes a warning. Transition rules are always enforced. */
function report(rule: Rule, { variables, spot, type, path }: Evaluated, state: Run): void {
  const field =
    rule.fieldPath === '' ? path : path === '<nil>' ? rule.fieldPath : `${path}.${rule.fieldPath}`;
  const { message, isLast } = messageOf(rule, { variables, state });
  const isOpaque = type === 'object' || type === 'array';
  const error = isLast
    ? fieldErrors.invalid(field, type, message)
    : errorOf(rule.source, { field, value: isOpaque ? OMITTED : spot.value, message });
  if (!rule.isTransition && spot.isSame()) state.warn?.(`${error.field}: ${fieldErrorBody(error)}`);
  else state.errors.push(error);
  if (isLast) throw new OutOfBudget();
}

/** In bytes. */
const MAX_MESSAGE = 5 * 1024;

/** isLast: evaluation must stop. */
function messageOf(
  { source, message }: Rule,
  { variables, state }: { readonly variables: Readonly<Record<string, unknown>>; readonly state: Run },
): { readonly message: string; readonly isLast: boolean } {
  const fixed = {
    message: source.message ? source.message.trim() : `failed rule: ${source.rule!.trim()}`,
    isLast: false,
  };
  if (!message) return fixed;
  try {
    const { result, cost } = Meter.measure(Math.min(PER_CALL_LIMIT, state.budget), (meter) =>
      message(variables, meter),
    );
    state.budget -= cost;
    const text = typeof result === 'string' ? result.trim() : '';
    return text === '' || text.includes('\n') || Buffer.byteLength(text) > MAX_MESSAGE
      ? fixed
      : { message: text, isLast: false };
  } catch (error) {
    // A failing message expression must not hide the failure.
    if (!(error instanceof BudgetError)) return fixed;
    return {
      isLast: true,
      message:
        state.budget < PER_CALL_LIMIT
          ? `messageExpression evaluation failed due to ${OUT_OF_BUDGET}`
          : `no further validation rules will be run due to call cost exceeds limit for messageExpression: ${JSON.stringify(source.messageExpression)}`,
    };
  }
}

function errorOf(
  { reason }: RuleSource,
  { field, value, message }: { readonly field: string; readonly value: unknown; readonly message: string },
): FieldError {
  switch (reason) {
    case 'FieldValueForbidden':
      return fieldErrors.forbidden(field, message);
    case 'FieldValueRequired':
      return fieldErrors.required(field, message);
    case 'FieldValueDuplicate':
      return fieldErrors.duplicate(field, value);
    default:
      return fieldErrors.invalid(field, value, message);
  }
}
