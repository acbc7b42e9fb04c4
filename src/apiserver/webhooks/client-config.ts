/**
 * Calls a webhook described by an object's clientConfig (CustomResourceDefinitions, webhook configurations): POST of JSON over TLS, by URL or to a
 * Service. Connections are kept. No retries, no redirects. Webhooks of kubeconfig files: kubeconfig-client.ts.
 */
import { HttpsClient, readBody } from '#stdx/https-client.ts';
import { isJsonObject } from '#machinery/json.ts';
import type { EndpointSlice, Service, WebhookClientConfig } from '#api/types.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { describe } from '../handlers/connect/errors.ts';
import { isProxyable, isSimulatedNode } from '../handlers/connect/locations.ts';

interface ClientConfigCall {
  readonly internal: InternalApi;
  readonly body: unknown;
  readonly timeoutMs: number;
  /** The caller's own end of it. */
  readonly signal?: AbortSignal | undefined;
  /** A longer response is refused. Default 16 MiB. */
  readonly maximumBytes?: number;
}

/** The error in one sentence, in upstream's words where it has some. */
export class ClientConfigError extends Error {
  override readonly name = 'ClientConfigError';
  /** HTTP status of the response, 0 without one. */
  readonly status: number;
  /** The caller's signal aborted it. */
  readonly isCanceled: boolean;

  constructor(
    message: string,
    {
      status = 0,
      isCanceled = false,
      cause,
    }: { readonly status?: number; readonly isCanceled?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.status = status;
    this.isCanceled = isCanceled;
  }
}

const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;
/** Of one webhook; more calls at a time wait for a connection, each until its own timeout. */
const MAX_SOCKETS = 512;
/** Webhooks whose connections are kept; the least recently used are closed first. */
const MAX_WEBHOOKS = 256;

/** Connections are pooled by address and by all that TLS verifies; those that are idle keep nothing alive. */
const client = new HttpsClient({ maximumPools: MAX_WEBHOOKS, maximumSockets: MAX_SOCKETS });

/** Returns the parsed body. Rejects with a ClientConfigError. */
export async function callClientConfig(
  config: WebhookClientConfig,
  call: ClientConfigCall,
): Promise<unknown> {
  const target = targetOf(config, call);
  const bytes = Buffer.from(JSON.stringify(call.body));
  const ca = config.caBundle ? Buffer.from(config.caBundle, 'base64').toString() : undefined;
  const text = await post(target, { ...call, bytes, ca });
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ClientConfigError(
      `Post ${JSON.stringify(shown(target, call.timeoutMs))}: the answer is no JSON`,
    );
  }
}

// ------------------------------------------------------------------------------------------------------------ addresses

interface Target {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** The server name to verify, and the Host header. */
  readonly serverName: string;
}

function targetOf(
  { url, service }: WebhookClientConfig,
  { internal, timeoutMs }: Pick<ClientConfigCall, 'internal' | 'timeoutMs'>,
): Target {
  if (url) {
    const parsed = new URL(url);
    const host = parsed.hostname.replace(/^\[|\]$/g, '');
    return { host, port: Number(parsed.port || 443), path: parsed.pathname, serverName: host };
  }
  if (!service) throw new ClientConfigError('webhook configuration must have either service or URL');
  const { namespace, name, port = 443, path = '/' } = service;
  const serverName = `${name}.${namespace}.svc`;
  try {
    return { ...addressOf({ namespace, name, port }, internal), path, serverName };
  } catch (error) {
    if (!(error instanceof ClientConfigError)) throw error;
    throw new ClientConfigError(
      `Post ${JSON.stringify(shown({ host: '', port, path, serverName }, timeoutMs))}: ${error.message}`,
      { cause: error },
    );
  }
}

