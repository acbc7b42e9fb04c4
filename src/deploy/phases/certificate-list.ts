/**
 * The certificates of a control plane in kubeadm's layout: subject, authority and file below /etc/kubernetes/pki of each. The explicit list used by
 * `init phase certs`, `certs` and the renewal. Data only; certificates.ts acts on it.
 */
import type { ExtendedKeyUsage } from '#pki/read.ts';
import { splitAltNames, type AltNames, type Subject } from '#pki/names.ts';
import { CLUSTER_ADMINS_GROUP } from '../pki/pki.ts';

/** Purposes of one machine's certificates. */
export interface MachineNames {
  readonly nodeName: string;
  readonly advertiseAddress: string;
  /** The Service default/kubernetes: the first address of each range. */
  readonly serviceAddresses: readonly string[];
  readonly dnsDomain: string;
  /** The host of controlPlaneEndpoint: a name or the floating address. */
  readonly controlPlaneHost?: string | undefined;
  /** apiServer.certSANs */
  readonly certSANs?: readonly string[] | undefined;
  readonly etcdServerSANs?: readonly string[] | undefined;
  readonly etcdPeerSANs?: readonly string[] | undefined;
}

export type AuthorityName = 'ca' | 'front-proxy-ca' | 'etcd/ca';

/** File NAME.crt and NAME.key; the part of init is certs/PART. */
interface Entry {
  readonly name: string;
  readonly short: string;
  /** Only where etcd is stacked. */
  readonly ofEtcd?: boolean;
}

interface AuthorityEntry extends Entry {
  readonly kind: 'authority';
  readonly name: AuthorityName;
  readonly commonName: string;
}

export interface LeafEntry extends Entry {
  readonly kind: 'leaf';
  readonly authority: AuthorityName;
  subject(names: MachineNames): Subject;
  readonly usages: readonly ExtendedKeyUsage[];
  altNames?(names: MachineNames): readonly string[];
}

/** Signs service account tokens; no certificate. */
interface SigningKeyEntry extends Entry {
  readonly kind: 'signing-key';
}

export type CertificateEntry = AuthorityEntry | LeafEntry | SigningKeyEntry;

export const CERTIFICATES: readonly CertificateEntry[] = [
  {
    kind: 'authority',
    name: 'ca',
    short: 'Generate the self-signed Kubernetes CA to provision identities for other Kubernetes components',
    commonName: 'kubernetes',
  },
  {
    kind: 'leaf',
    name: 'apiserver',
    short: 'Generate the certificate for serving the Kubernetes API',
    authority: 'ca',
    subject: () => ({ commonName: 'kube-apiserver' }),
    usages: ['serverAuth'],
    altNames: apiServerNames,
  },
  {
    kind: 'leaf',
    name: 'apiserver-kubelet-client',
    short: 'Generate the certificate for the API server to connect to kubelet',
    authority: 'ca',
    // In no group: the kubelet API is all that it may use, and it is shown to every node.
    subject: () => ({ commonName: 'kube-apiserver-kubelet-client' }),
    usages: ['clientAuth'],
  },
  {
    kind: 'authority',
    name: 'front-proxy-ca',
    short: 'Generate the self-signed CA to provision identities for front proxy',
    commonName: 'front-proxy-ca',
  },
  {
    kind: 'leaf',
    name: 'front-proxy-client',
    short: 'Generate the certificate for the front proxy client',
    authority: 'front-proxy-ca',
    subject: () => ({ commonName: 'front-proxy-client' }),
    usages: ['clientAuth'],
  },
  {
    kind: 'authority',
    name: 'etcd/ca',
    ofEtcd: true,
    short: 'Generate the self-signed CA to provision identities for etcd',
    commonName: 'etcd-ca',
  },
  {
    kind: 'leaf',
    name: 'etcd/server',
    ofEtcd: true,
    short: 'Generate the certificate for serving etcd',
    authority: 'etcd/ca',
    subject: ({ nodeName }) => ({ commonName: nodeName }),
    usages: ['serverAuth', 'clientAuth'],
    altNames: (names) => etcdNames(names, names.etcdServerSANs),
  },
  {
    kind: 'leaf',
    name: 'etcd/peer',
    ofEtcd: true,
    short: 'Generate the certificate for etcd nodes to communicate with each other',
    authority: 'etcd/ca',
    subject: ({ nodeName }) => ({ commonName: nodeName }),
    usages: ['serverAuth', 'clientAuth'],
    altNames: (names) => etcdNames(names, names.etcdPeerSANs),
  },
  {
    kind: 'leaf',
    name: 'etcd/healthcheck-client',
    ofEtcd: true,
    short: 'Generate the certificate for liveness probes to healthcheck etcd',
    authority: 'etcd/ca',
    subject: () => ({ commonName: 'kube-etcd-healthcheck-client' }),
    usages: ['clientAuth'],
  },
  {
    kind: 'leaf',
    name: 'apiserver-etcd-client',
    ofEtcd: true,
    short: 'Generate the certificate the apiserver uses to access etcd',
    authority: 'etcd/ca',
    subject: () => ({ commonName: 'kube-apiserver-etcd-client' }),
    usages: ['clientAuth'],
  },
  {
    kind: 'signing-key',
    name: 'sa',
    short: 'Generate a private key for signing service account tokens along with its public key',
  },
];

