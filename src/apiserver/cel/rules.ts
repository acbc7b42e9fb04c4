/**
 * x-kubernetes-validations: compiled once per schema, with upstream's errors for what does not compile or may cost too much, and evaluated on
 * every write. Rules that name oldSelf compare with the value before: of list items that are told apart by keys, of fields and map values.
 */
import { Optional, type Environment } from '@marcbachmann/cel-js';
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { deepEqual, getOwn, isJsonObject } from '#machinery/json.ts';
import { hasRules } from '../apiextensions/rules-on-demand.ts';
import { itemKey, type Structural } from '../apiextensions/structural.ts';
import { oldItems } from '../apiextensions/validation.ts';
import { BudgetError, PER_CALL_LIMIT, TOTAL_LIMIT, withBudget } from './budget.ts';
import { costMessage, estimateCost, maxCount, RULE_COST_LIMIT, SCHEMA_COST_LIMIT, type UnorderedUse } from './cost.ts';
import { describeError, runtimeMessage } from './errors.ts';
import { UNORDERED_EQUALS } from './library.ts';
import { becomes, countSteps, rewriteMatches, rootOf, uses, type SyntaxNode } from './syntax.ts';
import { CelTypes, type CelType } from './types.ts';

interface RuleSource {
  readonly rule?: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

type Evaluate = (variables: Readonly<Record<string, unknown>>) => unknown;

interface Rule {
  readonly source: RuleSource;
  readonly evaluate: Evaluate;
  readonly message: Evaluate | undefined;
  /** Reads oldSelf. */
  readonly isTransition: boolean;
}

/** The rules at one place and below it; places without any are not visited. */
interface Plan {
  readonly node: Structural;
  readonly type: CelType | undefined;
  readonly rules: readonly Rule[];
  readonly properties: ReadonlyMap<string, Plan>;
  readonly additional: Plan | undefined;
  readonly items: Plan | undefined;
}

export interface CompiledRules {
  /** With paths into the schema. */
  readonly errors: readonly FieldError[];
  /** undefined: there are no rules. */
  readonly evaluate: ((value: unknown, old: unknown) => FieldError[]) | undefined;
}

/** path: of the schema in the definition, whose rules have passed ../apiextensions/schema-checks.ts. */
export function compileSchemaRules(root: Structural, path: string): CompiledRules {
  if (!hasRules(root)) return { errors: [], evaluate: undefined };
  const types = new CelTypes();
  types.typeOf(root, { root: true });
  const compiler = new Compiler(types);
  const plan = compiler.plan(root, { path, uncorrelatable: undefined, cardinality: 1 });
  compiler.checkTotal(path);
  return { errors: compiler.errors, evaluate: plan && ((value, old) => run(plan, value, old)) };
}

/** For schemas that were checked when they were written. */
export function compileRules(root: Structural): ((value: unknown, old: unknown) => FieldError[]) | undefined {
  return compileSchemaRules(root, '').evaluate;
}

function sourcesOf({ schema }: Structural): readonly RuleSource[] {
  return (schema['x-kubernetes-validations'] as RuleSource[] | undefined) ?? [];
}

// ----------------------------------------------------------------------------------------------------------- compilation

interface Place { readonly path: string; /** Where old values are lost. */ readonly uncorrelatable: string | undefined; readonly cardinality: number }

class Compiler {
  readonly errors: FieldError[] = [];
  readonly #types: CelTypes;
  readonly #costs: { readonly path: string; readonly cost: number }[] = [];

  constructor(types: CelTypes) {
    this.#types = types;
  }

  plan(node: Structural, place: Place): Plan | undefined {
    if (!hasRules(node)) return undefined;
    const { path, uncorrelatable } = place;
    const type = this.#types.typeOf(node);
    const rules = sourcesOf(node).flatMap((source, i) => this.#rule(source, { node, type, place, at: `${path}.x-kubernetes-validations[${i}]` }) ?? []);
    const lost = uncorrelatable ?? (node.atomicMap ? path : undefined);
    const properties = new Map<string, Plan>();
    for (const [name, inner] of node.properties) {
      const plan = this.plan(inner, { ...place, path: `${path}.properties[${name}]`, uncorrelatable: lost });
      if (plan) properties.set(name, plan);
    }
    const cardinality = place.cardinality * (node.items || typeof node.additional === 'object' ? maxCount(node) : 1);
    return {
      node, type, rules, properties,
      additional: typeof node.additional === 'object' ? this.plan(node.additional, { path: `${path}.additionalProperties`, uncorrelatable: lost, cardinality }) : undefined,
      items: node.items && this.plan(node.items, { path: `${path}.items`, uncorrelatable: uncorrelatable ?? (node.listType === 'map' ? undefined : path), cardinality }),
    };
  }

  #rule(source: RuleSource, { node, type, place, at }: { readonly node: Structural; readonly type: CelType | undefined; readonly place: Place; readonly at: string }): Rule | undefined {
    const { rule = '', messageExpression } = source;
    if (rule.trim() === '') return undefined;
    if (!type) {
      this.errors.push(fieldErrors.invalid(`${at}.rule`, rule, 'compilation failed: rules are not possible where x-kubernetes-preserve-unknown-fields leaves the type open'));
      return undefined;
    }
    const env = this.#types.environment.clone().registerVariable('self', type.name).registerVariable('oldSelf', source.optionalOldSelf ? `optional<${type.name}>` : type.name);
    const compiled = this.#expression(rule, { env, node, place, field: `${at}.rule`, wants: 'bool', what: 'rule' });
    const message = messageExpression ? this.#expression(messageExpression, { env, node, place, field: `${at}.messageExpression`, wants: 'string', what: 'messageExpression' }) : undefined;
    if (compiled?.usesOld && place.uncorrelatable !== undefined) {
      this.errors.push(fieldErrors.invalid(`${at}.rule`, rule, `oldSelf cannot be used on the uncorrelatable portion of the schema within ${place.uncorrelatable}`));
    }
    if (source.optionalOldSelf !== undefined && compiled && !compiled.usesOld) this.errors.push(fieldErrors.invalid(`${at}.optionalOldSelf`, source.optionalOldSelf, 'may not be set if oldSelf is not used in rule'));
    // One that costs too much is refused when it is written; one that was stored before is kept.
    if (!compiled) return undefined;
    return { source, evaluate: compiled.evaluate, message: message?.evaluate, isTransition: compiled.usesOld };
  }

