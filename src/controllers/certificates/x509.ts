/**
 * Parses certificate signing requests of the API and signs certificates for them. Usages have the names of the API, and errors are written to the
 * request. X.509 itself is in src/pki.
 */
import { createPublicKey, X509Certificate } from 'node:crypto';
import { isoTime } from '#stdx/dates.ts';
import { BACKDATE_MS, KEY_USAGE, signLeaf } from '#pki/certificate.ts';
import { checkRequestSignature, readRequest, type CertificateRequest } from '#pki/request.ts';
import type { RequestedNames } from './requests.ts';

/** PEM. */
export interface SigningKeys {
  readonly certificate: string;
  readonly key: string;
}

interface ParsedRequest extends RequestedNames {
  readonly request: CertificateRequest;
}

/** The request cannot be signed; a retry does not help. */
export class UnsignableError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UnsignableError';
  }
}

/** Shorter lifetimes are not shortened further by backdating. */
const SHORT_MS = 8 * 3_600_000;

/** Parses spec.request of the API: base64 of PEM. Throws UnsignableError when it is not a request. */
export function parseRequest(base64: string): ParsedRequest {
  try {
    const request = readRequest(Buffer.from(base64, 'base64').toString('latin1'));
    const { commonNames, organizations, altNames } = request;
    return { request, commonName: commonNames.at(-1) ?? '', organizations, ...altNames };
  } catch (error) {
    throw new UnsignableError(`unable to parse csr: ${(error as Error).message}`);
  }
}

interface SignOptions {
  readonly usages: readonly string[];
  readonly lifetimeMs: number;
  readonly nowMs: number;
}

/** PEM of the leaf alone. Throws UnsignableError, and other errors for unusable keys. */
export function signRequest(
  { certificate, key }: SigningKeys,
  { request }: ParsedRequest,
  { usages, lifetimeMs, nowMs }: SignOptions,
): string {
  try {
    checkRequestSignature(request);
  } catch {
    throw new UnsignableError('unable to verify certificate request signature');
  }
  const authorityEnd = new X509Certificate(certificate).validToDate;
  if (authorityEnd.getTime() <= nowMs)
    throw new Error(`the signer has expired: NotAfter=${isoTime(authorityEnd.getTime())}`);
  const notBeforeMs = nowMs - BACKDATE_MS;
  return signLeaf(
    { certificatePem: certificate, keyPem: key },
    {
      subject: request.subject,
      publicKey: createPublicKey({ key: request.publicKey, format: 'der', type: 'spki' }),
      ...splitUsages(usages),
      altNames: request.altNames,
      notBeforeMs,
      notAfterMs: (lifetimeMs < SHORT_MS ? nowMs : notBeforeMs) + lifetimeMs,
    },
  );
}

/** By the API's names of usages. */
const KEY_USAGES: Readonly<Record<string, number>> = {
  signing: KEY_USAGE.digitalSignature,
  'digital signature': KEY_USAGE.digitalSignature,
  'content commitment': KEY_USAGE.contentCommitment,
  'key encipherment': KEY_USAGE.keyEncipherment,
  'data encipherment': KEY_USAGE.dataEncipherment,
  'key agreement': KEY_USAGE.keyAgreement,
  'cert sign': KEY_USAGE.certSign,
  'crl sign': KEY_USAGE.crlSign,
  'encipher only': KEY_USAGE.encipherOnly,
  'decipher only': KEY_USAGE.decipherOnly,
};
const PKIX = '1.3.6.1.5.5.7.3';
const EXTENDED_KEY_USAGES: Readonly<Record<string, string>> = {
  any: '2.5.29.37.0',
  'server auth': `${PKIX}.1`,
  'client auth': `${PKIX}.2`,
  'code signing': `${PKIX}.3`,
  'email protection': `${PKIX}.4`,
  's/mime': `${PKIX}.4`,
  'ipsec end system': `${PKIX}.5`,
  'ipsec tunnel': `${PKIX}.6`,
  'ipsec user': `${PKIX}.7`,
  timestamping: `${PKIX}.8`,
  'ocsp signing': `${PKIX}.9`,
  'microsoft sgc': '1.3.6.1.4.1.311.10.3.3',
  'netscape sgc': '2.16.840.1.113730.4.1',
};

function splitUsages(usages: readonly string[]): {
  readonly keyUsages: number;
  readonly extendedKeyUsages: string[];
} {
  const unknown = usages.filter((usage) => !(usage in KEY_USAGES) && !(usage in EXTENDED_KEY_USAGES));
  if (unknown.length > 0)
    throw new UnsignableError(
      `unrecognized usage values: [${unknown.map((usage) => JSON.stringify(usage)).join(' ')}]`,
    );
  const keyUsages = usages.reduce((bits, usage) => bits | (KEY_USAGES[usage] ?? 0), 0);
  return {
    keyUsages,
    extendedKeyUsages: [...new Set(usages.flatMap((usage) => EXTENDED_KEY_USAGES[usage] ?? []))].toSorted(),
  };
}
