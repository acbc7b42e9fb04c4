/**
 * A machine's certificate files in either layout: kubeadm's (/etc/kubernetes/pki with the kubeconfigs beside it) or a data directory's. Reads and writes
 * them; validation and renewal are elsewhere.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import type { KeyPair } from '#pki/certificate.ts';
import { signsForItself } from '#pki/keys.ts';
import { signerFirst } from '#pki/signer.ts';
import { dataDir } from '../data-dir.ts';
import { PkiError } from '../pki/checks.ts';
import {
  PRIVATE_MODE,
  PUBLIC_MODE,
  readIfPresent,
  syncDirectory,
  writeFileAtomically,
} from '../pki/files.ts';
import { CERTIFICATES, certificatesFor, KUBECONFIGS, partName } from './certificate-list.ts';

/** PEM. A certificate without a key belongs to an external authority; a key without a certificate has a pending request. */
export interface FoundPair {
  readonly certificatePem?: string | undefined;
  readonly keyPem?: string | undefined;
}

export interface CertificateFile {
  /** As kubeadm prints it: 'apiserver', 'etcd-ca', 'admin.conf'. */
  readonly name: string;
  readonly kind: 'authority' | 'leaf' | 'kubeconfig';
  /** Of the certificate. */
  readonly path: string;
  /** The name of the authority that signs it; absent for authorities. */
  readonly authority?: string | undefined;
  /** The existing pair; undefined where there is none, or its credentials are in files of their own. Throws PkiError for a damaged one. */
  read(): Promise<FoundPair | undefined>;
  /** Atomically, the key first. */
  write(pair: KeyPair): Promise<void>;
  /** For an existing kubeconfig, wherever its credentials are: its authorities from now on. */
  writeAuthority?(caPem: string): Promise<void>;
}

export interface CertificateSet {
  /** The pki folder. */
  readonly dir: string;
  readonly files: readonly CertificateFile[];
}

interface KubeadmDirs {
  /** /etc/kubernetes/pki */
  readonly certDir: string;
  /** /etc/kubernetes */
  readonly kubeconfigDir: string;
  readonly externalEtcd?: boolean | undefined;
}

/** Entries of kubeadm's list, whether they exist or not. */
export function kubeadmCertificates({ certDir, kubeconfigDir, externalEtcd }: KubeadmDirs): CertificateSet {
  const authorityNames = new Map<string, string>(CERTIFICATES.map((entry) => [entry.name, partName(entry)]));
  return {
    dir: certDir,
    files: [
      ...certificatesFor({ externalEtcd }).flatMap((entry) => {
        if (entry.kind === 'signing-key') return [];
        const authority = entry.kind === 'leaf' ? authorityNames.get(entry.authority) : undefined;
        return [pairFile(join(certDir, entry.name), { name: partName(entry), authority })];
      }),
      ...KUBECONFIGS.map(({ name }) => kubeconfigFile(join(kubeconfigDir, `${name}.conf`))),
    ],
  };
}

const LEAVES = [
  'apiserver',
  'apiserver-kubelet-client',
  'admin',
  'super-admin',
  'controller-manager',
  'scheduler',
  'kube-proxy',
] as const;

