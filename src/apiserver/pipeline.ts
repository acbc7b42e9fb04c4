/**
 * The stages of a request, in this order. A stage responds (the rest is skipped), throws a StatusError, or passes the request on. Any other error is a
 * server fault: logged and answered with 500 InternalError.
 */
import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { lengthOf } from '#stdx/body-parts.ts';
import { errorMessage } from '#stdx/log.ts';
import { statusErrors, type Status } from '#machinery/errors.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { Authenticated } from './authn/authenticator.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import { fieldRequirements, labelRequirements } from '#machinery/selector-requirements.ts';
import type { AuditSink } from './audit/audit-sink.ts';
import type { RequestContext } from './context.ts';
import type { ServerCore } from './server-core.ts';
import type { ApiHandler, ApiRequest, ApiResponse } from './http/request.ts';
import { impersonate } from './authn/impersonation.ts';
import { NotAuthorized, refusal } from './authz/forbidden.ts';
import { isLongRunning, isMutating, Overloaded } from './flowcontrol/limiter.ts';
import { computeLabels } from './nonresource/request-labels.ts';
import { parseRequestInfo } from './http/request-info.ts';
import { compressed, errorResponse, statusOf, textResponse } from './http/response.ts';
import { handleResource, upgradeResource } from './handlers/dispatch.ts';
import { warn } from './http/warnings.ts';
import type { ServingPeers } from './peerproxy/peer-proxy.ts';

interface Stage {
  readonly name: string;
  run(context: RequestContext, core: ServerCore): void | ApiResponse | Promise<void | ApiResponse>;
}

/** The route stage is the making of the context. */
const STAGES: readonly Stage[] = [
  { name: 'authenticate', run: authenticate },
  { name: 'audit', run: (context, core) => core.audit?.begin(context) },
  { name: 'impersonate', run: (context, core) => impersonate(context, core, attributesOf) },
  { name: 'limit', run: limit },
  { name: 'authorize', run: authorize },
  { name: 'handle', run: handle },
];

const NOBODY: UserInfo = { name: '', groups: [] };

/** Path and query: Go's bound on a request's head. */
const MAX_TARGET_BYTES = 1024 * 1024;

function isTargetTooLong({ path, query }: ApiRequest): boolean {
  return path.length + query.length > MAX_TARGET_BYTES;
}

/** Go's response to a request line that is too long. */
function targetTooLong(): ApiResponse {
  return textResponse(431, '431 Request Header Fields Too Large');
}

function route(request: ApiRequest, startedMs: number): RequestContext {
  return {
    request,
    info: parseRequestInfo(request),
    user: NOBODY,
    warnings: [],
    auditId: request.headers['audit-id'] || randomUUID(),
    release: undefined,
    flow: undefined,
    queuedMs: 0,
    startedMs,
  };
}

export function createHandler(core: ServerCore): ApiHandler {
  return async (request) => {
    const startedMs = core.clock.monotonic();
    let context: RequestContext | undefined;
    let response: ApiResponse;
    if (isTargetTooLong(request)) return targetTooLong();
    try {
      context = route(request, startedMs);
      response = await run(context, core);
      context.audit?.answering(response);
      const maybe = compressed(response, request);
      response = maybe instanceof Promise ? await maybe : maybe;
    } catch (error) {
      const status = statusFor(error, { core, context });
      if (core.audit && context) await auditFailure(context, { audit: core.audit, status, error });
      response = refusalOf(error, { status, request });
      if (response.status === 401 && core.authenticator.challenges?.length)
        response.headers['www-authenticate'] = core.authenticator.challenges.join(', ');
    }
    if (context) giveBack(context, response, core);
    if (context) finish(context, { response, core, startedMs });
    return context?.audit ? context.audit.answered(response) : response;
  };
}

async function run(context: RequestContext, core: ServerCore): Promise<ApiResponse> {
  for (const stage of STAGES) {
    const outcome = stage.run(context, core);
    const response =
      outcome instanceof Promise
        ? await (isLongRunning(context.info) ? outcome : core.deadlines.bound(outcome, context))
        : outcome;
    if (response) return response;
  }
  throw statusErrors.pathNotFound();
}

async function auditFailure(
  context: RequestContext,
  { audit, status, error }: { readonly audit: AuditSink; readonly status: Status; readonly error: unknown },
): Promise<void> {
  if (context.audit) context.audit.failed(status, { unexpected: statusOf(error) === undefined });
  else if (context.user === NOBODY && status.code === 401) await audit.unauthenticated(context, status);
}

function refusalOf(
  error: unknown,
  { status, request }: { readonly status: Status; readonly request: ApiRequest },
): ApiResponse {
  if (error instanceof NotAuthorized) return unsniffed(errorResponse(status, request));
  if (!(error instanceof Overloaded)) return errorResponse(status, request);
  const response = textResponse(status.code, `${status.message}\n`);
  return {
    ...response,
    headers: { ...response.headers, 'retry-after': String(status.details?.retryAfterSeconds ?? 1) },
  };
}

