/** The HTTP request of a probe or a lifecycle hook: to the pod, certificates not checked, redirects followed on the same host. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { HTTPGetAction } from '#api/types.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { AnyContainer } from '../pod/restart-policy.ts';

interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

interface HttpGetOptions {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const MAX_BODY = 10 * 1024;
const MAX_REDIRECTS = 10;

/** Throws ConfigError-like Error for a port that is not there. */
export function resolvePort(port: number | string, container: AnyContainer): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  const number = named ?? Number(port);
  if (Number.isInteger(number) && number > 0 && number < 65536) return number;
  throw new Error(`couldn't find port: ${JSON.stringify(port)} in container ${container.name}`);
}

export function actionUrl(
  { scheme = 'HTTP', host, path = '/', port }: HTTPGetAction,
  { container, podIP }: { readonly container: AnyContainer; readonly podIP: string },
): URL {
  const name = host || podIP;
  const base = `${scheme.toLowerCase()}://${formatHostPort(name, resolvePort(port, container))}`;
  return new URL(`${base}${path.startsWith('/') ? path : `/${path}`}`);
}

export function actionHeaders({ httpHeaders = [] }: HTTPGetAction, agent: string): Record<string, string> {
  const own = new Map<string, string>();
  for (const { name, value } of httpHeaders)
    own.set(
      name.toLowerCase(),
      own.has(name.toLowerCase()) ? `${own.get(name.toLowerCase())}, ${value}` : value,
    );
  if (!own.has('user-agent')) own.set('user-agent', agent);
  if (!own.has('accept')) own.set('accept', '*/*');
  return Object.fromEntries([...own].filter(([, value]) => value !== ''));
}

export async function httpGet(
  options: HttpGetOptions,
  redirects = 0,
): Promise<HttpAnswer & { readonly redirectedAway?: boolean }> {
  const { status, body, location } = await once(options);
  if (status < 300 || status >= 400 || location === undefined) return { status, body };
  const next = new URL(location, options.url);
  // A redirect to another host is not followed: it is the response. A probe then emits a ProbeWarning event.
  if (next.hostname !== options.url.hostname) return { status, body, redirectedAway: true };
  if (redirects >= MAX_REDIRECTS)
    throw new Error(`Get ${JSON.stringify(options.url.href)}: stopped after 10 redirects`);
  return httpGet({ ...options, url: next }, redirects + 1);
}

function once({
  url,
  headers,
  timeoutMs,
  signal,
}: HttpGetOptions): Promise<HttpAnswer & { readonly location: string | undefined }> {
  const { promise, resolve, reject } = Promise.withResolvers<
    HttpAnswer & { readonly location: string | undefined }
  >();
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const fail = (text: string): void => reject(new Error(`Get ${JSON.stringify(url.href)}: ${text}`));
  const outgoing = send(url, {
    method: 'GET',
    headers,
    agent: false,
    rejectUnauthorized: false,
    ...(signal ? { signal } : {}),
  });
  const timer = setTimeout(() => {
    fail('context deadline exceeded (Client.Timeout exceeded while awaiting headers)');
    outgoing.destroy();
  }, timeoutMs);
  outgoing.on('response', (response) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    response.on('data', (part: Buffer) => {
      if (bytes < MAX_BODY) parts.push(part);
      bytes += part.length;
    });
    response.on('error', (error) => fail(error.message));
    response.on('end', () => {
      clearTimeout(timer);
      resolve({
        status: response.statusCode ?? 0,
        body: Buffer.concat(parts).subarray(0, MAX_BODY).toString(),
        location: response.headers.location,
      });
    });
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer);
    fail(
      error.code === 'ECONNREFUSED'
        ? `dial tcp ${url.hostname}:${url.port}: connect: connection refused`
        : error.message,
    );
  });
  outgoing.end();
  return promise;
}
