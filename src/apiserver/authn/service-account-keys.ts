/**
 * The keys of service account tokens: one signs, all are accepted and published. They can be replaced at run time, which allows a rotation without
 * logging anyone out: (1) accept the new public key everywhere, (2) sign with the new key, (3) when the last old token has expired, stop
 * accepting the old one.
 */
import { JwtSigner, verificationKey, type VerificationKey } from '#stdx/jwt.ts';

export interface ServiceAccountKeyMaterial {
  /** Private key, PEM. */
  readonly signingKeyPem: string;
  /** Public keys (or private ones) whose tokens are accepted, PEM, one or more blocks each. The signing key's own is always in. */
  readonly publicKeyPems?: readonly string[];
}

export class ServiceAccountKeys {
  #signer: JwtSigner;
  #accepted: readonly VerificationKey[];
  /** Incremented on replacement: cached verifications are invalid. */
  generation = 0;

  /** Throws an Error for keys that cannot be used. */
  constructor(material: ServiceAccountKeyMaterial) {
    this.#signer = new JwtSigner(material.signingKeyPem);
    this.#accepted = acceptedKeys(this.#signer, material);
  }

  get signer(): JwtSigner {
    return this.#signer;
  }

  /** The signing key first. */
  get accepted(): readonly VerificationKey[] {
    return this.#accepted;
  }

  /** Throws an Error for keys that cannot be used, and then changes nothing. */
  replace(material: ServiceAccountKeyMaterial): void {
    const signer = new JwtSigner(material.signingKeyPem);
    this.#accepted = acceptedKeys(signer, material);
    this.#signer = signer;
    this.generation++;
  }
}

function acceptedKeys(
  signer: JwtSigner,
  { publicKeyPems = [] }: ServiceAccountKeyMaterial,
): VerificationKey[] {
  const blocks = publicKeyPems.flatMap(
    (text) => text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [],
  );
  const keys = [
    signer.publicKey,
    ...blocks.filter((block) => !block.startsWith('-----BEGIN EC PARAMETERS')).map(verificationKey),
  ];
  return [...new Map(keys.map((key) => [key.id, key])).values()];
}
