/** What a URL asks for, as upstream's RequestInfoFactory reads it: verb, group, version, resource, subresource, name, namespace. Pure. */
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
  /** What follows the subresource, '' when nothing (…/proxy/some/path). Still percent-encoded. */
  readonly rest: string;
  readonly query: Query;
  /** The verb is a part of the path, as old clients have it (/api/v1/watch/…): such requests are authorized without their selectors. */
  readonly verbInPath: boolean;
}

const EMPTY_QUERY: Query = Object.freeze(Object.create(null) as Record<string, string>);

/** First value of each parameter. Malformed percent-encoding is kept as it is. */
export function parseQuery(query: string): Query {
  if (query === '') return EMPTY_QUERY;
  const result = Object.create(null) as Record<string, string>;
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    result[name] ??= equals < 0 ? '' : decode(pair.slice(equals + 1));
  }
  return result;
}

function decode(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text;
  return decodePercent(text.replaceAll('+', ' '));
}

function decodePercent(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
  // Decoded first, then taken apart, as upstream does and every server behind this one: what is authorized here must be what they see.
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
  if (at(index) === 'namespaces' && parts.length > index + 1) {
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
    // By no name, whatever is selected: who may delete one object may not delete by selector.
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
