/** The HTTP/1.1 upgrade of SPDY and WebSocket connections: requesting and answering it, on raw sockets. */
import { isIP } from 'node:net';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Transform, type Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';

interface UpgradeRequest {
  readonly url: URL;
  readonly method: string;
  /** Must include Connection and Upgrade. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly tls?: SecureContextOptions & {
    readonly rejectUnauthorized?: boolean | undefined;
    readonly servername?: string | undefined;
  };
  readonly signal?: AbortSignal;
}

export interface Upgraded {
  readonly socket: Duplex;
  /** Bytes that arrived with the response. */
  readonly head: Buffer;
  readonly response: IncomingMessage;
}

/** The server's response was not 101. */
export class UpgradeRefused extends Error {
  readonly response: IncomingMessage;
  readonly body: Buffer;
  constructor(response: IncomingMessage, body: Buffer) {
    super(
      `unable to upgrade connection: ${body.toString().trim() || `${response.statusCode} ${response.statusMessage}`}`,
    );
    this.name = 'UpgradeRefused';
    this.response = response;
    this.body = body;
  }
}

const MAX_REFUSAL_BYTES = 64 * 1024;
const DIAL_TIMEOUT_MS = 30_000;

/** The TLS server name: from the URL, never from the header Host, which may differ. '' for an IP address. */
export function computeServerName({ hostname }: URL): string {
  return isIP(hostname.replace(/^\[|\]$/g, '')) ? '' : hostname;
}

/** Rejects with UpgradeRefused, or with the connection error. */
export function requestUpgrade({ url, method, headers, tls, signal }: UpgradeRequest): Promise<Upgraded> {
  const { promise, resolve, reject } = Promise.withResolvers<Upgraded>();
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const outgoing: Record<string, string | string[]> = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
  );
  const request = send(url, {
    method,
    headers: outgoing,
    agent: false,
    servername: computeServerName(url),
    ...tls,
    ...(signal ? { signal } : {}),
  });
  request.setTimeout(DIAL_TIMEOUT_MS, () =>
    request.destroy(new Error(`no answer from ${url.host} in ${DIAL_TIMEOUT_MS / 1000} s`)),
  );
  request.on('upgrade', (response, socket, head) => {
    socket.setTimeout(0);
    resolve({ socket, head, response });
  });
  request.on('response', (response) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    response.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes <= MAX_REFUSAL_BYTES) parts.push(part);
    });
    response.on('error', reject);
    response.on('end', () => reject(new UpgradeRefused(response, Buffer.concat(parts))));
  });
  request.on('error', reject);
  request.end();
  return promise;
}

/** A response's head as bytes; used for 101 and for rejections. */
export function responseHead(of: {
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}): string {
  const lines = Object.entries(of.headers).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((text) => `${name}: ${text}\r\n`),
  );
  return `HTTP/1.1 ${of.status} ${of.reason}\r\n${lines.join('')}\r\n`;
}

/**
 * Copies bytes both ways; when either side ends or breaks, the other ends too, after all data for it was read. A backend that is done closes at once,
 * and a later write to it would destroy its socket with unread data: so writes to it wait until its data was read.
 */
export function joinSockets(client: Duplex, backend: Duplex): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let open = 2;
  const whenClosed = (from: Duplex, act: () => void): void => {
    from.on('error', () => {}); // its close follows
    from.on('close', () => {
      act();
      open -= 1;
      if (open === 0) resolve();
    });
  };
  const later = nextTurn();
  whenClosed(backend, () => {
    // No one reads the client's data any more, but its end must be detected.
    client.unpipe(later);
    if (!client.destroyed) client.end();
    client.resume();
  });
  whenClosed(client, () => {
    if (!backend.destroyed) backend.end();
    backend.resume();
  });
  client.pipe(later).pipe(backend);
  backend.pipe(client);
  if (client.destroyed) backend.destroy();
  if (backend.destroyed) client.destroy();
  return promise;
}

/** Passes each chunk on after the reads that are due in this turn of the event loop. */
function nextTurn(): Transform {
  return new Transform({
    transform: (chunk: Buffer, _, done) => void setImmediate(done, null, chunk),
    flush: (done) => void setImmediate(done),
  });
}
