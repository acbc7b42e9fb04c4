import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { endpointSlices, leases } from '#client/refs.ts';
import { ENDPOINTS_LEASE_SECONDS, LEASED_LABEL } from '#component-helpers/leased-endpoints.ts';
import { formatMicroTime } from '#machinery/time.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { leasedEndpointSliceController } from './leased-endpointslice-controller.ts';

const LEASE_MS = ENDPOINTS_LEASE_SECONDS * 1_000;
let world: TestWorld;
before(async () => {
  world = await startTestWorld([leasedEndpointSliceController]);
});
after(() => world.stop());

const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'kube-system' });
const isThere = async (name: string): Promise<boolean> =>
  (await world.find(endpointSlices, at(name))) !== undefined;

async function publish(name: string, labels: Record<string, string> = { [LEASED_LABEL]: '' }): Promise<void> {
  await world.api.create(endpointSlices, {
    metadata: { ...at(name), labels },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true } }],
  });
}

/** A publisher whose clock is an hour slow. */
async function renew(name: string): Promise<void> {
  const spec = {
    holderIdentity: name,
    leaseDurationSeconds: ENDPOINTS_LEASE_SECONDS,
    renewTime: formatMicroTime(world.clock.now() - 3_600_000),
  };
  const metadata = { ...at(name), labels: { [LEASED_LABEL]: '' } };
  if (await world.find(leases, at(name)))
    await world.api.patch(leases, at(name), { type: 'merge', patch: { spec } });
  else await world.api.create(leases, { metadata, spec });
}

it('deletes only the endpoints whose lease has expired', async () => {
  for (const name of ['alive', 'dead']) {
    await publish(name);
    await renew(name);
  }
  await publish('unleased', {});
  for (let ms = 0; ms < 2 * LEASE_MS; ms += 1_000) {
    await renew('alive');
    await world.pass(1_000);
  }
  assert.equal(await isThere('dead'), false);
  assert.equal(await world.find(leases, at('dead')), undefined);
  for (const name of ['alive', 'unleased']) assert.ok(await isThere(name), name);
  const killedAtMs = world.clock.monotonic();
  await world.until('the other is gone too', async () => !(await isThere('alive')));
  assert.ok(world.clock.monotonic() - killedAtMs < LEASE_MS + 500);
});

it('waits a lease duration for the first renewal, and deletes a lease without endpoints', async () => {
  await publish('late');
  await world.pass(LEASE_MS - 1_000);
  await renew('late');
  await world.pass(LEASE_MS - 1_000);
  assert.ok(await isThere('late'));
  await world.api.delete(endpointSlices, at('late'));
  await world.until('the lease is gone', async () => (await world.find(leases, at('late'))) === undefined);
});
