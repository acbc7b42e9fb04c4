/**
 * Proxies a request to an extension API server unchanged, with the user's identity in X-Remote-* headers (the client's own are dropped), and returns
 * its response. Bodies are streamed both ways; upgrades are joined. After upstream's kube-aggregator handler, its status codes and texts.
 */
import type { Duplex, Readable } from 'node:stream';
import type { Destination, DestinationTls, HttpsClient, IncomingAnswer } from '#stdx/https-client.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { statusErrors } from '#machinery/errors.ts';
import { joinSockets, requestUpgrade, responseHead, UpgradeRefused } from '#machinery/streams/upgrade.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { RequestContext } from '../context.ts';
import type { ApiRequest, ApiResponse } from '../http/request.ts';
import { textResponse } from '../http/response.ts';
import { forwardedHeaders } from '../handlers/connect/backend.ts';
import { describe } from '../handlers/connect/errors.ts';
import { responseHeaders, streamBody } from '../handlers/connect/http-proxy.ts';
import { identityHeaders, type ExtensionAddress } from './extension-service.ts';

/** Another API server: of an extension, or a peer of this one. */
export interface ProxyTarget {
  readonly name: string;
  readonly isAvailable: boolean;
  /** For the host header; as in a URL. */
  readonly serverName: string;
  readonly client: HttpsClient;
  readonly tls: DestinationTls;
  /** Of the next connection; throws an Error. */
  address(): ExtensionAddress;
  destination(address: ExtensionAddress): Destination;
  /** Laid over those of the client. */
  headersFor?(context: RequestContext): Readonly<Record<string, string>>;
}

export interface ProxyOptions {
  readonly log: Logger;
  /** Timeout for response headers; watches are unbounded after them. */
  readonly responseTimeoutMs: number;
  /** Cancels long-running requests; called when this server stops. */
  readonly running: Set<() => void>;
}

/** Bodies of listeners that cannot stream them. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const REDIRECT_REFUSED = 'the backend attempted to redirect this request, which is not permitted';

export async function proxyToExtension(
  service: ProxyTarget,
  context: RequestContext,
  options: ProxyOptions,
): Promise<ApiResponse> {
  const { request } = context;
  refuseDetours(request.path);
  const address = usableAddress(service, options);
  if (!address) return unavailable();
  const isBodyless = request.method === 'GET' || request.method === 'HEAD';
  const stream = isBodyless ? undefined : request.bodyStream?.();
  const whole = isBodyless || stream ? undefined : await request.body(MAX_BODY_BYTES);
  const length = stream ? request.headers['content-length'] : whole && String(whole.length);
  const headers = {
    ...proxyHeaders(service, context, address),
    ...(length === undefined ? {} : { 'content-length': length }),
  };
  try {
    const { answer, abort } = await send({
      service,
      address,
      headers,
      body: stream ?? whole,
      request,
      timeoutMs: context.info.verb === 'watch' ? 0 : options.responseTimeoutMs,
    });
    const { status, body } = answer;
    if (status >= 300 && status <= 399 && answer.headers['location'] !== undefined) {
      abort();
      return textResponse(502, REDIRECT_REFUSED);
    }
    options.running.add(abort);
    body.on('close', () => options.running.delete(abort));
    return { status, ...responseHeaders(answer.headers), body: streamBody({ response: body, abort }) };
  } catch (error) {
    if (error instanceof ResponseTimeout)
      throw statusErrors.timeout('request did not complete within the allotted timeout');
    return textResponse(503, `error trying to reach service: ${describe(error)}\n`);
  }
}

interface UpgradeOptions extends ProxyOptions {
  readonly client: { readonly socket: Duplex; readonly head: Buffer };
  /** The status of the other server's response. */
  readonly answered?: (status: number) => void;
}

