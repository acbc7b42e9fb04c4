import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { joinSockets } from './upgrade.ts';

/** A client that sends all of this at once and records the responses. */
function clientSending(chunks: readonly string[]): {
  readonly client: Duplex;
  readonly received: () => string;
} {
  let text = '';
  const client = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      text += chunk.toString();
      done();
    },
  });
  for (const chunk of chunks) client.push(chunk);
  return { client, received: () => text };
}

async function serving(act: (socket: Socket) => void): Promise<{ readonly socket: Socket; close(): void }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    act(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  await once(socket, 'connect');
  return { socket, close: () => server.close() };
}

test('data that a backend sent before it closed reaches the client, while the client still sends', async () => {
  const closed = Promise.withResolvers<void>();
  const { socket, close } = await serving((peer) => {
    peer.write('last words');
    peer.on('close', () => closed.resolve());
    peer.destroy();
  });
  await closed.promise;
  // The second of its writes finds the backend closed.
  const { client, received } = clientSending(['one', 'two', 'three']);
  const joined = joinSockets(client, socket);
  await new Promise((resolve) => {
    socket.on('close', resolve);
  });
  client.push(null);
  close();
  await joined;
  assert.equal(received(), 'last words');
});

test('copies both ways, and the end of either side ends the other', async () => {
  const { socket, close } = await serving((peer) => void peer.pipe(peer));
  const { client, received } = clientSending(['one ', 'two ', 'three']);
  const joined = joinSockets(client, socket);
  client.push(null);
  close();
  await joined;
  assert.equal(received(), 'one two three');
});
