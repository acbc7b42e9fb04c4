/**
 * A set of paths into an object, in the shape of metav1.FieldsV1. A path is a list of elements as FieldsV1 spells them:
 * 'f:name' a field or map key, 'k:{"name":"a"}' a list item by its keys, 'v:"x"' an item of a set, 'i:0' a position.
 */
import { isJsonObject, setOwn, type JsonObject } from '../json.ts';

export type Path = readonly string[];

interface Node {
  member: boolean;
  readonly children: Map<string, Node>;
}

function newNode(): Node {
  return { member: false, children: new Map() };
}

/** Every operation except insert returns a new set, which shares parts with the old ones: insert only into a set that you created. */
export class FieldSet {
  readonly #root: Node;

  private constructor(root: Node) {
    this.#root = root;
  }

  static empty(): FieldSet {
    return new FieldSet(newNode());
  }

  static of(...paths: Path[]): FieldSet {
    const set = FieldSet.empty();
    for (const path of paths) set.insert(path);
    return set;
  }

  static fromFieldsV1(fields: unknown): FieldSet {
    return new FieldSet(readNode(fields));
  }

  /** As fromFieldsV1, for client input: undefined for invalid FieldsV1. Unknown kinds of path elements are ignored. */
  static parse(fields: unknown): FieldSet | undefined {
    const node = parseNode(fields);
    if (!node) return undefined;
    // At the top, {} has no fields instead of being one.
    node.member = false;
    return new FieldSet(node);
  }

  insert(path: Path): void {
    let node = this.#root;
    for (const element of path) {
      let child = node.children.get(element);
      if (!child) node.children.set(element, (child = newNode()));
      node = child;
    }
    node.member = true;
  }

  has(path: Path): boolean {
    let node: Node | undefined = this.#root;
    for (const element of path) {
      node = node.children.get(element);
      if (!node) return false;
    }
    return node.member;
  }