/** Entries of a data directory: the lists of pki.ts and component-kubeconfigs.ts; nodes and kubeconfigs are those that exist. */
export async function dataDirCertificates(path: string): Promise<CertificateSet> {
  const { pki, kubeconfig, kubeconfigs } = dataDir(path);
  const at = (name: string, authority?: string): CertificateFile =>
    pairFile(join(pki, name), { name, authority });
  const nodeFiles = (await namesIn(join(pki, 'nodes'))).flatMap((node) =>
    ['kubelet-client', 'kubelet'].map((file) => at(`nodes/${node}/${file}`, 'ca')),
  );
  const configs = (await namesIn(kubeconfigs)).filter((name) => name.endsWith('.kubeconfig'));
  return {
    dir: pki,
    files: [
      at('ca'),
      ...LEAVES.map((name) => at(name, 'ca')),
      at('front-proxy-ca'),
      at('front-proxy-client', 'front-proxy-ca'),
      ...nodeFiles,
      kubeconfigFile(kubeconfig),
      ...configs.map((name) => kubeconfigFile(join(kubeconfigs, name))),
    ],
  };
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function pairFile(
  base: string,
  { name, authority }: { readonly name: string; readonly authority: string | undefined },
): CertificateFile {
  const path = `${base}.crt`;
  const keyPath = `${base}.key`;
  return {
    name,
    kind: authority === undefined ? 'authority' : 'leaf',
    path,
    authority,
    async read() {
      const [certificatePem, keyPem] = await Promise.all([readIfPresent(path), readIfPresent(keyPath)]);
      if (certificatePem === undefined && keyPem === undefined) return undefined;
      const key = checkPair({ certificatePem, keyPem }, { path, keyPath });
      return {
        certificatePem: certificatePem && key ? signerFirst(certificatePem, key) : certificatePem,
        keyPem,
      };
    },
    async write({ certificatePem, keyPem }) {
      if ((await readIfPresent(keyPath)) !== keyPem) await writeFileAtomically(keyPath, keyPem, PRIVATE_MODE);
      await writeFileAtomically(path, certificatePem, PUBLIC_MODE);
      await syncDirectory(dirname(path));
    },
  };
}

/** The key. */
function checkPair(
  { certificatePem: bundle, keyPem }: FoundPair,
  { path, keyPath }: { readonly path: string; readonly keyPath: string },
): KeyObject | undefined {
  const key = keyPem === undefined ? undefined : parsed(keyPath, () => createPrivateKey(keyPem));
  const certificate =
    bundle === undefined
      ? undefined
      : parsed(path, () => new X509Certificate(key ? signerFirst(bundle, key) : bundle));
  if (key && !signsForItself(key)) throw damaged(keyPath);
  if (certificate && key && !certificate.checkPrivateKey(key))
    throw new PkiError('mismatched', path, `${path} does not belong to ${keyPath}`);
  return key;
}

function parsed<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw damaged(path, error);
  }
}

function damaged(path: string, cause?: unknown): PkiError {
  return new PkiError('unreadable', path, `${path} is damaged: restore it from a copy`, { cause });
}

/** A kubeconfig with its certificate in it. Only the values change, so that the rest of the file stays as it was written. */
function kubeconfigFile(path: string): CertificateFile {
  const read = async (): Promise<(FoundPair & { readonly text: string }) | undefined> => {
    const text = await readIfPresent(path);
    if (text === undefined) return undefined;
    const { cert, key } = parsed(path, () => resolveContext(loadKubeconfig({ path })).options);
    if (cert === undefined && key === undefined) return undefined;
    const found = { certificatePem: textOf(cert), keyPem: textOf(key) };
    checkPair(found, { path, keyPath: path });
    return { ...found, text };
  };
  const replace = async (next: KeyPair): Promise<void> => {
    const found = await read();
    if (!found) throw new PkiError('missing', path, `${path} has no certificate in it`);
    const text = (['keyPem', 'certificatePem'] as const).reduce(
      (written, part) => replaced(written, { path, from: found[part], to: next[part] }),
      found.text,
    );
    await writeFileAtomically(path, text, PRIVATE_MODE);
    await syncDirectory(dirname(path));
  };
  return {
    name: basename(path),
    kind: 'kubeconfig',
    path,
    authority: 'ca',
    read,
    write: replace,
    writeAuthority: (caPem) => writeKubeconfigAuthority(path, caPem),
  };
}

/** Sets a kubeconfig's authorities, inline or in the file it names. Does nothing without the file, or without an authority in it. */
export async function writeKubeconfigAuthority(path: string, caPem: string): Promise<void> {
  const text = await readIfPresent(path);
  if (text === undefined) return;
  const { ca, caFile } = parsed(path, () => resolveContext(loadKubeconfig({ path })).options);
  if (caFile !== undefined) await writeFileAtomically(caFile, caPem, PUBLIC_MODE);
  if (ca === undefined || String(ca) === caPem) return;
  await writeFileAtomically(path, replaced(text, { path, from: String(ca), to: caPem }), PRIVATE_MODE);
  await syncDirectory(dirname(path));
}

function textOf(value: string | Buffer | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

function replaced(
  text: string,
  {
    path,
    from,
    to,
  }: { readonly path: string; readonly from: string | undefined; readonly to: string | undefined },
): string {
  if (to === undefined || from === to) return text;
  const [before, after] = [from ?? '', to].map((pem) => Buffer.from(pem).toString('base64'));
  if (from === undefined || !text.includes(before!))
    throw new PkiError(
      'unreadable',
      path,
      `${path} has its certificates in a form that is not written again (they should be base64 on one line each)`,
    );
  return text.replaceAll(before!, after!);
}
