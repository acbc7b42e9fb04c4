/**
 * Requests for an external authority: a key and a signing request beside each certificate's path, as kubeadm's `certs generate-csr`. The signed certificate
 * is stored as NAME.crt (of a kubeconfig: NAME.conf.crt, which `certs renew` embeds). Existing keys are kept.
 */
import { X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { generateKeyPem, parsePrivateKey, type KeyAlgorithm } from '#pki/keys.ts';
import type { AltNames, Subject } from '#pki/names.ts';
import { altNamesOf, readSubject } from '#pki/read.ts';
import { createRequest } from '#pki/request.ts';
import { UserError } from '../data-dir.ts';
import { PkiError } from '../pki/checks.ts';
import { PRIVATE_MODE, PUBLIC_MODE, readIfPresent, writeFileAtomically } from '../pki/files.ts';
import { kubeadmCertificates, type CertificateFile } from './certificate-files.ts';
import {
  altNamesFor,
  certificatesFor,
  KUBECONFIGS,
  type KubeconfigEntry,
  type LeafEntry,
  type MachineNames,
} from './certificate-list.ts';

interface RequestOptions {
  readonly certDir: string;
  readonly kubeconfigDir: string;
  /** For missing certificates; a request for an existing one has its names. */
  readonly names: MachineNames;
  readonly algorithm?: KeyAlgorithm | undefined;
  readonly externalEtcd?: boolean | undefined;
}

/** Paths of the requests. Throws a UserError for a damaged file, which is kept. */
export async function generateRequests(options: RequestOptions): Promise<readonly string[]> {
  const { names, externalEtcd, certDir, kubeconfigDir } = options;
  const { files } = kubeadmCertificates(options);
  const leaves = certificatesFor({ externalEtcd }).filter((entry) => entry.kind === 'leaf');
  const paths = [];
  for (const entry of leaves) {
    const base = join(certDir, entry.name);
    paths.push(
      await request({ ...options, ...leafRequest(entry, names), base, file: fileAt(files, `${base}.crt`) }),
    );
  }
  for (const entry of KUBECONFIGS) {
    const base = join(kubeconfigDir, `${entry.name}.conf`);
    paths.push(
      await request({ ...options, ...kubeconfigRequest(entry, names), base, file: fileAt(files, base) }),
    );
  }
  return paths;
}

interface Names {
  readonly subject: Subject;
  readonly altNames?: AltNames | undefined;
}

function leafRequest(entry: LeafEntry, names: MachineNames): Names {
  return { subject: entry.subject(names), altNames: altNamesFor(entry, names) };
}

function kubeconfigRequest(entry: KubeconfigEntry, names: MachineNames): Names {
  return { subject: entry.subject(names) };
}

function fileAt(files: readonly CertificateFile[], path: string): CertificateFile | undefined {
  return files.find((file) => file.path === path);
}

interface OneRequest extends Names {
  /** Without extension: the request goes to BASE.csr, a new key to BASE.key. */
  readonly base: string;
  readonly file: CertificateFile | undefined;
  readonly algorithm?: KeyAlgorithm | undefined;
}

async function request({ base, file, algorithm, ...wanted }: OneRequest): Promise<string> {
  const path = `${base}.csr`;
  try {
    const found = await file?.read();
    const keyPem = found?.keyPem ?? (await keyAt(`${base}.key`, algorithm));
    const names = found?.certificatePem === undefined ? wanted : namesOf(found.certificatePem);
    await writeFileAtomically(path, createRequest({ keyPem, ...names }), PUBLIC_MODE);
  } catch (error) {
    throw error instanceof PkiError ? new UserError(`${error.message}.`, error) : error;
  }
  return path;
}

function namesOf(pem: string): Names {
  const certificate = new X509Certificate(pem);
  return { subject: readSubject(certificate), altNames: altNamesOf(certificate) };
}

async function keyAt(path: string, algorithm: KeyAlgorithm | undefined): Promise<string> {
  const known = await readIfPresent(path);
  if (known !== undefined) {
    parsed(path, known);
    return known;
  }
  const keyPem = generateKeyPem(algorithm);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomically(path, keyPem, PRIVATE_MODE);
  return keyPem;
}

function parsed(path: string, pem: string): void {
  try {
    parsePrivateKey(pem);
  } catch (error) {
    throw new UserError(`${path} is damaged: it should hold a private key in PEM.`, error);
  }
}
