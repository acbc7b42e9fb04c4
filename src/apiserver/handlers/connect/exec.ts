/**
 * Connection upgrades to kubelets: exec and attach (SPDY passed through; WebSockets translated to SPDY, as upstream's StreamTranslator does) and
 * port-forward (SPDY and old WebSockets passed through; new WebSockets as a tunnel of SPDY bytes).
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import type { Status } from '#machinery/errors.ts';
import { PORT_FORWARD_PROTOCOL } from '#machinery/streams/portforward.ts';
import {
  hasStatus,
  internalErrorStatus,
  PROTOCOL_HEADER,
  SPDY_PROTOCOLS,
} from '#machinery/streams/remotecommand.ts';
import type { RemoteCommandOptions } from '#machinery/streams/remotecommand.ts';
import { SpdyConnection } from '#machinery/streams/spdy.ts';
import { runRemoteCommand } from '#machinery/streams/spdy-remotecommand.ts';
import { joinSockets, requestUpgrade, responseHead, UpgradeRefused } from '#machinery/streams/upgrade.ts';
import type { Upgraded } from '#machinery/streams/upgrade.ts';
import {
  CHANNEL,
  MAX_MESSAGE_BYTES,
  negotiateChannelProtocol,
  offeredProtocols,
  WebSocketChannels,
} from '#machinery/streams/websocket-channels.ts';
import { PORT_FORWARD_TUNNEL, webSocketTunnel } from '#machinery/streams/websocket-tunnel.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { ConnectCall } from './connect.ts';
import type { ApiRequest } from '../../http/request.ts';
import { isTrue, queryValues } from '../../http/request-info.ts';
import { forwardedHeaders } from './backend.ts';
import type { BackendAgents, BackendTls } from './backend.ts';
import { describe, dialingError, proxyError } from './errors.ts';
import { proxiedUrl } from './http-proxy.ts';
import type { ProxyTarget } from './http-proxy.ts';
import { chooseContainer, kubeletEndpoint, requireNodeName } from './locations.ts';
import type { PodObject } from './locations.ts';

export interface ClientSocket {
  readonly socket: Duplex;
  readonly head: Buffer;
}
export interface UpgradeContext {
  readonly call: ConnectCall;
  readonly client: ClientSocket;
  readonly agents: BackendAgents;
}

export function isUpgrade(request: ApiRequest): boolean {
  return (
    /\bupgrade\b/i.test(request.headers['connection'] ?? '') && (request.headers['upgrade'] ?? '') !== ''
  );
}

function isWebSocket(request: ApiRequest): boolean {
  return (request.headers['upgrade'] ?? '').toLowerCase() === 'websocket';
}

// ---- exec and attach ----------------------------------------------------------------------------------------------------------------

export async function connectCommand(context: UpgradeContext): Promise<void> {
  const { call } = context;
  const pod = requirePod(call);
  const container = chooseContainer(pod, call.info.query['container'] ?? '');
  const options = commandOptions(call);
  const url = kubeletUrl({
    call,
    pod,
    path: [call.info.subresource, call.info.namespace, call.info.name, container],
  });
  url.search = commandQuery(call, options).toString();
  if (isWebSocket(call.request)) return translateWebSocket({ ...context, url, options });
  return passThrough({ ...context, url, method: 'POST', tls: context.agents.kubeletTls() });
}

/** Checks the upgrade headers first, as upstream does. Throws BadRequest. */
export function requireStream(call: ConnectCall): void {
  const pod = requirePod(call);
  if (call.info.subresource !== 'portforward') chooseContainer(pod, call.info.query['container'] ?? '');
  requireNodeName(pod);
}

/** PodExecOptions: stdout and stderr default to true. */
function commandOptions({ info: { query } }: ConnectCall): RemoteCommandOptions {
  const wanted = (name: string, byDefault: boolean): boolean =>
    query[name] === undefined ? byDefault : isTrue(query[name]);
  const tty = wanted('tty', false);
  return {
    stdin: wanted('stdin', false),
    stdout: wanted('stdout', true),
    stderr: wanted('stderr', true) && !tty,
    tty,
  };
}

/** The kubelet's names for the same. */
function commandQuery(call: ConnectCall, options: RemoteCommandOptions): URLSearchParams {
  const query = new URLSearchParams();
  if (options.stdin) query.set('input', '1');
  if (options.stdout) query.set('output', '1');
  if (options.stderr) query.set('error', '1');
  if (options.tty) query.set('tty', '1');
  if (call.info.subresource === 'exec')
    for (const part of queryValues(call.request.query, 'command')) query.append('command', part);
  return query;
}

interface Translation extends UpgradeContext {
  readonly url: URL;
  readonly options: RemoteCommandOptions;
}

