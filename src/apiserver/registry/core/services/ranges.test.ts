import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import { AddressRange, AddressRanges } from './ranges.ts';

test('an IPv4 range has neither its network nor its broadcast address, an IPv6 range has its last one', () => {
  const four = new AddressRange('10.96.0.0/30'),
    six = new AddressRange('fd00::/126');
  assert.deepEqual([four.first, four.free], ['10.96.0.1', 2]);
  assert.deepEqual([six.first, six.free], ['fd00::1', 3]);
  assert.deepEqual(
    ['10.96.0.0', '10.96.0.3', 'fd00::', 'fd00::3'].map((ip) => four.has(ip) || six.has(ip)),
    [false, false, false, true],
  );
});

test('host bits of a range are no part of its addresses', () => {
  assert.equal(new AddressRange('10.96.3.7/16').first, '10.96.0.1');
  assert.equal(new AddressRange('fd00::abcd/112').first, 'fd00::1');
});

test('each address of a small IPv6 range is given once, then none', () => {
  const range = new AddressRange('fd00::/124');
  const given = Array.from({ length: 16 }, () => range.next());
  assert.equal(new Set(given).size, 16);
  assert.equal(given.at(-1), undefined);
  range.release(given[4]!);
  assert.equal(range.next(), given[4]);
});

test('the widest IPv6 range keeps its lower part and holds any address to its end', () => {
  const range = new AddressRange('fd00::/64');
  for (let i = 0; i < 50; i++) {
    const ip = range.next()!;
    assert.ok(range.has(ip));
    assert.ok(!/^fd00::[0-9a-f]{1,2}$/.test(ip), ip);
  }
  const last = 'fd00::ffff:ffff:ffff:ffff',
    before = 'fd00::ffff:ffff:ffff:fffe';
  range.hold(last);
  range.hold(before);
  assert.equal(range.held, 52);
  range.release(last);
  assert.equal(range.held, 51);
});

test('which ranges are allocated from', () => {
  const answer = (cidr: string): boolean => isServiceCIDR(cidr);
  assert.deepEqual(['10.0.0.0/8', '10.0.0.0/30', 'fd00::/64', 'fd00::/126'].map(answer), Array(4).fill(true));
  assert.deepEqual(
    ['10.0.0.0/7', '10.0.0.0/31', 'fd00::/63', 'fd00::/127', '::ffff:10.0.0.0/112', '10.0.0.0', ''].map(
      answer,
    ),
    Array(7).fill(false),
  );
  assert.throws(() => new AddressRange('fd00::/48'), /64 to 126, not fd00::\/48/);
});

test('a cluster has one range, or one of each family', () => {
  assert.deepEqual(new AddressRanges('10.96.0.0/24').families, ['IPv4']);
  assert.deepEqual(new AddressRanges('fd00::/112,10.96.0.0/24').families, ['IPv6', 'IPv4']);
  assert.equal(new AddressRanges('fd00::/112,10.96.0.0/24').first, 'fd00::1');
  for (const wrong of ['10.96.0.0/24,10.97.0.0/24', '10.96.0.0/24,fd00::/112,fd01::/112'])
    assert.throws(() => new AddressRanges(wrong), /one range or one of each family/);
});

test('an address in another spelling is the same one', () => {
  const ranges = new AddressRanges('fd00::/112');
  assert.equal(ranges.take('FD00:0::00a'), 'FD00:0::00a');
  assert.equal(ranges.take('fd00::a'), undefined);
  assert.equal(ranges.reasonAgainst('fd00::a'), 'provided IP is already allocated');
  ranges.release('fd00:0:0::a');
  assert.equal(ranges.take('fd00::a'), 'fd00::a');
});

test('a family whose ranges are gone has no address left; the other one has', () => {
  const ranges = new AddressRanges('10.96.0.0/24,fd00::/112');
  ranges.use(['fd00::/112']);
  assert.equal(ranges.next('IPv4'), undefined);
  assert.match(ranges.next('IPv6') ?? '', /^fd00::/);
});
