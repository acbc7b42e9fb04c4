import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { deviceClasses, pods, resourceClaims, resourceSlices } from '#client/refs.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { deviceClaim, DRIVER, exactly } from '../testing/devices.ts';
import { pod } from '../testing/snapshot.ts';
import { ClaimBinder, type PlannedClaims } from './claim-binder.ts';
import { DeviceState } from './device-state.ts';

const NAME = { name: 'c', namespace: 'default' };
const results = [{ request: 'r', driver: DRIVER, pool: 'pool', device: '0' }];
const ID = `${DRIVER}/pool/0`;

interface World {
  readonly api: Client;
  readonly clock: FakeClock;
  readonly state: DeviceState;
  readonly binder: ClaimBinder;
  readonly claim: ResourceClaim;
}

async function worldFor(t: TestContext): Promise<World> {
  const clock = new FakeClock();
  const api = createClient(createDirectTransport(createFakeApi().handler), { userAgent: 'test', clock });
  t.after(() => api.close());
  const state = new DeviceState(
    {
      resourceClaims: api.informer(resourceClaims),
      deviceClasses: api.informer(deviceClasses),
      resourceSlices: api.informer(resourceSlices),
    },
    clock,
  );
  const binder = new ClaimBinder({ api, clock, state });
  for (const end of state.subscribe(() => binder.changed())) t.after(end);
  await api.create(pods, pod('p'));
  const { uid: _given, ...metadata } = deviceClaim([]).metadata!;
  const claim = await api.create(resourceClaims, { ...deviceClaim([exactly('r')]), metadata });
  await settle(clock);
  return { api, clock, state, binder, claim };
}

async function settle(clock: FakeClock): Promise<void> {
  await clock.advance(2_000);
}

function plan(claim: ResourceClaim, more: Partial<PlannedClaims> = {}): PlannedClaims {
  const claims = [
    { claim, allocation: { devices: { results } }, uid: claim.metadata!.uid!, extended: undefined },
  ];
  return { pod: pod('p'), node: 'x', claims, timeoutMs: 600_000, written: [], made: [], ...more };
}

test('the device is taken from the decision on, through the write, until the claim gives it up', async (t) => {
  const { api, clock, state, binder, claim } = await worldFor(t);
  const planned = plan(claim);
  assert.ok(!state.taken.has(ID));
  binder.assume(planned);
  assert.ok(state.taken.has(ID) && state.isBeingAllocated(claim.metadata!.uid!));
  assert.equal(await binder.write(planned), false);
  assert.ok(state.taken.has(ID) && !state.isBeingAllocated(claim.metadata!.uid!));
  const written = await api.get(resourceClaims, NAME);
  assert.deepEqual(written.metadata.finalizers, ['resource.kubernetes.io/delete-protection']);
  assert.deepEqual(written.status?.allocation?.devices?.results, results);
  assert.deepEqual(
    written.status?.reservedFor?.map(({ resource, name }) => [resource, name]),
    [['pods', 'p']],
  );
  await settle(clock);
  assert.ok(state.taken.has(ID));
  await api.updateStatus(resourceClaims, { ...written, status: {} });
  await settle(clock);
  assert.ok(!state.taken.has(ID));
});

test('a plan that is not written gives its devices back', async (t) => {
  const { state, binder, claim } = await worldFor(t);
  const planned = plan(claim);
  binder.assume(planned);
  await binder.release(planned);
  assert.ok(!state.taken.has(ID) && !state.isBeingAllocated(claim.metadata!.uid!));
});

test('a claim that was allocated elsewhere, or changed, or is not allocated', async (t) => {
  const { api, binder, claim } = await worldFor(t);
  const labelled = await api.update(resourceClaims, {
    ...claim,
    metadata: { ...claim.metadata, labels: { a: 'b' } },
  });
  // A conflict is tried again.
  await binder.write(plan(claim));
  await assert.rejects(
    binder.write(plan(labelled)),
    /^ClaimBindingError: running PreBind plugin "DynamicResources": claim default\/c got allocated elsewhere in the meantime$/,
  );
  await assert.rejects(
    binder.write(plan(claim, { claims: [{ ...plan(claim).claims[0]!, allocation: undefined }] })),
    /claim default\/c is not allocated/,
  );
});

test('binding conditions: the pod waits for its device, and not for ever', async (t) => {
  const { api, clock, binder, claim } = await worldFor(t);
  const conditional = [
    { ...results[0]!, bindingConditions: ['attached'], bindingFailureConditions: ['failed'] },
  ];
  const allocation = { devices: { results: conditional } };
  const planned = plan(claim, { claims: [{ ...plan(claim).claims[0]!, allocation }] });
  binder.assume(planned);
  assert.equal(await binder.write(planned), true);
  const report = async (type: string): Promise<void> => {
    const { driver, pool, device } = results[0]!;
    const condition = {
      type,
      status: 'True',
      reason: 'Says',
      message: 'so',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    const now = await api.get(resourceClaims, NAME);
    await api.updateStatus(resourceClaims, {
      ...now,
      status: { ...now.status, devices: [{ driver, pool, device, conditions: [condition] }] },
    });
  };
  let over = false;
  const { signal } = new AbortController();
  const waiting = binder.wait(planned, signal).then(() => (over = true));
  await settle(clock);
  assert.equal(over, false);
  await report('attached');
  await settle(clock);
  await waiting;
  await report('failed');
  await settle(clock);
  await assert.rejects(binder.wait(planned, signal), /claim c binding failed: reason=Says, message="so"/);
  await report('other');
  const late = assert.rejects(binder.wait(planned, signal), /claim c binding timeout|device binding timeout/);
  await clock.advance(700_000);
  await late;
});