  #expression(text: string, { env, node, place, field, wants, what }: { readonly env: Environment; readonly node: Structural; readonly place: Place; readonly field: string; readonly wants: string; readonly what: string }): { readonly evaluate: Evaluate; readonly usesOld: boolean } | undefined {
    const refuse = (detail: string): undefined => void this.errors.push(fieldErrors.invalid(field, text, detail));
    try {
      const parsed = env.parse(text);
      const root = rootOf(parsed);
      rewriteMatches(root);
      const unordered: UnorderedUse[] = [];
      const cost = estimateCost(root, node, unordered);
      const usesOld = uses(root, 'oldSelf');
      for (const { node: compared } of unordered) {
        if (compared.op === '+') return refuse('compilation failed: joining lists of type set or map with + is not supported');
        if (compared.op !== '==' && compared.op !== '!=') continue;
        const template = rootOf(env.parse(`${compared.op === '!=' ? '!' : ''}${UNORDERED_EQUALS}(self, self)`));
        const call = compared.op === '!=' ? template.args as SyntaxNode : template;
        (call.args as unknown[])[1] = compared.args;
        becomes(compared, template);
      }
      const checked = parsed.check();
      if (!checked.valid) return refuse(`compilation failed: ${describeError(checked.error, text, { env })}`);
      if (checked.type !== wants && checked.type !== 'dyn') return refuse(wants === 'bool' ? 'cel expression must evaluate to a bool' : 'messageExpression must evaluate to a string');
      this.#checkCost(cost * place.cardinality, { field, what });
      countSteps(root);
      return { evaluate: (variables) => parsed(variables) as unknown, usesOld };
    } catch (error) {
      return refuse(`compilation failed: ${describeError(error, text, { env })}`);
    }
  }

  #checkCost(cost: number, { field, what }: { readonly field: string; readonly what: string }): void {
    this.#costs.push({ path: field, cost });
    if (cost > RULE_COST_LIMIT) this.errors.push(fieldErrors.forbidden(field, costMessage(`estimated ${what} cost`, { cost, limit: RULE_COST_LIMIT })));
  }

  /** Says which rules make the whole too dear. */
  checkTotal(path: string): void {
    const total = this.#costs.reduce((sum, { cost }) => sum + cost, 0);
    if (total <= SCHEMA_COST_LIMIT) return;
    for (const most of this.#costs.toSorted((left, right) => right.cost - left.cost).slice(0, 4)) {
      if (most.cost > SCHEMA_COST_LIMIT / 100) this.errors.push(fieldErrors.forbidden(most.path, 'contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema'));
    }
    this.errors.push(fieldErrors.forbidden(path, costMessage('x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema', { cost: total, limit: SCHEMA_COST_LIMIT })));
  }
}

/** '.spec.replicas', '.items["a b"]': of fields the schema has. */
function fieldSteps(path: string): string[] | undefined {
  const steps: string[] = [];
  let rest = path;
  while (rest !== '') {
    const found = /^\.([A-Za-z_][A-Za-z0-9_-]*)|^\[(?:'([^']*)'|"([^"]*)")\]/.exec(rest);
    if (!found) return undefined;
    steps.push(found[1] ?? found[2] ?? found[3]!);
    rest = rest.slice(found[0].length);
  }
  return steps;
}

// ------------------------------------------------------------------------------------------------------------ evaluation

interface Run { readonly errors: FieldError[]; budget: number }

class OutOfBudget extends Error {}

