/**
 * JSON patch, RFC 6902, with the API server's bounds and statuses: 400 for what is no patch, 413 for too many operations, 422 for an
 * operation that does not apply. Never changes its arguments. Beyond the RFC, as upstream: a `test` of an absent field for null holds.
 */
import { StatusError, statusErrors } from '../errors.ts';
import { deepClone, isJsonObject, jsonEqual, setOwn, type JsonObject } from '../json.ts';

export interface JsonPatchOptions {
  /** Default 10,000. */
  readonly maximumOperations?: number;
  /** Bound on the JSON text that all `copy` operations together duplicate. Default 3 MiB. */
  readonly maximumCopyBytes?: number;
}

interface Operation { readonly op: string; readonly path: string; readonly from?: string; readonly hasValue: boolean; readonly value?: unknown }
type Container = JsonObject | unknown[];
interface Place { readonly parent: Container; readonly key: string }
interface Run { root: unknown; copiedBytes: number; readonly maximumCopyBytes: number }

const MAXIMUM_OPERATIONS = 10_000;
const MAXIMUM_COPY_BYTES = 3 * 1024 * 1024;

/** An operation that can't be carried out: message for the cause of the 422. */
class InapplicableError extends Error {}

export function applyJsonPatch(document: unknown, patch: unknown, options: JsonPatchOptions = {}): unknown {
  const operations = readOperations(patch, options.maximumOperations ?? MAXIMUM_OPERATIONS);
  const run: Run = { root: deepClone(document), copiedBytes: 0, maximumCopyBytes: options.maximumCopyBytes ?? MAXIMUM_COPY_BYTES };
  try {
    for (const operation of operations) apply(run, operation);
  } catch (error) {
    if (error instanceof InapplicableError) throw inapplicable(error.message);
    throw error;
  }
  return run.root;
}

/** Upstream answers without the why; the cause carries it here, so that kubectl shows it. */
function inapplicable(message: string): StatusError {
  return new StatusError({
    kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', reason: 'Invalid', code: 422,
    message: 'the server rejected our request due to an error in our request',
    details: { causes: [{ message }] },
  });
}

function readOperations(patch: unknown, maximum: number): Operation[] {
  if (!Array.isArray(patch)) throw statusErrors.badRequest(`json: cannot unmarshal ${jsonTypeName(patch)} into Go value of type jsonpatch.Patch`);
  if (patch.length > maximum) throw statusErrors.requestEntityTooLarge(`The allowed maximum operations in a JSON patch is ${maximum}, got ${patch.length}`);
  return patch.map((item: unknown) => {
    if (!isJsonObject(item)) throw statusErrors.badRequest(`json: cannot unmarshal ${jsonTypeName(item)} into Go value of type jsonpatch.Operation`);
    const { op, path, from } = item;
    if (typeof op !== 'string') throw statusErrors.badRequest('JSON patch operation has no "op"');
    if (typeof path !== 'string') throw statusErrors.badRequest(`JSON patch operation "${op}" has no "path"`);
    if (from !== undefined && typeof from !== 'string') throw statusErrors.badRequest(`JSON patch operation "${op}" has a "from" that is no string`);
    return { op, path, ...(typeof from === 'string' ? { from } : {}), hasValue: Object.hasOwn(item, 'value'), value: item['value'] };
  });
}

function jsonTypeName(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value;
}

function apply(run: Run, operation: Operation): void {
  switch (operation.op) {
    case 'add': return add(run, operation.path, deepClone(valueOf(operation)));
    case 'remove': return void remove(run, operation.path, 'remove');
    case 'replace': return replace(run, operation.path, deepClone(valueOf(operation)));
    case 'move': return move(run, operation);
    case 'copy': return copy(run, operation);
    case 'test': return test(run, operation);
    default: throw new InapplicableError(`Unexpected kind: ${operation.op}`);
  }
}

function valueOf({ op, path, hasValue, value }: Operation): unknown {
  if (!hasValue) throw new InapplicableError(`${op} operation for path "${path}" has no value`);
  return value;
}

function fromOf({ op, path, from }: Operation): string {
  if (from === undefined) throw new InapplicableError(`${op} operation for path "${path}" has no from`);
  return from;
}