  get isEmpty(): boolean {
    return isEmpty(this.#root);
  }

  union(other: FieldSet): FieldSet {
    return this.#combine(other, UNION);
  }

  intersection(other: FieldSet): FieldSet {
    return this.#combine(other, INTERSECTION);
  }

  /** Removes only the exact paths of the other set; paths below them stay. */
  difference(other: FieldSet): FieldSet {
    return this.#combine(other, DIFFERENCE);
  }

  /** Removes the paths of the other set, and all paths below them. */
  without(other: FieldSet): FieldSet {
    return new FieldSet(prune(this.#root, other.#root));
  }

  equals(other: FieldSet): boolean {
    return this.#combine(other, SYMMETRIC_DIFFERENCE).isEmpty;
  }

  /** The subset below one element, without that element. */
  below(element: string): FieldSet {
    return new FieldSet(this.#root.children.get(element) ?? newNode());
  }

  /** Top-level elements that are members or have members below. */
  elements(): string[] {
    return [...this.#root.children.keys()];
  }

  /** In the order of conflicts: those of one level before those below it. */
  paths(): string[][] {
    const found: string[][] = [];
    collect(this.#root, [], found);
    return found;
  }

  toFieldsV1(): JsonObject {
    return writeNode(this.#root);
  }

  /** FieldsV1 from toFieldsV1, without these fields: the given value itself when it has none of them, undefined when nothing is left. */
  takenFrom(fields: JsonObject): JsonObject | undefined {
    return subtractNode(fields, this.#root);
  }

  /** FieldsV1 from toFieldsV1, with these fields: the given value itself when it has all of them. */
  addedTo(fields: JsonObject): JsonObject {
    // At the top, {} has no fields instead of being one.
    return Object.keys(fields).length === 0 ? this.toFieldsV1() : addNode(fields, this.#root);
  }

  #combine(other: FieldSet, operation: Operation): FieldSet {
    return new FieldSet(combine(this.#root, other.#root, operation));
  }
}

interface Operation {
  readonly member: (left: boolean, right: boolean) => boolean;
  /** Parts that only one side has are shared with it. */
  readonly keepsLeft: boolean;
  readonly keepsRight: boolean;
}

const UNION: Operation = { member: (left, right) => left || right, keepsLeft: true, keepsRight: true };
const INTERSECTION: Operation = {
  member: (left, right) => left && right,
  keepsLeft: false,
  keepsRight: false,
};
const DIFFERENCE: Operation = { member: (left, right) => left && !right, keepsLeft: true, keepsRight: false };
const SYMMETRIC_DIFFERENCE: Operation = {
  member: (left, right) => left !== right,
  keepsLeft: true,
  keepsRight: true,
};

function combine(left: Node, right: Node, operation: Operation): Node {
  const result: Node = { member: operation.member(left.member, right.member), children: new Map() };
  for (const [element, child] of left.children) {
    const other = right.children.get(element);
    if (other) addUnlessEmpty(result, element, combine(child, other, operation));
    else if (operation.keepsLeft) addUnlessEmpty(result, element, child);
  }
  if (operation.keepsRight) {
    for (const [element, child] of right.children)
      if (!left.children.has(element)) addUnlessEmpty(result, element, child);
  }
  return result;
}

function addUnlessEmpty(parent: Node, element: string, child: Node): void {
  if (child.member || child.children.size > 0) parent.children.set(element, child);
}

function prune(node: Node, gone: Node): Node {
  const result: Node = { member: node.member, children: new Map() };
  for (const [element, child] of node.children) {
    const removed = gone.children.get(element);
    if (removed?.member) continue;
    addUnlessEmpty(result, element, removed ? prune(child, removed) : child);
  }
  return result;
}

function isEmpty(node: Node): boolean {
  return !node.member && [...node.children.values()].every(isEmpty);
}

function collect(node: Node, path: string[], found: string[][]): void {
  const elements = [...node.children.keys()].toSorted();
  for (const element of elements) if (node.children.get(element)!.member) found.push([...path, element]);
  for (const element of elements) collect(node.children.get(element)!, [...path, element], found);
}

/** {} is a member; with children, '.' marks the path itself as a member too. */
function readNode(fields: unknown): Node {
  const node = newNode();
  if (!isJsonObject(fields)) return node;
  for (const key of Object.keys(fields)) {
    if (key === '.') {
      node.member = true;
      continue;
    }
    const inner = fields[key];
    const child = readNode(inner);
    if (isJsonObject(inner) && Object.keys(inner).length === 0) child.member = true;
    node.children.set(canonicalElement(key), child);
  }
  return node;
}

/** undefined: invalid FieldsV1. */
function parseNode(fields: unknown): Node | undefined {
  if (fields !== null && !isJsonObject(fields)) return undefined;
  const node = newNode();
  for (const [key, inner] of Object.entries(fields ?? {})) {
    if (key === MEMBER) {
      node.member = true;
      continue;
    }
    const problem = elementProblem(key);
    if (problem === 'unknown') continue;
    const child = problem === undefined ? parseNode(inner) : undefined;
    if (!child) return undefined;
    node.children.set(canonicalElement(key), child);
  }
  if (node.children.size === 0) node.member = true;
  return node;
}

function elementProblem(element: string): 'malformed' | 'unknown' | undefined {
  if (element[1] !== ':') return 'malformed';
  const rest = element.slice(2);
  switch (element[0]) {
    case 'f':
      return undefined;
    case 'i':
      return /^[+-]?[0-9]+$/.test(rest) ? undefined : 'malformed';
    case 'v':
      return parsedJson(rest) === undefined ? 'malformed' : undefined;
    case 'k':
      return isJsonObject(parsedJson(rest)) ? undefined : 'malformed';
    default:
      return 'unknown';
  }
}

/** undefined for invalid JSON. */
function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function writeNode(node: Node): JsonObject {
  const fields: JsonObject = {};
  const elements = [...node.children.keys()];
  if (elements.length > 1) elements.sort();
  for (const element of elements) {
    setOwn(fields, element, writeMemberNode(node.children.get(element)!));
  }
  return fields;
}

const MEMBER = '.';

/** {} is a member; with children, '.' marks it. */
function isMember(fields: JsonObject): boolean {
  for (const _key in fields) return MEMBER in fields;
  return true;
}

function subtractNode(fields: JsonObject, gone: Node): JsonObject | undefined {
  const wasMember = isMember(fields);
  const staysMember = wasMember && !gone.member;
  let changes = wasMember !== staysMember;
  const left: [string, JsonObject][] = [];
  for (const element of Object.keys(fields)) {
    if (element === MEMBER) continue;
    const child = fields[element] as JsonObject;
    const other = gone.children.get(element);
    const kept = other ? subtractNode(child, other) : child;
    if (kept !== child) changes = true;
    if (kept) left.push([element, kept]);
  }
  if (!changes) return fields;
  return left.length === 0 && !staysMember ? undefined : fieldsFrom(left, staysMember);
}

function addNode(fields: JsonObject, more: Node): JsonObject {
  const wasMember = isMember(fields);
  let changes = more.member && !wasMember;
  const all: [string, JsonObject][] = [];
  for (const element of Object.keys(fields)) {
    if (element === MEMBER) continue;
    const child = fields[element] as JsonObject;
    const other = more.children.get(element);
    const joined = other ? addNode(child, other) : child;
    if (joined !== child) changes = true;
    all.push([element, joined]);
  }
  const before = all.length;
  for (const [element, child] of more.children) {
    if (Object.hasOwn(fields, element)) continue;
    all.push([element, writeMemberNode(child)]);
  }
  if (all.length > before) all.sort(([a], [b]) => (a < b ? -1 : 1));
  else if (!changes) return fields;
  return fieldsFrom(all, wasMember || more.member);
}

function writeMemberNode(node: Node): JsonObject {
  const written = writeNode(node);
  return node.member && node.children.size > 0 ? { [MEMBER]: {}, ...written } : written;
}

function fieldsFrom(children: readonly (readonly [string, JsonObject])[], member: boolean): JsonObject {
  const fields: JsonObject = member && children.length > 0 ? { [MEMBER]: {} } : {};
  for (const [element, child] of children) setOwn(fields, element, child);
  return fields;
}

/** Keys of an item in sorted order, so that equal elements are equal texts. */
function canonicalElement(element: string): string {
  if (!element.startsWith('k:')) return element;
  const keys = parsedJson(element.slice(2));
  return isJsonObject(keys) ? keyElement(keys) : element;
}

/** By the values of an item's keys, in any order. */
function keyElement(keys: Readonly<Record<string, unknown>>): string {
  return `k:${JSON.stringify(Object.fromEntries(Object.entries(keys).toSorted(([left], [right]) => (left < right ? -1 : 1))))}`;
}

/** The format of conflicts: .spec.containers[name="a"].image */
export function printPath(path: Path): string {
  return path.map(printElement).join('');
}

function printElement(element: string): string {
  const rest = element.slice(2);
  switch (element.slice(0, 2)) {
    case 'f:':
      return `.${rest}`;
    case 'v:':
      return `[=${rest}]`;
    case 'k:':
      return `[${Object.entries(JSON.parse(rest) as JsonObject)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(',')}]`;
    default:
      return `[${rest}]`;
  }
}
