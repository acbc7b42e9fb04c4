import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { Event } from '#api/types.ts';
import { events, ingresses } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { unimplementedController } from './unimplemented-controller.ts';

const HOUR_MS = 3_600_000;
let world: TestWorld;
before(async () => {
  world = await startTestWorld([unimplementedController]);
  await world.namespace('shop');
});
after(() => world.stop());

async function findEvent(kind: string, name: string): Promise<Event | undefined> {
  const { items } = await world.api.list(events, { namespace: 'shop' });
  return items.find(
    ({ involvedObject, reason }) =>
      reason === 'NotImplemented' && involvedObject?.kind === kind && involvedObject.name === name,
  );
}

async function makeAll(): Promise<void> {
  const defaultBackend = { service: { name: 'front', port: { number: 80 } } };
  for (const name of ['site', 'taken'])
    await world.api.create(ingresses, { metadata: { name, namespace: 'shop' }, spec: { defaultBackend } });
}

it('emits an event on each object without an implementation, repeats it before it expires, and skips other objects', async () => {
  await makeAll();
  const taken = await world.api.get(ingresses, { name: 'taken', namespace: 'shop' });
  await world.api.updateStatus(ingresses, {
    ...taken,
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } },
  });
  const event = await world.until('the event', () => findEvent('Ingress', 'site'));
  assert.equal(event.type, 'Warning');
  assert.match(event.message!, /^no ingress controller has taken this Ingress/);
  assert.equal(await findEvent('Ingress', 'taken'), undefined);
  const { count = 1 } = (await findEvent('Ingress', 'site'))!;
  await world.pass(10_000);
  assert.equal((await findEvent('Ingress', 'site'))!.count ?? 1, count);
  await world.clock.advance(0.9 * HOUR_MS);
  await world.until(
    'the event is repeated',
    async () => ((await findEvent('Ingress', 'site'))?.count ?? 1) > count,
  );
});
