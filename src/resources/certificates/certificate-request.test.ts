/** Requests as openssl makes them, of every kind of key, whole and tampered with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { parseCertificateRequest } from './certificate-request.ts';

const skip = existsSync('/usr/bin/openssl') ? false : 'needs openssl';

function request(options: readonly string[]): Buffer {
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
  return Buffer.from(
    `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
  ).toString('base64');
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
    const der = request(options);
    assert.deepEqual(parseCertificateRequest(pem(der)), {
      commonNames: ['jane'],
      organizations: ['devs', 'ops'],
    });
    const signature = Buffer.from(der);
    signature[der.length - 1]! ^= 1;
    assert.throws(() => parseCertificateRequest(pem(signature)), { message: failure });
    const name = Buffer.from(der);
    name[der.indexOf('jane')]! ^= 1;
    assert.throws(() => parseCertificateRequest(pem(name)), { message: failure });
  });
}

test('what is no request', { skip }, () => {
  const der = request(RSA);
  assert.throws(() => parseCertificateRequest(''), { message: 'PEM block type must be CERTIFICATE REQUEST' });
  assert.throws(() => parseCertificateRequest(pem(Buffer.concat([der, Buffer.from('x')]))), {
    message: 'asn1: syntax error: trailing data',
  });
  assert.throws(() => parseCertificateRequest(pem(der.subarray(0, 100))), {
    message: 'asn1: syntax error: data truncated',
  });
  const unknown = Buffer.from(der);
  unknown[der.lastIndexOf(Buffer.from('2a864886f70d01010b', 'hex')) + 8] = 0x63;
  assert.throws(() => parseCertificateRequest(pem(unknown)), {
    message: 'x509: cannot verify signature: algorithm unimplemented',
  });
});
