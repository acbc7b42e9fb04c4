/**
 * A request to an extension API server: sent on as it came, with the identity of the user in X-Remote-* headers (the client's own are dropped), and
 * answered as it is answered. Bodies stream both ways; upgrades are joined. After upstream's kube-aggregator handler, its status codes and texts.
 */
import { request as httpsRequest, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { statusErrors } from '#machinery/errors.ts';
import { joinSockets, requestUpgrade, responseHead, UpgradeRefused } from '#machinery/streams/upgrade.ts';
import type { RequestContext } from '../context.ts';
import type { ApiRequest, ApiResponse } from '../http/request.ts';
import { textResponse } from '../http/response.ts';
import { forwardedHeaders } from '../handlers/connect/backend.ts';
import { describe } from '../handlers/connect/errors.ts';
import { responseHeaders, streamBody } from '../handlers/connect/http-proxy.ts';
import { identityHeaders, type ExtensionAddress, type ExtensionService } from './extension-service.ts';

export interface ProxyOptions {
  readonly log: Logger;
  /** How long the head of an answer may take; watches are as slow as they like. */
  readonly responseTimeoutMs: number;
  /** Ends of what runs on; called when this server stops. */
  readonly running: Set<() => void>;
}

/** Bodies of listeners that cannot stream them. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const REDIRECT_REFUSED = 'the backend attempted to redirect this request, which is not permitted';

export async function proxyToExtension(
  service: ExtensionService,
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
    const { response, abort } = await send({
      options: {
        host: address.host,
        port: address.port,
        method: request.method,
        path: target(request),
        headers,
        agent: service.agent,
      },
      body: stream ?? whole,
      request,
      timeoutMs: context.info.verb === 'watch' ? 0 : options.responseTimeoutMs,
    });
    const status = response.statusCode ?? 502;
    if (status >= 300 && status <= 399 && response.headers['location'] !== undefined) {
      abort();
      return textResponse(502, REDIRECT_REFUSED);
    }
    options.running.add(abort);
    response.on('close', () => options.running.delete(abort));
    return { status, ...responseHeaders(response), body: streamBody({ response, abort }) };
  } catch (error) {
    if (error instanceof ResponseTimeout)
      throw statusErrors.timeout('request did not complete within the allotted timeout');
    return textResponse(503, `error trying to reach service: ${describe(error)}\n`);
  }
}

export async function upgradeToExtension(
  service: ExtensionService,
  context: RequestContext,
  {
    client,
    ...options
  }: ProxyOptions & { readonly client: { readonly socket: Duplex; readonly head: Buffer } },
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
  if (backend instanceof UpgradeRefused) return answerRefusal(client.socket, backend);
  if (backend instanceof Error)
    throw statusErrors.unavailable(`error trying to reach service: ${describe(backend)}`);
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
 * What was authorized must be what is asked for: a server that resolves '..' would take the request somewhere else than where it was allowed, for
 * example into another namespace. Throws BadRequest.
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
  service: ExtensionService,
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

/** As Go's http.Error says it. */
function unavailable(): ApiResponse {
  return textResponse(503, 'service unavailable\n');
}

function proxyHeaders(
  service: ExtensionService,
  { request, user }: RequestContext,
  address: ExtensionAddress,
): Record<string, string | string[]> {
  const clientHost = request.headers['host'] ?? request.headers[':authority'];
  return {
    ...forwardedHeaders(request),
    host: `${service.serverName}:${address.port}`,
    'x-forwarded-uri': request.path,
    ...(clientHost === undefined ? {} : { 'x-forwarded-host': clientHost }),
    ...identityHeaders(user),
  };
}

function target({ path, query }: ApiRequest): string {
  return query === '' ? path : `${path}?${query}`;
}

function host({ host: name, port }: ExtensionAddress): string {
  return `${name.includes(':') ? `[${name}]` : name}:${port}`;
}

class ResponseTimeout extends Error {}

interface Sending {
  readonly options: RequestOptions;
  readonly body: Buffer | Readable | undefined;
  readonly request: ApiRequest;
  readonly timeoutMs: number;
}

function send({
  options,
  body,
  request,
  timeoutMs,
}: Sending): Promise<{ readonly response: IncomingMessage; readonly abort: () => void }> {
  const { promise, resolve, reject } = Promise.withResolvers<{
    readonly response: IncomingMessage;
    readonly abort: () => void;
  }>();
  const outgoing = httpsRequest(options);
  let aborted = false;
  const abort = (): void => {
    aborted = true;
    outgoing.destroy();
  };
  const timer =
    timeoutMs > 0 ? setTimeout(() => outgoing.destroy(new ResponseTimeout()), timeoutMs) : undefined;
  outgoing.on('response', (response) => {
    clearTimeout(timer);
    resolve({ response, abort });
  });
  outgoing.on('error', (error) => {
    clearTimeout(timer);
    // The server had closed the connection when it was taken up again: nothing was asked yet.
    if (
      outgoing.reusedSocket &&
      !aborted &&
      body === undefined &&
      (error as NodeJS.ErrnoException).code === 'ECONNRESET'
    )
      resolve(send({ options, body, request, timeoutMs }));
    else reject(error);
  });
  request.onAbort(abort);
  if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
  else {
    body.on('error', abort);
    body.pipe(outgoing);
  }
  return promise;
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
