/**
 * Renews leaf certificates with their names, usages and key, as kubeadm's `certs renew`: all, the named, or the due ones. One that cannot be renewed is
 * reported with a sentence, and kept.
 */
import { X509Certificate } from 'node:crypto';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { belongsTo, isIssuedBy } from '#pki/chain.ts';
import { certificatesIn } from '#pki/pem.ts';
import { altNamesOf, readExtendedKeyUsages, readSubject } from '#pki/read.ts';
import { UserError } from '../data-dir.ts';
import { PkiError } from '../pki/checks.ts';
import { readIfPresent } from '../pki/files.ts';
import { LEAF_LIFETIME_MS, lifetimeAfter, renewalTimeMs, type Jitter } from '../pki/validity.ts';
import type { CertificateFile, CertificateSet, FoundPair } from './certificate-files.ts';

interface RenewOptions {
  readonly nowMs: number;
  /** Default a year. */
  readonly lifetimeMs?: number | undefined;
}

interface RenewResult {
  readonly renewed: readonly string[];
  /** 'admin.conf is missing': one clause each. */
  readonly skipped: readonly string[];
}

/** names: of leaves or kubeconfigs, 'etcd/server' or 'etcd-server'. Throws a UserError for one that cannot be renewed, before any is. */
export async function renewNamed(
  set: CertificateSet,
  { names, ...options }: RenewOptions & { readonly names: readonly string[] },
): Promise<RenewResult> {
  const files = names.map((name) => fileNamed(set, name));
  const steps = [];
  for (const file of files) {
    const step = await plan(set, { file, ...options });
    if (typeof step === 'string') throw new UserError(`${step}.`);
    steps.push(step);
  }
  for (const { file, renewed } of steps) await file.write(renewed());
  return { renewed: files.map(({ name }) => name), skipped: [] };
}

/** Every leaf; those that are missing, damaged, or signed elsewhere are reported and kept. */
export function renewAll(set: CertificateSet, options: RenewOptions): Promise<RenewResult> {
  return renewWhere(set, { ...options, isWanted: () => true });
}

/** Leaves at two thirds of their life (a tenth sooner or later), of a previous authority, expired ones, and those that are not valid yet. */
export function renewDue(
  set: CertificateSet,
  options: RenewOptions & { readonly jitter?: Jitter | undefined },
): Promise<RenewResult> {
  const { nowMs, jitter } = options;
  return renewWhere(set, {
    ...options,
    isWanted: (certificate, { name, authority }) =>
      !isIssuedBy(certificate, authority) ||
      // Issued while this machine's clock was ahead.
      nowMs < certificate.validFromDate.getTime() ||
      nowMs >= renewalTimeMs(certificate, { name, jitter }),
  });
}

/** Those that are not valid now. */
export function renewInvalid(set: CertificateSet, options: RenewOptions): Promise<RenewResult> {
  const { nowMs } = options;
  return renewWhere(set, {
    ...options,
    isWanted: ({ validFromDate, validToDate }) =>
      nowMs < validFromDate.getTime() || nowMs >= validToDate.getTime(),
  });
}

interface Wanted extends RenewOptions {
  readonly isWanted: (
    certificate: X509Certificate,
    about: { readonly name: string; readonly authority: X509Certificate },
  ) => boolean;
}

async function renewWhere(set: CertificateSet, { isWanted, ...options }: Wanted): Promise<RenewResult> {
  const renewed: string[] = [];
  const skipped: string[] = [];
  for (const file of set.files) {
    if (file.kind === 'authority') continue;
    const step = await plan(set, { file, ...options }).catch(asReason);
    if (typeof step === 'string') skipped.push(step);
    else if (isWanted(step.certificate, { name: file.name, authority: step.authority })) {
      await file.write(step.renewed());
      renewed.push(file.name);
    }
  }
  return { renewed, skipped };
}

/** A damaged file holds up no other. */
function asReason(error: unknown): string {
  if (error instanceof UserError) return error.message.replace(/\.$/, '');
  throw error;
}