/** Kubeconfigs with an embedded certificate, beside the pki folder; all signed by 'ca'. */
export interface KubeconfigEntry {
  /** File NAME.conf. */
  readonly name: 'admin' | 'super-admin' | 'controller-manager' | 'scheduler' | 'kubelet' | 'dns';
  subject(names: Pick<MachineNames, 'nodeName'>): Subject;
}

export const KUBECONFIGS: readonly KubeconfigEntry[] = [
  {
    name: 'admin',
    subject: () => ({ commonName: 'kubernetes-admin', organizations: [CLUSTER_ADMINS_GROUP] }),
  },
  {
    name: 'super-admin',
    subject: () => ({ commonName: 'kubernetes-super-admin', organizations: ['system:masters'] }),
  },
  { name: 'controller-manager', subject: () => ({ commonName: 'system:kube-controller-manager' }) },
  { name: 'scheduler', subject: () => ({ commonName: 'system:kube-scheduler' }) },
  {
    name: 'kubelet',
    subject: ({ nodeName }) => ({ commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] }),
  },
  {
    name: 'dns',
    subject: () => ({
      commonName: 'system:serviceaccount:kube-system:coredns',
      organizations: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
    }),
  },
];

/** kubeadm's word for the part of init: etcd-ca for etcd/ca. */
export function partName({ name }: Pick<Entry, 'name'>): string {
  return name.replace('/', '-');
}

/** The list of a machine: without etcd's where etcd is external. */
export function certificatesFor({
  externalEtcd = false,
}: {
  readonly externalEtcd?: boolean | undefined;
}): readonly CertificateEntry[] {
  return externalEtcd ? CERTIFICATES.filter(({ ofEtcd }) => !ofEtcd) : CERTIFICATES;
}

export function altNamesFor(leaf: LeafEntry, names: MachineNames): AltNames | undefined {
  const wanted = leaf.altNames?.(names);
  return wanted && splitAltNames(wanted);
}

/** The loopback addresses are in from the first day: components of the machine come through its balancer. */
function apiServerNames(names: MachineNames): readonly string[] {
  return [
    names.nodeName,
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${names.dnsDomain}`,
    'localhost',
    ...names.serviceAddresses,
    names.advertiseAddress,
    '127.0.0.1',
    '::1',
    names.controlPlaneHost ?? '',
    ...(names.certSANs ?? []),
  ];
}

function etcdNames(
  { nodeName, advertiseAddress }: MachineNames,
  more: readonly string[] = [],
): readonly string[] {
  return [nodeName, 'localhost', advertiseAddress, '127.0.0.1', '::1', ...more];
}
