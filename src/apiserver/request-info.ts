/** What a URL asks for, as upstream's RequestInfoFactory reads it: verb, group, version, resource, subresource, name, namespace. Pure. */
import type { ApiRequest } from './http.ts';

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
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const VERB_OF_METHOD: ReadonlyMap<string, string> = new Map([['POST', 'create'], ['GET', 'get'], ['HEAD', 'get'], ['PUT', 'update'], ['PATCH', 'patch'], ['DELETE', 'delete']]);
const NAMESPACE_SUBRESOURCES = new Set(['status', 'finalize']);

export function parseRequestInfo(request: Pick<ApiRequest, 'method' | 'path' | 'query'>): RequestInfo {
  const query = parseQuery(request.query);
  const parts = request.path.split('/');
  parts.shift();
  if (parts.at(-1) === '') parts.pop();
  const prefix = parts[0];
  const isCore = prefix === 'api';
  const minimum = isCore ? 3 : 4;
  if ((!isCore && prefix !== 'apis') || parts.length < minimum) return nonResource(request, query);
  const encoded = request.path.includes('%');
  const rawParts = parts;
  const at = (index: number): string => {
    const part = rawParts[index] ?? '';
    return encoded ? decodePercent(part) : part;
  };
  const group = isCore ? '' : at(1);
  const version = isCore ? at(1) : at(2);
  let index = minimum - 1;
  let verb = VERB_OF_METHOD.get(request.method) ?? '';
  // The deprecated /watch/ prefix.
  if (at(index) === 'watch' && parts.length > index + 1 && (request.method === 'GET' || request.method === 'HEAD')) {
    verb = 'watch';
    index++;
  }
  let namespace = '';
  if (at(index) === 'namespaces' && parts.length > index + 1) {
    namespace = at(index + 1);
    if (parts.length > index + 2 && !NAMESPACE_SUBRESOURCES.has(at(index + 2))) index += 2;
  }
  const resource = at(index);
  let name = at(index + 1);
  const subresource = at(index + 2);
  const rest = parts.length > index + 3 ? `/${rawParts.slice(index + 3).join('/')}${request.path.endsWith('/') ? '/' : ''}` : '';
  if (name === '') {
    if (verb === 'get') verb = isTrue(query['watch']) ? 'watch' : 'list';
    else if (verb === 'delete') verb = 'deletecollection';
    if (verb === 'list' || verb === 'watch' || verb === 'deletecollection') name = nameOfFieldSelector(query['fieldSelector']);
  } else if (verb === 'watch' && namespace === name && resource === 'namespaces') {
    // /watch/namespaces/x: one namespace.
    verb = 'watch';
  }
  return { isResourceRequest: true, path: encoded ? decodePercent(request.path) : request.path, verb, group, version, resource, subresource, namespace, name, rest, query };
}

function nonResource(request: Pick<ApiRequest, 'method' | 'path'>, query: Query): RequestInfo {
  return {
    isResourceRequest: false, path: decodePercent(request.path), verb: request.method.toLowerCase(), group: '', version: '', resource: '', subresource: '', namespace: '', name: '',
    rest: '', query,
  };
}

/** Upstream's boolean query values: anything present but 'false' and '0' (and 'f'-like forms) counts. */
export function isTrue(value: string | undefined): boolean {
  return value !== undefined && !['false', '0', 'f', 'F', 'FALSE', 'False'].includes(value);
}

function nameOfFieldSelector(selector: string | undefined): string {
  if (selector === undefined || !selector.includes('metadata.name')) return '';
  const match = /(?:^|,)metadata\.name==?([^,=]*)(?:,|$)/.exec(selector);
  return match?.[1] ?? '';
}
