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
 * Authorities and sa.key are the user's where they exist (an RSA CA made elsewhere is fine); one that is damaged, expired, or missing though
 * the cluster has run before stops the start with a sentence that names the file, since making a new one would break everything signed by
 * it. Leaves are cheap: one that is absent, of another authority, for other names, or at two thirds of its life is reissued; only a
 * serving certificate that an administrator has put there stays. A key file is written and synced before its
 * certificate, so that a crash leaves at most a key without certificate, which the next start completes.
 */
import { join } from 'node:path';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { splitAltNames, type AltNames, type Subject } from '#pki/names.ts';
import { PkiFolder, type CertificateEnd } from './pki-folder.ts';
import { LEAF_LIFETIME_MS, type Jitter, type PkiWarning } from './validity.ts';

export { PkiError } from './checks.ts';

/** The group kubeadm's admin certificate carries since 1.29; bound to cluster-admin by a ClusterRoleBinding of the same name. */
export const CLUSTER_ADMINS_GROUP = 'kubeadm:cluster-admins';

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
  /** Whether missing authorities and signing keys are created: not for an existing cluster. Default true. */
  readonly mayCreate?: boolean;
  /** Default: by name. */
  readonly jitter?: Jitter;
  /** Earlier contents, of a running cluster: used in place of a file damaged since, with a warning and without blocking others. */
  readonly known?: Pki | undefined;
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
  /** Files written by this start, one clause each: 'issued apiserver.crt: it lacked 10.0.0.7'. */
  readonly changes: readonly string[];
  readonly warnings: readonly PkiWarning[];
  readonly ends: readonly CertificateEnd[];
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

/** Like Promise.all, but waits for all and rejects with the first error in the list's order: the named file must not depend on timing. */
async function firstFailure<T extends readonly unknown[]>(
  work: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as unknown as T;
}

/** Creates missing files, checks existing ones. Idempotent; throws PkiError for problems that need an administrator. */
export async function ensurePki(options: PkiOptions): Promise<Pki> {
  const { known } = options;
  const folder = new PkiFolder(options);
  const orKnown = <T>(work: Promise<T>, before: T | undefined): Promise<T> =>
    before === undefined ? work : work.catch((error: unknown) => folder.useInstead(error, before));
  const [ca, frontProxyCa, serviceAccountKey] = await firstFailure([
    orKnown(folder.authority('ca', 'kubernetes'), known?.ca),
    orKnown(folder.authority('front-proxy-ca', 'front-proxy-ca'), known?.frontProxyCa),
    orKnown(folder.signingKey('sa'), known?.serviceAccountKey),
  ]);
  const names = Object.keys(CLIENTS) as ClientName[];
  const serving = folder.leaf('apiserver', ca, {
    subject: { commonName: 'kube-apiserver' },
    usages: ['serverAuth'],
    altNames: apiServerAltNames(options.apiServer),
    mayBeForeign: true,
  });
  const [apiServer, ...clients] = await firstFailure([
    orKnown(serving, known?.apiServer),
    ...names.map((name) => {
      const authority = CLIENTS[name].authority ? frontProxyCa : ca;
      const leaf = folder.leaf(name, authority, { subject: CLIENTS[name], usages: ['clientAuth'] });
      return orKnown(leaf, known?.clients[name]);
    }),
  ]);
  await folder.sync();
  return {
    dir: options.dir,
    ca,
    frontProxyCa,
    apiServer: apiServer!,
    serviceAccountKey,
    changes: folder.changes,
    warnings: folder.warnings,
    ends: folder.ends,
    clients: Object.fromEntries(names.map((name, index) => [name, clients[index]])) as Record<
      ClientName,
      KeyPair
    >,
  };
}

interface NodeCertificates extends Pick<Pki, 'changes' | 'warnings' | 'ends'> {
  readonly client: KeyPair;
  readonly serving: KeyPair;
}

/** A node's client certificate (user system:node:NAME) and its kubelet's serving certificate, stored under nodes/NAME. */
export async function ensureNodeCertificates(
  pki: Pick<Pki, 'dir' | 'ca'>,
  options: {
    readonly nodeName: string;
    readonly addresses: readonly string[];
    readonly nowMs: number;
    readonly jitter?: Jitter | undefined;
  },
): Promise<NodeCertificates> {
  const { nodeName, nowMs, jitter } = options;
  const folder = new PkiFolder({
    dir: join(pki.dir, 'nodes', nodeName),
    prefix: `nodes/${nodeName}/`,
    nowMs,
    jitter,
  });
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
  const { changes, warnings, ends } = folder;
  return { client, serving, changes, warnings, ends };
}

/** A client certificate for any user, not stored on disk (`capstan user create`, tests). */
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
