/** Parses a URL as upstream's RequestInfoFactory does: verb, group, version, resource, subresource, name, namespace. Pure. */
import { namespaces } from '#api/refs.ts';
import { decodePercent } from '#stdx/percent.ts';
import { statusErrors } from '#machinery/errors.ts';
import { parseFieldSelector } from '#machinery/fields.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import type { ApiRequest } from './request.ts';

export type Query = Readonly<Record<string, string | undefined>>;

export interface RequestInfo {
  readonly isResourceRequest: boolean;
  /** Decoded path. */
  readonly path: string;
  /** A resource verb ('list', 'watch', …), or the lower-case HTTP method. */
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** The path after the subresource, '' if empty (…/proxy/some/path). Still percent-encoded. */
  readonly rest: string;
  readonly query: Query;
  /** The verb is a part of the path, as old clients have it (/api/v1/watch/…): such requests are authorized without their selectors. */
  readonly verbInPath: boolean;
}

const EMPTY_QUERY: Query = Object.freeze(Object.create(null) as Record<string, string>);

/** The limit of Go's net/url. More is rejected with 400. */
const MAX_PARAMETERS = 10_000;

/** First value of each parameter. Malformed percent-encoding is kept unchanged. Throws StatusError 400 for too many. */
export function parseQuery(query: string): Query {
  if (query === '') return EMPTY_QUERY;
  const result = Object.create(null) as Record<string, string>;
  let count = 0;
  for (const { name, value } of parametersOf(query)) {
    if (++count > MAX_PARAMETERS)
      throw statusErrors.badRequest('number of URL query parameters exceeded limit');
    result[name] ??= value;
  }
  return result;
}

/** Every value of a parameter, in order; the parsed query has the first alone. (Node's URLSearchParams reads 'a&a&…' in quadratic time.) */
export function queryValues(query: string, wanted: string): string[] {
  const values: string[] = [];
  for (const { name, value } of parametersOf(query)) if (name === wanted) values.push(value);
  return values;
}

function* parametersOf(query: string): Generator<{ readonly name: string; readonly value: string }> {
  for (let start = 0; start <= query.length;) {
    const found = query.indexOf('&', start),
      end = found < 0 ? query.length : found;
    if (end > start) yield parameterOf(query.slice(start, end));
    start = end + 1;
  }
}

function parameterOf(pair: string): { readonly name: string; readonly value: string } {
  const equals = pair.indexOf('=');
  return equals < 0
    ? { name: decode(pair), value: '' }
    : { name: decode(pair.slice(0, equals)), value: decode(pair.slice(equals + 1)) };
}

function decode(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text;
  return decodePercent(text.replaceAll('+', ' '));
}

const VERB_OF_METHOD: ReadonlyMap<string, string> = new Map([
  ['POST', 'create'],
  ['GET', 'get'],
  ['HEAD', 'get'],
  ['PUT', 'update'],
  ['PATCH', 'patch'],
  ['DELETE', 'delete'],
]);
const VERBS_IN_PATH: ReadonlySet<string> = new Set(['watch', 'proxy']);
const NAMESPACE_SUBRESOURCES = new Set(['status', 'finalize']);

export function parseRequestInfo(request: Pick<ApiRequest, 'method' | 'path' | 'query'>): RequestInfo {
  const query = parseQuery(request.query);
  // Decoded before it is split, as upstream and every server behind this one do: authorization must see the path they see.
  const path = decodePercent(request.path);
  const parts = path.split('/');
  parts.shift();
  if (parts.at(-1) === '') parts.pop();
  const prefix = parts[0];
  const isCore = prefix === 'api';
  const minimum = isCore ? 3 : 4;
  if ((!isCore && prefix !== 'apis') || parts.length < minimum) return nonResource(request, query);
  const at = (index: number): string => parts[index] ?? '';
  const group = isCore ? '' : at(1);
  const version = isCore ? at(1) : at(2);
  let index = minimum - 1;
  let verb = VERB_OF_METHOD.get(request.method) ?? '';
  // Whatever the method: one that is not served under such a prefix is refused later, as this verb.
  const verbInPath = VERBS_IN_PATH.has(at(index)) && parts.length > index + 1;
  if (verbInPath) verb = at(index++);
  let namespace = '';
  if (at(index) === namespaces.plural && parts.length > index + 1) {
    namespace = at(index + 1);
    if (parts.length > index + 2 && !NAMESPACE_SUBRESOURCES.has(at(index + 2))) index += 2;
  }
  const resource = at(index);
  let name = at(index + 1);
  const subresource = verb === 'proxy' ? '' : at(index + 2);
  const rest = parts.length > index + 3 ? fromSeparator(request.path, index + 4) : '';
  if (name === '' && verb === 'get') {
    verb = isTrue(query['watch']) ? 'watch' : 'list';
    name = nameOfFieldSelector(query['fieldSelector']);
  } else if (name === '' && verb === 'delete') {
    // No name, whatever the selector: permission to delete one object does not allow deletion by selector.
    verb = 'deletecollection';
  }
  return {
    isResourceRequest: true,
    path,
    verb,
    group,
    version,
    resource,
    subresource,
    namespace,
    name,
    rest,
    query,
    verbInPath,
  };
}

/** The path as it was sent from its nth separator on, encoded ones counted. */
function fromSeparator(path: string, n: number): string {
  let count = 0;
  for (const { index, 0: separator } of path.matchAll(/\/|%2f/gi))
    if (++count === n) return `/${path.slice(index + separator.length)}`;
  return '';
}

function nonResource(request: Pick<ApiRequest, 'method' | 'path'>, query: Query): RequestInfo {
  return {
    isResourceRequest: false,
    path: decodePercent(request.path),
    verb: request.method.toLowerCase(),
    group: '',
    version: '',
    resource: '',
    subresource: '',
    namespace: '',
    name: '',
    rest: '',
    query,
    verbInPath: false,
  };
}

/** Upstream's boolean query values: anything present but 'false', in any case, and '0' counts. */
export function isTrue(value: string | undefined): boolean {
  return value !== undefined && value !== '0' && value.toLowerCase() !== 'false';
}

/** The one name that a selector allows, by which a list or watch is authorized; '' for a selector that cannot be read. */
function nameOfFieldSelector(selector: string | undefined): string {
  if (selector === undefined || !selector.includes('metadata.name')) return '';
  try {
    const name = parseFieldSelector(selector).exactValue('metadata.name') ?? '';
    return validatePathSegmentName(name).length === 0 ? name : '';
  } catch {
    return '';
  }
}

/** 'resource/subresource' of the core group served by a node, a pod or a service (CONNECT). */
export const CONNECTED = new Set([
  'pods/log',
  'pods/exec',
  'pods/attach',
  'pods/portforward',
  'pods/proxy',
  'nodes/proxy',
  'services/proxy',
]);
