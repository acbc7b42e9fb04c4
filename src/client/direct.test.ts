import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createDirectTransport } from './direct.ts';
import { transportSuite } from './transport.suite.ts';

transportSuite('direct', (handler) => {
  const transport = createDirectTransport(handler);
  return Promise.resolve({ transport, stop: () => transport.close() });
});

it('acts as the given user', async () => {
  const user = { name: 'system:kube-scheduler', groups: ['system:authenticated'] };
  const transport = createDirectTransport(
    (request) => Promise.resolve({ status: 200, headers: {}, body: Buffer.from(request.user?.name ?? '') }),
    { user },
  );
  assert.equal((await (await transport.request({ method: 'GET', path: '/' })).bytes()).toString(), user.name);
});

it("refuses a body above the handler's limit", async () => {
  const transport = createDirectTransport(async (request) => ({
    status: 200,
    headers: {},
    body: await request.body(3),
  }));
  await assert.rejects(transport.request({ method: 'POST', path: '/', body: 'four' }), /limit is 3/);
});
