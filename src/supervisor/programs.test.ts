import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { groupPrograms, type Program } from './programs.ts';

const BEFORE: readonly ServiceSpec[] = [
  { name: 'balancer', run: { capstan: ['balancer'] }, group: 'node' },
  { name: 'apiserver', run: { capstan: ['apiserver'] } },
  { name: 'scheduler', run: { capstan: ['scheduler'] }, group: 'control' },
];
const find = (services: readonly ServiceSpec[], name: string): Program =>
  groupPrograms(services).find((one) => one.name === name)!;

test('services of another checkout run by its main, and a group of it is another process', () => {
  const next = BEFORE.map((one) => (one.group === 'node' ? one : { ...one, checkout: '/opt/next' }));
  for (const name of ['apiserver', 'control'])
    assert.ok(find(next, name).command.includes('/opt/next/src/cli/main.ts'), name);
  assert.deepEqual(find(next, 'node').command, find(BEFORE, 'node').command);
  assert.deepEqual(find(next, 'node').addedTo(find(BEFORE, 'node')), []);
  assert.equal(find(next, 'control').addedTo(find(BEFORE, 'control')), undefined);
});