/** A response that repeats client input must not be interpreted as another type. */
function unsniffed(response: ApiResponse): ApiResponse {
  return { ...response, headers: { ...response.headers, 'x-content-type-options': 'nosniff' } };
}

function statusFor(
  error: unknown,
  { core, context }: { readonly core: ServerCore; readonly context: RequestContext | undefined },
): Status {
  const status = statusOf(error);
  if (status) return status;
  core.log.error('a request failed unexpectedly', {
    path: context?.info.path,
    verb: context?.info.verb,
    error: errorMessage(error),
    ...(error instanceof Error && error.stack ? { stack: error.stack } : {}),
  });
  return statusErrors.internal(errorMessage(error)).status;
}

function finish(
  context: RequestContext,
  {
    response,
    core,
    startedMs,
  }: { readonly response: ApiResponse; readonly core: ServerCore; readonly startedMs: number },
): void {
  response.headers['audit-id'] = context.auditId;
  if (core.authenticator.answerHeaders)
    Object.assign(response.headers, core.authenticator.answerHeaders(context.request));
  if (context.flow) {
    response.headers['x-kubernetes-pf-flowschema-uid'] = context.flow.schemaUid;
    response.headers['x-kubernetes-pf-prioritylevel-uid'] = context.flow.levelUid;
  }
  if (context.warnings.length > 0) warn(response, context.warnings);
  const { headers } = context.request;
  core.metrics.observe(computeLabels(context.info), {
    code: response.status,
    seconds: (core.clock.monotonic() - startedMs) / 1000,
    queuedSeconds: context.queuedMs / 1000,
    bodyBytes: headers['content-length'] === undefined ? undefined : Number(headers['content-length']),
    responseBytes: sizeOf(response.body),
  });
}

/** From this size on, sending dominates the cost of a response. */
const LONG_ANSWER_BYTES = 64 * 1024;
/** A slow reader releases its seat after this time. */
const MAX_SENDING_MS = 30_000;

/** A request holds its seat until its response was sent: clients that ask for more than the network carries wait in the queue and do not fill buffers. */
function giveBack(context: RequestContext, { body }: ApiResponse, { clock }: ServerCore): void {
  const { request, release } = context;
  if (!release) return;
  const size = sizeOf(body);
  if (!request.onSent || (size !== undefined && size < LONG_ANSWER_BYTES)) return release();
  context.release = undefined;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    timer.cancel();
    release();
  };
  const timer = clock.after(MAX_SENDING_MS, end);
  request.onSent(end);
}

/** Undefined for streams. */
function sizeOf(body: ApiResponse['body']): number | undefined {
  return typeof body === 'function' ? undefined : lengthOf(body);
}

// ---------------------------------------------------------------------------------------------------------------- stages

function authenticate(context: RequestContext, core: ServerCore): void | Promise<void> {
  const { request } = context;
  if (request.user) {
    context.user = request.user;
    return;
  }
  if (
    request.clientCertificateError !== undefined &&
    request.headers['authorization'] === undefined &&
    request.frontProxyCertificate === undefined &&
    request.expiredNode === undefined
  )
    throw statusErrors.unauthorized();
  const { metrics, clock } = core,
    begunMs = clock.monotonic();
  const observe = (result: string): void =>
    metrics.authenticationSeconds.observe(`result="${result}"`, (clock.monotonic() - begunMs) / 1000);
  const failed = (error: unknown): never => {
    observe('error');
    throw error;
  };
  let found;
  try {
    found = core.authenticator.authenticate(request);
  } catch (error) {
    failed(error);
  }
  if (found instanceof Promise) return found.then(take, failed);
  take(found);

  function take(authenticated: Authenticated | undefined): void {
    observe(authenticated ? 'success' : 'failure');
    if (!authenticated) throw statusErrors.unauthorized();
    const notAfterMs =
      request.headers['authorization'] === undefined ? request.clientCertificate?.notAfterMs : undefined;
    if (notAfterMs !== undefined) metrics.certificateSeconds.observe('', (notAfterMs - clock.now()) / 1000);
    context.user = authenticated.user;
    if (authenticated.auditAnnotations) context.auditAnnotations = authenticated.auditAnnotations;
    if (authenticated.warnings) context.warnings.push(...authenticated.warnings);
  }
}

function limit(context: RequestContext, { limiter, metrics, clock }: ServerCore): void | Promise<void> {
  const admitted = limiter.admit(context);
  if (!admitted) return;
  const kind = isMutating(context.info) ? 'mutating' : 'readOnly',
    begunMs = clock.monotonic();
  metrics.queued[kind]++;
  return admitted.finally(() => {
    metrics.queued[kind]--;
    context.queuedMs = clock.monotonic() - begunMs;
  });
}

