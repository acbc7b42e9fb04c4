import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { createPortTransport, servePort } from './port.ts';
import { transportSuite } from './transport.suite.ts';
import { isTransportError } from './transport-error.ts';

const user = { name: 'system:kube-proxy', groups: ['system:authenticated'] };

transportSuite('message port', (handler) => {
  const { port1, port2 } = new MessageChannel();
  const served = servePort(port2, handler, user);
  const transport = createPortTransport(port1);
  return Promise.resolve({
    transport,
    stop: async () => {
      await transport.close();
      served.close();
    },
  });
});

it('acts as the user that the port is served for, and drops answered requests', async () => {
  const { port1, port2 } = new MessageChannel();
  const served = servePort(
    port2,
    (request) => Promise.resolve({ status: 200, headers: {}, body: Buffer.from(request.user?.name ?? '') }),
    user,
  );
  const transport = createPortTransport(port1);
  assert.equal((await (await transport.request({ method: 'GET', path: '/' })).bytes()).toString(), user.name);
  assert.equal(served.open, 0);
  await transport.close();
});

it("fails open requests when the server's end closes, and refuses later ones", async () => {
  const { port1, port2 } = new MessageChannel();
  const arrived = Promise.withResolvers<void>();
  const served = servePort(
    port2,
    () => {
      arrived.resolve();
      return new Promise(() => {});
    },
    user,
  );
  const transport = createPortTransport(port1);
  const rejected = assert.rejects(transport.request({ method: 'GET', path: '/' }), (error) =>
    isTransportError(error, 'reset'),
  );
  await arrived.promise;
  served.close();
  await rejected;
  await assert.rejects(transport.request({ method: 'GET', path: '/' }), (error) =>
    isTransportError(error, 'refused'),
  );
});

it("leaves the server's bytes unchanged, because they are shared with other readers", async () => {
  const { port1, port2 } = new MessageChannel();
  const shared = Buffer.from('ready bytes');
  servePort(port2, () => Promise.resolve({ status: 200, headers: {}, body: shared }), user);
  const transport = createPortTransport(port1);
  for (let round = 0; round < 2; round += 1)
    assert.equal(
      (await (await transport.request({ method: 'GET', path: '/' })).bytes()).toString(),
      'ready bytes',
    );
  assert.equal(shared.toString(), 'ready bytes');
  await transport.close();
});
