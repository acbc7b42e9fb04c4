/** A machine's certificates and their problems: the rows of `certs list`, `check` and `check-expiration`. Changes nothing. */
import { X509Certificate } from 'node:crypto';
import { isIssuedBy } from '#pki/chain.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { altNamesOf, readSubject } from '#pki/read.ts';
import { PkiError } from '../pki/checks.ts';
import { endWarning, renewalTimeMs } from '../pki/validity.ts';
import type { CertificateFile, CertificateSet, FoundPair } from './certificate-files.ts';

export interface CertificateRow {
  readonly name: string;
  readonly kind: CertificateFile['kind'];
  readonly path: string;
  readonly authority?: string | undefined;
  /** Absent where there is none, or it is damaged. */
  readonly certificate?: {
    readonly commonName: string;
    readonly organizations: readonly string[];
    /** DNS names and addresses. */
    readonly altNames: readonly string[];
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
    /** When it is renewed by itself; absent for authorities. */
    readonly renewalMs?: number;
    /** 'sha256:HEX' of its public key. */
    readonly publicKeyHash: string;
  };
  /** Its authority's key is not on this machine. */
  readonly isExternal: boolean;
  /** One clause each; [] is a certificate that serves. */
  readonly problems: readonly string[];
  /** Worth knowing, and no failure. */
  readonly warnings: readonly string[];
}

/** In the order of the set; kubeconfigs that are absent, or whose credentials are elsewhere, are left out. */
export async function inspectCertificates(
  set: CertificateSet,
  { nowMs }: { readonly nowMs: number },
): Promise<readonly CertificateRow[]> {
  const found = new Map<string, Outcome>();
  for (const file of set.files) found.set(file.name, await outcomeOf(file));
  return set.files.flatMap((file) => {
    const outcome = found.get(file.name) ?? {};
    if (file.kind === 'kubeconfig' && !outcome.pair && outcome.problem === undefined) return [];
    const authority = file.authority === undefined ? undefined : found.get(file.authority)?.pair;
    return [rowOf(file, { outcome, authority, nowMs })];
  });
}

interface Outcome {
  readonly pair?: FoundPair | undefined;
  readonly problem?: string;
}

async function outcomeOf(file: CertificateFile): Promise<Outcome> {
  try {
    return { pair: await file.read() };
  } catch (error) {
    if (error instanceof PkiError) return { problem: error.message };
    throw error;
  }
}

interface RowContext {
  readonly outcome: Outcome;
  readonly authority: FoundPair | undefined;
  readonly nowMs: number;
}

function rowOf(file: CertificateFile, { outcome, authority, nowMs }: RowContext): CertificateRow {
  const { name, kind, path } = file;
  const { pair, problem } = outcome;
  const isExternal = (kind === 'authority' ? pair : authority)?.keyPem === undefined;
  const row = { name, kind, path, authority: file.authority, isExternal };
  if (problem !== undefined) return { ...row, problems: [problem], warnings: [] };
  if (pair?.certificatePem === undefined) return { ...row, problems: [`${path} is missing`], warnings: [] };
  const certificate = new X509Certificate(pair.certificatePem);
  const { dnsNames, ipAddresses } = altNamesOf(certificate);
  const warning = endWarning(certificate, {
    path,
    nowMs,
    todo: kind === 'authority' ? 'rotate it' : 'renew it',
  });
  const problems = [
    ...chainProblems(file, { certificate, authority, nowMs }),
    ...(kind === 'leaf' && pair.keyPem === undefined ? [`${path} is there without its key`] : []),
  ];
  return {
    ...row,
    certificate: {
      ...readSubject(certificate),
      altNames: [...dnsNames, ...ipAddresses],
      notBeforeMs: certificate.validFromDate.getTime(),
      notAfterMs: certificate.validToDate.getTime(),
      ...(kind === 'authority' ? {} : { renewalMs: renewalTimeMs(certificate, { name }) }),
      publicKeyHash: publicKeyHash(certificate),
    },
    problems,
    warnings: warning && problems.length === 0 ? [warning.message] : [],
  };
}

function chainProblems(
  { kind, path, authority: authorityName }: CertificateFile,
  {
    certificate,
    authority,
    nowMs,
  }: {
    readonly certificate: X509Certificate;
    readonly authority: FoundPair | undefined;
    readonly nowMs: number;
  },
): readonly string[] {
  if (certificate.validToDate.getTime() <= nowMs) return [`${path} expired on ${certificate.validTo}`];
  if (certificate.validFromDate.getTime() > nowMs)
    return [`${path} is not valid before ${certificate.validFrom}`];
  if (kind === 'authority') return certificate.ca ? [] : [`${path} is not a certificate authority`];
  if (authority?.certificatePem === undefined) return [];
  const isSigned = certificatesIn(authority.certificatePem).some((other) => isIssuedBy(certificate, other));
  return isSigned ? [] : [`${path} was not issued by ${authorityName}`];
}
