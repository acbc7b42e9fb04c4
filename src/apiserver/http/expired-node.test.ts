/** Which expired certificates still prove a node: nothing else may be wrong with them. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { certificatesIn } from '#pki/pem.ts';
import type { ExtendedKeyUsage } from '#pki/read.ts';
import { expiredNodeOf } from './expired-node.ts';

const HOUR_MS = 3_600_000;
const START = Date.UTC(2026, 0, 15);
const LATER = START + 2 * HOUR_MS;

const ca = createAuthority({ commonName: 'kubernetes', nowMs: START, lifetimeMs: 10 * HOUR_MS });
const other = createAuthority({ commonName: 'kubernetes', nowMs: START, lifetimeMs: 10 * HOUR_MS });

interface Given {
  readonly commonName?: string;
  readonly organizations?: readonly string[];
  readonly usages?: readonly ExtendedKeyUsage[];
  readonly authority?: KeyPair;
}

function certificate({
  commonName = 'system:node:a',
  organizations = ['system:nodes'],
  usages = ['clientAuth'],
  authority = ca,
}: Given = {}): X509Certificate {
  const { certificatePem } = issueCertificate(authority, {
    subject: { commonName, organizations },
    usages,
    nowMs: START,
    lifetimeMs: HOUR_MS,
  });
  return new X509Certificate(certificatePem);
}

function found(leaf: X509Certificate, { authority = ca, nowMs = LATER } = {}): string | undefined {
  const authorities = certificatesIn(authority.certificatePem);
  return expiredNodeOf(leaf, { authorities, nowMs })?.nodeName;
}

test("a node's certificate that has ended names the node and its end", () => {
  const leaf = certificate();
  assert.deepEqual(expiredNodeOf(leaf, { authorities: certificatesIn(ca.certificatePem), nowMs: LATER }), {
    nodeName: 'a',
    notAfterMs: START + HOUR_MS,
    fingerprint: leaf.fingerprint256,
  });
});

test('one that is still valid is none', () => {
  assert.equal(found(certificate(), { nowMs: START }), undefined);
});

test("no other subject, usage or kind than a node's client is taken", () => {
  for (const given of [
    { commonName: 'a' },
    { commonName: 'system:node:' },
    { commonName: 'kubernetes-admin' },
    { organizations: [] },
    { organizations: ['system:masters'] },
    { organizations: ['system:nodes', 'system:masters'] },
    { usages: ['serverAuth'] },
    { usages: [] },
  ] satisfies Given[])
    assert.equal(found(certificate(given)), undefined, JSON.stringify(given));
  const authority = createAuthority({ commonName: 'system:node:a', nowMs: START, lifetimeMs: HOUR_MS });
  assert.equal(found(new X509Certificate(authority.certificatePem)), undefined);
});

test('an authority of the same name with another key, one that has ended and none are not believed', () => {
  assert.equal(found(certificate({ authority: other })), undefined);
  assert.equal(found(certificate(), { nowMs: START + 11 * HOUR_MS }), undefined);
  assert.equal(expiredNodeOf(certificate(), { authorities: [], nowMs: LATER }), undefined);
});

test('an intermediate sent by the client makes nothing trusted', () => {
  const intermediate = createAuthority({
    commonName: 'team',
    nowMs: START,
    lifetimeMs: 10 * HOUR_MS,
    parent: ca,
  });
  assert.equal(found(certificate({ authority: intermediate })), undefined);
});
