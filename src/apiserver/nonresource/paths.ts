/** Every path that is no resource: discovery, OpenAPI, version, health, metrics, token issuer documents, the list of paths. */
import { arch, platform } from 'node:process';
import { formatMajorMinor, KUBERNETES_RELEASE, type EffectiveVersion } from '#machinery/effective-version.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { GroupVersion } from '#machinery/object.ts';
import type { CustomOpenapi } from '../apiextensions/openapi.ts';
import type { TokenIssuer } from '../authn/authenticator.ts';
import type { RequestContext } from '../context.ts';
import { encodeObject } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import { STARTED_SECONDS, startLines } from '#stdx/process-metrics.ts';
import type { Metrics } from './metrics.ts';
import { parseAccept } from '#machinery/accept.ts';
import { acceptsRoute, MEDIA_TYPES, negotiatePlainly } from '../http/negotiation.ts';
import { CONTENT_TYPE_JSON, isPretty, jsonResponse, pageNotFound, prettyJson } from '../http/response.ts';
import type { DiscoveryDocuments, DiscoveryDocument } from './discovery.ts';
import type { HealthChecks } from './health.ts';
import { OPENAPI_V3, OpenapiDocuments, type ExtensionOpenapiSource } from './openapi.ts';
import { flagz, statusz, type VersionInfo } from './z-pages.ts';

interface PathOptions {
  readonly documents: DiscoveryDocuments;
  readonly customOpenapi: CustomOpenapi;
  readonly extensions: ExtensionOpenapiSource;
  readonly health: HealthChecks;
  readonly metrics: Metrics;
  readonly tokenIssuer: TokenIssuer | undefined;
  readonly isEnabled: (gv: GroupVersion) => boolean;
  /** Paths of our own that are no part of the Kubernetes API; they judge the method themselves. */
  readonly extra?: Readonly<Record<string, PathHandler>>;
  /** Whether CBOR is enabled: the documents list it. */
  readonly cbor: boolean;
  /** The program's flags as they hold, by name: /flagz. */
  readonly flags: Readonly<Record<string, string>> | undefined;
  /** 'v0.1.0' of this program. */
  readonly programVersion: string;
  readonly effectiveVersion: EffectiveVersion;
}

export type PathHandler = (context: RequestContext) => ApiResponse | Promise<ApiResponse>;

export function createPathRouter(options: PathOptions): PathHandler {
  const { flags } = options;
  const openapi = new OpenapiDocuments({
    isEnabled: options.isEnabled,
    custom: options.customOpenapi,
    extensions: options.extensions,
    features: { cbor: options.cbor, version: formatMajorMinor(options.effectiveVersion.emulated) },
  });
  const version = versionInfo(options);
  const routes: Readonly<Record<string, (context: RequestContext) => ApiResponse>> = {
    '/version': (context) => json(requireProduced(context, CONTENT_TYPE_JSON), version),
    '/.well-known/openid-configuration': (context) =>
      issuerDocument(context, options.tokenIssuer?.openidConfiguration(), CONTENT_TYPE_JSON),
    '/openid/v1/jwks': (context) =>
      issuerDocument(context, options.tokenIssuer?.jwks(), 'application/jwk-set+json'),
  };
  const index: PathHandler = (context) => json(context, { paths: allPaths(options) });
  const handlers: Readonly<Record<string, PathHandler>> = {
    '/': index,
    '/index.html': index,
    '/openapi/v2': (context) => openapi.v2(context),
    [OPENAPI_V3]: (context) => openapi.v3(context, ''),
    '/statusz': (context) => statusz(context, { version, paths: debuggingPaths(options) }),
    ...(flags ? { '/flagz': (context) => flagz(context, flags) } : {}),
    '/metrics/slis': () => metricsPage(`${options.health.metrics()}${startLines().join('\n')}\n`),
    '/metrics': (context) => metrics(context, options.metrics),
  };
  return (context) => {
    const { request, info } = context;
    const own =
      options.extra && Object.hasOwn(options.extra, info.path)
        ? options.extra[info.path]
        : Object.hasOwn(handlers, info.path)
          ? handlers[info.path]
          : undefined;
    if (own) return own(context);
    if (info.path.startsWith(`${OPENAPI_V3}/`))
      return openapi.v3(context, info.path.slice(OPENAPI_V3.length + 1));
    if (/^\/(healthz|livez|readyz)(\/|$)/.test(info.path)) return options.health.respond(context);
    const path = info.path.length > 1 && info.path.endsWith('/') ? info.path.slice(0, -1) : info.path;
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route) {
      requireGet(request.method);
      return route(context);
    }
    return discovery(context, path, options.documents);
  };
}

/** Routes, unlike the plain handlers beside them, accept one method, and HEAD is not GET. */
export function requireGet(method: string): void {
  if (method !== 'GET') throw statusErrors.pathMethodNotAllowed();
}

/** Content negotiation of a route comes first: a client that accepts no produced type gets 406. */
function requireProduced(context: RequestContext, produced: string): RequestContext {
  if (!acceptsRoute(context.request.headers['accept'], [produced]))
    throw statusErrors.noRepresentation([produced]);
  return context;
}

async function metrics({ request }: RequestContext, all: Metrics): Promise<ApiResponse> {
  if (request.method !== 'DELETE') return metricsPage(await all.render());
  all.reset();
  return {
    status: 200,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache, private' },
    body: Buffer.from('metrics reset\n'),
  };
}

