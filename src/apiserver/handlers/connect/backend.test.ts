import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { requestBackend } from './backend.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('requests to backends over kept connections', () => {
  const agent = new Agent({ keepAlive: true });
  let server: Server;
  let connections: Socket[] = [];

  /** answers: requests that each connection answers; the next one resets it. */
  async function startBackend(answers: number): Promise<URL> {
    server = createServer((socket) => {
      connections.push(socket);
      let left = answers;
      socket.on('error', () => {});
      socket.on('data', () => (left-- > 0 ? socket.write(ANSWER) : socket.resetAndDestroy()));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/logs`);
  }

  async function text(url: URL, method = 'GET', body?: Buffer): Promise<string> {
    const { response } = await requestBackend({ url, method, headers: {}, agent, body });
    const parts: Buffer[] = [];
    for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
    return Buffer.concat(parts).toString();
  }

  afterEach(() => {
    agent.destroy();
    for (const socket of connections) socket.destroy();
    connections = [];
    server.close();
  });

  it('sends a GET again when the kubelet closed the kept connection', async () => {
    const url = await startBackend(1);
    assert.equal(await text(url), 'ok');
    assert.equal(await text(url), 'ok');
    assert.equal(connections.length, 2);
  });

  it('sends nothing again on a connection that is new, nor what has a body', async () => {
    const url = await startBackend(0);
    await assert.rejects(text(url), { code: 'ECONNRESET' });
    assert.equal(connections.length, 1);
    server.close();
    const other = await startBackend(1);
    await text(other);
    await assert.rejects(text(other, 'POST', Buffer.from('x')), { code: /ECONNRESET|EPIPE/ });
    assert.equal(connections.length, 2);
  });
});
