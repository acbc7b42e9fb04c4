/**
 * One folder of keys and certificates: reads, checks and completes pairs, and records what it changed and what an administrator should know.
 * Which names there are and whom they are for is pki.ts's concern.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { generateKeyPem, publicKeyPem, signsForItself, type KeyAlgorithm } from '#pki/keys.ts';
import { splitPem } from '#pki/pem.ts';
import { readSubject } from '#pki/read.ts';
import { signerFirst } from '#pki/signer.ts';
import { isForeign, missingName, PkiError, samePublicKey } from './checks.ts';
import type { LeafDefinition } from './checks.ts';
import { PRIVATE_MODE, PUBLIC_MODE, readIfPresent, syncDirectory, writeFileAtomically } from './files.ts';
import {
  AUTHORITY_LIFETIME_MS,
  endWarning,
  LEAF_LIFETIME_MS,
  lifetimeAfter,
  renewalTimeMs,
  type Jitter,
  type PkiWarning,
} from './validity.ts';

const FROM_A_COPY = 'restore it from a copy';
interface PkiFolderOptions {
  readonly dir: string;
  readonly nowMs: number;
  /** Whether authorities and signing keys that are missing are made. Default true. */
  readonly mayCreate?: boolean | undefined;
  readonly jitter?: Jitter | undefined;
  /** Of new keys. */
  readonly algorithm?: KeyAlgorithm | undefined;
  /** Default ten years. */
  readonly authorityLifetimeMs?: number | undefined;
  /** Default a year. */
  readonly leafLifetimeMs?: number | undefined;
  /** Prefix of the names used for jitter and for expiry warnings: 'nodes/n1/'. */
  readonly prefix?: string;
}

/** A certificate's end, by its file's name without extension. */
export interface CertificateEnd {
  readonly name: string;
  readonly notAfterMs: number;
}

/** Without its key where an external authority signs. PEM. */
interface Authority {
  readonly certificatePem: string;
  readonly keyPem?: string | undefined;
}

export class PkiFolder {
  /** One clause each. */
  readonly changes: string[] = [];
  readonly warnings: PkiWarning[] = [];
  readonly #options: PkiFolderOptions;
  readonly #dir: string;
  readonly #nowMs: number;
  readonly #ends: CertificateEnd[] = [];
  readonly #written = new Set<string>();
  readonly #authorities = new Map<string, Promise<Authority>>();

  constructor(options: PkiFolderOptions) {
    this.#options = options;
    this.#dir = options.dir;
    this.#nowMs = options.nowMs;
  }