async function translateWebSocket(context: Translation): Promise<void> {
  const { call, options } = context;
  const offered = offeredProtocols(call.request.headers['sec-websocket-protocol']);
  const protocol = negotiateChannelProtocol(offered);
  if (protocol === undefined)
    throw statusErrors.badRequest(
      `unable to upgrade: requested protocols [${offered.join(' ')}] are not supported`,
    );
  const socket = await acceptWebSocket(context, protocol);
  const readable = [...(options.stdin ? [CHANNEL.stdin] : []), ...(options.tty ? [CHANNEL.resize] : [])];
  const channels = new WebSocketChannels({ socket, protocol, readable });
  // Tells the client that the connection is established.
  channels.send(
    options.stdout ? CHANNEL.stdout : options.stderr ? CHANNEL.stderr : CHANNEL.error,
    Buffer.alloc(0),
  );
  const status = await runOverSpdy(context, channels).catch((error: unknown) => failureStatus(error));
  sendStatus(channels, { status, protocol });
  channels.close();
}

async function runOverSpdy(
  { url, options, agents }: Translation,
  channels: WebSocketChannels,
): Promise<Partial<Status>> {
  const upgraded = await requestUpgrade({
    url,
    method: 'POST',
    headers: spdyHeaders(SPDY_PROTOCOLS),
    tls: agents.kubeletTls(),
  }).catch((error: unknown) => {
    throw error instanceof UpgradeRefused ? error : dialingError(error);
  });
  const connection = new SpdyConnection(upgraded.socket, { role: 'client', head: upgraded.head });
  void channels.closed.then(() => connection.close());
  const protocol = String(upgraded.response.headers[PROTOCOL_HEADER] ?? SPDY_PROTOCOLS.at(-1));
  try {
    return await runRemoteCommand({
      connection,
      protocol,
      options,
      streams: {
        stdin: channels.reader(CHANNEL.stdin),
        stdout: channels.writer(CHANNEL.stdout),
        stderr: channels.writer(CHANNEL.stderr),
        resize: channels.reader(CHANNEL.resize),
      },
    });
  } finally {
    connection.close();
  }
}

function spdyHeaders(protocols: readonly string[]): Record<string, string | readonly string[]> {
  return { connection: 'Upgrade', upgrade: 'SPDY/3.1', [PROTOCOL_HEADER]: protocols };
}

function failureStatus(error: unknown): Partial<Status> {
  if (isStatusError(error)) return error.status;
  if (error instanceof UpgradeRefused) return statusOf(error.body) ?? internalErrorStatus(error.message);
  return internalErrorStatus(describe(error));
}

