/** Rules of HTTPRoutes and GRPCRoutes as those of the model. A route with a value that is not supported is refused whole, by name. Pure. */
import { parseRouteDuration } from './durations.ts';
import type {
  GRPCRouteRule,
  HTTPRouteMatch,
  HTTPRouteRule,
  NamedMatch,
  PathModifier,
  RouteFilter,
} from './gateway-api.ts';
import type { Backend, Filter, PathChange, Redirect, RequestMatch, ValueMatch } from './model.ts';
import { resolveBackends, type BackendInput, type Problem, type Referrer } from './references.ts';
import { hasControlCharacters, isPlainWord, isSafeRegex, shortHash } from './words.ts';

/** What the answer of a redirect without scheme or port says. */
interface Entrance {
  readonly scheme: 'http' | 'https';
  readonly port: number;
}

export interface CompiledRule {
  readonly match: RequestMatch;
  readonly backend: Backend;
}

interface CompileOptions {
  readonly input: BackendInput;
  readonly from: Referrer;
  readonly entrance: Entrance;
}

/** A value that this implementation does not carry out. */
export class UnsupportedValue extends Error {
  override readonly name = 'UnsupportedValue';
}

/** Throws UnsupportedValue. */
export function compileHttpRule(rule: HTTPRouteRule, options: CompileOptions): CompiledRule[] {
  const matches = rule.matches?.length ? rule.matches : [{}];
  return matches.map((one) => {
    const match = httpMatch(one);
    return { match, backend: backendOf(rule, { ...options, match }) };
  });
}

/** Throws UnsupportedValue. */
export function compileGrpcRule(rule: GRPCRouteRule, options: CompileOptions): CompiledRule[] {
  const matches = rule.matches?.length ? rule.matches : [{}];
  return matches.map(({ method, headers }) => {
    const match = { path: grpcPath(method ?? {}), headers: values(headers) };
    return { match, backend: backendOf(rule, { ...options, match, protocol: 'h2c' }) };
  });
}

/** Of a rule, whatever its matches. */
export function problemsOf(
  rule: HTTPRouteRule | GRPCRouteRule,
  { input, from }: Pick<CompileOptions, 'input' | 'from'>,
): readonly Problem[] {
  return resolveBackends(rule.backendRefs ?? [], { input, from }).problems;
}

function httpMatch({ path, headers, queryParams, method }: HTTPRouteMatch): RequestMatch {
  const { type = 'PathPrefix', value = '/' } = path ?? {};
  const kinds = { Exact: 'Exact', PathPrefix: 'Prefix', RegularExpression: 'Regex' } as const;
  const kind = Object.hasOwn(kinds, type) ? kinds[type as keyof typeof kinds] : undefined;
  if (!kind) throw new UnsupportedValue(`path type ${type} is not supported`);
  return {
    path: { kind, value: kind === 'Regex' ? regex(value) : oneLine(value) },
    ...(method === undefined ? {} : { method: plain(method) }),
    headers: values(headers),
    query: values(queryParams),
  };
}

function grpcPath({
  type = 'Exact',
  service,
  method,
}: {
  readonly type?: string;
  readonly service?: string;
  readonly method?: string;
}): RequestMatch['path'] {
  const isRegex = type === 'RegularExpression';
  if (!isRegex && !method) return { kind: 'Prefix', value: service ? oneLine(`/${service}/`) : '/' };
  if (!isRegex && service) return { kind: 'Exact', value: oneLine(`/${service}/${method}`) };
  const any = '[^/]+';
  const part = (text: string | undefined): string =>
    text ? (isRegex ? `(?:${regex(text)})` : oneLine(text).replace(/[^A-Za-z0-9_]/g, String.raw`\$&`)) : any;
  return { kind: 'Regex', value: `/${part(service)}/${part(method)}` };
}

/** Of equal names the first counts. */
function values(matches: readonly NamedMatch[] = []): ValueMatch[] {
  const names = new Map<string, ValueMatch>();
  for (const { type = 'Exact', name, value } of matches) {
    const isRegex = type === 'RegularExpression';
    const key = plain(name).toLowerCase();
    if (names.has(key)) continue;
    names.set(key, {
      kind: isRegex ? 'Regex' : 'Exact',
      name,
      value: isRegex ? regex(value) : oneLine(value),
    });
  }
  return [...names.values()];
}

