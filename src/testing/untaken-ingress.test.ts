import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { Event } from '#api/types.ts';
import { gatewayController } from '#addons/gateway/gateway-controller.ts';
import { events, ingresses } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';

const HOUR_MS = 3_600_000;
let world: TestWorld;
before(async () => {
  world = await startTestWorld([gatewayController]);
  await world.namespace('shop');
});
after(() => world.stop());

async function findEvent(name: string): Promise<Event | undefined> {
  const { items } = await world.api.list(events, { namespace: 'shop' });
  return items.find(({ involvedObject, reason }) => reason === 'NotServed' && involvedObject?.name === name);
}

it('says it of each Ingress that no controller took, again before the event expires, and not of others', async () => {
  const defaultBackend = { service: { name: 'front', port: { number: 80 } } };
  for (const name of ['site', 'taken'])
    await world.api.create(ingresses, {
      metadata: { name, namespace: 'shop' },
      spec: { ingressClassName: 'other', defaultBackend },
    });
  const taken = await world.api.get(ingresses, { name: 'taken', namespace: 'shop' });
  await world.api.updateStatus(ingresses, {
    ...taken,
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } },
  });
  const event = await world.until('the event', () => findEvent('site'));
  assert.equal(event.type, 'Warning');
  assert.equal(
    event.message,
    'no ingress controller has taken this Ingress: its class is other; this cluster serves class capstan',
  );
  assert.equal(await findEvent('taken'), undefined);
  const { count = 1 } = (await findEvent('site'))!;
  await world.pass(10_000);
  assert.equal((await findEvent('site'))!.count ?? 1, count);
  await world.clock.advance(0.9 * HOUR_MS);
  await world.until('the event is repeated', async () => ((await findEvent('site'))?.count ?? 1) > count);
});
