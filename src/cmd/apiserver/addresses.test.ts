import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advertiseAddress, requireAdvertisable, requireSubjectNames, servedAddresses } from './addresses.ts';

const machine = ['127.0.0.1', 'fe80::1', '169.254.1.1', '2001:db8::7', '192.0.2.7', '198.51.100.7', '::1'];

test('what listens on all addresses advertises the one of the default route, else a global unicast one', () => {
  const advertise = (bindAddress: string, hostAddress?: string, given?: string): string | undefined =>
    advertiseAddress({ bindAddress, hostAddress, given, machine });
  assert.equal(advertise('0.0.0.0', '198.51.100.7'), '198.51.100.7');
  assert.equal(advertise('::', '198.51.100.7'), '198.51.100.7');
  assert.equal(advertise('0.0.0.0'), '192.0.2.7');
  assert.equal(advertise('203.0.113.1', '198.51.100.7'), '203.0.113.1');
  assert.equal(advertise('0.0.0.0', '198.51.100.7', '203.0.113.9'), '203.0.113.9');
  assert.equal(advertise('127.0.0.1', '198.51.100.7'), undefined);
  assert.equal(
    advertiseAddress({ bindAddress: '0.0.0.0', hostAddress: undefined, machine: ['127.0.0.1', 'fe80::1'] }),
    undefined,
  );
});

test("the certificate of what listens on all addresses has the machine's, without link-local ones", () => {
  const advertised = ['203.0.113.9'];
  assert.deepEqual(servedAddresses('0.0.0.0', { advertised, machine }), [
    '203.0.113.9',
    '192.0.2.7',
    '198.51.100.7',
  ]);
  assert.deepEqual(servedAddresses('::', { advertised, machine }), [
    '203.0.113.9',
    '2001:db8::7',
    '192.0.2.7',
    '198.51.100.7',
  ]);
  assert.deepEqual(servedAddresses('192.0.2.7', { advertised, machine }), ['192.0.2.7', '203.0.113.9']);
});

test('names that no certificate can have are refused', () => {
  requireSubjectNames('--flag', ['api.example.org', '*.example.org', '192.0.2.1', 'fd00::1']);
  for (const wrong of ['API.example.org', 'a b', '10.0.0.0/8', '*', 'https://api'])
    assert.throws(() => requireSubjectNames('--flag', [wrong]), /--flag has ".*"; it should be a DNS name/);
  for (const wrong of ['0.0.0.0', 'fe80::1', '224.0.0.1', 'localhost'])
    assert.throws(() => requireAdvertisable('--advertise-address', wrong), /it should be an/);
});