function statusOf(body: Buffer): Partial<Status> | undefined {
  try {
    const parsed = JSON.parse(body.toString()) as Partial<Status>;
    return parsed.kind === 'Status' ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function sendStatus(
  channels: WebSocketChannels,
  { status, protocol }: { readonly status: Partial<Status>; readonly protocol: string },
): void {
  if (hasStatus(protocol)) channels.send(CHANNEL.error, JSON.stringify(status));
  else if (status.status !== 'Success') channels.send(CHANNEL.error, status.message ?? 'unknown error');
}

// ---- port-forward -------------------------------------------------------------------------------------------------------------------

export async function connectPortForward(context: UpgradeContext): Promise<void> {
  const { call } = context;
  const pod = requirePod(call);
  const url = kubeletUrl({ call, pod, path: ['portForward', call.info.namespace, call.info.name] });
  const ports = queryValues(call.request.query, 'ports');
  url.search = ports
    .flatMap((list) => list.split(','))
    .map((port) => `port=${encodeURIComponent(port)}`)
    .join('&');
  const tls = context.agents.kubeletTls();
  const offered = offeredProtocols(call.request.headers['sec-websocket-protocol']);
  if (isWebSocket(call.request) && offered.includes(PORT_FORWARD_TUNNEL))
    return tunnelPortForward({ ...context, url, tls });
  return passThrough({ ...context, url, tls, method: isWebSocket(call.request) ? 'GET' : 'POST' });
}

/** The kubelet is called first, so that its refusal becomes the response to the client. */
async function tunnelPortForward(
  context: UpgradeContext & { readonly url: URL; readonly tls: BackendTls },
): Promise<void> {
  const backend = await requestUpgrade({
    url: context.url,
    method: 'POST',
    headers: spdyHeaders([PORT_FORWARD_PROTOCOL]),
    tls: context.tls,
  }).catch((error: unknown) => error as Error);
  if (backend instanceof UpgradeRefused) return answerRefusal(context.client.socket, backend);
  if (backend instanceof Error) throw dialingError(backend);
  const socket = await acceptWebSocket(context, PORT_FORWARD_TUNNEL).catch((error: unknown) => {
    backend.socket.destroy();
    throw error;
  });
  if (backend.head.length > 0) backend.socket.unshift(backend.head);
  await joinSockets(webSocketTunnel(socket), backend.socket);
}

// ---- upgrades through a proxy subresource -----------------------------------------------------------------------------------------------

export async function connectProxy(
  context: UpgradeContext & { readonly target: ProxyTarget; readonly rest: string },
): Promise<void> {
  const { call, target, agents } = context;
  const url = proxiedUrl({ request: call.request, target, rest: context.rest });
  return passThrough({
    ...context,
    url,
    method: call.request.method,
    tls: target.kubelet ? agents.kubeletTls() : { rejectUnauthorized: false },
    isProxy: true,
  });
}

// ---- shared by all protocols ------------------------------------------------------------------------------------------------------------

interface PassThrough extends UpgradeContext {
  readonly url: URL;
  readonly method: string;
  readonly tls: BackendTls;
  readonly isProxy?: boolean;
}

/** Requests the same upgrade from the backend and joins the two connections without reading the data. */
async function passThrough({ call, client, url, method, tls, isProxy }: PassThrough): Promise<void> {
  const backend = await requestUpgrade({ url, method, headers: upgradeHeaders(call.request), tls }).catch(
    (error: unknown) => error as Error,
  );
  if (backend instanceof UpgradeRefused) return answerRefusal(client.socket, backend);
  if (backend instanceof Error) throw isProxy ? proxyError(backend) : dialingError(backend);
  client.socket.write(
    responseHead({ status: 101, reason: 'Switching Protocols', headers: backend.response.headers }),
  );
  unshiftBoth(client, backend);
  await joinSockets(client.socket, backend.socket);
}

function unshiftBoth(client: ClientSocket, backend: Upgraded): void {
  if (client.head.length > 0) client.socket.unshift(client.head);
  if (backend.head.length > 0) backend.socket.unshift(backend.head);
}

/** Older kubelets and runtimes do not split a joined list of protocol versions: each is sent on a line of its own. */
function upgradeHeaders(request: ApiRequest): Record<string, string | readonly string[]> {
  const versions = request.headers[PROTOCOL_HEADER];
  return {
    ...forwardedHeaders(request),
    // Browsers name it as the origin too, and backends compare.
    ...(request.headers['host'] === undefined ? {} : { host: request.headers['host'] }),
    connection: 'Upgrade',
    upgrade: request.headers['upgrade'] ?? '',
    ...(versions === undefined
      ? {}
      : { [PROTOCOL_HEADER]: versions.split(',').map((version) => version.trim()) }),
  };
}

function answerRefusal(socket: Duplex, { response, body }: UpgradeRefused): void {
  const headers = {
    ...response.headers,
    'transfer-encoding': undefined,
    'content-length': String(body.length),
    connection: 'close',
  };
  socket.write(
    responseHead({
      status: response.statusCode ?? 500,
      reason: response.statusMessage || 'Refused',
      headers,
    }),
  );
  socket.end(body);
}

/** protocol: to be named to the client; '' for none. */
export async function acceptWebSocket(
  { call, client }: { readonly call: { readonly request: ApiRequest }; readonly client: ClientSocket },
  protocol: string,
): Promise<WebSocket> {
  const { request } = call;
  if (
    request.method !== 'GET' ||
    !/^[+/0-9A-Za-z]{22}==$/.test(request.headers['sec-websocket-key'] ?? '') ||
    request.headers['sec-websocket-version'] !== '13'
  ) {
    throw statusErrors.badRequest(
      'unable to upgrade: the WebSocket request is not valid: it needs GET, Sec-WebSocket-Key and Sec-WebSocket-Version 13',
    );
  }
  // Only now: it would hold up the start.
  const { WebSocketServer } = await import('ws');
  if (client.socket.destroyed) throw statusErrors.badRequest('the client went away during the upgrade');
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  client.socket.once('close', () =>
    reject(statusErrors.badRequest('the client went away during the upgrade')),
  );
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    clientTracking: false,
  });
  // ws refuses 'SPDY/3.1+portforward.k8s.io' because of the slash, so the handshake response is written here.
  if (protocol !== '')
    server.on('headers', (headers) => void headers.push(`Sec-WebSocket-Protocol: ${protocol}`));
  // ws reads method, headers and url of an IncomingMessage, and nothing else of it.
  const message = {
    method: request.method,
    headers: { ...request.headers, 'sec-websocket-protocol': undefined },
    url: request.path,
  } as unknown as IncomingMessage;
  server.handleUpgrade(message, client.socket, client.head, resolve);
  return promise;
}

function requirePod(call: ConnectCall): PodObject {
  if (!call.object) throw statusErrors.notFound({ group: '', resource: 'pods', name: call.info.name });
  return call.object as PodObject;
}

function kubeletUrl({
  call,
  pod,
  path,
}: {
  readonly call: ConnectCall;
  readonly pod: PodObject;
  readonly path: readonly string[];
}): URL {
  const { host, port } = kubeletEndpoint(call.internal, requireNodeName(pod));
  return new URL(`https://${formatHostPort(host, port)}/${path.map(encodeURIComponent).join('/')}`);
}
