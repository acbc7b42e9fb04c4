/** Every path that is no resource: discovery, OpenAPI, version, health, metrics, token issuer documents, the list of paths. */
import { arch, platform } from 'node:process';
import { openapiV3Document, openapiV3Hash, openapiV3Index } from '#api/openapi-v3.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject, GroupVersion } from '#machinery/object.ts';
import type { CustomOpenapi } from '../apiextensions/openapi.ts';
import type { TokenIssuer } from '../authn/authenticator.ts';
import type { RequestContext } from '../context.ts';
import { encodeObject } from '../encode.ts';
import type { ApiResponse } from '../http.ts';
import type { Metrics } from '../metrics.ts';
import { negotiate, parseAccept } from '../negotiate.ts';
import { isPretty, jsonResponse, prettyJson, textResponse } from '../respond.ts';
import type { DiscoveryDocuments, DiscoveryDocument } from './documents.ts';
import type { HealthChecks } from './health.ts';

export const KUBERNETES_VERSION = { major: '1', minor: '36' } as const;

export interface PathOptions {
  readonly documents: DiscoveryDocuments;
  readonly customOpenapi: CustomOpenapi;
  readonly health: HealthChecks;
  readonly metrics: Metrics;
  readonly tokenIssuer: TokenIssuer | undefined;
  readonly isEnabled: (gv: GroupVersion) => boolean;
  /** Paths of our own that are no part of the Kubernetes API; they judge the method themselves. */
  readonly extra?: Readonly<Record<string, PathHandler>>;
  /** 'v0.1.0' of this program. */
  readonly programVersion: string;
}

export type PathHandler = (context: RequestContext) => ApiResponse | Promise<ApiResponse>;

const OPENAPI_V3 = '/openapi/v3';
const YEAR_SECONDS = 31_536_000;

export function createPathRouter(options: PathOptions): PathHandler {
  const openapi = new OpenapiBytes(options.isEnabled, options.customOpenapi);
  const version = versionInfo(options.programVersion);
  const exact: Readonly<Record<string, (context: RequestContext) => ApiResponse>> = {
    '/version': (context) => json(context, version),
    '/metrics': () => textResponse(200, options.metrics.render(), 'text/plain; version=0.0.4; charset=utf-8'),
    '/.well-known/openid-configuration': (context) => issuerDocument(context, options.tokenIssuer?.openidConfiguration(), 'application/json'),
    '/openid/v1/jwks': (context) => issuerDocument(context, options.tokenIssuer?.jwks(), 'application/jwk-set+json'),
    '/openapi/v2': (context) => openapi.v2(context),
    [OPENAPI_V3]: (context) => openapi.v3(context, ''),
    '/': (context) => json(context, { paths: allPaths(options) }),
  };
  return (context) => {
    const { request, info } = context;
    const extra = options.extra && Object.hasOwn(options.extra, info.path) ? options.extra[info.path] : undefined;
    if (extra) return extra(context);
    if (request.method !== 'GET' && request.method !== 'HEAD') throw methodNotAllowed();
    const path = info.path.length > 1 && info.path.endsWith('/') ? info.path.slice(0, -1) : info.path;
    const found = exact[path];
    if (found) return found(context);
    if (path.startsWith(`${OPENAPI_V3}/`)) return openapi.v3(context, path.slice(OPENAPI_V3.length + 1));
    if (/^\/(healthz|livez|readyz)(\/|$)/.test(path)) return options.health.respond(context);
    if (path === '/api' || path === '/apis') {
      const aggregated = wantedDiscovery(request.headers['accept']);
      if (aggregated) return aggregatedResponse(context, options.documents.aggregated(path, aggregated), aggregated);
    }
    const document = /^\/apis?(\/|$)/.test(path) ? options.documents.classic(path) : undefined;
    if (!document) throw statusErrors.pathNotFound();
    return discoveryResponse(context, document);
  };
}

function methodNotAllowed(): Error {
  return statusErrors.methodNotAllowed({ group: '', resource: '' }, '');
}

function versionInfo(programVersion: string): Record<string, string> {
  const gitVersion = `v1.36.0+capstan.${programVersion.replace(/^v/, '')}`;
  return {
    ...KUBERNETES_VERSION, emulationMajor: '1', emulationMinor: '36', minCompatibilityMajor: '1', minCompatibilityMinor: '35', gitVersion, gitCommit: '', gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z', goVersion: `node ${process.version}`, compiler: 'node', platform: `${platform}/${arch === 'x64' ? 'amd64' : arch}`,
  };
}

function json({ request, info }: RequestContext, value: unknown): ApiResponse {
  return jsonResponse(200, isPretty(info.query, request) || info.path === '/version' || info.path === '/' ? prettyJson(value) : Buffer.from(JSON.stringify(value)));
}

function issuerDocument(_context: RequestContext, document: Record<string, unknown> | undefined, contentType: string): ApiResponse {
  if (!document) throw statusErrors.pathNotFound();
  return { status: 200, headers: { 'content-type': contentType, 'cache-control': 'public, max-age=3600' }, body: Buffer.from(JSON.stringify(document)) };
}

