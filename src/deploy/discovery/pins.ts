/** Pins of authorities: 'sha256:HEX' of a certificate's public key (SubjectPublicKeyInfo in DER), as kubeadm's --discovery-token-ca-cert-hash. */
import { createHash, X509Certificate } from 'node:crypto';
import { UserError } from '../data-dir.ts';

/** A file of more certificates is none that kubeadm or Capstan wrote. */
const MAX_CERTIFICATES = 100;
const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

export function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(spki).digest('hex')}`;
}

/** UserError for what is no pin. */
export function parsePins(hashes: readonly string[]): ReadonlySet<string> {
  for (const hash of hashes)
    if (!/^sha256:[0-9a-f]{64}$/i.test(hash))
      throw new UserError(
        `--discovery-token-ca-cert-hash is "${hash}"; it should be sha256: and 64 hexadecimal digits.`,
      );
  return new Set(hashes.map((hash) => hash.toLowerCase()));
}

/** The certificates of a PEM text. Throws where one of them is none. */
export function certificatesIn(pem: string): readonly X509Certificate[] {
  return (pem.match(PEM) ?? []).slice(0, MAX_CERTIFICATES).map((one) => new X509Certificate(one));
}
