import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advertisedDefaults } from './ip-forwarding.ts';

test('interfaces whose default route a router advertised', () => {
  const zero = '0'.repeat(32);
  const row = (flags: string, name: string): string =>
    `${zero} 00 ${zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 ${flags} ${name}`;
  const routes = [
    row('00450003', 'eth0'),
    row('00450003', 'eth0'),
    row('00000003', 'eth1'),
    row('00040001', 'eth2'),
    '',
  ];
  assert.deepEqual(advertisedDefaults(routes.join('\n')), ['eth0']);
});
