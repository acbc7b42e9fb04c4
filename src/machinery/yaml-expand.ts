/**
 * Converts a YAML document to JSON data: expands aliases and merge keys, converts keys to strings, records duplicate keys. Every value counts against a
 * budget before it is created, so that a document of some kilobytes cannot use gigabytes. Parsing is in yaml.ts.
 */
import type { Alias, Document, Node, Pair, Scalar, YAMLMap, YAMLSeq } from 'yaml';
import { MAXIMUM_DEPTH, setOwn, tooDeep, type JsonObject } from './json.ts';
import { yaml } from './yaml-package.ts';

interface ExpandedYaml {
  readonly value: unknown;
  /** Duplicate keys of maps, in the order of Go's decoder; the last one wins. */
  readonly repeated: readonly RepeatedKey[];
}

export interface RepeatedKey {
  readonly key: unknown;
  readonly offset: number;
}

/** A document that is not JSON data, with Go's message where it has one. */
export class YamlDataError extends Error {
  /** Offset in the text; undefined = the document as a whole. */
  readonly offset: number | undefined;
  constructor(message: string, offset?: number) {
    super(message);
    this.offset = offset;
  }
}

/** A float that JSON cannot represent. */
export class YamlNumberError extends Error {}

/** budget: maximum number of values, including copies by aliases and merge keys. Throws YamlDataError, YamlNumberError, StatusError 400 when nested too deep. */
export function expandYaml(document: Document.Parsed, budget: number): ExpandedYaml {
  const expansion = new Expansion(budget);
  return { value: expansion.value(document.contents, 0), repeated: expansion.repeated };
}

const MERGE_KEY = '<<';

class Expansion {
  readonly repeated: RepeatedKey[] = [];
  readonly #anchors = new Map<string, Node>();
  readonly #targets = new Map<Alias, Node>();
  /** Nodes being expanded: an alias to one of them would be infinite. */
  readonly #open = new Set<Node>();
  #left: number;
  /** Duplicates are not recorded again inside a copy. */
  #copies = 0;

  constructor(budget: number) {
    this.#left = budget;
  }

  value(node: Node | null | undefined, depth: number): unknown {
    this.#spend();
    if (depth > MAXIMUM_DEPTH) throw tooDeep();
    if (node === null || node === undefined) return null;
    if (yaml().isAlias(node)) return this.#copy(this.#target(node), depth);
    if (this.#copies === 0 && node.anchor !== undefined) this.#anchors.set(node.anchor, node as Node);
    if (yaml().isScalar(node)) return scalarValue(node);
    this.#open.add(node);
    const made = yaml().isMap(node) ? this.#map(node, depth) : this.#list(node as YAMLSeq, depth);
    this.#open.delete(node);
    return made;
  }

  #spend(): void {
    if (--this.#left < 0) throw new YamlDataError('document contains excessive aliasing');
  }

  /** The last anchor of that name before the alias, also when the alias itself is copied later. */
  #target(alias: Alias): Node {
    const { source } = alias;
    const target = this.#targets.get(alias) ?? this.#anchors.get(source);
    if (!target) throw new YamlDataError(`unknown anchor '${source}' referenced`);
    if (this.#open.has(target)) throw new YamlDataError(`anchor '${source}' value contains itself`);
    this.#targets.set(alias, target);
    return target;
  }

  #copy(node: Node, depth: number): unknown {
    this.#copies++;
    const copy = this.value(node, depth);
    this.#copies--;
    return copy;
  }

  #list({ items }: YAMLSeq, depth: number): unknown[] {
    return items.map((item) => this.value(item as Node | null, depth + 1));
  }

  #map({ items }: YAMLMap, depth: number): JsonObject {
    const object: JsonObject = {};
    const seen = new Set<unknown>();
    for (const { key, value } of items as Pair<Node, Node | null>[]) {
      if (isMergeKey(key)) {
        this.#merge(object, value, depth);
        continue;
      }
      const name = this.#key(key);
      setOwn(object, name, this.value(value, depth + 1));
      if (this.#copies === 0) this.#note(key, seen);
    }
    return object;
  }

  /** JSON keys are strings; lists and maps cannot be keys. */
  #key(key: Node): string {
    this.#spend();
    const node = yaml().isAlias(key) ? this.#target(key) : key;
    if (!yaml().isScalar(node)) throw new YamlDataError('invalid map key', key.range?.[0] ?? 0);
    if (this.#copies === 0 && node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    return node.value === null ? '' : keyText(node.value).toWellFormed();
  }

  #note(key: Node, seen: Set<unknown>): void {
    if (!yaml().isScalar(key)) return;
    if (seen.has(key.value)) this.repeated.push({ key: key.value, offset: key.range?.[0] ?? 0 });
    seen.add(key.value);
  }

  /** Earlier sources take precedence over later ones, and the map's own keys over all of them. */
  #merge(object: JsonObject, given: Node | null, depth: number): void {
    const source = given && this.#resolved(given);
    const sources = yaml().isSeq(source) ? (source.items as Node[]) : [given];
    for (const item of sources) {
      this.#spend();
      const one = item && this.#resolved(item);
      if (!yaml().isMap(one))
        throw new YamlDataError('map merge requires map or sequence of maps as the value');
      const isCopy = yaml().isAlias(given) || yaml().isAlias(item);
      const merged = (isCopy ? this.#copy(one, depth + 1) : this.value(one, depth + 1)) as JsonObject;
      for (const name of Object.keys(merged))
        if (!Object.hasOwn(object, name)) setOwn(object, name, merged[name]);
    }
  }

  #resolved(node: Node): Node {
    if (yaml().isAlias(node)) return this.#target(node);
    if (this.#copies === 0 && node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    return node;
  }
}

function isMergeKey(key: Node): boolean {
  if (!yaml().isScalar(key)) return false;
  const { value, type } = key as Scalar;
  if (type !== undefined && type !== 'PLAIN') return false;
  return value === MERGE_KEY || (typeof value === 'symbol' && value.description === MERGE_KEY);
}

function keyText(value: unknown): string {
  return typeof value === 'bigint' ? String(Number(value)) : String(value);
}

function scalarValue({ value }: Scalar): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new YamlNumberError(Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf');
  if (typeof value === 'symbol') return value.description ?? null;
  return value ?? null;
}
