/** Failures to reach a node, pod or service are said as upstream's clients know them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe } from './errors.ts';

test('connections that fail', () => {
  assert.equal(
    describe({ code: 'ECONNREFUSED', address: '10.0.0.1', port: 10250, message: 'x' }),
    'dial tcp 10.0.0.1:10250: connect: connection refused',
  );
  assert.equal(
    describe({ code: 'ECONNREFUSED', address: '::1', port: 1, message: 'x' }),
    'dial tcp [::1]:1: connect: connection refused',
  );
  assert.equal(
    describe({ code: 'ENOTFOUND', hostname: 'far', message: 'x' }),
    'dial tcp: lookup far: no such host',
  );
  assert.equal(describe(new Error('something else')), 'something else');
});

test('certificates that are not trusted, without advice about how Node.js is started', () => {
  const certificate = (problem: string): string => `tls: failed to verify certificate: x509: ${problem}`;
  assert.equal(
    describe({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', message: 'x' }),
    certificate('certificate signed by unknown authority'),
  );
  assert.equal(
    describe({ code: 'CERT_HAS_EXPIRED', message: 'x' }),
    certificate('certificate has expired or is not yet valid'),
  );
  assert.equal(
    describe({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      message: 'x',
      host: 'c',
      cert: { subjectaltname: 'DNS:a, IP Address:10.0.0.1' },
    }),
    certificate('certificate is valid for a, 10.0.0.1, not c'),
  );
  assert.equal(
    describe({ code: 'ERR_TLS_CERT_ALTNAME_INVALID', message: 'x', host: 'c', cert: {} }),
    certificate('certificate is valid for no names, not c'),
  );
});
