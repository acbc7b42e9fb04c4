import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#deploy/data-dir.ts';
import { parseRanges } from './ranges.ts';

test('one range, or one of each family in the order given', () => {
  const ranges = (text: string): readonly string[] => parseRanges('--cluster-cidr', text);
  assert.deepEqual(ranges('10.244.0.0/16'), ['10.244.0.0/16']);
  assert.deepEqual(ranges('fd00::/48'), ['fd00::/48']);
  assert.deepEqual(ranges('fd00::/48, 10.244.0.0/16'), ['fd00::/48', '10.244.0.0/16']);
  assert.deepEqual(ranges('10.244.3.7/16,FD00:0::1/48'), ['10.244.0.0/16', 'fd00::/48']);
});

test('what is no such range is refused in one sentence', () => {
  for (const [text, problem] of [
    ['10.244.0.0', /"10\.244\.0\.0" must be a valid CIDR value/],
    ['10.244.0.0/16,', /"" must be a valid CIDR value/],
    ['::ffff:10.244.0.0/112', /must not have an IPv4-mapped IPv6 address/],
    ['10.244.0.0/16,10.245.0.0/16', /one range, or one of each IP family/],
    ['10.244.0.0/16,fd00::/48,fd01::/48', /one range, or one of each IP family/],
  ] as const)
    assert.throws(
      () => parseRanges('--cluster-cidr', text),
      (error) => error instanceof UserError && problem.test(error.message),
      text,
    );
});