function allPaths({ documents, health, extra = {} }: PathOptions): string[] {
  return [...documents.groupPaths, ...Object.keys(extra), '/apis', ...health.paths(), '/.well-known/openid-configuration', '/metrics', '/openapi/v2', OPENAPI_V3, '/openid/v1/jwks', '/version'].toSorted();
}

// ------------------------------------------------------------------------------------------------------------- discovery

/** The version of aggregated discovery asked for before anything else, undefined for the classic documents. */
function wantedDiscovery(accept: string | undefined): 'v2' | 'v2beta1' | undefined {
  if (!accept?.includes('APIGroupDiscoveryList')) return undefined;
  for (const { type, parameters } of parseAccept(accept)) {
    if (type !== 'application/json' && type !== '*/*') continue;
    if (parameters['as'] === undefined) return undefined;
    const { as, g, v } = parameters;
    if (as === 'APIGroupDiscoveryList' && g === 'apidiscovery.k8s.io' && (v === 'v2' || v === 'v2beta1')) return v;
  }
  return undefined;
}

function aggregatedResponse({ request }: RequestContext, { bytes, etag }: DiscoveryDocument, version: string): ApiResponse {
  const headers = {
    'content-type': `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`, etag, vary: 'Accept', 'cache-control': 'public',
  };
  return request.headers['if-none-match'] === etag ? { status: 304, headers: { etag, vary: 'Accept' }, body: Buffer.alloc(0) } : { status: 200, headers, body: bytes };
}

function discoveryResponse({ request, info }: RequestContext, { object, bytes }: DiscoveryDocument): ApiResponse {
  const { encoding } = negotiate(request.headers['accept']);
  if (encoding === 'json' && !isPretty(info.query, request)) return jsonResponse(200, bytes);
  const { body, contentType } = encodeObject({ apiVersion: 'v1', ...object } as KubeObject, encoding, { pretty: true });
  return { status: 200, headers: { 'content-type': contentType, vary: 'Accept' }, body };
}

// --------------------------------------------------------------------------------------------------------------- openapi

/** Documents are built when first asked for and kept as bytes. */
class OpenapiBytes {
  readonly #isEnabled: (gv: GroupVersion) => boolean;
  readonly #documents = new Map<string, Buffer>();
  readonly #custom: CustomOpenapi;
  #v2: Buffer | undefined;
  #revision = -1;

  constructor(isEnabled: (gv: GroupVersion) => boolean, custom: CustomOpenapi) {
    this.#isEnabled = isEnabled;
    this.#custom = custom;
  }

  /** The documents of the whole API are of what is served now. */
  #refresh(): void {
    if (this.#revision === this.#custom.revision) return;
    this.#revision = this.#custom.revision;
    this.#v2 = undefined;
    this.#documents.delete('');
  }

  v2({ request }: RequestContext): ApiResponse {
    const accept = request.headers['accept'] ?? '*/*';
    if (!/application\/json|\*\/\*|application\/\*/.test(accept)) throw statusErrors.notAcceptable(['application/json']);
    this.#refresh();
    this.#v2 ??= Buffer.from(JSON.stringify(this.#custom.v2(this.#isEnabled)));
    return { status: 200, headers: { 'content-type': 'application/json', 'cache-control': 'no-cache, private' }, body: this.#v2 };
  }

  v3({ request, info }: RequestContext, name: string): ApiResponse {
    const accept = request.headers['accept'] ?? '*/*';
    if (!/application\/json|\*\/\*|application\/\*/.test(accept)) throw statusErrors.notAcceptable(['application/json']);
    this.#refresh();
    const custom = this.#custom.document(name);
    const body = custom?.bytes ?? this.#v3(name);
    if (!body) throw statusErrors.pathNotFound();
    if (name === '') return { status: 200, headers: { 'content-type': 'application/json', 'cache-control': 'no-cache, private' }, body };
    const hash = custom?.hash ?? openapiV3Hash(name);
    const etag = `"${hash}"`;
    if (info.query['hash'] !== undefined && info.query['hash'] !== hash) return { status: 301, headers: { location: `${OPENAPI_V3}/${name}?hash=${hash}` }, body: Buffer.alloc(0) };
    const cache: Record<string, string> = info.query['hash'] === undefined ? { 'cache-control': 'no-cache, private' }
      : { 'cache-control': 'public, immutable', expires: new Date(Date.now() + YEAR_SECONDS * 1000).toUTCString() };
    if (request.headers['if-none-match'] === etag) return { status: 304, headers: { etag }, body: Buffer.alloc(0) };
    return { status: 200, headers: { 'content-type': 'application/json', etag, vary: 'Accept', ...cache }, body };
  }

  #index(): object {
    const { paths } = openapiV3Index(this.#isEnabled);
    for (const path of this.#custom.paths()) paths[path] = { serverRelativeURL: `${OPENAPI_V3}/${path}?hash=${this.#custom.document(path)!.hash}` };
    return { paths: Object.fromEntries(Object.entries(paths).toSorted(([left], [right]) => (left < right ? -1 : 1))) };
  }

  #v3(name: string): Buffer | undefined {
    let bytes = this.#documents.get(name);
    if (!bytes) {
      const document = name === '' ? this.#index() : openapiV3Document(name);
      if (!document) return undefined;
      bytes = Buffer.from(JSON.stringify(document));
      this.#documents.set(name, bytes);
    }
    return bytes;
  }
}
