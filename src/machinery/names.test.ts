import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cidrContains, formatCIDR, formatIP, parseCIDR, parseIP } from './ip.ts';
import * as names from './names.ts';

const label63 = 'a'.repeat(63);

test('DNS names', () => {
  for (const good of ['a', 'a-b', '0', label63]) assert.deepEqual(names.validateDNS1123Label(good), []);
  assert.deepEqual(names.validateDNS1123Label('a.b'), ['must not contain dots']);
  assert.deepEqual(names.validateDNS1123Label('A'), [
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
  ]);
  assert.deepEqual(names.validateDNS1123Label(`${label63}a`), ['must be no more than 63 characters']);
  assert.deepEqual(names.validateDNS1123Subdomain('a.b-c.d'), []);
  for (const bad of ['', '.', 'a..b', '-a', 'a.', 'a_b', 'Ä'])
    assert.equal(names.validateDNS1123Subdomain(bad).length, 1, bad);
  assert.equal(names.validateDNS1035Label('1a').length, 1);
  assert.deepEqual(names.validateWildcardDNS1123Subdomain('*.example.com'), []);
});

test('qualified names and label values', () => {
  for (const good of ['a', 'A.b_c-d', 'example.com/Name', label63])
    assert.deepEqual(names.validateQualifiedName(good), []);
  assert.deepEqual(names.validateQualifiedName('/a'), ['prefix part must be non-empty']);
  assert.equal(names.validateQualifiedName('a/').length, 2);
  assert.equal(names.validateQualifiedName('a/b/c').length, 1);
  assert.deepEqual(names.validateQualifiedName(`${label63}a`), ['name part must be no more than 63 bytes']);
  assert.deepEqual(names.validateLabelValue(''), []);
  assert.equal(names.validateLabelValue('-').length, 1);
});

test('other names', () => {
  assert.deepEqual(names.validatePathSegmentName('..'), ["may not be '..'"]);
  assert.deepEqual(names.validatePathSegmentName('a/b%'), ["may not contain '/'", "may not contain '%'"]);
  assert.deepEqual(names.validatePathSegmentName('system:node:a'), []);
  assert.deepEqual(names.validatePortName('http'), []);
  assert.deepEqual(names.validatePortName('80'), ['must contain at least one letter (a-z)']);
  assert.deepEqual(names.validatePortName('-a--b'), [
    'must not contain consecutive hyphens',
    'must not begin or end with a hyphen',
  ]);
  assert.deepEqual(names.validatePortNumber(0), ['must be between 1 and 65535, inclusive']);
  assert.deepEqual(names.validateConfigMapKey('..a'), ["must not start with '..'"]);
  assert.deepEqual(names.validateRelaxedEnvVarName('a b'), []);
  assert.equal(names.validateRelaxedEnvVarName('a=b').length, 1);
  assert.equal(names.validateEnvVarName('1a').length, 1);
});

test('addresses', () => {
  for (const good of ['10.0.0.1', '::', '::1', '2001:db8::ffff', 'fe80::1:0:0:2'])
    assert.deepEqual(names.validateIP(good), [], good);
  assert.deepEqual(names.validateIP('010.0.0.1'), ['must not have leading 0s']);
  assert.deepEqual(names.validateIP('::ffff:1.2.3.4'), ['must not be an IPv4-mapped IPv6 address']);
  assert.deepEqual(names.validateIP('2001:DB8::1'), ['must be in canonical form ("2001:db8::1")']);
  for (const bad of [
    '',
    '1.2.3',
    '1.2.3.256',
    '1::2::3',
    ':::',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
  ])
    assert.equal(parseIP(bad), undefined, bad);
  assert.equal(formatIP(parseIP('0:0:1:0:0:0:0:1')!), '0:0:1::1');
  assert.deepEqual(names.validateCIDR('10.0.0.0/8'), []);
  assert.deepEqual(names.validateCIDR('10.0.0.1/8'), ['must not have bits set beyond the prefix length']);
  assert.equal(names.validateCIDR('10.0.0.0/33').length, 1);
  const block = parseCIDR('10.1.2.3/16')!;
  assert.equal(formatCIDR(block), '10.1.0.0/16');
  assert.ok(cidrContains(block, parseIP('10.1.255.1')!) && !cidrContains(block, parseIP('10.2.0.1')!));
});
