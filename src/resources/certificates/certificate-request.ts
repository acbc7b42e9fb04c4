/** A certificate signing request as the API carries it: base64 of PEM. */
import { checkRequestSignature, readRequest, type CertificateRequest } from '#pki/request.ts';

/** Read, and its signature checked. Throws an Error whose message is what the API answers. */
export function parseCertificateRequest(base64: string): CertificateRequest {
  const request = readRequest(Buffer.from(base64, 'base64').toString('latin1'));
  checkRequestSignature(request);
  return request;
}

/** The same; undefined when it cannot be read. */
export function readCertificateRequest(base64: string): CertificateRequest | undefined {
  try {
    return parseCertificateRequest(base64);
  } catch {
    return undefined;
  }
}