function fileNamed(set: CertificateSet, name: string): CertificateFile {
  const file = set.files.find((other) => other.name === name || other.name === name.replace('/', '-'));
  const known = set.files.filter(({ kind }) => kind !== 'authority').map((other) => other.name);
  if (!file) throw new UserError(`There is no certificate "${name}"; there are ${known.join(', ')}.`);
  if (file.kind === 'authority')
    throw new UserError(
      `"${name}" is an authority: it is not renewed but rotated, with \`capstan certs rotate-ca\`.`,
    );
  return file;
}

interface Step {
  readonly file: CertificateFile;
  readonly certificate: X509Certificate;
  readonly authority: X509Certificate;
  /** Signs it. */
  renewed(): KeyPair;
}

/** How the new pair comes about; or why there is none, in a clause. */
async function plan(
  set: CertificateSet,
  { file, nowMs, lifetimeMs = LEAF_LIFETIME_MS }: RenewOptions & { readonly file: CertificateFile },
): Promise<Step | string> {
  const authorityFile = set.files.find(({ name }) => name === file.authority);
  const [found, signer] = await Promise.all([
    readOrRefuse(file),
    authorityFile && readOrRefuse(authorityFile),
  ]);
  if (found?.certificatePem === undefined || found.keyPem === undefined)
    return `${file.path} is missing, or its key is not in it`;
  if (!authorityFile || signer?.certificatePem === undefined)
    return `${file.name}: its authority ${file.authority ?? ''} is missing`;
  const certificate = new X509Certificate(found.certificatePem);
  const authority = new X509Certificate(signer.certificatePem);
  if (signer.keyPem === undefined) return signedOutside({ file, found, authority });
  if (authority.validToDate.getTime() <= nowMs)
    return `${file.name}: its authority ${authorityFile.path} expired on ${authority.validTo}`;
  if (!isOurs(certificate, signer.certificatePem))
    return `${file.path} was issued by ${certificate.issuer.replaceAll('\n', ', ')} and not by ${authorityFile.path}: its issuer renews it`;
  const { keyPem } = found;
  const signing: KeyPair = { certificatePem: signer.certificatePem, keyPem: signer.keyPem };
  const renewed = (): KeyPair =>
    issueCertificate(signing, {
      subject: readSubject(certificate),
      usages: readExtendedKeyUsages(certificate),
      altNames: altNamesOf(certificate),
      nowMs,
      lifetimeMs: lifetimeAfter(certificate, { nowMs, lifetimeMs }),
      keyPem,
    });
  return { file, certificate, authority, renewed };
}

/** Signed by an authority that is trusted now, or by one of its name: of before a rotation. */
function isOurs(certificate: X509Certificate, authorityPem: string): boolean {
  return certificatesIn(authorityPem).some(
    (authority) => certificate.issuer === authority.subject || isIssuedBy(certificate, authority),
  );
}

async function readOrRefuse(file: CertificateFile): Promise<FoundPair | undefined> {
  try {
    return await file.read();
  } catch (error) {
    throw error instanceof PkiError ? new UserError(`${error.message}.`, error) : error;
  }
}

/** An externally signed certificate beside a kubeconfig, NAME.crt, is embedded. */
async function signedOutside({
  file,
  found,
  authority,
}: {
  readonly file: CertificateFile;
  readonly found: FoundPair;
  readonly authority: X509Certificate;
}): Promise<Step | string> {
  const path = `${file.path}.crt`;
  const text = file.kind === 'kubeconfig' ? await readIfPresent(path) : undefined;
  if (text === undefined)
    return `${file.name}: the key of its authority is not on this machine; write a request with \`capstan certs generate-csr\`, have it signed, and put the certificate to ${file.kind === 'kubeconfig' ? path : file.path}`;
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(text);
  } catch (error) {
    throw new UserError(`${path} is damaged: it should hold a certificate in PEM.`, error);
  }
  if (!isIssuedBy(certificate, authority)) return `${path} was not issued by the authority of this cluster`;
  if (!belongsTo(certificate, found.keyPem ?? ''))
    return `${path} does not belong to the key in ${file.path}`;
  const pair: KeyPair = { certificatePem: text, keyPem: found.keyPem ?? '' };
  return { file, certificate, authority, renewed: () => pair };
}
