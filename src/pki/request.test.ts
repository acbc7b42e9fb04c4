/** Requests as openssl makes them, of every kind of key, whole and tampered with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { generateKeyPem } from './keys.ts';
import { MAX_ALT_NAMES, NO_ALT_NAMES } from './names.ts';
import { encodePem, pemBlocks } from './pem.ts';
import { checkRequestSignature, createRequest, readRequest, type CertificateRequest } from './request.ts';

const skip = existsSync('/usr/bin/openssl') ? false : 'needs openssl';

function requestOf(options: readonly string[]): Buffer {
  const { status, stdout, stderr } = spawnSync('/usr/bin/openssl', [
    'req',
    '-new',
    '-nodes',
    '-keyout',
    '/dev/null',
    '-subj',
    '/O=devs/O=ops/CN=jane',
    '-outform',
    'DER',
    ...options,
  ]);
  assert.equal(status, 0, stderr.toString());
  return stdout;
}

function pem(der: Buffer): string {
  return encodePem('CERTIFICATE REQUEST', der);
}

function readChecked(text: string): CertificateRequest {
  const request = readRequest(text);
  checkRequestSignature(request);
  return request;
}

const RSA = ['-newkey', 'rsa:2048'],
  PSS = [...RSA, '-sigopt', 'rsa_padding_mode:pss'];
const KINDS: Readonly<Record<string, { readonly options: readonly string[]; readonly failure: string }>> = {
  'RSA with SHA-256': { options: RSA, failure: 'crypto/rsa: verification error' },
  'RSA with SHA-384': { options: [...RSA, '-sha384'], failure: 'crypto/rsa: verification error' },
  'RSA with SHA-512': { options: [...RSA, '-sha512'], failure: 'crypto/rsa: verification error' },
  'RSA-PSS with SHA-256': { options: PSS, failure: 'crypto/rsa: verification error' },
  'RSA-PSS with SHA-512': { options: [...PSS, '-sha512'], failure: 'crypto/rsa: verification error' },
  'P-256': {
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
    failure: 'x509: ECDSA verification failure',
  },
  'P-384 with SHA-384': {
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-sha384'],
    failure: 'x509: ECDSA verification failure',
  },
  'P-521 with SHA-512': {
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-521', '-sha512'],
    failure: 'x509: ECDSA verification failure',
  },
  Ed25519: { options: ['-newkey', 'ed25519'], failure: 'x509: Ed25519 verification failure' },
};

for (const [kind, { options, failure }] of Object.entries(KINDS)) {
  test(kind, { skip }, () => {
    const der = requestOf(options);
    const { commonNames, organizations, altNames } = readChecked(pem(der));
    assert.deepEqual(
      { commonNames, organizations },
      { commonNames: ['jane'], organizations: ['devs', 'ops'] },
    );
    assert.deepEqual(altNames, NO_ALT_NAMES);
    const signature = Buffer.from(der);
    signature[der.length - 1]! ^= 1;
    assert.throws(() => readChecked(pem(signature)), { message: failure });
    const name = Buffer.from(der);
    name[der.indexOf('jane')]! ^= 1;
    assert.throws(() => readChecked(pem(name)), { message: failure });
  });
}

test('what is no request', { skip }, () => {
  const der = requestOf(RSA);
  assert.throws(() => readChecked(''), { message: 'PEM block type must be CERTIFICATE REQUEST' });
  assert.throws(() => readChecked(pem(Buffer.concat([der, Buffer.from('x')]))), {
    message: 'asn1: syntax error: trailing data',
  });
  assert.throws(() => readChecked(pem(der.subarray(0, 100))), {
    message: 'asn1: syntax error: data truncated',
  });
  const unknown = Buffer.from(der);
  unknown[der.lastIndexOf(Buffer.from('2a864886f70d01010b', 'hex')) + 8] = 0x63;
  assert.throws(() => readChecked(pem(unknown)), {
    message: 'x509: cannot verify signature: algorithm unimplemented',
  });
});

test('openssl reads and verifies what is made, and its names come back', { skip }, () => {
  for (const algorithm of ['ECDSA-P256', 'ECDSA-P384', 'RSA-2048'] as const) {
    const altNames = { dnsNames: ['a.example.org', '*.b'], ipAddresses: ['192.0.2.1', '2001:db8::1'] };
    const text = createRequest({
      keyPem: generateKeyPem(algorithm),
      subject: { commonName: 'Zoë', organizations: ['devs', 'ops'] },
      altNames,
    });
    const { status, stdout, stderr } = spawnSync(
      '/usr/bin/openssl',
      ['req', '-noout', '-verify', '-subject', '-text', '-nameopt', 'utf8'],
      { input: text, encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    assert.match(stderr, /verify OK/);
    assert.match(stdout, /O\s?=\s?devs,\s?O\s?=\s?ops,\s?CN\s?=\s?Zoë/);
    assert.match(
      stdout,
      /DNS:a\.example\.org, DNS:\*\.b, IP Address:192\.0\.2\.1, IP Address:2001:DB8:0:0:0:0:0:1/,
    );
    const request = readChecked(text);
    assert.deepEqual(request.altNames, { ...altNames, emailAddresses: [], uris: [] });
    assert.deepEqual([request.commonNames, request.organizations], [['Zoë'], ['devs', 'ops']]);
  }
});

test('every kind of name that openssl asks for is read', { skip }, () => {
  const names = 'DNS:a.b,IP:fe80::1,IP:10.0.0.1,email:a@b.org,URI:spiffe://c/d';
  const request = readChecked(pem(requestOf([...RSA, '-addext', `subjectAltName=${names}`])));
  assert.deepEqual(request.altNames, {
    dnsNames: ['a.b'],
    ipAddresses: ['fe80::1', '10.0.0.1'],
    emailAddresses: ['a@b.org'],
    uris: ['spiffe://c/d'],
  });
});

test('a request of too many names or bytes is refused before it is read whole', () => {
  const keyPem = generateKeyPem();
  const names = (count: number, length = 12): string[] =>
    Array.from({ length: count }, (_, index) => `n${index}`.padEnd(length, 'x'));
  const of = (dnsNames: readonly string[]): string =>
    createRequest({ keyPem, subject: { commonName: 'x' }, altNames: { dnsNames, ipAddresses: [] } });
  assert.equal(readChecked(of(names(MAX_ALT_NAMES))).altNames.dnsNames.length, MAX_ALT_NAMES);
  assert.throws(() => of(names(MAX_ALT_NAMES + 1)), /a certificate may have 1000 names, not 1001/);
  // One more name, written by hand.
  const [block] = pemBlocks(of(names(MAX_ALT_NAMES)));
  const extra = withOneMoreName(block!.der);
  assert.throws(() => readRequest(pem(extra)), {
    message: 'asn1: syntax error: more than 1000 subject alternative names',
  });
  assert.throws(
    () => readRequest(of(names(1000, 200))),
    /the request has \d+ bytes; it should have 131072 at most/,
  );
});

/** DER within DER: each SEQUENCE around the names grows by the three bytes of the name 'z'. */
function withOneMoreName(der: Buffer): Buffer {
  const grown = Buffer.from(der);
  const last = grown.lastIndexOf(Buffer.from('n999xxxxxxxx'));
  const end = last + 12;
  for (let offset = 0; offset < last; offset++) {
    if (grown[offset + 1] !== 0x82) continue;
    const length = grown.readUInt16BE(offset + 2);
    if (offset + 4 + length >= end) grown.writeUInt16BE(length + 3, offset + 2);
  }
  return Buffer.concat([grown.subarray(0, end), Buffer.from([0x82, 1, 0x7a]), grown.subarray(end)]);
}

test('no truncated or flipped byte is anything but an Error of this file', () => {
  const [block] = pemBlocks(
    createRequest({
      keyPem: generateKeyPem(),
      subject: { commonName: 'x', organizations: ['o'] },
      altNames: { dnsNames: ['a'], ipAddresses: ['::1'] },
    }),
  );
  const { der } = block!;
  for (let at = 0; at < der.length; at++)
    for (const damaged of [der.subarray(0, at), flipped(der, at)])
      assert.throws(() => readChecked(pem(damaged)), /^Error: (asn1|x509|PEM|crypto)/);
});

function flipped(der: Buffer, at: number): Buffer {
  const copy = Buffer.from(der);
  copy[at]! ^= 0x21;
  return copy;
}
