/**
 * Encodes call trees with costs as profile.proto of google/pprof, which `go tool pprof` and most viewers read. Not compressed; the caller may do so.
 */
import { Message } from './message.ts';

export interface CallNode {
  readonly functionName: string;
  readonly url: string;
  /** From 1. */
  readonly line: number;
  /** One per type of the profile; undefined without a cost in this very call. */
  readonly values: readonly number[] | undefined;
  readonly children: readonly CallNode[];
}

interface ValueType {
  readonly type: string;
  readonly unit: string;
}

export interface Profile {
  readonly types: readonly ValueType[];
  /** The root represents the program and is left out of stacks. */
  readonly root: CallNode;
  readonly startMs: number;
  readonly durationMs: number;
  /** The sampled type and period. */
  readonly period: ValueType & { readonly value: number };
}

export function encodePprof({ types, root, startMs, durationMs, period }: Profile): Buffer {
  const tables = new Tables();
  const message = new Message();
  const type = (into: Message, one: ValueType): void =>
    void into.integer(1, tables.text(one.type)).integer(2, tables.text(one.unit));
  for (const one of types) message.sub(1, one, type);
  const walk = (node: CallNode, stack: readonly number[]): void => {
    if (node.values)
      message.sub(2, node.values, (sample, values) => void sample.packed(1, stack).packed(2, values));
    for (const child of node.children) walk(child, [tables.location(child), ...stack]);
  };
  walk(root, []);
  tables.write(message);
  message
    .integer(9, Math.round(startMs) * 1e6)
    .integer(10, Math.round(durationMs * 1e6))
    .sub(11, period, type)
    .integer(12, period.value);
  tables.writeTexts(message);
  return message.finish();
}

/** Tables that samples refer to by number. */
class Tables {
  readonly #texts = new Map<string, number>([['', 0]]);
  readonly #functions = new Map<
    string,
    { readonly id: number; readonly name: number; readonly file: number }
  >();
  readonly #locations = new Map<
    string,
    { readonly id: number; readonly functionId: number; readonly line: number }
  >();

  text(value: string): number {
    return parseFlagNumber(this.#texts, value, () => this.#texts.size);
  }

  location({ functionName, url, line }: CallNode): number {
    const name = functionName || '(anonymous)',
      key = `${name} ${url}`;
    const of = parseFlagNumber(this.#functions, key, () => ({
      id: this.#functions.size + 1,
      name: this.text(name),
      file: this.text(url),
    }));
    return parseFlagNumber(this.#locations, `${key}:${line}`, () => ({
      id: this.#locations.size + 1,
      functionId: of.id,
      line,
    })).id;
  }

  write(message: Message): void {
    for (const one of this.#locations.values())
      message.sub(
        4,
        one,
        (location, { id, functionId, line }) =>
          void location
            .integer(1, id)
            .sub(4, functionId, (into) => void into.integer(1, functionId).integer(2, line)),
      );
    for (const one of this.#functions.values())
      message.sub(
        5,
        one,
        (into, { id, name, file }) =>
          void into.integer(1, id).integer(2, name).integer(3, name).integer(4, file),
      );
  }

  writeTexts(message: Message): void {
    for (const text of this.#texts.keys()) message.set(6, text);
  }
}

function parseFlagNumber<V>(map: Map<string, V>, key: string, make: () => V): V {
  let found = map.get(key);
  if (found === undefined) map.set(key, (found = make()));
  return found;
}
