/** Compiles checked expressions to closures, one for each node. Every step is charged, and so are reads and results. */
import { BudgetError, traversal, type Meter } from './budget.ts';
import {
  type CallNode,
  type ComprehensionNode,
  type LogicalNode,
  type Node,
  type OptMapNode,
  type StructNode,
} from './ast.ts';
import { readInputs } from './charges.ts';
import { COMPREHENSIONS, listEntries, itemsOf } from './comprehensions.ts';
import { constructed } from './construction.ts';
import { Optional } from './datatypes.ts';
import { EvaluationError, NoSuchOverloadError } from './errors.ts';
import type { Overload } from './functions.ts';
import { isPresent, negate, OPERATORS, select, selectOptional, sizeOf } from './operators.ts';

/** Of one evaluation. */
interface Frame {
  readonly meter: Meter;
  readonly values: Readonly<Record<string, unknown>>;
  /** Comprehensions by nesting depth. */
  readonly locals: unknown[];
}
type Step = (frame: Frame) => unknown;
/** Throws EvaluationError, BudgetError. */
export type Program = (values: Readonly<Record<string, unknown>>, meter: Meter) => unknown;

export function makeProgram(root: Node, source: string): Program {
  const run = new Builder(source).step(root, new Map());
  return (values, meter) => run({ meter, values, locals: [] });
}

/** Slots of comprehension variables. */
type Locals = ReadonlyMap<string, number>;

/** Errors that are absorbed take far longer than other steps. */
const ERROR_COST = 20;

class Builder {
  readonly #errorCost: number;
  #slots = 0;

  constructor(source: string) {
    this.#errorCost = ERROR_COST + traversal(source.length);
  }

  step(node: Node, locals: Locals): Step {
    const part = (inner: Node): Step => this.step(inner, locals);
    switch (node.kind) {
      case 'literal':
        return () => node.value;
      case 'ident':
        return identStep(node, locals);
      case 'select':
        return this.#select(node, locals);
      case 'has': {
        const operand = part(node.operand),
          { field } = node;
        return (frame) => {
          frame.meter.charge(1);
          return isPresent(operand(frame), field, frame.meter);
        };
      }
      case 'index': {
        const operand = part(node.operand),
          index = part(node.index),
          access = node.isOptional ? selectOptional : select;
        return (frame) => {
          frame.meter.charge(1);
          return access(operand(frame), index(frame), frame.meter);
        };
      }
      case 'call':
        return this.#call(node, locals);
      case 'unary': {
        const operand = part(node.operand),
          apply = node.op === '-' ? negate : not;
        return (frame) => {
          frame.meter.charge(1);
          return apply(operand(frame));
        };
      }
      case 'binary': {
        const left = part(node.left),
          right = part(node.right),
          apply = OPERATORS[node.op];
        return (frame) => {
          frame.meter.charge(1);
          return apply(left(frame), right(frame), frame.meter);
        };
      }
      case 'logical':
        return this.#logical(node, locals);
      case 'conditional': {
        const condition = part(node.condition),
          yes = part(node.yes),
          no = part(node.no);
        return (frame) => {
          frame.meter.charge(1);
          return requireBool(condition(frame)) ? yes(frame) : no(frame);
        };
      }
      case 'list': {
        const items = node.items.map(({ value, isOptional }) => ({ value: part(value), isOptional }));
        return (frame) => {
          frame.meter.charge(1);
          const list: unknown[] = [];
          for (const { value, isOptional } of items)
            addItem(value(frame), isOptional, (item) => list.push(item));
          return list;
        };
      }
      case 'map': {
        const entries = node.entries.map(({ key, value, isOptional }) => ({
          key: part(key),
          value: part(value),
          isOptional,
        }));
        return (frame) => {
          frame.meter.charge(1);
          const map = new Map<unknown, unknown>();
          for (const { key, value, isOptional } of entries) {
            const name = key(frame);
            if (map.has(name)) throw new EvaluationError(`insert failed: key ${String(name)} already exists`);
            addItem(value(frame), isOptional, (item) => map.set(name, item));
          }
          return map;
        };
      }
      case 'struct':
        return this.#struct(node, locals);
      case 'comprehension':
        return this.#comprehension(node, locals);
      case 'bind': {
        const value = part(node.value),
          at = this.#slots++,
          body = this.step(node.body, new Map(locals).set(node.variable, at));
        return (frame) => {
          frame.meter.charge(1);
          frame.locals[at] = value(frame);
          return body(frame);
        };
      }
      case 'optMap':
        return this.#mapOptional(node, locals);
    }
  }