function metricsPage(page: string): ApiResponse {
  return {
    status: 200,
    body: Buffer.from(page),
    headers: {
      'content-type': 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores',
      'cache-control': 'no-cache, private',
      'process-start-time-unix': String(Math.floor(STARTED_SECONDS)),
    },
  };
}

/** The documents of groups are plain handlers, those of versions (and of the core group) are routes. */
function discovery(context: RequestContext, path: string, documents: DiscoveryDocuments): ApiResponse {
  const { request } = context;
  const [, root = '', group, version] = path.split('/');
  const document = root === 'api' || root === 'apis' ? documents.classic(path) : undefined;
  if (!document) {
    if (root === 'api' || (root === 'apis' && group !== undefined && documents.hasGroup(group)))
      throw statusErrors.pathNotFound();
    return pageNotFound();
  }
  const isRoute = root === 'api' || version !== undefined;
  if (isRoute) requireGet(request.method);
  if (path === '/api' || path === '/apis') {
    const aggregated = wantsAggregated(request.headers['accept']);
    if (aggregated) return aggregatedResponse(context, documents.aggregated(path, aggregated));
  }
  if (isRoute && !acceptsRoute(request.headers['accept'], DOCUMENT_TYPES))
    throw statusErrors.noRepresentation(DOCUMENT_TYPES);
  return discoveryResponse(context, document);
}

const DOCUMENT_TYPES = Object.values(MEDIA_TYPES);

export function versionInfo({
  programVersion,
  effectiveVersion: { binary, emulated, minCompatibility },
}: Pick<PathOptions, 'programVersion' | 'effectiveVersion'>): VersionInfo {
  return {
    major: String(binary.major),
    minor: String(binary.minor),
    emulationMajor: String(emulated.major),
    emulationMinor: String(emulated.minor),
    minCompatibilityMajor: String(minCompatibility.major),
    minCompatibilityMinor: String(minCompatibility.minor),
    gitVersion: `v${KUBERNETES_RELEASE}+capstan.${programVersion.replace(/^v/, '')}`,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: `node ${process.version}`,
    compiler: 'node',
    platform: `${platform}/${arch === 'x64' ? 'amd64' : arch}`,
  };
}

function json({ request, info }: RequestContext, value: unknown): ApiResponse {
  return jsonResponse(
    200,
    isPretty(info.query, request) || info.path === '/version' || info.path === '/'
      ? prettyJson(value)
      : Buffer.from(JSON.stringify(value)),
  );
}

function issuerDocument(
  context: RequestContext,
  document: Record<string, unknown> | undefined,
  contentType: string,
): ApiResponse {
  if (!document) return pageNotFound();
  requireProduced(context, contentType);
  return {
    status: 200,
    headers: { 'content-type': contentType, 'cache-control': 'public, max-age=3600' },
    body: Buffer.from(JSON.stringify(document)),
  };
}

function allPaths({ documents, health, flags, extra = {} }: PathOptions): string[] {
  return [
    ...documents.groupPaths,
    ...Object.keys(extra).filter((path) => !path.startsWith('/debug/')),
    '/apis',
    '/apis/',
    ...health.paths(),
    '/.well-known/openid-configuration',
    '/metrics',
    '/metrics/slis',
    '/openapi/v2',
    OPENAPI_V3,
    `${OPENAPI_V3}/`,
    '/openid/v1/jwks',
    '/statusz',
    '/version',
    ...(flags ? ['/flagz'] : []),
  ].toSorted();
}

/** First path segments of administrative endpoints. */
function debuggingPaths(options: PathOptions): string[] {
  const first = new Set(allPaths(options).map((path) => `/${path.split('/')[1]}`));
  return Array.from(first)
    .filter((path) => !API_ROOTS.has(path))
    .toSorted();
}

const API_ROOTS = new Set(['/', '/api', '/apis', '/openapi', '/openid', '/.well-known']);

// ------------------------------------------------------------------------------------------------------------- discovery

/** Undefined: the client prefers the classic documents. */
function wantsAggregated(accept: string | undefined): { readonly nopeer: boolean } | undefined {
  if (!accept?.includes('APIGroupDiscoveryList')) return undefined;
  for (const { type, parameters } of parseAccept(accept)) {
    if (type !== 'application/json' && type !== '*/*') continue;
    const { as, g, v, profile } = parameters;
    if (as === undefined && g === undefined && v === undefined) return undefined;
    if (as === 'APIGroupDiscoveryList' && g === 'apidiscovery.k8s.io' && v === 'v2')
      return { nopeer: profile === 'nopeer' };
  }
  return undefined;
}

function aggregatedResponse({ request }: RequestContext, { bytes, etag }: DiscoveryDocument): ApiResponse {
  const caching = { etag, vary: 'Accept', 'cache-control': 'public' };
  if (request.headers['if-none-match'] === etag)
    return { status: 304, headers: caching, body: Buffer.alloc(0) };
  return {
    status: 200,
    headers: {
      'content-type': 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
      ...caching,
    },
    body: bytes,
  };
}

function discoveryResponse(
  { request, info }: RequestContext,
  { object, bytes }: DiscoveryDocument,
): ApiResponse {
  const { encoding } = negotiatePlainly(request.headers['accept']);
  if (encoding === 'json' && !isPretty(info.query, request)) return jsonResponse(200, bytes);
  const { body, contentType } = encodeObject(object, encoding, { pretty: true, apiVersion: 'v1' });
  return {
    status: 200,
    headers: { 'content-type': contentType, 'cache-control': 'no-cache, private' },
    body,
  };
}
