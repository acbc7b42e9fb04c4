/** Client certificates of a test's users, signed by the cluster's own authority. */
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import type { Pki } from '#deploy/pki/pki.ts';

export type { KeyPair };

const HOUR_MS = 3_600_000;

export function issueClientCertificate(
  { ca }: Pick<Pki, 'ca'>,
  subject: { readonly commonName: string; readonly organizations?: readonly string[] },
): KeyPair {
  return issueCertificate(ca, { subject, usages: ['clientAuth'], nowMs: Date.now(), lifetimeMs: HOUR_MS });
}
