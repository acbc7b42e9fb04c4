/**
 * JSON patch, RFC 6902, compatible with upstream's library (evanphx/json-patch v4). Beyond the RFC: an operation without a value has null;
 * replace and copy accept missing fields; negative indexes count from the end; `test` of an absent field for null succeeds; text
 * before the first '/' of a pointer is ignored. Never changes its arguments.
 */
import { StatusError, statusErrors } from '../errors.ts';
import { deepClone, getOwn, goTypeName, isJsonObject, jsonEqual, setOwn, type JsonObject } from '../json.ts';

interface JsonPatchOptions {
  /** Default 10,000. */
  readonly maximumOperations?: number;
  /** Maximum JSON text that all `copy` operations together may duplicate. Default 3 MiB. */
  readonly maximumCopyBytes?: number;
}

type Operation = JsonObject | null;
type Container = JsonObject | unknown[];
interface Place {
  readonly parent: Container;
  readonly key: string;
}
interface Run {
  root: unknown;
  copiedBytes: number;
  readonly maximumCopyBytes: number;
}

const MAXIMUM_OPERATIONS = 10_000;
const MAXIMUM_COPY_BYTES = 3 * 1024 * 1024;

/** An operation that cannot be applied, and why. */
export class InapplicableError extends Error {}

/** Throws InapplicableError, StatusError 400 for an invalid patch and 413 for too many operations. */
export function applyJsonPatch(document: unknown, patch: unknown, options: JsonPatchOptions = {}): unknown {
  const operations = readOperations(patch, options.maximumOperations ?? MAXIMUM_OPERATIONS);
  const run: Run = {
    root: deepClone(document),
    copiedBytes: 0,
    maximumCopyBytes: options.maximumCopyBytes ?? MAXIMUM_COPY_BYTES,
  };
  for (const operation of operations) apply(run, operation ?? {});
  return run.root;
}

/** 422; upstream omits the reason. */
export function inapplicable(cause: InapplicableError): StatusError {
  return new StatusError(
    {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'the server rejected our request due to an error in our request',
      reason: 'Invalid',
      details: {},
      code: 422,
    },
    cause,
  );
}

/** null has no operations; a null operation does nothing. */
function readOperations(patch: unknown, maximum: number): readonly Operation[] {
  if (patch === null) return [];
  if (!Array.isArray(patch))
    throw statusErrors.badRequest(
      `json: cannot unmarshal ${goTypeName(patch)} into Go value of type jsonpatch.Patch`,
    );
  for (const item of patch)
    if (item !== null && !isJsonObject(item))
      throw statusErrors.badRequest(
        `json: cannot unmarshal ${goTypeName(item)} into Go value of type jsonpatch.Operation`,
      );
  if (patch.length > maximum)
    throw statusErrors.requestEntityTooLarge(
      `The allowed maximum operations in a JSON patch is ${maximum}, got ${patch.length}`,
    );
  return patch as Operation[];
}

function apply(run: Run, operation: JsonObject): void {
  const op = typeof operation['op'] === 'string' ? operation['op'] : 'unknown';
  switch (op) {
    case 'add':
      return add(run, operation);
    case 'remove':
      return remove(run, operation);
    case 'replace':
      return replace(run, operation);
    case 'move':
      return move(run, operation);
    case 'copy':
      return copy(run, operation);
    case 'test':
      return test(run, operation);
    default:
      throw new InapplicableError(`Unexpected kind: ${op}`);
  }
}

function pathOf(operation: JsonObject, op: string): string {
  const path = getOwn(operation, 'path');
  if (typeof path !== 'string')
    throw new InapplicableError(`${op} operation failed to decode path: missing value`);
  return path;
}

function fromOf(operation: JsonObject, op: string): string {
  const from = getOwn(operation, 'from');
  if (typeof from !== 'string')
    throw new InapplicableError(`${op} operation failed to decode from: missing value`);
  return from;
}

function valueOf(operation: JsonObject): unknown {
  return deepClone(getOwn(operation, 'value') ?? null);
}

function isContainer(value: unknown): value is Container {
  return Array.isArray(value) || isJsonObject(value);
}

/** undefined: the parent does not exist. */
function find(run: Run, pointer: string): Place | undefined {
  const [, ...parts] = pointer.split('/');
  const key = parts.pop();
  if (key === undefined) return undefined;
  let parent: unknown = run.root;
  for (const part of parts) {
    const list = Array.isArray(parent) ? parent : undefined;
    const index = list && existingIndex(list, unescaped(part));
    parent = list
      ? typeof index === 'number'
        ? list[index]
        : undefined
      : getOwn(parent as JsonObject, unescaped(part));
    if (!isContainer(parent)) return undefined;
  }
  return isContainer(parent) ? { parent, key: unescaped(key) } : undefined;
}

function unescaped(token: string): string {
  return token.replaceAll(/~[01]/g, (escape) => (escape === '~1' ? '/' : '~'));
}

/** A string: the error. */
function existingIndex(list: readonly unknown[], key: string): number | string {
  if (!isIndex(key)) return `strconv.Atoi: parsing ${JSON.stringify(key)}: invalid syntax`;
  const index = Number(key);
  if (index >= list.length || index < -list.length)
    return `Unable to access invalid index: ${index}: invalid index referenced`;
  return index < 0 ? index + list.length : index;
}

