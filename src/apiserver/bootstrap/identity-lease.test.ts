import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { IdentityLease } from './identity-lease.ts';
import { startTestServer } from '../testing/server.ts';

const HOUR_MS = 3_600_000;
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
const SELECTED = `${LEASES}?labelSelector=apiserver.kubernetes.io/identity=kube-apiserver`;

test('each server holds a lease of its own; one that is not renewed goes, whoever held it', async () => {
  const clock = new FakeClock(Date.parse('2026-01-02T03:00:00Z'));
  const { server, request, stop } = await startTestServer({ clock });
  const held = async (): Promise<
    { metadata: { name: string }; spec: { holderIdentity: string; renewTime: string } }[]
  > => (await request(`GET ${SELECTED}`)).body.items;
  const lease = (address: string): IdentityLease =>
    new IdentityLease({ internal: server.internal, address, clock, log: silentLogger });
  const first = lease('10.0.0.1:6443'),
    second = lease('10.0.0.2:6443');
  await Promise.all([first.start(), second.start()]);
  const [one, two] = await held();
  assert.match(one!.metadata.name, /^apiserver-[a-z2-7]{26}$/);
  assert.ok(one!.spec.holderIdentity.startsWith(`${one!.metadata.name}_`));
  assert.notEqual(one!.metadata.name, two!.metadata.name);
  first.stop();
  await clock.advance(HOUR_MS - 1);
  assert.equal((await held()).length, 2);
  await clock.advance(600_001);
  const left = await held();
  assert.deepEqual(
    left.map(({ spec }) => spec.renewTime),
    ['2026-01-02T04:10:00.000000Z'],
  );
  // The same server again takes its lease over.
  second.stop();
  const again = lease('10.0.0.2:6443');
  await again.start();
  const [taken] = await held();
  assert.equal(taken!.metadata.name, left[0]!.metadata.name);
  assert.notEqual(taken!.spec.holderIdentity, left[0]!.spec.holderIdentity);
  again.stop();
  await stop();
});
