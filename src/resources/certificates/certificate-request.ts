/** The PEM in a CertificateSigningRequest, base64-encoded. */
import { checkRequestSignature, readRequest, type CertificateRequest } from '#pki/request.ts';

/** Parses it and verifies its signature. Throws an Error with the API's message. */
export function parseCertificateRequest(base64: string): CertificateRequest {
  const request = readRequest(Buffer.from(base64, 'base64').toString('latin1'));
  checkRequestSignature(request);
  return request;
}

/** The same; undefined when it cannot be parsed. */
export function readCertificateRequest(base64: string): CertificateRequest | undefined {
  try {
    return parseCertificateRequest(base64);
  } catch {
    return undefined;
  }
}