function isIndex(key: string): boolean {
  return /^[+-]?[0-9]{1,15}$/.test(key);
}

/** Absent fields are null. */
function read({ parent, key }: Place, failure: string): unknown {
  if (!Array.isArray(parent)) return getOwn(parent, key) ?? null;
  const index = existingIndex(parent, key);
  if (typeof index === 'string') throw new InapplicableError(`${failure}: ${index}`);
  return parent[index] ?? null;
}

function insert({ parent, key }: Place, value: unknown, failure: string): void {
  if (!Array.isArray(parent)) return setOwn(parent, key, value);
  if (key === '-') return void parent.push(value);
  if (!isIndex(key))
    throw new InapplicableError(
      `${failure}: value was not a proper array index: '${key}': strconv.Atoi: parsing ${JSON.stringify(key)}: invalid syntax`,
    );
  const index = Number(key),
    length = parent.length + 1;
  if (index >= length || index < -length)
    throw new InapplicableError(
      `${failure}: Unable to access invalid index: ${index}: invalid index referenced`,
    );
  parent.splice(index < 0 ? index + length : index, 0, value);
}

function takeOut({ parent, key }: Place, failure: string): void {
  if (Array.isArray(parent)) {
    const index = existingIndex(parent, key);
    if (typeof index === 'string') throw new InapplicableError(`${failure}: ${index}`);
    parent.splice(index, 1);
    return;
  }
  if (!Object.hasOwn(parent, key))
    throw new InapplicableError(`${failure}: Unable to remove nonexistent key: ${key}: missing value`);
  delete parent[key];
}

function add(run: Run, operation: JsonObject): void {
  const path = pathOf(operation, 'add');
  const place = find(run, path);
  if (!place)
    throw new InapplicableError(
      `add operation does not apply: doc is missing path: "${path}": missing value`,
    );
  insert(place, valueOf(operation), `error in add for path: '${path}'`);
}

function remove(run: Run, operation: JsonObject): void {
  const path = pathOf(operation, 'remove');
  const place = find(run, path);
  if (!place)
    throw new InapplicableError(
      `remove operation does not apply: doc is missing path: "${path}": missing value`,
    );
  takeOut(place, `error in remove for path: '${path}'`);
}

function replace(run: Run, operation: JsonObject): void {
  const path = pathOf(operation, 'replace');
  const value = valueOf(operation);
  if (path === '') {
    if (!isContainer(value)) throw new InapplicableError('replace operation value must be object or array');
    run.root = value;
    return;
  }
  const place = find(run, path);
  if (!place)
    throw new InapplicableError(
      `replace operation does not apply: doc is missing path: ${path}: missing value`,
    );
  if (!Array.isArray(place.parent)) return setOwn(place.parent, place.key, value);
  const index = existingIndex(place.parent, place.key);
  if (typeof index === 'string')
    throw new InapplicableError(
      `replace operation does not apply: doc is missing key: ${path}: missing value`,
    );
  place.parent[index] = value;
}

function move(run: Run, operation: JsonObject): void {
  const from = fromOf(operation, 'move');
  const source = find(run, from);
  if (!source)
    throw new InapplicableError(
      `move operation does not apply: doc is missing from path: ${from}: missing value`,
    );
  const failure = `error in move for path: '${source.key}'`;
  const value = read(source, failure);
  takeOut(source, failure);
  const path = pathOf(operation, 'move');
  const place = find(run, path);
  if (!place)
    throw new InapplicableError(
      `move operation does not apply: doc is missing destination path: ${path}: missing value`,
    );
  insert(place, value, `error in move for path: '${path}'`);
}

function copy(run: Run, operation: JsonObject): void {
  const from = fromOf(operation, 'copy');
  const source = find(run, from);
  if (!source)
    throw new InapplicableError(
      `copy operation does not apply: doc is missing from path: ${from}: missing value`,
    );
  const value = read(source, `error in copy for from: '${from}'`);
  const path = pathOf(operation, 'copy');
  const place = find(run, path);
  if (!place)
    throw new InapplicableError(
      `copy operation does not apply: doc is missing destination path: ${path}: missing value`,
    );
  run.copiedBytes += Buffer.byteLength(JSON.stringify(value));
  if (run.copiedBytes > run.maximumCopyBytes) {
    throw new InapplicableError(
      `Unable to complete the copy, the accumulated size increase of copy is ${run.copiedBytes}, exceeding the limit ${run.maximumCopyBytes}`,
    );
  }
  insert(place, deepClone(value), 'error while adding value during copy');
}

function test(run: Run, operation: JsonObject): void {
  const path = pathOf(operation, 'test');
  const place = path === '' ? undefined : find(run, path);
  if (!place && path !== '')
    throw new InapplicableError(`test operation does not apply: is missing path: ${path}: missing value`);
  const actual = place ? read(place, `error in test for path: '${path}'`) : run.root;
  if (!jsonEqual(actual, valueOf(operation)))
    throw new InapplicableError(`testing value ${path} failed: test failed`);
}
