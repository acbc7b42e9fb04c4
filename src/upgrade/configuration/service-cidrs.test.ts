import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceCIDR } from '#api/types.ts';
import { planServiceCIDRs } from './service-cidrs.ts';

const range = (name: string, ...cidrs: string[]): ServiceCIDR => ({ metadata: { name }, spec: { cidrs } });
const around = {
  existing: [range('kubernetes', '10.96.0.0/12'), range('more', '10.112.0.0/16')],
  podSubnet: '10.244.0.0/16',
};

test('further ranges are created, those that are there stay', () => {
  const { changes, refused, created } = planServiceCIDRs(
    [range('more', '10.112.0.0/16'), range('next', '10.113.0.0/16')],
    around,
  );
  assert.deepEqual(changes, ['ServiceCIDR next: (none) -> 10.113.0.0/16']);
  assert.deepEqual(refused, []);
  assert.deepEqual(
    created.map(({ metadata }) => metadata?.name),
    ['next'],
  );
});

test('what is refused says why', () => {
  const cases: readonly (readonly [given: ServiceCIDR, says: RegExp])[] = [
    [range('more', '10.112.0.0/15'), /more cannot be changed: its ranges are fixed\. .*kubectl delete/],
    [range('kubernetes', '10.0.0.0/8'), /follows networking\.serviceSubnet/],
    [range('pods', '10.244.8.0/24'), /overlaps with the addresses of pods, 10\.244\.0\.0\/16/],
    [range('none'), /one range, or one of each family/],
    [range('word', 'a'), /spec\.cidrs has "a"; it should be a range/],
    [range('', '10.1.0.0/16'), /metadata\.name is missing/],
  ];
  for (const [given, says] of cases) {
    const { changes, refused } = planServiceCIDRs([given], around);
    assert.match(refused.join(), says);
    assert.deepEqual(changes, []);
  }
});