function authorize(context: RequestContext, core: ServerCore): void | Promise<void> {
  const attributes = attributesOf(context);
  const { metrics, clock } = core,
    begunMs = clock.monotonic();
  const decision = core.authorizer.authorize(attributes);
  if (decision instanceof Promise) return decision.then((result) => check(result));
  check(decision);

  function check(result: AuthorizationDecision): void {
    const outcome = OUTCOMES[result.decision];
    metrics.authorizationAttempts.add(outcome);
    metrics.authorizationSeconds.observe(outcome, (clock.monotonic() - begunMs) / 1000);
    if (context.audit) {
      context.audit.annotate(
        'authorization.k8s.io/decision',
        result.decision === 'allow' ? 'allow' : 'forbid',
      );
      context.audit.annotate('authorization.k8s.io/reason', result.reason);
    }
    if (result.decision !== 'allow') throw refusal(attributes, result);
  }
}

/** Decisions as upstream's metrics call them. */
const OUTCOMES: Readonly<Record<AuthorizationDecision['decision'], string>> = {
  allow: 'result="allowed"',
  deny: 'result="denied"',
  'no-opinion': 'result="no-opinion"',
};

function attributesOf({ user, info }: RequestContext): AuthorizationAttributes {
  const { verb, group, version, resource, subresource, namespace, name, path, isResourceRequest, query } =
    info;
  const selects = !info.verbInPath && (verb === 'list' || verb === 'watch' || verb === 'deletecollection');
  const fieldSelector =
    selects && query['fieldSelector'] ? fieldRequirements(query['fieldSelector']) : undefined;
  const labelSelector =
    selects && query['labelSelector'] ? labelRequirements(query['labelSelector']) : undefined;
  return {
    user,
    verb,
    group,
    version,
    resource,
    subresource,
    namespace,
    name,
    path,
    isResourceRequest,
    ...(fieldSelector ? { fieldSelector } : {}),
    ...(labelSelector ? { labelSelector } : {}),
  };
}

function handle(context: RequestContext, core: ServerCore): ApiResponse | Promise<ApiResponse> {
  const extension = core.aggregator.serviceFor(context.request.path);
  if (extension) return core.aggregator.handle(extension, context);
  const hosted = core.aggregator.hostedFor(context.request.path);
  if (hosted) return core.aggregator.handleHosted(hosted, context);
  if (!context.info.isResourceRequest) return core.routePath(context);
  const peers = servingPeers(context, core);
  return peers ? core.peers!.handle(peers, context) : handleResource(context, core);
}

/** Undefined: the resource is served here, or nowhere. */
function servingPeers(
  context: RequestContext,
  { peers, servedEndpoints }: ServerCore,
): ServingPeers | undefined {
  if (!peers) return undefined;
  const { group, version, resource } = context.info;
  return servedEndpoints.find(group, version, resource) ? undefined : peers.peersFor(context);
}

// -------------------------------------------------------------------------------------------------------------- upgrades

type UpgradeHandler = (request: ApiRequest, socket: Duplex, head: Buffer) => void;

/** The same stages for a connection upgrade; only the last one differs. */
export function createUpgradeHandler(core: ServerCore): UpgradeHandler {
  const stages = STAGES.slice(0, -1);
  return (request, socket, head) => {
    if (isTargetTooLong(request)) return refuseUpgrade(socket, targetTooLong());
    let context: RequestContext;
    try {
      context = route(request, core.clock.monotonic());
    } catch (error) {
      return refuseUpgrade(socket, errorResponse(statusFor(error, { core, context: undefined }), request));
    }
    const upgrade = async (): Promise<void> => {
      for (const stage of stages) {
        if (stage.name === 'limit') continue;
        const outcome = stage.run(context, core);
        if (outcome instanceof Promise) await outcome;
      }
      const extension = core.aggregator.serviceFor(request.path);
      // After a refusal or an error the socket is always closed.
      socket.once('close', core.metrics.longRunning(computeLabels(context.info)));
      const peers = extension ? undefined : servingPeers(context, core);
      if (extension) await core.aggregator.upgrade(extension, context, { socket, head });
      else if (peers) await core.peers!.upgrade(peers, context, { socket, head });
      else await upgradeResource(context, { core, socket, head });
      context.audit?.upgraded(socket);
    };
    upgrade().catch(async (error: unknown) => {
      const status = statusFor(error, { core, context });
      const response = refusalOf(error, { status, request });
      refuseUpgrade(socket, response);
      if (core.audit) await auditFailure(context, { audit: core.audit, status, error });
      await context.audit?.answered(response);
    });
  };
}

function refuseUpgrade(socket: Duplex, { status, headers, body }: ApiResponse): void {
  if (!socket.writable) return void socket.destroy();
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
  const lines = Object.entries({
    ...headers,
    'content-length': String(bytes.length),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${status} Refused\r\n${lines.join('')}\r\n`);
  socket.end(bytes);
}
