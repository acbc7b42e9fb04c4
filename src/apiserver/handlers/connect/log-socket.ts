/**
 * Logs over WebSockets for browsers: the kubelet's data as messages, then a normal close. Data from the client is ignored; its close ends the log.
 * After upstream's wsstream Reader, whose protocols these are.
 */
import { statusErrors } from '#machinery/errors.ts';
import { offeredProtocols } from '#machinery/streams/websocket-channels.ts';
import type { ApiResponse } from '../../http/request.ts';
import { acceptWebSocket, type UpgradeContext } from './exec.ts';
import { closedSink, NORMAL_CLOSURE, webSocketSink } from './watch-socket.ts';

/** By the name that the client offers; '' when it offers none. True: bytes are sent as base64 text. */
const PROTOCOLS: ReadonlyMap<string, boolean> = new Map([
  ['', false],
  ['binary.k8s.io', false],
  ['base64.binary.k8s.io', true],
]);

/** An error thrown by read is the response to the client's request. */
export async function sendLogs(
  { call, client }: Omit<UpgradeContext, 'agents'>,
  read: () => Promise<ApiResponse>,
): Promise<void> {
  const offered = offeredProtocols(call.request.headers['sec-websocket-protocol']);
  const protocol = offered.length === 0 ? '' : offered.find((name) => PROTOCOLS.has(name));
  if (protocol === undefined)
    throw statusErrors.badRequest(
      `unable to upgrade: requested protocols [${offered.join(' ')}] are not supported`,
    );
  const response = await read();
  const socket = await acceptWebSocket({ call, client }, protocol).catch((error: unknown) => {
    if (typeof response.body === 'function') void response.body(closedSink);
    throw error;
  });
  socket.on('error', () => socket.terminate());
  const base64 = PROTOCOLS.get(protocol) ?? false;
  // Tells the client that the connection is established.
  socket.send(base64 ? '' : Buffer.alloc(0));
  const sink = webSocketSink(socket, (chunk) => [base64 ? chunk.toString('base64') : chunk]);
  if (typeof response.body === 'function') return response.body(sink);
  for (const part of Buffer.isBuffer(response.body) ? [response.body] : (response.body as readonly Buffer[]))
    if (part.length > 0) sink.write(part);
  socket.close(NORMAL_CLOSURE);
}
