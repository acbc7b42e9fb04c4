/** From a resource request to its verb: which endpoint, is the verb served, which function. */
import { removedIn } from '#resources/lifecycle.ts';
import { formatMajorMinor } from '#machinery/effective-version.ts';
import type { Duplex } from 'node:stream';
import { namespaces } from '#api/refs.ts';
import { statusErrors } from '#machinery/errors.ts';
import { type ConnectCall } from './connect/connect.ts';
import { CONNECTED } from '../http/request-info.ts';
import { admitConnect } from './connect/connect-options.ts';
import { requireCreateForStream } from '../authz/stream-permission.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import type { ApiResponse } from '../http/request.ts';
import { SUBRESOURCES } from '../registry/subresources/list.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { VIRTUAL } from '../registry/subresources/reviews.ts';
import { acceptsRoute, MEDIA_TYPES, STREAM_TYPES } from '../http/negotiation.ts';
import { pageNotFound } from '../http/response.ts';
import { get } from './get.ts';
import { queryValues } from '../http/request-info.ts';
import { list } from './list.ts';
import { patch } from './patch.ts';
import { getScale, updateScale } from './scale.ts';
import { watch } from './watch.ts';
import type { WriteCall } from '../registry/write-call.ts';
import { create } from './create.ts';
import { removeCollection } from './delete-collection.ts';
import { remove } from './delete.ts';
import { update } from './update.ts';

type Answer = ApiResponse | Promise<ApiResponse>;

/** What admission of a create reads may be so old, beside what this server has written itself. Upstream's has no bound. */
const MAX_ADMISSION_LAG_MS = 1_000;

/** Reads and changes observe everything that any server acknowledged before; resourceVersion=0 is served from the cache. */
export function handleResource(context: RequestContext, core: ServerCore): Answer {
  const waiting = caughtUp(context, core);
  return waiting ? waiting.then(() => dispatch(context, core)) : dispatch(context, core);
}

function caughtUp(context: RequestContext, core: ServerCore): Promise<void> | undefined {
  if (!core.cache.isShared || mayBeOld(context, core)) return undefined;
  return isDecidedByStore(context, core)
    ? core.cache.caughtUpWithin(MAX_ADMISSION_LAG_MS)
    : core.cache.caughtUp();
}

/** A create: the store refuses a name that is taken, and create.ts tries again what admission refused. */
function isDecidedByStore({ info }: RequestContext, { servedEndpoints }: ServerCore): boolean {
  if (info.verb !== 'create' || info.subresource !== '' || info.query['dryRun'] !== undefined) return false;
  const endpoint = servedEndpoints.find(info.group, info.version, info.resource);
  return endpoint !== undefined && !endpoint.resource.virtual;
}

function mayBeOld({ info }: RequestContext, { cache }: ServerCore): boolean {
  if (info.verb !== 'get' && info.verb !== 'list' && info.verb !== 'watch') return false;
  const version = info.query['resourceVersion'] ?? '';
  return version !== '' && Number(version) <= cache.revision;
}

