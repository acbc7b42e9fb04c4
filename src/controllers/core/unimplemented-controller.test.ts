import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { Event } from '#api/types.ts';
import { events, ingresses, services } from '#client/refs.ts';
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
  const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'shop' });
  for (const [name, type] of [
    ['front', 'LoadBalancer'],
    ['taken', 'LoadBalancer'],
    ['inner', 'ClusterIP'],
  ] as const)
    await world.api.create(services, { metadata: at(name), spec: { type, ports: [{ port: 80 }] } });
  const defaultBackend = { service: { name: 'front', port: { number: 80 } } };
  await world.api.create(ingresses, { metadata: at('site'), spec: { defaultBackend } });
}

it('emits an event on each object without an implementation, repeats it before it expires, and skips other objects', async () => {
  await makeAll();
  const taken = await world.api.get(services, { name: 'taken', namespace: 'shop' });
  await world.api.updateStatus(services, {
    ...taken,
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } },
  });
  const expected: Readonly<Record<string, readonly [string, RegExp]>> = {
    Service: ['front', /^no load balancer is provided by this cluster yet/],
    Ingress: ['site', /^no ingress controller has taken this Ingress/],
  };
  for (const [kind, [name, message]] of Object.entries(expected)) {
    const event = await world.until(`the event of ${kind}`, () => findEvent(kind, name));
    assert.equal(event.type, 'Warning');
    assert.match(event.message!, message);
  }
  for (const name of ['taken', 'inner']) assert.equal(await findEvent('Service', name), undefined, name);
  const { count = 1 } = (await findEvent('Ingress', 'site'))!;
  await world.pass(10_000);
  assert.equal((await findEvent('Ingress', 'site'))!.count ?? 1, count);
  await world.clock.advance(0.9 * HOUR_MS);
  await world.until(
    'the event is repeated',
    async () => ((await findEvent('Ingress', 'site'))?.count ?? 1) > count,
  );
});
