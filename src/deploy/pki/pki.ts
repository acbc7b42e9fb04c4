/**
 * The cluster's keys and certificates on disk, in kubeadm's layout: made at the first start, kept and checked afterwards.
 *
 *   DIR/ca.{crt,key}  DIR/front-proxy-ca.{crt,key}          authorities (10 years; never replaced by us)
 *   DIR/apiserver.{crt,key}                                 serving certificate
 *   DIR/apiserver-kubelet-client, front-proxy-client        what the API server shows to kubelets and to extension API servers
 *   DIR/admin, super-admin, controller-manager, scheduler, kube-proxy    client certificates for kubeconfigs
 *   DIR/nodes/NAME/kubelet-client, kubelet                  a node's client and serving certificates
 *   DIR/sa.{key,pub}                                        signs service account tokens
 *
 * Authorities and sa.key are the user's where they exist (an RSA CA made elsewhere is fine); a damaged or expired one stops the start
 * with a sentence that names the file, since making a new one would break everything signed by it. Leaves are cheap: one that is
 * absent, of another authority, for other names, or near its end is issued anew. A key file is written and synced before its
 * certificate, so that a crash leaves at most a key without certificate, which the next start completes.
 */
import { createPrivateKey, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import {
  altNamesOf,
  canonicalIp,
  createAuthority,
  generateKeyPem,
  issueCertificate,
  publicKeyPem,
  subjectOf,
} from './certificate.ts';
import type { AltNames, ExtendedKeyUsage, KeyPair, Subject } from './certificate.ts';
import { PRIVATE_MODE, PUBLIC_MODE, readIfPresent, syncDirectory, writeFileAtomically } from './files.ts';

const DAY_MS = 86_400_000;
/** kubeadm's lifetimes. */
const AUTHORITY_LIFETIME_MS = 3650 * DAY_MS;
const LEAF_LIFETIME_MS = 365 * DAY_MS;
/** A leaf with less than this left is issued anew: a quarter of its life, so that a cluster restarted each season never meets an expired one. */
export const RENEW_BEFORE_MS = 90 * DAY_MS;

/** The group kubeadm's admin certificate carries since 1.29; bound to cluster-admin by a ClusterRoleBinding of the same name. */
export const CLUSTER_ADMINS_GROUP = 'kubeadm:cluster-admins';

const FROM_A_COPY = 'restore it from a copy';

export class PkiError extends Error {
  /** unreadable: damaged or not readable · expired · mismatched: certificate and key do not belong together · incomplete: a part is missing. */
  readonly code: 'unreadable' | 'expired' | 'mismatched' | 'incomplete';
  readonly path: string;
  constructor(code: PkiError['code'], path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PkiError';
    this.code = code;
    this.path = path;
  }
}

export interface PkiOptions {
  /** The pki folder itself: DATA/pki. */
  readonly dir: string;
  readonly apiServer: {
    readonly hostName: string;
    /** The ClusterIP of service default/kubernetes. */
    readonly serviceIP: string;
    /** Default 'cluster.local'. */
    readonly clusterDomain?: string;
    /** Addresses clients reach the API server by; 127.0.0.1 and ::1 are always in. */
    readonly bindAddresses: readonly string[];
    /** More DNS names or IP addresses. */
    readonly extraSANs?: readonly string[];
  };
  readonly nowMs: number;
}

type ClientName =
  | 'admin'
  | 'super-admin'
  | 'controller-manager'
  | 'scheduler'
  | 'kube-proxy'
  | 'apiserver-kubelet-client'
  | 'front-proxy-client';

export interface Pki {
  readonly dir: string;
  readonly ca: KeyPair;
  readonly frontProxyCa: KeyPair;
  readonly apiServer: KeyPair;
  readonly clients: Readonly<Record<ClientName, KeyPair>>;
  readonly serviceAccountKey: { readonly keyPem: string; readonly publicKeyPem: string };
  /** What this start wrote, one clause each: 'issued apiserver.crt: it lacked 10.0.0.7'. */
  readonly changes: readonly string[];
}

interface ClientDefinition extends Subject {
  readonly authority?: 'front-proxy';
}

/**
 * The admin's group follows kubeadm ≥ 1.29: its power comes from an RBAC binding, so a leaked admin kubeconfig can be shut out by
 * deleting that binding. super-admin is the break-glass certificate: system:masters is never asked RBAC and cannot be revoked.
 */
const CLIENTS: Readonly<Record<ClientName, ClientDefinition>> = {
  admin: { commonName: 'kubernetes-admin', organizations: [CLUSTER_ADMINS_GROUP] },
  'super-admin': { commonName: 'kubernetes-super-admin', organizations: ['system:masters'] },
  'controller-manager': { commonName: 'system:kube-controller-manager' },
  scheduler: { commonName: 'system:kube-scheduler' },
  'kube-proxy': { commonName: 'system:kube-proxy', organizations: ['system:node-proxier'] },
  // Bound to system:kubelet-api-admin and to nothing else: it is shown to every node.
  'apiserver-kubelet-client': { commonName: 'kube-apiserver-kubelet-client' },
  'front-proxy-client': { commonName: 'front-proxy-client', authority: 'front-proxy' },
};

/** As Promise.all, but waits for all and fails with the first in the list's order: which file is named must not depend on what was read first. */
async function firstFailure<T extends readonly unknown[]>(
  work: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as unknown as T;
}

/** Makes what is missing, checks what is there. Idempotent; throws PkiError for what only a human may repair. */
export async function ensurePki(options: PkiOptions): Promise<Pki> {
  const folder = new PkiFolder(options.dir, options.nowMs);
  const [ca, frontProxyCa, serviceAccountKey] = await firstFailure([
    folder.authority('ca', 'kubernetes'),
    folder.authority('front-proxy-ca', 'front-proxy-ca'),
    folder.signingKey('sa'),
  ]);
  const names = Object.keys(CLIENTS) as ClientName[];
  const [apiServer, ...clients] = await firstFailure([
    folder.leaf('apiserver', ca, {
      subject: { commonName: 'kube-apiserver' },
      usages: ['serverAuth'],
      altNames: apiServerAltNames(options.apiServer),
    }),
    ...names.map((name) =>
      folder.leaf(name, CLIENTS[name].authority ? frontProxyCa : ca, {
        subject: CLIENTS[name],
        usages: ['clientAuth'],
      }),
    ),
  ]);
  await folder.sync();
  return {
    dir: options.dir,
    ca,
    frontProxyCa,
    apiServer: apiServer!,
    serviceAccountKey,
    changes: folder.changes,
    clients: Object.fromEntries(names.map((name, index) => [name, clients[index]])) as Record<
      ClientName,
      KeyPair
    >,
  };
}

interface NodeCertificates {
  readonly client: KeyPair;
  readonly serving: KeyPair;
}

/** A node's client certificate (user system:node:NAME) and its kubelet's serving certificate, kept under nodes/NAME. */
export async function ensureNodeCertificates(
  pki: Pick<Pki, 'dir' | 'ca'>,
  options: { readonly nodeName: string; readonly addresses: readonly string[]; readonly nowMs: number },
): Promise<NodeCertificates> {
  const folder = new PkiFolder(join(pki.dir, 'nodes', options.nodeName), options.nowMs);
  const identity: Subject = {
    commonName: `system:node:${options.nodeName}`,
    organizations: ['system:nodes'],
  };
  const [client, serving] = await Promise.all([
    folder.leaf('kubelet-client', pki.ca, { subject: identity, usages: ['clientAuth'] }),
    folder.leaf('kubelet', pki.ca, {
      subject: identity,
      usages: ['serverAuth'],
      altNames: splitAltNames([options.nodeName, ...options.addresses]),
    }),
  ]);
  await folder.sync();
  return { client, serving };
}

/** A client certificate for any user, not kept on disk (`capstan user create`, tests). */
export function issueClientCertificate(
  pki: Pki,
  options: { readonly subject: Subject; readonly nowMs: number; readonly lifetimeMs?: number },
): KeyPair {
  return issueCertificate(pki.ca, {
    subject: options.subject,
    usages: ['clientAuth'],
    nowMs: options.nowMs,
    lifetimeMs: options.lifetimeMs ?? LEAF_LIFETIME_MS,
  });
}

function apiServerAltNames(server: PkiOptions['apiServer']): AltNames {
  const domain = server.clusterDomain ?? 'cluster.local';
  const unspecified = new Set(['0.0.0.0', '::', '']);
  return splitAltNames([
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${domain}`,
    'localhost',
    server.hostName,
    server.serviceIP,
    '127.0.0.1',
    '::1',
    ...server.bindAddresses.filter((address) => !unspecified.has(address)),
    ...(server.extraSANs ?? []),
  ]);
}

function splitAltNames(names: readonly string[]): AltNames {
  const unique = [...new Set(names.filter((name) => name !== ''))];
  return {
    dnsNames: unique.filter((name) => isIP(name) === 0),
    ipAddresses: unique.filter((name) => isIP(name) !== 0),
  };
}

interface LeafDefinition {
  readonly subject: Subject;
  readonly usages: readonly ExtendedKeyUsage[];
  readonly altNames?: AltNames;
}

class PkiFolder {
  readonly changes: string[] = [];
  readonly #dir: string;
  readonly #nowMs: number;
  readonly #written = new Set<string>();

  constructor(dir: string, nowMs: number) {
    this.#dir = dir;
    this.#nowMs = nowMs;
  }

  async authority(name: string, commonName: string): Promise<KeyPair> {
    const { certificatePem, keyPem } = await this.#read(name);
    if (certificatePem === undefined) {
      if (keyPem !== undefined) this.#parseKey(name, keyPem);
      const made = createAuthority({
        commonName,
        nowMs: this.#nowMs,
        lifetimeMs: AUTHORITY_LIFETIME_MS,
        ...(keyPem === undefined ? {} : { keyPem }),
      });
      await this.#write(name, made);
      this.changes.push(`made ${name}.crt`);
      return made;
    }
    if (keyPem === undefined)
      throw new PkiError(
        'incomplete',
        this.#path(name, 'key'),
        `${this.#path(name, 'crt')} is there but its key ${this.#path(name, 'key')} is missing: put the key back, or remove the certificate to have a new authority made`,
      );
    this.#checkAuthority(name, { certificatePem, keyPem });
    return { certificatePem, keyPem };
  }

  #checkAuthority(name: string, pair: KeyPair): void {
    const path = this.#path(name, 'crt');
    const certificate = this.#parseCertificate(path, pair.certificatePem);
    this.#checkPair(name, certificate, this.#parseKey(name, pair.keyPem));
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
  }

  /** sa.pub may hold more keys than sa.key's (old ones during a rotation): it is kept as long as it contains the signing key's. */
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
    const keyPem = existing ?? generateKeyPem();
    this.#parseKey(name, keyPem);
    if (existing === undefined) await this.#writeFile(name, 'key', keyPem);
    const publicPem = publicKeyPem(keyPem);
    if (existingPublic === undefined) {
      await this.#writeFile(name, 'pub', publicPem);
      this.changes.push(`made ${name}.pub`);
      return { keyPem, publicKeyPem: publicPem };
    }
    if (!splitPem(existingPublic).some((text) => samePublicKey(this.#path(name, 'pub'), text, keyPem))) {
      throw new PkiError(
        'mismatched',
        this.#path(name, 'pub'),
        `${this.#path(name, 'pub')} does not hold the public key of ${this.#path(name, 'key')}`,
      );
    }
    return { keyPem, publicKeyPem: existingPublic };
  }

  async leaf(name: string, authority: KeyPair, definition: LeafDefinition): Promise<KeyPair> {
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
      if (why === undefined) return { certificatePem, keyPem };
      this.changes.push(`issued ${name}.crt anew: ${why}`);
    } else {
      this.changes.push(`issued ${name}.crt`);
    }
    const made = issueCertificate(authority, {
      ...definition,
      nowMs: this.#nowMs,
      lifetimeMs: LEAF_LIFETIME_MS,
      ...(keyPem === undefined ? {} : { keyPem }),
    });
    await this.#write(name, made, keyPem !== undefined);
    return made;
  }

  #reasonToReissue(
    name: string,
    pair: KeyPair,
    { authority, definition }: { readonly authority: KeyPair; readonly definition: LeafDefinition },
  ): string | undefined {
    const certificate = this.#parseCertificate(
      this.#path(name, 'crt'),
      pair.certificatePem,
      this.#orAnew(name),
    );
    this.#checkPair(name, certificate, this.#parseKey(name, pair.keyPem));
    const authorityCertificate = new X509Certificate(authority.certificatePem);
    if (!certificate.verify(authorityCertificate.publicKey)) return 'it was signed by another authority';
    const remainingMs = Date.parse(certificate.validTo) - this.#nowMs;
    const authorityRemainingMs = Date.parse(authorityCertificate.validTo) - this.#nowMs;
    if (remainingMs <= 0) return `it expired on ${certificate.validTo}`;
    if (remainingMs < RENEW_BEFORE_MS && remainingMs < authorityRemainingMs - 1000)
      return `it ends on ${certificate.validTo}`;
    const subject = subjectOf(certificate);
    if (subject.commonName !== definition.subject.commonName)
      return `it is for ${subject.commonName}, not ${definition.subject.commonName}`;
    if ((subject.organizations ?? []).join('\n') !== (definition.subject.organizations ?? []).join('\n'))
      return 'its groups changed';
    return missingName(certificate, definition.altNames);
  }

  /** A leaf can always be made anew. */
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
    try {
      return createPrivateKey(pem);
    } catch (error) {
      throw new PkiError('unreadable', path, `${path} is damaged (no private key in PEM): ${wayOut}`, {
        cause: error,
      });
    }
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

function missingName(certificate: X509Certificate, wanted: AltNames | undefined): string | undefined {
  if (!wanted) return undefined;
  const has = altNamesOf(certificate);
  const missing = [
    ...wanted.dnsNames.filter((name) => !has.dnsNames.includes(name)),
    ...wanted.ipAddresses.filter((address) => !has.ipAddresses.includes(canonicalIp(address))),
  ];
  return missing.length > 0 ? `it lacked ${missing.join(', ')}` : undefined;
}

/** The PEM blocks of a file. */
function splitPem(text: string): string[] {
  return text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
}

function samePublicKey(path: string, pem: string, keyPem: string): boolean {
  try {
    return createPublicKey(pem).equals(createPublicKey(keyPem));
  } catch (error) {
    throw new PkiError('unreadable', path, `${path} is not a public key in PEM: ${(error as Error).message}`);
  }
}