function dispatch(context: RequestContext, core: ServerCore): Answer {
  const { info } = context;
  const endpoint = core.servedEndpoints.find(info.group, info.version, info.resource);
  if (!endpoint) {
    if (!core.servedEndpoints.servesGroup(info.group)) return pageNotFound();
    throw statusErrors.pathNotFound();
  }
  requireServedPrefix(context);
  const { deprecation } = endpoint;
  if (
    deprecation !== undefined &&
    (info.subresource === '' || endpoint.served.subresources.has(info.subresource))
  ) {
    context.warnings.push(deprecation);
    const removed = removedIn(endpoint.apiVersion, endpoint.served.kind);
    const removedRelease = removed ? formatMajorMinor(removed) : '';
    core.metrics.deprecatedApi(info, removedRelease);
    context.annotate?.('k8s.io/deprecated', 'true');
    if (removedRelease) context.annotate?.('k8s.io/removed-release', removedRelease);
  }
  if (info.subresource !== '') return handleSubresource(endpoint, context, core);
  requireRoutedMethod(context);
  // Create-only kinds have no path with a name.
  if (info.name !== '' && endpoint.verbs.size === 1 && endpoint.verbs.has('create'))
    throw statusErrors.pathNotFound();
  if (!endpoint.verbs.has(info.verb)) throw statusErrors.pathMethodNotAllowed();
  requireRepresentation(endpoint, context);
  const { namespaced } = endpoint.resource;
  const namespace = namespaced ? info.namespace : '';
  if (!namespaced && info.namespace !== '' && info.resource !== namespaces.plural)
    throw statusErrors.pathNotFound();
  if (endpoint.resource.virtual) return VIRTUAL.handle(endpoint, context, core);
  const stored = endpoint as StoredEndpoint;
  const acrossNamespaces = namespaced && namespace === '';
  if (acrossNamespaces && info.verb !== 'list' && info.verb !== 'watch')
    throw statusErrors.pathMethodNotAllowed();
  const target = { namespace, name: info.name };
  const call: WriteCall = { context, core, target };
  switch (info.verb) {
    case 'get':
      return get(stored, { context, core, target });
    case 'list':
      return list(stored, { context, core, namespace });
    case 'watch':
      return watch(stored, {
        context,
        core,
        namespace,
        ...(isNamedWatch(context) ? { name: info.name } : {}),
      });
    case 'create':
      if (info.name !== '') throw statusErrors.pathMethodNotAllowed();
      return create(stored, call);
    case 'update':
    case 'patch':
      if (info.name === '') throw statusErrors.pathMethodNotAllowed();
      return info.verb === 'update' ? update(stored, call) : patch(stored, call);
    case 'delete':
      return remove(stored, call);
    case 'deletecollection':
      return removeCollection(stored, call);
    default:
      throw statusErrors.pathMethodNotAllowed();
  }
}

const PROXIED_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** HEAD is authorized as a get, but no route accepts it. */
function requireRoutedMethod({ request }: RequestContext): void {
  if (request.method === 'HEAD') throw statusErrors.pathMethodNotAllowed();
}

const REPRESENTATIONS: readonly string[] = Object.values(MEDIA_TYPES);
/** Of collections, which can be watched. */
const STREAMED_REPRESENTATIONS: readonly string[] = [...REPRESENTATIONS, ...STREAM_TYPES];

/** Routes of built-in resources declare the types they produce; custom resources use content negotiation. */
function requireRepresentation({ isBuiltin, verbs }: Endpoint, { request, info }: RequestContext): void {
  if (!isBuiltin || acceptsRoute(request.headers['accept'], REPRESENTATIONS)) return;
  const isWatchable = verbs.has('list') && (info.verb === 'list' || info.verb === 'watch');
  throw statusErrors.noRepresentation(isWatchable ? STREAMED_REPRESENTATIONS : REPRESENTATIONS);
}

/** /watch/…/name: authorization used the name in the path; selectors narrow it further. */
function isNamedWatch({ info }: RequestContext): boolean {
  return info.verbInPath && info.name !== '';
}

/** The oldest form of a path, with the verb in it, is served for watches only: other subresources and methods must not be reached by the right to watch. */
function requireServedPrefix({ info, request }: RequestContext): void {
  if (!info.verbInPath) return;
  if (info.verb !== 'watch' || info.subresource !== '') throw statusErrors.pathNotFound();
  if (request.method !== 'GET' && request.method !== 'HEAD') throw statusErrors.pathMethodNotAllowed();
}

function handleSubresource(endpoint: Endpoint, context: RequestContext, core: ServerCore): Answer {
  const { info } = context;
  const { subresource, verb } = info;
  const served = endpoint.served.subresources.get(subresource);
  if (!endpoint.isBuiltin) requireCustomSubresource(endpoint, context);
  if (
    !served ||
    (endpoint.resource.namespaced && info.namespace === '') ||
    (info.rest !== '' && subresource !== 'proxy')
  )
    throw statusErrors.pathNotFound();
  const target = { namespace: endpoint.resource.namespaced ? info.namespace : '', name: info.name };
  const call: WriteCall = { context, core, target };
  const stored = endpoint as StoredEndpoint;
  const pair = `${info.resource}/${subresource}`;
  if (info.group === '' && CONNECTED.has(pair)) {
    if (subresource === 'proxy' && !PROXIED_METHODS.has(context.request.method))
      throw statusErrors.pathMethodNotAllowed();
    if (subresource !== 'proxy' && verb !== 'get' && !(verb === 'create' && subresource !== 'log'))
      throw statusErrors.pathMethodNotAllowed();
    return connect(context, core, endpoint);
  }
  requireRoutedMethod(context);
  if (!served.verbs.includes(verb)) throw statusErrors.pathMethodNotAllowed();
  requireRepresentation(endpoint, context);
  const special = SUBRESOURCES[`${info.group}/${pair}`];
  if (special && (verb === 'create' || special.verbs?.includes(verb))) return special.run(stored, call);
  if (subresource === 'scale') {
    if (!endpoint.resource.scale) throw statusErrors.pathNotFound();
    return verb === 'get' ? getScale(stored, call) : updateScale(stored, call, verb as 'update' | 'patch');
  }
  switch (verb) {
    case 'get':
      return get(stored, { context, core, target });
    case 'update':
      return update(stored, call, { subresource });
    case 'patch':
      return patch(stored, call, { subresource });
    default:
      throw statusErrors.pathMethodNotAllowed();
  }
}

