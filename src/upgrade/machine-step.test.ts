import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { servicesAfter, type MachineStep } from './machine-step.ts';

const service = (name: ServiceSpec['name'], group?: string): ServiceSpec => ({
  name,
  run: name === 'etcd' ? { program: '/usr/bin/etcd', args: [] } : { capstan: [name, '--x=y'] },
  group,
});
const BEFORE: readonly ServiceSpec[] = [
  service('balancer', 'node'),
  service('etcd'),
  service('apiserver'),
  service('controller-manager', 'control'),
  service('scheduler', 'control'),
  service('node', 'node'),
  service('dns', 'control'),
];
const upgrade = { before: BEFORE, checkout: '/opt/next' };
const after = (services: readonly ServiceSpec[], step: MachineStep, emulated?: string): ServiceSpec[] =>
  servicesAfter({ step, services, upgrade, emulated });
const words = (services: readonly ServiceSpec[], name: string): string => {
  const found = services.find((one) => one.name === name)!;
  return 'capstan' in found.run
    ? `${found.checkout ?? 'old'}: ${found.run.capstan.join(' ')}`
    : found.run.program;
};

test('the steps of a control plane, each again, and back', () => {
  let services = after(BEFORE, 'control-plane', '1.36');
  assert.equal(words(services, 'apiserver'), '/opt/next: apiserver --x=y --emulated-version=1.36');
  assert.equal(words(services, 'dns'), '/opt/next: dns --x=y');
  assert.equal(words(services, 'node'), 'old: node --x=y');
  assert.equal(words(services, 'etcd'), '/usr/bin/etcd');
  assert.deepEqual(after(services, 'control-plane', '1.36'), services);
  services = after(services, 'raise');
  assert.equal(words(services, 'scheduler'), '/opt/next: scheduler --x=y');
  assert.deepEqual(after(services, 'raise'), services);
  services = after(services, 'node');
  assert.equal(words(services, 'balancer'), '/opt/next: balancer --x=y');
  assert.deepEqual(after(after(services, 'rollback-node'), 'node'), services);
  assert.deepEqual(after(services, 'rollback'), BEFORE);
  assert.ok(!after(services, 'hold').some(({ name }) => name === 'apiserver'));
});
