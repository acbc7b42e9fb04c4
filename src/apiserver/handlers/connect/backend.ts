/** Connections of the API server to kubelets (HTTPS with its client certificate) and to pods and services (without one). */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isBrokenConnection } from '#stdx/connection-errors.ts';
import { computeServerName } from '#machinery/streams/upgrade.ts';
import type { ApiRequest } from '../../http/request.ts';

export interface KubeletTls {
  /** PEM: the API server's client certificate and key for kubelets. */
  readonly cert: string;
  readonly key: string;
  /** PEM: authorities of the kubelets' serving certificates. Absent: any certificate is accepted, as upstream without --kubelet-certificate-authority. */
  readonly ca?: string | undefined;
}

/** Options of tls.connect. Hosts are addresses that serving certificates need not carry: the chain is what counts. */
export interface BackendTls {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly rejectUnauthorized: boolean;
}

function kubeletTlsOptions({ cert, key, ca }: KubeletTls, insecure = false): BackendTls {
  return {
    cert,
    key,
    ...(ca !== undefined && !insecure ? { ca, rejectUnauthorized: true } : { rejectUnauthorized: false }),
  };
}

/** Upstream's proxy transport does not verify pods' and services' certificates either. */
const UNVERIFIED: BackendTls = { rejectUnauthorized: false };

interface BackendRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Buffer | undefined;
  readonly agent: HttpAgent | HttpsAgent;
  /** Ends the request, and the response too. */
  readonly signal?: AbortSignal | undefined;
}

export interface BackendAnswer {
  readonly response: IncomingMessage;
  /** Ends the exchange, whatever its state. */
  readonly abort: () => void;
}

/** Methods that may be sent again (RFC 9110, 9.2.2), of those that carry no body here. */
const REPLAYABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/**
 * Rejects when there was no response; errors after its headers reach the response's stream. A request without a body is sent again when a
 * kept connection turns out to be closed, as Go's transport does. Each attempt uses up one kept connection, so the agent's maxFreeSockets
 * bounds the attempts.
 */
export async function requestBackend(request: BackendRequest): Promise<BackendAnswer> {
  for (;;) {
    const attempt = sendOnce(request);
    try {
      return await attempt.answer;
    } catch (error) {
      if (!attempt.wasKept() || request.body || !REPLAYABLE.has(request.method) || !isBrokenConnection(error))
        throw error;
    }
  }
}

function sendOnce({ url, method, headers, body, agent, signal }: BackendRequest): {
  readonly answer: Promise<BackendAnswer>;
  /** The connection had served a request before. */
  readonly wasKept: () => boolean;
} {
  const { promise, resolve, reject } = Promise.withResolvers<BackendAnswer>();
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const outgoing = send(url, {
    method,
    agent,
    signal,
    servername: computeServerName(url),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
    ),
  });
  outgoing.on('response', (response) => resolve({ response, abort: () => outgoing.destroy() }));
  outgoing.on('error', reject);
  outgoing.end(body);
  return { answer: promise, wasKept: () => outgoing.reusedSocket };
}

/** Keep-alive connections; replaced when the certificate changes. */
export class BackendAgents {
  readonly #kubeletTls: () => KubeletTls;
  #current:
    | { readonly of: KubeletTls; readonly verified: HttpsAgent; readonly insecure: HttpsAgent }
    | undefined;
  readonly http = new HttpAgent({ keepAlive: true, maxFreeSockets: 16 });
  readonly https = new HttpsAgent({ keepAlive: true, maxFreeSockets: 16, ...UNVERIFIED });

  constructor(kubeletTls: () => KubeletTls) {
    this.#kubeletTls = kubeletTls;
  }

  kubelet(insecure = false): HttpsAgent {
    const tls = this.#kubeletTls();
    if (this.#current?.of !== tls) {
      this.#destroyKubeletAgents();
      const agent = (unverified: boolean): HttpsAgent =>
        new HttpsAgent({
          keepAlive: true,
          maxFreeSockets: 4,
          ...kubeletTlsOptions(tls, unverified),
          ...withoutHostCheck(),
        });
      this.#current = { of: tls, verified: agent(false), insecure: agent(true) };
    }
    return insecure ? this.#current.insecure : this.#current.verified;
  }

  kubeletTls(): BackendTls & { readonly checkServerIdentity: () => undefined } {
    return { ...kubeletTlsOptions(this.#kubeletTls()), ...withoutHostCheck() };
  }

  plain(url: URL): HttpAgent | HttpsAgent {
    return url.protocol === 'https:' ? this.https : this.http;
  }

  close(): void {
    this.#destroyKubeletAgents();
    this.http.destroy();
    this.https.destroy();
  }

  #destroyKubeletAgents(): void {
    this.#current?.verified.destroy();
    this.#current?.insecure.destroy();
  }
}

function withoutHostCheck(): { readonly checkServerIdentity: () => undefined } {
  return { checkServerIdentity: () => undefined };
}

/** Hop-by-hop headers (RFC 9110, 7.6.1) and headers that identify the client to this API server. */
const NOT_FORWARDED = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'host',
  'content-length',
  'authorization',
]);

export function forwardedHeaders(
  request: Pick<ApiRequest, 'headers' | 'remoteAddress'>,
): Record<string, string> {
  const named = new Set(
    (request.headers['connection'] ?? '')
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  );
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (
      value === undefined ||
      name.startsWith(':') ||
      NOT_FORWARDED.has(name) ||
      named.has(name) ||
      /^(impersonate-|x-remote-)/.test(name)
    )
      continue;
    headers[name] = value;
  }
  const before = request.headers['x-forwarded-for'];
  headers['x-forwarded-for'] = before ? `${before}, ${request.remoteAddress}` : request.remoteAddress;
  return headers;
}
