/**
 * Watches over WebSockets for browsers: one message for each event, text for JSON and binary for protobuf. After upstream's WatchServer.HandleWS.
 * Data from the client is ignored; its close ends the watch.
 */
import type { WebSocket } from 'ws';
import type { ApiRequest, ApiResponse, ResponseSink } from '../../http/request.ts';
import { acceptWebSocket, type ClientSocket } from './exec.ts';

export const NORMAL_CLOSURE = 1000;
const NEWLINE = 0x0a;

/** response: of the watch, already started. Completes the WebSocket handshake, or responds with the thrown error. */
export async function watchOverWebSocket(
  response: ApiResponse,
  { request, client }: { readonly request: ApiRequest; readonly client: ClientSocket },
): Promise<void> {
  const isText = response.headers['content-type']?.startsWith('application/json') ?? false;
  const [protocol = ''] = (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim());
  const socket = await acceptWebSocket({ call: { request }, client }, protocol).catch((error: unknown) => {
    if (typeof response.body === 'function') response.body(closedSink);
    throw error;
  });
  socket.on('error', () => socket.terminate());
  const sink = webSocketSink(socket, isText ? lines : lengthDelimited);
  if (typeof response.body === 'function') return response.body(sink);
  for (const part of Buffer.isBuffer(response.body) ? [response.body] : (response.body as readonly Buffer[]))
    sink.write(part);
  sink.end();
}

type Split = (chunk: Buffer) => (string | Buffer)[];

/** Writers of watches write whole frames, one or many at a time. */
export function webSocketSink(socket: WebSocket, split: Split): ResponseSink {
  const isClosed = (): boolean => socket.readyState !== socket.OPEN;
  return {
    write(chunk) {
      if (!isClosed()) for (const message of split(chunk)) socket.send(message);
      return socket.bufferedAmount === 0;
    },
    drained: () =>
      new Promise((resolve) => {
        // An unsolicited pong would be ignored; the ping's callback fires once all data before it was flushed.
        if (isClosed()) resolve();
        else socket.ping(undefined, undefined, () => resolve());
      }),
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    end: () => socket.close(NORMAL_CLOSURE),
    get closed() {
      return isClosed();
    },
    onClose: (callback) => {
      socket.on('close', callback);
    },
  };
}

/** Ends a watch that has no reader. */
export const closedSink: ResponseSink = {
  write: () => true,
  drained: () => Promise.resolve(),
  bufferedBytes: 0,
  end: () => {},
  closed: true,
  onClose: (callback) => callback(),
};

function lines(chunk: Buffer): string[] {
  const messages: string[] = [];
  for (let start = 0, end: number; start < chunk.length; start = end) {
    const newline = chunk.indexOf(NEWLINE, start);
    end = newline < 0 ? chunk.length : newline + 1;
    messages.push(chunk.toString('utf8', start, end));
  }
  return messages;
}

/** WebSocket messages have their own length: the length prefix of the frame is omitted. */
function lengthDelimited(chunk: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let start = 0; start + 4 <= chunk.length;) {
    const end = start + 4 + chunk.readUInt32BE(start);
    messages.push(chunk.subarray(start + 4, end));
    start = end;
  }
  return messages;
}
