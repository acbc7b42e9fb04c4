/**
 * DIR/kubeconfigs: one file for each component, so that any of them can run as a command of its own beside the cluster's API server.
 *
 *   controller-manager, scheduler, kube-proxy    the certificates of DIR/pki
 *   dns, simulated-nodes, node-NAME              certificates that are in these files only, renewed before they expire
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyPair } from '#pki/certificate.ts';
import { signsForItself } from '#pki/keys.ts';
import type { Subject } from '#pki/names.ts';
import { readSubject } from '#pki/read.ts';
import type { DataDir } from './data-dir.ts';
import { readIfPresent } from './pki/files.ts';
import { writeKubeconfig } from './pki/kubeconfig.ts';
import { ensureNodeCertificates, issueClientCertificate, type Pki } from './pki/pki.ts';
import type { CertificateEnd } from './pki/pki-folder.ts';
import { renewalTimeMs, type Jitter, type PkiWarning } from './pki/validity.ts';

interface ComponentKubeconfigOptions {
  /** 'https://127.0.0.1:6443' */
  readonly server: string;
  readonly pki: Pki;
  readonly nowMs: number;
  /** Whether nodes may be simulated by a command of their own. */
  readonly simulatedNodes: boolean;
  /** The real node of this machine, if any. */
  readonly node?: { readonly name: string; readonly addresses: readonly string[] };
  readonly jitter?: Jitter | undefined;
}

interface ComponentKubeconfigs extends Pick<Pki, 'changes' | 'warnings' | 'ends'> {
  /** By component. */
  readonly paths: Readonly<Record<string, string>>;
}

interface Identity {
  readonly file: string;
  readonly userName: string;
  readonly certificate: KeyPair;
}

/** Acts for any number of nodes, which no single node's identity may. */
const SIMULATED_NODES: Subject = {
  commonName: 'system:capstan:simulated-nodes',
  organizations: ['system:nodes'],
};

/** Users that have no certificate in DIR/pki. */
const ISSUED: Readonly<Record<string, Subject>> = {
  dns: {
    commonName: 'system:serviceaccount:kube-system:coredns',
    organizations: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  },
};

/** Files that are right are left alone; failures are those of the file system. */
export async function writeComponentKubeconfigs(
  dir: DataDir,
  options: ComponentKubeconfigOptions,
): Promise<ComponentKubeconfigs> {
  const { server, pki, nowMs, node, jitter } = options;
  const changes: string[] = [],
    warnings: PkiWarning[] = [],
    ends: CertificateEnd[] = [];
  const identities: Identity[] = [
    {
      file: 'controller-manager',
      userName: 'system:kube-controller-manager',
      certificate: pki.clients['controller-manager'],
    },
    { file: 'scheduler', userName: 'system:kube-scheduler', certificate: pki.clients.scheduler },
    { file: 'kube-proxy', userName: 'system:kube-proxy', certificate: pki.clients['kube-proxy'] },
  ];
  const issued = { ...ISSUED, ...(options.simulatedNodes ? { 'simulated-nodes': SIMULATED_NODES } : {}) };
  // Earlier versions wrote one for every cluster, with all rights.
  if (!options.simulatedNodes) await rm(fileOf(dir, 'simulated-nodes'), { force: true });
  for (const [file, subject] of Object.entries(issued)) {
    const name = `kubeconfigs/${file}`;
    const usable = await usableCertificate(fileOf(dir, file), { pki, subject, nowMs, name, jitter });
    const certificate = usable ?? issueClientCertificate(pki, { subject, nowMs });
    if (!usable) changes.push(`issued the certificate of ${file}.kubeconfig`);
    ends.push({ name, notAfterMs: Date.parse(new X509Certificate(certificate.certificatePem).validTo) });
    identities.push({ file, userName: subject.commonName, certificate });
  }
  if (node) {
    const made = await ensureNodeCertificates(pki, {
      nodeName: node.name,
      addresses: node.addresses,
      nowMs,
      jitter,
    });
    changes.push(...made.changes);
    warnings.push(...made.warnings);
    ends.push(...made.ends);
    identities.push({
      file: `node-${node.name}`,
      userName: `system:node:${node.name}`,
      certificate: made.client,
    });
  }
  await Promise.all(
    identities.map(({ file, userName, certificate }) =>
      writeKubeconfig(fileOf(dir, file), {
        server,
        caPem: pki.ca.certificatePem,
        clusterName: 'capstan',
        userName,
        credentials: { certificate },
      }),
    ),
  );
  const paths = Object.fromEntries(identities.map(({ file }) => [file, fileOf(dir, file)]));
  return { paths, changes, warnings, ends };
}

function fileOf(dir: DataDir, name: string): string {
  return join(dir.kubeconfigs, `${name}.kubeconfig`);
}

interface Wanted {
  readonly pki: Pki;
  readonly subject: Subject;
  readonly nowMs: number;
  readonly name: string;
  readonly jitter: Jitter | undefined;
}

/** The certificate an earlier start put into the file, when it is for this subject and authority and far from its end. */
async function usableCertificate(
  path: string,
  { pki, subject, nowMs, name, jitter }: Wanted,
): Promise<KeyPair | undefined> {
  const text = (await readIfPresent(path)) ?? '';
  const certificatePem = decoded(/client-certificate-data: (\S+)/.exec(text)?.[1]);
  const keyPem = decoded(/client-key-data: (\S+)/.exec(text)?.[1]);
  try {
    const certificate = new X509Certificate(certificatePem);
    const right =
      certificate.verify(new X509Certificate(pki.ca.certificatePem).publicKey) &&
      isSubject(readSubject(certificate), subject) &&
      nowMs < renewalTimeMs(certificate, { name, jitter });
    return right && belongs(keyPem, certificate) ? { certificatePem, keyPem } : undefined;
  } catch {
    return undefined;
  }
}

function belongs(keyPem: string, certificate: X509Certificate): boolean {
  const key = createPrivateKey(keyPem);
  return certificate.checkPrivateKey(key) && signsForItself(key);
}

function isSubject(found: Subject, wanted: Subject): boolean {
  const text = ({ commonName, organizations = [] }: Subject): string =>
    [commonName, ...organizations].join('\n');
  return text(found) === text(wanted);
}

function decoded(base64 = ''): string {
  return Buffer.from(base64, 'base64').toString();
}