function backendOf(
  rule: Omit<HTTPRouteRule, 'matches'>,
  {
    input,
    from,
    entrance,
    match,
    protocol,
  }: CompileOptions & { readonly match: RequestMatch; readonly protocol?: 'h2c' },
): Backend {
  const refs = rule.backendRefs ?? [];
  if (refs.some(({ filters = [] }) => filters.length > 0))
    throw new UnsupportedValue('filters of backendRefs are not supported; those of the rule are');
  const { targets, invalidWeight, isH2c } = resolveBackends(refs, { input, from });
  const compiled = {
    invalidWeight,
    protocol: protocol ?? (isH2c ? 'h2c' : 'http1'),
    filters: (rule.filters ?? []).map((one) => filterOf(one, { match, entrance })),
    timeoutMs: timeoutOf(rule.timeouts),
  } as const;
  // Endpoints are not part of the name: they change without a reload.
  const name = [from, refs, targets.length, compiled];
  return { id: `r-${shortHash(JSON.stringify(name))}`, targets, ...compiled };
}

function timeoutOf({ request, backendRequest }: NonNullable<HTTPRouteRule['timeouts']> = {}):
  | number
  | undefined {
  const given = [request, backendRequest].flatMap((text) =>
    text === undefined ? [] : parseRouteDuration(text),
  );
  const some = given.filter((ms) => ms > 0);
  return some.length > 0 ? Math.min(...some) : undefined;
}

function filterOf(
  filter: RouteFilter,
  options: { readonly match: RequestMatch; readonly entrance: Entrance },
): Filter {
  switch (filter.type) {
    case 'RequestHeaderModifier':
      return { kind: 'RequestHeaders', change: headerChange(filter.requestHeaderModifier) };
    case 'ResponseHeaderModifier':
      return { kind: 'ResponseHeaders', change: headerChange(filter.responseHeaderModifier) };
    case 'RequestRedirect':
      return { kind: 'Redirect', redirect: redirectOf(filter.requestRedirect ?? {}, options) };
    case 'URLRewrite': {
      const { hostname, path } = filter.urlRewrite ?? {};
      return {
        kind: 'Rewrite',
        hostname: hostname === undefined ? undefined : plain(hostname),
        path: path && pathChange(path, options.match),
      };
    }
    default:
      throw new UnsupportedValue(`filter ${filter.type} is not supported`);
  }
}

function headerChange({ set = [], add = [], remove = [] }: RouteFilter['requestHeaderModifier'] = {}) {
  const headers = (some: typeof set): { name: string; value: string }[] =>
    some.map(({ name, value }) => ({ name: plain(name), value: oneLine(value) }));
  return { set: headers(set), add: headers(add), remove: remove.map(plain) };
}

function redirectOf(
  { scheme, hostname, path, port, statusCode = 302 }: NonNullable<RouteFilter['requestRedirect']>,
  { match, entrance }: { readonly match: RequestMatch; readonly entrance: Entrance },
): Redirect {
  return {
    scheme: plain(scheme ?? entrance.scheme),
    hostname: hostname === undefined ? undefined : plain(hostname),
    port: port ?? (scheme === undefined ? entrance.port : undefined),
    path: path && pathChange(path, match),
    status: statusCode,
  };
}

function pathChange(
  { type, replaceFullPath, replacePrefixMatch }: PathModifier,
  { path }: RequestMatch,
): PathChange {
  if (type === 'ReplaceFullPath') return { kind: 'Full', value: oneLine(replaceFullPath ?? '/') };
  if (path.kind !== 'Prefix')
    throw new UnsupportedValue('replacePrefixMatch needs a match of path type PathPrefix');
  return {
    kind: 'Prefix',
    prefix: path.value.replace(/\/+$/, ''),
    value: oneLine(replacePrefixMatch ?? '/'),
  };
}

function plain(text: string): string {
  if (!isPlainWord(text))
    throw new UnsupportedValue(`${JSON.stringify(text)} has characters that are not supported`);
  return text;
}

function oneLine(text: string): string {
  if (hasControlCharacters(text))
    throw new UnsupportedValue(`${JSON.stringify(text)} has control characters`);
  return text;
}

function regex(text: string): string {
  if (!isSafeRegex(text))
    throw new UnsupportedValue(
      `regular expression ${JSON.stringify(text)} is not supported: it should be one of RE2's syntax without flags, names and classes by property`,
    );
  return text;
}