  #select(node: Extract<Node, { kind: 'select' }>, locals: Locals): Step {
    if (node.constant !== undefined) return () => node.constant;
    const operand = this.step(node.operand, locals),
      access = node.isOptional ? selectOptional : select,
      { field } = node;
    return (frame) => {
      frame.meter.charge(1);
      return access(operand(frame), field, frame.meter);
    };
  }

  #call(node: CallNode, locals: Locals): Step {
    const operands = (node.target ? [node.target, ...node.args] : node.args).map((inner) =>
        this.step(inner, locals),
      ),
      { name, overloads } = node,
      charge = overloads.find((overload) => overload.charge)?.charge ?? readInputs;
    if (node.target && (name === 'or' || name === 'orValue')) return optionalOr(operands, name === 'or');
    return (frame) => {
      const { meter } = frame;
      meter.charge(1);
      const args = operands.map((operand) => operand(frame));
      charge(args, meter);
      const result = overloadFor(overloads, args).run(...args, meter);
      meter.charge(sizeOf(result));
      return result;
    };
  }

  /** An operand that decides makes errors of others void. */
  #logical({ op, operands }: LogicalNode, locals: Locals): Step {
    const steps = operands.map((operand) => this.step(operand, locals)),
      deciding = op === '||';
    return (frame) => {
      frame.meter.charge(1);
      let failure: unknown;
      for (const step of steps) {
        try {
          if (requireBool(step(frame)) === deciding) return deciding;
        } catch (error) {
          failure ??= this.#absorbed(error, frame);
        }
      }
      if (failure !== undefined) throw failure;
      return !deciding;
    };
  }

  #absorbed(error: unknown, { meter }: Frame): unknown {
    if (error instanceof BudgetError) throw error;
    meter.charge(this.#errorCost);
    return error;
  }

  #struct({ typeName, fields }: StructNode, locals: Locals): Step {
    const steps = fields.map(({ name, value, isOptional }) => ({
      name,
      value: this.step(value, locals),
      isOptional,
    }));
    return (frame) => {
      frame.meter.charge(1);
      const values = new Map<string, unknown>();
      for (const { name, value, isOptional } of steps)
        addItem(value(frame), isOptional, (item) => values.set(name, item));
      return constructed(typeName, values);
    };
  }

  #comprehension(node: ComprehensionNode, locals: Locals): Step {
    const range = this.step(node.range, locals),
      slots = node.variables.map(() => this.#slots++),
      inner = new Map(locals);
    node.variables.forEach((name, i) => inner.set(name, slots[i]!));
    const body = this.step(node.body, inner),
      filter = node.filter && this.step(node.filter, inner),
      [first, second] = slots as [number, number?];
    const run = COMPREHENSIONS[node.name];
    return (frame) => {
      const { meter, locals: values } = frame;
      meter.charge(1);
      const collection = range(frame),
        entries = second === undefined ? itemsOf(collection) : listEntries(collection);
      const at =
        (step: Step) =>
        (key: unknown, value: unknown): unknown => {
          meter.charge(1);
          values[first] = second === undefined ? value : key;
          if (second !== undefined) values[second] = value;
          return step(frame);
        };
      const chosen = filter && at(filter);
      return run({
        entries,
        body: at(body),
        chooses: chosen && ((key, value) => requireBool(chosen(key, value))),
        absorbed: (error) => this.#absorbed(error, frame),
        meter,
      });
    };
  }

  #mapOptional({ target, variable, body, isFlat }: OptMapNode, locals: Locals): Step {
    const optional = this.step(target, locals),
      at = this.#slots++,
      inner = this.step(body, new Map(locals).set(variable, at));
    return (frame) => {
      frame.meter.charge(1);
      const value = requireOptional(optional(frame));
      if (!value.hasValue()) return value;
      frame.locals[at] = value.value();
      return isFlat ? requireOptional(inner(frame)) : Optional.of(inner(frame));
    };
  }
}

function identStep({ name, constant }: Extract<Node, { kind: 'ident' }>, locals: Locals): Step {
  const at = locals.get(name);
  if (at !== undefined)
    return (frame) => {
      frame.meter.charge(1);
      return frame.locals[at];
    };
  if (constant !== undefined) return () => constant;
  return (frame) => {
    frame.meter.charge(1);
    const value = frame.values[name];
    if (value === undefined) throw new EvaluationError(`no such attribute(s): ${name}`);
    return value;
  };
}

/** The argument is evaluated if the first has no value. */
function optionalOr([target, other]: readonly Step[], isOptional: boolean): Step {
  return (frame) => {
    frame.meter.charge(1);
    const value = requireOptional(target!(frame));
    if (value.hasValue()) return isOptional ? value : value.value();
    return isOptional ? requireOptional(other!(frame)) : other!(frame);
  };
}

function overloadFor(overloads: readonly Overload[], args: readonly unknown[]): Overload {
  for (const overload of overloads) if (overload.guards.every((guard, i) => guard(args[i]))) return overload;
  throw new NoSuchOverloadError();
}

function requireBool(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new NoSuchOverloadError();
}

const not = (value: unknown): boolean => !requireBool(value);

function requireOptional(value: unknown): Optional {
  if (value instanceof Optional) return value;
  throw new NoSuchOverloadError();
}

/** An optional entry without a value is omitted. */
function addItem(value: unknown, isOptional: boolean, add: (item: unknown) => void): void {
  if (!isOptional) add(value);
  else {
    const optional = requireOptional(value);
    if (optional.hasValue()) add(optional.value());
  }
}