  get ends(): readonly CertificateEnd[] {
    return this.#ends.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Warns of a damaged file, keeps it, and uses the contents read before. Rethrows other errors. */
  useInstead<T>(error: unknown, before: T): T {
    if (!(error instanceof PkiError)) throw error;
    const { path, code, message } = error;
    this.#warn({ key: `${path} ${code}`, message: `${message}; what was there before is used until then` });
    return before;
  }

  /** With its key: throws PkiError where the key is external. */
  async authority(name: string, commonName: string): Promise<KeyPair> {
    const { certificatePem, keyPem } = await this.authorityOrExternal(name, commonName);
    if (keyPem === undefined)
      throw new PkiError(
        'incomplete',
        this.#path(name, 'key'),
        `${this.#path(name, 'crt')} is there but its key ${this.#path(name, 'key')} is missing: put the key back, or remove the certificate to have a new authority made`,
      );
    return { certificatePem, keyPem };
  }

  /** An authority without its key is external: its leaves are placed here by its administrator. */
  authorityOrExternal(name: string, commonName: string): Promise<Authority> {
    const known = this.#authorities.get(name) ?? this.#ensureAuthority(name, commonName);
    this.#authorities.set(name, known);
    return known;
  }

  async #ensureAuthority(name: string, commonName: string): Promise<Authority> {
    const { certificatePem, keyPem } = await this.#read(name);
    if (certificatePem === undefined) {
      if (keyPem === undefined) this.#requireNew(name, 'crt');
      else this.#parseKey(name, keyPem);
      const made = createAuthority({
        commonName,
        nowMs: this.#nowMs,
        lifetimeMs: this.#options.authorityLifetimeMs ?? AUTHORITY_LIFETIME_MS,
        algorithm: this.#options.algorithm,
        keyPem,
      });
      await this.#write(name, made);
      this.changes.push(`made ${name}.crt`);
      this.#noteEnd(name, made);
      return made;
    }
    const found = { certificatePem: this.#signerFirst(name, { certificatePem, keyPem }), keyPem };
    this.#checkAuthority(name, found);
    this.#noteEnd(name, found);
    return found;
  }

  #signerFirst(name: string, { certificatePem, keyPem }: Authority): string {
    return keyPem === undefined ? certificatePem : signerFirst(certificatePem, this.#parseKey(name, keyPem));
  }

  /** Clients that trust the old one would reject a new one. */
  #requireNew(name: string, extension: 'crt' | 'key'): void {
    if (this.#options.mayCreate ?? true) return;
    const path = this.#path(name, extension);
    throw new PkiError(
      'missing',
      path,
      `${path} is missing, though this cluster has run before: put ${this.#dir} back from a copy, or mount the disk it is on. A new one would make every kubeconfig, token and node of the cluster useless, so none was made`,
    );
  }

  #checkAuthority(name: string, { certificatePem, keyPem }: Authority): void {
    const path = this.#path(name, 'crt');
    const certificate = this.#parseCertificate(path, certificatePem);
    if (keyPem !== undefined) this.#checkPair(name, certificate, this.#parseKey(name, keyPem));
    if (!certificate.ca)
      throw new PkiError(
        'unreadable',
        path,
        `${path} is not a certificate authority (its basic constraints say CA:FALSE)`,
      );
    if (Date.parse(certificate.validTo) <= this.#nowMs)
      throw new PkiError('expired', path, `${path} expired on ${certificate.validTo}`);
    if (Date.parse(certificate.validFrom) > this.#nowMs)
      throw new PkiError(
        'expired',
        path,
        `${path} is not valid before ${certificate.validFrom}: is this machine's clock right?`,
      );
    this.#warn(
      endWarning(certificate, {
        path,
        nowMs: this.#nowMs,
        todo: 'nothing it signed is accepted from then on, and it is not renewed by itself (see docs/certificates.md)',
      }),
    );
  }

  /** sa.pub may contain more keys than sa.key's (old ones during a rotation): it is kept while it contains the signing key's. */
  async signingKey(name: string): Promise<{ readonly keyPem: string; readonly publicKeyPem: string }> {
    const [existing, existingPublic] = await Promise.all([
      readIfPresent(this.#path(name, 'key')),
      readIfPresent(this.#path(name, 'pub')),
    ]);
    if (existing === undefined && existingPublic !== undefined) {
      throw new PkiError(
        'incomplete',
        this.#path(name, 'key'),
        `${this.#path(name, 'pub')} is there but ${this.#path(name, 'key')} is missing: put it back, or remove the former to have a new key made (every service account token then becomes invalid)`,
      );
    }
    if (existing === undefined) this.#requireNew(name, 'key');
    else await this.#checkMode(name);
    const keyPem = existing ?? generateKeyPem(this.#options.algorithm);
    this.#parseKey(name, keyPem);
    if (existing === undefined) await this.#writeFile(name, 'key', keyPem);
    const publicPem = publicKeyPem(keyPem);
    if (existingPublic === undefined) {
      await this.#writeFile(name, 'pub', publicPem);
      this.changes.push(`made ${name}.pub`);
      return { keyPem, publicKeyPem: publicPem };
    }
    if (
      !splitPem(existingPublic, 'PUBLIC KEY').some((text) =>
        samePublicKey(this.#path(name, 'pub'), text, keyPem),
      )
    ) {
      throw new PkiError(
        'mismatched',
        this.#path(name, 'pub'),
        `${this.#path(name, 'pub')} does not hold the public key of ${this.#path(name, 'key')}`,
      );
    }
    return { keyPem, publicKeyPem: existingPublic };
  }

  async leaf(name: string, authority: Authority, definition: LeafDefinition): Promise<KeyPair> {
    const { certificatePem, keyPem } = await this.#read(name);
    if (certificatePem !== undefined && keyPem === undefined) {
      throw new PkiError(
        'incomplete',
        this.#path(name, 'key'),
        `${this.#path(name, 'crt')} is there but its key ${this.#path(name, 'key')} is missing: put the key back, or remove the certificate to have a new one issued`,
      );
    }
    if (keyPem !== undefined) this.#parseKey(name, keyPem, this.#orAnew(name));
    if (certificatePem !== undefined && keyPem !== undefined) {
      const why = this.#reasonToReissue(name, { certificatePem, keyPem }, { authority, definition });
      if (why === undefined) {
        this.#noteEnd(name, { certificatePem });
        return { certificatePem, keyPem };
      }
      if (authority.keyPem === undefined) return this.#externalLeaf(name, { certificatePem, keyPem }, why);
      this.changes.push(`reissued ${name}.crt: ${why}`);
    } else {
      if (authority.keyPem === undefined) throw this.#notSigned(name, 'is missing');
      this.changes.push(`issued ${name}.crt`);
    }
    const { certificatePem: authorityPem, keyPem: authorityKey } = authority;
    const signer = { certificatePem: authorityPem, keyPem: authorityKey };
    const lifetimeMs = this.#options.leafLifetimeMs ?? LEAF_LIFETIME_MS;
    const made = issueCertificate(signer, {
      ...definition,
      nowMs: this.#nowMs,
      lifetimeMs:
        certificatePem === undefined
          ? lifetimeMs
          : lifetimeAfter(new X509Certificate(certificatePem), { nowMs: this.#nowMs, lifetimeMs }),
      algorithm: this.#options.algorithm,
      keyPem,
    });
    await this.#write(name, made, keyPem !== undefined);
    this.#noteEnd(name, made);
    return made;
  }

  /** One that still serves is used on; somebody else is to renew it. */
  #externalLeaf(name: string, pair: KeyPair, why: string): KeyPair {
    if (!why.startsWith('it ends on ')) throw this.#notSigned(name, `must be reissued: ${why}`);
    const path = this.#path(name, 'crt');
    this.#warn(
      endWarning(new X509Certificate(pair.certificatePem), {
        path,
        nowMs: this.#nowMs,
        todo: `its authority is external: write a request with \`capstan certs generate-csr\`, have it signed, and put the certificate there`,
      }),
    );
    this.#noteEnd(name, pair);
    return pair;
  }

  #notSigned(name: string, what: string): PkiError {
    const path = this.#path(name, 'crt');
    return new PkiError(
      'incomplete',
      path,
      `${path} ${what}, and the key of its authority is not on this machine: write a request with \`capstan certs generate-csr\`, have it signed, and put the certificate there`,
    );
  }

  #reasonToReissue(
    name: string,
    pair: KeyPair,
    { authority, definition }: { readonly authority: Authority; readonly definition: LeafDefinition },
  ): string | undefined {
    const certificate = this.#parseCertificate(
      this.#path(name, 'crt'),
      pair.certificatePem,
      this.#orAnew(name),
    );
    this.#checkPair(name, certificate, this.#parseKey(name, pair.keyPem));
    const authorityCertificate = new X509Certificate(authority.certificatePem);
    if (definition.mayBeForeign && isForeign(certificate, { authority: authorityCertificate, definition })) {
      this.#warnOfForeign(name, { certificate, authority: authorityCertificate, definition });
      return undefined;
    }
    if (!certificate.verify(authorityCertificate.publicKey)) return 'it was signed by another authority';
    const remainingMs = Date.parse(certificate.validTo) - this.#nowMs;
    const authorityRemainingMs = Date.parse(authorityCertificate.validTo) - this.#nowMs;
    if (remainingMs <= 0) return `it expired on ${certificate.validTo}`;
    // Issued while this machine's clock was ahead.
    if (Date.parse(certificate.validFrom) > this.#nowMs)
      return `it is not valid before ${certificate.validFrom}`;
    const { jitter, prefix = '' } = this.#options;
    const isDue = this.#nowMs >= renewalTimeMs(certificate, { name: `${prefix}${name}`, jitter });
    if (isDue && remainingMs < authorityRemainingMs - 1000) return `it ends on ${certificate.validTo}`;
    const subject = readSubject(certificate);
    if (subject.commonName !== definition.subject.commonName)
      return `it is for ${subject.commonName}, not ${definition.subject.commonName}`;
    if ((subject.organizations ?? []).join('\n') !== (definition.subject.organizations ?? []).join('\n'))
      return 'its groups changed';
    return missingName(certificate, definition.altNames);
  }

  #warnOfForeign(
    name: string,
    {
      certificate,
      authority,
      definition,
    }: {
      readonly certificate: X509Certificate;
      readonly authority: X509Certificate;
      readonly definition: LeafDefinition;
    },
  ): void {
    const path = this.#path(name, 'crt');
    const ownWay = `remove ${path} and ${this.#path(name, 'key')} to have them made by the cluster`;
    if (!certificate.verify(authority.publicKey))
      this.#warn({
        key: `${path} is foreign`,
        message: `${path} is not signed by ${this.#path('ca', 'crt')}: it is used as it is, and clients must know its authority; or ${ownWay}`,
      });
    const lacks = missingName(certificate, definition.altNames);
    if (lacks !== undefined)
      this.#warn({
        key: `${path} ${lacks}`,
        message: `${path} is not the cluster's own and stays as it is, but ${lacks.replace('lacked', 'lacks')}: add these names, or ${ownWay}`,
      });
    this.#warn(
      endWarning(certificate, { path, nowMs: this.#nowMs, todo: `put a new one there, or ${ownWay}` }),
    );
  }

  #warn(warning: PkiWarning | undefined): void {
    if (warning) this.warnings.push(warning);
  }

  #noteEnd(name: string, { certificatePem }: Authority): void {
    const notAfterMs = Date.parse(new X509Certificate(certificatePem).validTo);
    this.#ends.push({ name: `${this.#options.prefix ?? ''}${name}`, notAfterMs });
  }

  async #checkMode(name: string): Promise<void> {
    const path = this.#path(name, 'key');
    const { mode } = await stat(path);
    if ((mode & OTHERS) === 0) return;
    this.#warn({
      key: `${path} is open`,
      message: `${path} may be read or written by others (mode ${(mode & 0o777).toString(8)}): its reader controls the cluster. Correct it with: chmod 600 ${path}`,
    });
  }

  /** A leaf can always be reissued. */
  #orAnew(name: string): string {
    return `${FROM_A_COPY}, or remove ${this.#path(name, 'crt')} and ${this.#path(name, 'key')} to have new ones made`;
  }

  #parseCertificate(path: string, pem: string, wayOut = FROM_A_COPY): X509Certificate {
    try {
      return new X509Certificate(pem);
    } catch (error) {
      throw new PkiError('unreadable', path, `${path} is damaged (no PEM certificate): ${wayOut}`, {
        cause: error,
      });
    }
  }

  #parseKey(name: string, pem: string, wayOut = FROM_A_COPY): KeyObject {
    const path = this.#path(name, 'key');
    let key: KeyObject;
    try {
      key = createPrivateKey(pem);
    } catch (error) {
      throw new PkiError('unreadable', path, `${path} is damaged (no private key in PEM): ${wayOut}`, {
        cause: error,
      });
    }
    if (!signsForItself(key))
      throw new PkiError(
        'unreadable',
        path,
        `${path} is damaged (what it signs does not verify with its own public key): ${wayOut}`,
      );
    return key;
  }

  #checkPair(name: string, certificate: X509Certificate, key: KeyObject): void {
    if (!certificate.checkPrivateKey(key))
      throw new PkiError(
        'mismatched',
        this.#path(name, 'crt'),
        `${this.#path(name, 'crt')} does not belong to ${this.#path(name, 'key')}`,
      );
  }

  async #read(
    name: string,
  ): Promise<{ readonly certificatePem: string | undefined; readonly keyPem: string | undefined }> {
    const [certificatePem, keyPem] = await Promise.all([
      readIfPresent(this.#path(name, 'crt')),
      readIfPresent(this.#path(name, 'key')),
    ]);
    if (keyPem !== undefined) await this.#checkMode(name);
    return { certificatePem, keyPem };
  }

  async #write(name: string, pair: KeyPair, keyIsThere = false): Promise<void> {
    if (!keyIsThere) await this.#writeFile(name, 'key', pair.keyPem);
    await this.#writeFile(name, 'crt', pair.certificatePem);
  }

  async #writeFile(name: string, extension: 'crt' | 'key' | 'pub', content: string): Promise<void> {
    const path = this.#path(name, extension);
    await writeFileAtomically(path, content, extension === 'key' ? PRIVATE_MODE : PUBLIC_MODE);
    this.#written.add(dirname(path));
  }

  async sync(): Promise<void> {
    await Promise.all([...this.#written].map(syncDirectory));
  }

  #path(name: string, extension: 'crt' | 'key' | 'pub'): string {
    return join(this.#dir, `${name}.${extension}`);
  }
}

/** Permissions of group and others. */
const OTHERS = 0o077;
