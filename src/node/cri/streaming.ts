/**
 * The kubelet's part in exec, attach and port-forward: the runtime returns a URL of its streaming server (CRI's Exec, Attach, PortForward), and the
 * client's upgraded connection is joined to it. The runtime speaks both SPDY and WebSocket, so the data passes unread.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { joinSockets, requestUpgrade, responseHead, UpgradeRefused } from '#machinery/streams/upgrade.ts';

interface ProxyStreamOptions {
  /** The client's upgrade request, as node:http's 'upgrade' event gives it. */
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** From CRI: 'http://127.0.0.1:41234/exec/…'. */
  readonly url: string;
}

/** Resolves when the streams have ended. Never rejects: a refusal or failure is sent to the client. */
export async function proxyStream({ request, socket, head, url }: ProxyStreamOptions): Promise<void> {
  socket.on('error', () => socket.destroy());
  const backend = await requestUpgrade({
    url: new URL(url),
    method: request.method ?? 'POST',
    headers: upgradeHeaders(request),
  }).catch((error: unknown) => error as Error);
  if (backend instanceof Error) return answerFailure(socket, backend);
  socket.write(
    responseHead({ status: 101, reason: 'Switching Protocols', headers: backend.response.headers }),
  );
  if (head.length > 0) socket.unshift(head);
  if (backend.head.length > 0) backend.socket.unshift(backend.head);
  await joinSockets(socket, backend.socket);
}

/** Repeated headers stay on lines of their own: the runtime reads offered protocol versions line by line. */
function upgradeHeaders(request: IncomingMessage): Record<string, readonly string[]> {
  const headers = Object.entries(request.headersDistinct).flatMap(([name, values]) =>
    values === undefined || name === 'host' || name === 'authorization' ? [] : [[name, values] as const],
  );
  return Object.fromEntries(headers);
}

function answerFailure(socket: Duplex, error: Error): void {
  const refused = error instanceof UpgradeRefused ? error : undefined;
  const body = refused?.body ?? Buffer.from(`${error.message}\n`);
  const headers = {
    'content-type': refused?.response.headers['content-type'] ?? 'text/plain; charset=utf-8',
    'content-length': String(body.length),
    connection: 'close',
  };
  socket.write(
    responseHead({
      status: refused?.response.statusCode ?? 500,
      reason: refused?.response.statusMessage || 'Internal Server Error',
      headers,
    }),
  );
  socket.end(body);
}
