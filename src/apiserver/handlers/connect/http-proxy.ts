/** The proxy subresources of pods, services and nodes over plain HTTP: one request in, one out, bodies streamed back as they come. */
import type { IncomingMessage } from 'node:http';
import { pipeline, type Duplex, type Readable } from 'node:stream';
import { createDeflate, createGunzip, createGzip, createInflate } from 'node:zlib';
import type { ApiRequest, ApiResponse, ResponseSink } from '../../http/request.ts';
import { forwardedHeaders, requestBackend } from './backend.ts';
import type { BackendAgents } from './backend.ts';
import { proxyError } from './errors.ts';
import { htmlLinks } from './html-links.ts';

export interface ProxyTarget {
  readonly url: URL;
  /** True: connect as to a kubelet. */
  readonly kubelet: boolean;
}

interface ProxyCall {
  readonly request: ApiRequest;
  readonly target: ProxyTarget;
  /** The part of the request's path after '/proxy': '' or '/…', still encoded. */
  readonly rest: string;
  readonly agents: BackendAgents;
}

/** Request bodies are read whole before they are sent on. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const RESPONSE_NOT_FORWARDED = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

export async function proxyHttp(call: ProxyCall): Promise<ApiResponse> {
  const { request, target, rest, agents } = call;
  if (rest === '' && (request.method === 'GET' || request.method === 'HEAD')) return redirectToSlash(request);
  const body =
    request.method === 'GET' || request.method === 'HEAD' ? undefined : await request.body(MAX_BODY_BYTES);
  const prefix = proxyPrefix(request.path, rest);
  // The client's Host header is kept: backends build absolute URLs from it.
  const headers = {
    ...forwardedHeaders(request),
    host: request.headers['host'] ?? call.target.url.host,
    'x-forwarded-uri': request.path,
    ...(body ? { 'content-length': String(body.length) } : {}),
  };
  const agent = target.kubelet ? agents.kubelet() : agents.plain(target.url);
  const url = proxiedUrl(call);
  const answer = await requestBackend({
    url,
    method: request.method,
    headers,
    agent,
    body,
  }).catch((error: unknown) => {
    throw proxyError(error);
  });
  request.onAbort(answer.abort);
  const { headers: answered, ...cookies } = responseHeaders(answer.response.headersDistinct, {
    prefix,
    url,
  });
  const status = answer.response.statusCode ?? 502;
  const links =
    request.method === 'HEAD'
      ? undefined
      : linkRewriting(answer.response, { prefix, hosts: [url.host, request.headers['host'] ?? ''] });
  if (!links) return { status, headers: answered, ...cookies, body: streamBody(answer) };
  const { 'content-length': _, ...changed } = answered;
  return {
    status,
    headers: changed,
    ...cookies,
    body: streamBody({
      response: pipeline([answer.response, ...links], () => {}) as Duplex,
      abort: answer.abort,
    }),
  };
}

const CODINGS: Readonly<Record<string, () => readonly [decode: Duplex, encode: Duplex]>> = {
  gzip: () => [createGunzip(), createGzip()],
  deflate: () => [createInflate(), createDeflate()],
};

/** Transforms that rewrite the links of an HTML body to lead through the proxy. Undefined: the body passes unchanged. */
function linkRewriting(
  { headers }: IncomingMessage,
  { prefix, hosts }: { readonly prefix: string; readonly hosts: readonly string[] },
): readonly Duplex[] | undefined {
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  if (type.trim() !== 'text/html') return undefined;
  const links = htmlLinks((link) => rewriteLink(link, { prefix, hosts }));
  const coding = headers['content-encoding'] ?? '';
  if (coding === '' || coding === 'identity') return [links];
  const codec = CODINGS[coding]?.();
  return codec && [codec[0], links, codec[1]];
}

/** A path of the backend, by itself or behind its host. */
function rewriteLink(
  link: string,
  { prefix, hosts }: { readonly prefix: string; readonly hosts: readonly string[] },
): string {
  const [, host, path = ''] = /^(?:https?:)?\/\/([^/?#]*)(.*)$/s.exec(link) ?? [undefined, undefined, link];
  if (host !== undefined && !hosts.includes(host)) return link;
  if (!path.startsWith('/') || path.startsWith(`${prefix}/`)) return link;
  return `${prefix.replaceAll(/["'<>]/g, (character) => encodeURIComponent(character).replace("'", '%27'))}${path}`;
}

export function proxiedUrl({ request, target, rest }: Pick<ProxyCall, 'request' | 'target' | 'rest'>): URL {
  const url = new URL(target.url);
  // Set, not parsed: the path is forwarded exactly as sent, except dot segments, which URLs cannot hold.
  url.pathname = rest === '' ? '/' : rest;
  url.search = request.query;
  return url;
}

/** '/api/v1/namespaces/x/services/y/proxy' */
function proxyPrefix(path: string, rest: string): string {
  return rest === '' ? path : path.slice(0, path.length - rest.length);
}

function redirectToSlash(request: ApiRequest): ApiResponse {
  const location = `${request.path}/${request.query === '' ? '' : `?${request.query}`}`;
  return { status: 301, headers: { location }, body: Buffer.alloc(0) };
}

/** of: where redirects within the backend are to lead through. */
export function responseHeaders(
  answered: Readonly<Record<string, string | string[] | undefined>>,
  of?: { readonly prefix: string; readonly url: URL },
): Pick<ApiResponse, 'headers' | 'repeated'> {
  const headers: Record<string, string> = {};
  let repeated: Record<string, readonly string[]> | undefined;
  for (const [name, value] of Object.entries(answered)) {
    if (value === undefined || RESPONSE_NOT_FORWARDED.has(name)) continue;
    const values = [value].flat();
    if (values.length === 1) headers[name] = values[0]!;
    else (repeated ??= {})[name] = values;
  }
  const { location } = headers;
  if (of && location !== undefined) headers['location'] = rewriteLocation(location, of);
  return { headers, repeated };
}

/** A redirect within the backend is rewritten to the proxy's path; one to another host passes unchanged. */
function rewriteLocation(
  location: string,
  { prefix, url }: { readonly prefix: string; readonly url: URL },
): string {
  if (!location.startsWith('/') && !URL.canParse(location)) return location; // relative to the request: right as it is
  const target = new URL(location, url);
  if (target.host !== url.host) return location;
  return `${prefix}${target.pathname}${target.search}${target.hash}`;
}

/** Copies with backpressure; a response that breaks off ends the client's response too. */
export function streamBody({
  response,
  abort,
}: {
  readonly response: Readable;
  readonly abort: () => void;
}): (sink: ResponseSink) => void {
  return (sink) => {
    sink.onClose(abort);
    response.on('error', () => sink.end());
    response.on('end', () => sink.end());
    response.on('data', (chunk: Buffer) => {
      if (sink.closed || sink.write(chunk)) return;
      response.pause();
      void sink.drained().then(() => response.resume());
    });
  };
}