export async function upgradeToExtension(
  service: ProxyTarget,
  context: RequestContext,
  { client, answered, ...options }: UpgradeOptions,
): Promise<void> {
  const { request } = context;
  refuseDetours(request.path);
  const address = usableAddress(service, options);
  if (!address) throw statusErrors.unavailable('service unavailable');
  const url = new URL(`https://${host(address)}`);
  const [path = '/', query = ''] = target(request).split('?', 2);
  url.pathname = path;
  url.search = query;
  const versions = request.headers['x-stream-protocol-version'];
  const headers = {
    ...proxyHeaders(service, context, address),
    connection: 'Upgrade',
    upgrade: request.headers['upgrade'] ?? '',
    // Some servers do not split a joined list.
    ...(versions === undefined
      ? {}
      : { 'x-stream-protocol-version': versions.split(',').map((version) => version.trim()) }),
  };
  const backend = await requestUpgrade({ url, method: request.method, headers, tls: service.tls }).catch(
    (error: unknown) => error as Error,
  );
  if (backend instanceof UpgradeRefused) {
    answered?.(backend.response.statusCode ?? 500);
    return answerRefusal(client.socket, backend);
  }
  if (backend instanceof Error)
    throw statusErrors.unavailable(`error trying to reach service: ${describe(backend)}`);
  answered?.(101);
  client.socket.write(
    responseHead({ status: 101, reason: 'Switching Protocols', headers: backend.response.headers }),
  );
  if (client.head.length > 0) client.socket.unshift(client.head);
  if (backend.head.length > 0) backend.socket.unshift(backend.head);
  const end = (): void => void backend.socket.destroy();
  options.running.add(end);
  await joinSockets(client.socket, backend.socket).finally(() => options.running.delete(end));
}

/**
 * Requires a path that the extension server resolves to what was authorized: a server that resolves '..' could reach another namespace, for
 * example. Throws BadRequest.
 */
function refuseDetours(path: string): void {
  if (!path.includes('..') && !path.includes('/.') && !path.includes('%')) return;
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw statusErrors.badRequest('the path of the request is not well-formed');
  }
  if (decoded.split(/[/\\]/).some((segment) => segment === '.' || segment === '..'))
    throw statusErrors.badRequest(
      'the path of a request to an extension API server may not have "." or ".." in it',
    );
}

function usableAddress(
  service: ProxyTarget,
  { log }: Pick<ProxyOptions, 'log'>,
): ExtensionAddress | undefined {
  if (!service.isAvailable) return undefined;
  try {
    return service.address();
  } catch (error) {
    log.warn('an APIService cannot be reached', { apiservice: service.name, error: errorMessage(error) });
    return undefined;
  }
}

/** The format of Go's http.Error. */
function unavailable(): ApiResponse {
  return textResponse(503, 'service unavailable\n');
}

function proxyHeaders(
  service: ProxyTarget,
  context: RequestContext,
  address: ExtensionAddress,
): Record<string, string | string[]> {
  const { request } = context;
  const clientHost = request.headers['host'] ?? request.headers[':authority'];
  // The listener has responded already.
  const { expect: _, ...forwarded } = forwardedHeaders(request);
  return {
    ...forwarded,
    host: `${service.serverName}:${address.port}`,
    'x-forwarded-uri': request.path,
    ...(clientHost === undefined ? {} : { 'x-forwarded-host': clientHost }),
    ...identityHeaders(context.user),
    ...service.headersFor?.(context),
  };
}

function target({ path, query }: ApiRequest): string {
  return query === '' ? path : `${path}?${query}`;
}

function host({ host: name, port }: ExtensionAddress): string {
  return formatHostPort(name, port);
}

class ResponseTimeout extends Error {}

interface Sending {
  readonly service: ProxyTarget;
  readonly address: ExtensionAddress;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer | Readable | undefined;
  readonly request: ApiRequest;
  readonly timeoutMs: number;
}

async function send({ service, address, headers, body, request, timeoutMs }: Sending): Promise<{
  readonly answer: IncomingAnswer;
  readonly abort: () => void;
}> {
  const aborting = new AbortController();
  const abort = (): void => aborting.abort();
  const timer =
    timeoutMs > 0 ? setTimeout(() => aborting.abort(new ResponseTimeout()), timeoutMs) : undefined;
  request.onAbort(abort);
  try {
    const answer = await service.client.request({
      to: service.destination(address),
      method: request.method,
      path: target(request),
      headers,
      body,
      signal: aborting.signal,
      // A request with a body may have been processed already.
      repeats: body === undefined,
    });
    // A response that breaks off ends the client's too: streamBody.
    answer.body.on('error', () => {});
    return { answer, abort };
  } finally {
    clearTimeout(timer);
  }
}

function answerRefusal(socket: Duplex, { response, body }: UpgradeRefused): void {
  const isRedirect = (response.statusCode ?? 0) >= 300 && (response.statusCode ?? 0) <= 399;
  const text = isRedirect ? Buffer.from(REDIRECT_REFUSED) : body;
  const { location: _, 'transfer-encoding': _t, ...kept } = response.headers;
  socket.write(
    responseHead({
      status: isRedirect ? 502 : (response.statusCode ?? 500),
      reason: isRedirect ? 'Bad Gateway' : response.statusMessage || 'Refused',
      headers: { ...kept, 'content-length': String(text.length), connection: 'close' },
    }),
  );
  socket.end(text);
}