function run(plan: Plan, value: unknown, old: unknown): FieldError[] {
  const state: Run = { errors: [], budget: TOTAL_LIMIT };
  try {
    visit(plan, { value, old, path: '' }, state);
  } catch (error) {
    if (!(error instanceof OutOfBudget)) throw error;
  }
  return state.errors;
}

interface Spot { readonly value: unknown; readonly old: unknown; readonly path: string }

function visit(plan: Plan, spot: Spot, state: Run): void {
  const { value, old, path } = spot;
  if (value === undefined || value === null) return;
  if (plan.rules.length > 0) runRules(plan, spot, state);
  if (Array.isArray(value)) {
    const { items } = plan;
    if (!items) return;
    const before = oldItems(plan.node, old);
    value.forEach((item, i) => visit(items, { value: item, old: before?.get(itemKey(plan.node, item)), path: `${path}[${i}]` }, state));
  } else if (isJsonObject(value)) {
    const before = isJsonObject(old) ? old : undefined;
    for (const [name, inner] of plan.properties) visit(inner, { value: getOwn(value, name), old: before && getOwn(before, name), path: path === '' ? name : `${path}.${name}` }, state);
    const { additional } = plan;
    if (additional) for (const key of Object.keys(value)) if (!plan.node.properties.has(key)) visit(additional, { value: value[key], old: before && getOwn(before, key), path: `${path}[${key}]` }, state);
  }
}

function runRules({ node, type, rules }: Plan, { value, old, path }: Spot, state: Run): void {
  const isSame = old !== undefined && deepEqual(value, old);
  let self: unknown, oldSelf: unknown;
  let converted = false;
  for (const rule of rules) {
    const optional = rule.source.optionalOldSelf === true;
    if (rule.isTransition && (old === undefined || old === null) && !optional) continue;
    // What did not change was accepted before.
    if (!rule.isTransition && isSame) continue;
    if (!converted) {
      self = type!.convert(value);
      oldSelf = old === undefined || old === null ? undefined : type!.convert(old);
      converted = true;
    }
    const variables = { self, ...(optional ? { oldSelf: oldSelf === undefined ? Optional.none() : Optional.of(oldSelf) } : oldSelf === undefined ? {} : { oldSelf }) };
    const problem = outcome(rule, { variables, state, path: path === '' ? '<nil>' : path });
    if (problem !== undefined) state.errors.push(errorOf(rule.source, { value, node, path, problem }));
  }
}

/** What is wrong; undefined when the rule holds. */
function outcome(rule: Rule, { variables, state, path }: { readonly variables: Readonly<Record<string, unknown>>; readonly state: Run; readonly path: string }): { readonly message: string; readonly failed: boolean } | undefined {
  const text = rule.source.message?.trim() || rule.source.rule!.trim();
  try {
    const { result, cost } = withBudget(Math.min(PER_CALL_LIMIT, state.budget), () => rule.evaluate(variables));
    state.budget -= cost;
    if (result === true) return undefined;
    return { message: messageOf(rule, { variables, state }), failed: true };
  } catch (error) {
    if (error instanceof BudgetError) {
      if (state.budget >= PER_CALL_LIMIT) {
        state.errors.push(fieldErrors.invalid(path, '', `'${error.message}': no further validation rules will be run due to call cost exceeds limit for rule: ${text}`));
      } else state.errors.push(fieldErrors.internal(path, 'validation failed due to running out of cost budget, no further validation rules will be run'));
      throw new OutOfBudget();
    }
    return { message: runtimeMessage(error, { text, what: 'rule' }), failed: false };
  }
}

function messageOf({ source, message }: Rule, { variables, state }: { readonly variables: Readonly<Record<string, unknown>>; readonly state: Run }): string {
  const fixed = source.message?.trim() || `failed rule: ${source.rule!.trim()}`;
  if (!message) return fixed;
  try {
    const { result, cost } = withBudget(Math.min(PER_CALL_LIMIT, state.budget), () => message(variables));
    state.budget -= cost;
    const text = typeof result === 'string' ? result.trim() : '';
    return text === '' || text.includes('\n') ? fixed : text;
  } catch {
    // A message that cannot be made must not hide what failed.
    return fixed;
  }
}

function errorOf({ reason, fieldPath }: RuleSource, { value, node, path, problem }: { readonly value: unknown; readonly node: Structural; readonly path: string; readonly problem: { readonly message: string; readonly failed: boolean } }): FieldError {
  const at = problem.failed && fieldPath ? joinPath(path, fieldPath) : path;
  const field = at === '' ? '<nil>' : at;
  switch (problem.failed ? reason : undefined) {
    case 'FieldValueForbidden': return fieldErrors.forbidden(field, problem.message);
    case 'FieldValueRequired': return fieldErrors.required(field, problem.message);
    case 'FieldValueDuplicate': return { ...fieldErrors.duplicate(field, value), detail: '' };
    default: return fieldErrors.invalid(field, node.type, problem.message);
  }
}

function joinPath(path: string, fieldPath: string): string {
  const steps = (fieldSteps(fieldPath) ?? []).join('.');
  return path === '' ? steps : `${path}.${steps}`;
}