/** Splits and unescapes a JSON pointer. */
function pointerTokens(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw new InapplicableError(`path "${pointer}" does not begin with '/'`);
  if (/~(?![01])/.test(pointer)) throw new InapplicableError(`path "${pointer}" has a '~' that is followed by neither 0 nor 1`);
  return pointer.slice(1).split('/').map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The container the pointer's last token stands in; undefined for the whole document. */
function locate(run: Run, pointer: string, op: string): Place | undefined {
  const tokens = pointerTokens(pointer);
  if (tokens.length === 0) return undefined;
  let parent: unknown = run.root;
  for (const token of tokens.slice(0, -1)) parent = readChild(parent, token);
  if (!isContainer(parent)) throw new InapplicableError(`${op} operation does not apply: doc is missing path: "${pointer}": missing value`);
  return { parent, key: tokens[tokens.length - 1]! };
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null;
}

function readChild(parent: unknown, token: string): unknown {
  if (Array.isArray(parent)) {
    const index = arrayIndex(token);
    return index === undefined ? undefined : parent[index];
  }
  return isJsonObject(parent) && Object.hasOwn(parent, token) ? parent[token] : undefined;
}

function arrayIndex(token: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,9})$/.test(token) ? Number(token) : undefined;
}

function existingIndex(list: readonly unknown[], { key, op, path }: { key: string; op: string; path: string }): number {
  const index = arrayIndex(key);
  if (index === undefined || index >= list.length) throw new InapplicableError(`${op} operation does not apply: doc is missing key: ${path}: missing value`);
  return index;
}

function exists({ parent, key }: Place): boolean {
  if (!Array.isArray(parent)) return Object.hasOwn(parent, key);
  const index = arrayIndex(key);
  return index !== undefined && index < parent.length;
}

function add(run: Run, path: string, value: unknown): void {
  const place = locate(run, path, 'add');
  if (!place) {
    run.root = value;
  } else if (Array.isArray(place.parent)) {
    const index = place.key === '-' ? place.parent.length : arrayIndex(place.key);
    if (index === undefined || index > place.parent.length) throw new InapplicableError(`add operation does not apply: doc is missing path: "${path}": invalid index referenced`);
    place.parent.splice(index, 0, value);
  } else {
    setOwn(place.parent, place.key, value);
  }
}

function remove(run: Run, path: string, op: string): unknown {
  const place = locate(run, path, op);
  if (!place) throw new InapplicableError(`${op} operation does not apply: the whole document can't be removed`);
  if (Array.isArray(place.parent)) return place.parent.splice(existingIndex(place.parent, { key: place.key, op, path }), 1)[0];
  if (!Object.hasOwn(place.parent, place.key)) throw new InapplicableError(`error in ${op} for path: '${path}': Unable to remove nonexistent key: ${place.key}: missing value`);
  const removed = place.parent[place.key];
  delete place.parent[place.key];
  return removed;
}

function replace(run: Run, path: string, value: unknown): void {
  const place = locate(run, path, 'replace');
  if (!place) {
    run.root = value;
  } else if (Array.isArray(place.parent)) {
    place.parent[existingIndex(place.parent, { key: place.key, op: 'replace', path })] = value;
  } else {
    if (!exists(place)) throw new InapplicableError(`replace operation does not apply: doc is missing key: ${path}: missing value`);
    setOwn(place.parent, place.key, value);
  }
}

function move(run: Run, operation: Operation): void {
  const from = fromOf(operation);
  if (operation.path === from) return void readAt(run, from, 'move');
  if (operation.path.startsWith(`${from}/`)) throw new InapplicableError(`move operation does not apply: "${from}" can't move into itself at "${operation.path}"`);
  add(run, operation.path, remove(run, from, 'move'));
}

function copy(run: Run, operation: Operation): void {
  const value = readAt(run, fromOf(operation), 'copy');
  run.copiedBytes += Buffer.byteLength(JSON.stringify(value));
  if (run.copiedBytes > run.maximumCopyBytes) {
    throw new InapplicableError(`Unable to complete the copy, the accumulated size increase of copy is ${run.copiedBytes}, exceeding the limit ${run.maximumCopyBytes}`);
  }
  add(run, operation.path, deepClone(value));
}

function readAt(run: Run, pointer: string, op: string): unknown {
  const place = locate(run, pointer, op);
  if (!place) return run.root;
  if (!exists(place)) throw new InapplicableError(`${op} operation does not apply: doc is missing key: ${pointer}: missing value`);
  return readChild(place.parent, place.key);
}

function test(run: Run, operation: Operation): void {
  const { path } = operation;
  const place = locate(run, path, 'test');
  const expected = valueOf(operation);
  if (place && !exists(place)) {
    if (expected === null && !Array.isArray(place.parent)) return;
    throw new InapplicableError(`testing path ${path} failed: missing value`);
  }
  const actual = place ? readChild(place.parent, place.key) : run.root;
  if (!jsonEqual(actual, expected)) throw new InapplicableError(`testing value ${path} failed: test failed`);
}
