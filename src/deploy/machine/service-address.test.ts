import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isInRanges, serviceAddress } from './service-address.ts';

test('the first and the tenth address of a range', () => {
  assert.equal(serviceAddress('10.96.0.0/12', 1), '10.96.0.1');
  assert.equal(serviceAddress('10.96.0.0/12', 10), '10.96.0.10');
  assert.equal(serviceAddress('10.96.3.7/16', 10), '10.96.0.10');
  assert.equal(serviceAddress('10.0.0.0/16,fd00:1::/108', 1), '10.0.0.1');
  assert.equal(serviceAddress('fd00:1::/108', 1), 'fd00:1::1');
  assert.equal(serviceAddress('fd00:10:96::/112', 10), 'fd00:10:96::a');
});

test('an address in ranges', () => {
  assert.ok(isInRanges('10.97.1.1', '10.96.0.0/12'));
  assert.ok(isInRanges('fd00::1', '10.96.0.0/12,fd00::/64'));
  assert.ok(!isInRanges('192.168.0.1', '10.96.0.0/12,fd00::/64'));
});
