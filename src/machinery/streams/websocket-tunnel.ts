/**
 * A raw byte stream inside a WebSocket: subprotocol 'SPDY/3.1+portforward.k8s.io', in which binary messages carry the bytes of a SPDY
 * connection, without regard to its frames. The result is a Duplex.
 */
import { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';

export const PORT_FORWARD_TUNNEL = 'SPDY/3.1+portforward.k8s.io';

const NORMAL_CLOSURE = 1000;

export function webSocketTunnel(socket: WebSocket): Duplex {
  const tunnel: Duplex = new Duplex({
    allowHalfOpen: false,
    read: () => {
      if (socket.isPaused) socket.resume();
    },
    write(chunk: Buffer, _encoding, done) {
      if (socket.readyState !== socket.OPEN) return done(new Error('the WebSocket is closed'));
      socket.send(chunk, { binary: true }, done);
    },
    final(done) {
      socket.close(NORMAL_CLOSURE);
      done();
    },
    destroy(error, done) {
      if (error) socket.terminate();
      else socket.close(NORMAL_CLOSURE);
      done(error);
    },
  });
  socket.on('message', (data: RawData, isBinary: boolean) => {
    if (!isBinary) return void tunnel.destroy(new Error('a text message in a byte tunnel'));
    const bytes = Buffer.isBuffer(data)
      ? data
      : Array.isArray(data)
        ? Buffer.concat(data)
        : Buffer.from(data);
    if (!tunnel.destroyed && !tunnel.push(bytes)) socket.pause();
  });
  socket.on('error', (error) => tunnel.destroy(error));
  socket.on('close', () => {
    if (!tunnel.destroyed) tunnel.push(null);
  });
  return tunnel;
}