/** Custom resources have no routes of their own: an unserved subresource is NotFound, an unserved verb MethodNotAllowed. */
function requireCustomSubresource({ served, groupResource }: Endpoint, { info }: RequestContext): void {
  const found = served.subresources.get(info.subresource);
  if (!found) throw statusErrors.notFound({ ...groupResource, name: info.name });
  if (!found.verbs.includes(info.verb)) throw statusErrors.methodNotAllowed(groupResource, info.verb);
}

// -------------------------------------------------------------------------------------------------------------- connect

function connectCall(
  { request, info, user }: RequestContext,
  core: ServerCore,
  endpoint: Endpoint,
): ConnectCall {
  // Nodes and services may be named with scheme and port: 'https:web:443'.
  const isPlain = !info.name.includes(':');
  const object = isPlain
    ? core.internal.get(
        { group: info.group, resource: info.resource },
        { name: info.name, namespace: endpoint.resource.namespaced ? info.namespace : '' },
      )
    : undefined;
  if (isPlain && !object) throw statusErrors.notFound({ ...endpoint.groupResource, name: info.name });
  return { request, info, user, object, internal: core.internal };
}

/** Connect requests have no dry run. */
function requireNoDryRun({ request }: RequestContext): void {
  if (queryValues(request.query, 'dryRun').length > 0)
    throw statusErrors.badRequest('dryRun is not supported');
}

async function connect(context: RequestContext, core: ServerCore, endpoint: Endpoint): Promise<ApiResponse> {
  if (context.info.subresource !== 'log') requireNoDryRun(context);
  await requireCreateForStream(context, core);
  const connected = connectCall(context, core, endpoint);
  if (context.info.subresource !== 'log') await admitConnect(context, core, endpoint);
  if (!core.connect)
    throw statusErrors.unavailable(
      `${context.info.resource}/${context.info.subresource} is not available: this server has no way to nodes`,
    );
  return core.connect.request(connected);
}

/** The last stage of an upgrade request. */
export async function upgradeResource(
  context: RequestContext,
  { core, socket, head }: { readonly core: ServerCore; readonly socket: Duplex; readonly head: Buffer },
): Promise<void> {
  const { info } = context;
  requireServedPrefix(context);
  await core.cache.caughtUp();
  if (
    info.isResourceRequest &&
    info.verb === 'watch' &&
    context.request.headers['upgrade']?.toLowerCase() === 'websocket'
  ) {
    // Only now: it would hold up the start.
    const { watchOverWebSocket } = await import('./connect/watch-socket.ts');
    return watchOverWebSocket(await handleResource(context, core), {
      request: context.request,
      client: { socket, head },
    });
  }
  const endpoint = info.isResourceRequest
    ? core.servedEndpoints.find(info.group, info.version, info.resource)
    : undefined;
  if (!endpoint || info.group !== '' || !CONNECTED.has(`${info.resource}/${info.subresource}`))
    throw statusErrors.badRequest('this resource cannot be upgraded to a stream');
  requireNoDryRun(context);
  await requireCreateForStream(context, core);
  const connected = connectCall(context, core, endpoint);
  if (info.subresource !== 'log') await admitConnect(context, core, endpoint);
  if (!core.connect)
    throw statusErrors.unavailable(
      `${info.resource}/${info.subresource} is not available: this server has no way to nodes`,
    );
  await core.connect.upgrade(connected, { socket, head });
}
