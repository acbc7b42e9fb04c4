/** Pins of authorities: 'sha256:HEX' of a certificate's public key (SubjectPublicKeyInfo in DER), as kubeadm's --discovery-token-ca-cert-hash. */
import { UserError } from '../data-dir.ts';

/** UserError for an invalid pin. */
export function parsePins(hashes: readonly string[]): ReadonlySet<string> {
  for (const hash of hashes)
    if (!/^sha256:[0-9a-f]{64}$/i.test(hash))
      throw new UserError(
        `--discovery-token-ca-cert-hash is "${hash}"; it should be sha256: and 64 hexadecimal digits.`,
      );
  return new Set(hashes.map((hash) => hash.toLowerCase()));
}