interface ServicePort {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

/** As upstream without endpoint routing: the cluster address, which the service proxy leads on; of a headless Service one of its endpoints. */
function addressOf(
  { namespace, name, port }: ServicePort,
  internal: InternalApi,
): { readonly host: string; readonly port: number } {
  const found = internal.get({ group: '', resource: 'services' }, { namespace, name }) as Service | undefined;
  if (!found) throw new ClientConfigError(`service ${JSON.stringify(name)} not found`);
  const { type = 'ClusterIP', clusterIP = '', externalName = '', ports = [] } = found.spec ?? {};
  if (type === 'ExternalName') return { host: externalName, port };
  const servicePort = ports.find((candidate) => candidate.port === port);
  if (!servicePort)
    throw new ClientConfigError(`no service port ${port} found for service ${JSON.stringify(name)}`);
  const endpoints = readyEndpoints({ namespace, name, portName: servicePort.name ?? '' }, internal);
  if (endpoints.length > 0 && endpoints.every(({ nodeName }) => isSimulatedNode(internal, nodeName))) {
    throw new ClientConfigError(
      `all endpoints of service ${JSON.stringify(name)} are on simulated nodes, whose pods run no containers`,
    );
  }
  if (clusterIP !== '' && clusterIP !== 'None') return { host: clusterIP, port };
  const usable = endpoints.filter(({ host }) => isProxyable(host));
  const chosen = usable[Math.floor(Math.random() * usable.length)];
  if (!chosen) throw new ClientConfigError(`no endpoints available for service ${JSON.stringify(name)}`);
  return chosen;
}

function readyEndpoints(
  {
    namespace,
    name,
    portName,
  }: { readonly namespace: string; readonly name: string; readonly portName: string },
  internal: InternalApi,
): { readonly host: string; readonly port: number; readonly nodeName: string | undefined }[] {
  const slices = internal.list(
    { group: 'discovery.k8s.io', resource: 'endpointslices' },
    { namespace },
  ) as EndpointSlice[];
  return slices
    .filter(({ metadata }) => metadata?.labels?.['kubernetes.io/service-name'] === name)
    .flatMap((slice) => {
      const port = slice.ports?.find((candidate) => (candidate.name ?? '') === portName)?.port;
      const ready = (slice.endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false);
      return port === undefined
        ? []
        : ready.flatMap(({ addresses, nodeName }) => addresses.map((host) => ({ host, port, nodeName })));
    });
}

/** Whole seconds, rounded up: the timeout parameter of the webhook. */
function timeoutParameter(timeoutMs: number): string {
  return `timeout=${Math.max(1, Math.ceil(timeoutMs / 1000))}s`;
}

function hostAndPort(host: string, port: number): string {
  return formatHostPort(host, port);
}

function shown({ serverName, port, path }: Target, timeoutMs: number): string {
  return `https://${hostAndPort(serverName, port)}${path}?${timeoutParameter(timeoutMs)}`;
}

// --------------------------------------------------------------------------------------------------------------- the call

interface Post extends ClientConfigCall {
  readonly bytes: Buffer;
  readonly ca: string | undefined;
}

async function post(target: Target, call: Post): Promise<string> {
  const timeout = AbortSignal.timeout(Math.max(1, Math.floor(call.timeoutMs)));
  const signal = call.signal ? AbortSignal.any([timeout, call.signal]) : timeout;
  try {
    return await postOnce(target, { ...call, signal });
  } catch (error) {
    if (error instanceof ClientConfigError) throw error;
    const why = timeout.aborted
      ? 'context deadline exceeded'
      : call.signal?.aborted
        ? 'context canceled'
        : describe(error);
    throw new ClientConfigError(`Post ${JSON.stringify(shown(target, call.timeoutMs))}: ${why}`, {
      isCanceled: !timeout.aborted && call.signal?.aborted === true,
      cause: error,
    });
  }
}

async function postOnce(
  target: Target,
  {
    bytes,
    ca,
    timeoutMs,
    maximumBytes = MAX_RESPONSE_BYTES,
    signal,
  }: Post & { readonly signal: AbortSignal },
): Promise<string> {
  const { host, port, path, serverName } = target;
  const answer = await client.request({
    to: { host, port, tls: { ca, servername: serverName } },
    method: 'POST',
    path: `${path}?${timeoutParameter(timeoutMs)}`,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      host: hostAndPort(serverName, port),
      'user-agent': 'kube-apiserver-admission',
    },
    body: bytes,
    signal,
    repeats: true,
  });
  const tooLong = (): Error =>
    new ClientConfigError(
      `the answer of ${hostAndPort(serverName, port)} is longer than ${maximumBytes} bytes`,
    );
  const text = (await readBody(answer, { maximumBytes, tooLong })).toString();
  const { status } = answer;
  if (status >= 200 && status <= 299) return text;
  throw new ClientConfigError(refusal(status, text), { status });
}

/** client-go's texts for unsuccessful responses. */
const REFUSALS: Readonly<Record<number, string>> = {
  400: 'the server rejected our request for an unknown reason',
  401: 'the server has asked for the client to provide credentials',
  403: 'unknown',
  404: 'the server could not find the requested resource',
  405: 'the server does not allow this method on the requested resource',
  406: 'the server was unable to respond with a content type that the client supports',
  409: 'the server reported a conflict',
  413: 'the request is too large',
  415: 'the body of the request was in an unknown format',
  422: 'the server rejected our request due to an error in our request',
  429: 'the server has received too many requests and has asked us to try again later',
  503: 'the server is currently unable to handle the request',
  504: 'the server was unable to return a response in the time allotted, but may still be processing the request',
};
const SHOWN_BODY = 2048;

function refusal(status: number, text: string): string {
  if (status >= 300 && status <= 399)
    return `the server answered with a redirect (${status}), which is not followed`;
  const said = statusMessage(text);
  if (said !== undefined) return said;
  if (status === 403 && text !== '') return text.slice(0, SHOWN_BODY);
  const known = REFUSALS[status];
  if (known !== undefined) return known;
  return status >= 500
    ? `an error on the server (${JSON.stringify(text.trim().slice(0, SHOWN_BODY) || 'unknown')}) has prevented the request from succeeding`
    : `the server responded with the status code ${status} but did not return more information`;
}

function statusMessage(text: string): string | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const value = JSON.parse(text) as unknown;
    return isJsonObject(value) &&
      value['kind'] === 'Status' &&
      typeof value['message'] === 'string' &&
      value['message'] !== ''
      ? value['message']
      : undefined;
  } catch {
    return undefined;
  }
}
