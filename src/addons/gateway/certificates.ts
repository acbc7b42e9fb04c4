/** The certificate and key of a Secret of type kubernetes.io/tls, checked as far as a proxy would refuse them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Secret } from '#api/types.ts';

type Read = { readonly certificatePem: string; readonly keyPem: string } | { readonly problem: string };

export function readCertificate(secret: Secret | undefined): Read {
  if (!secret) return { problem: 'it does not exist' };
  const [certificatePem, keyPem] = ['tls.crt', 'tls.key'].map((name) =>
    Buffer.from(secret.data?.[name] ?? '', 'base64').toString(),
  );
  if (!certificatePem || !keyPem) return { problem: 'it should have tls.crt and tls.key' };
  try {
    const certificate = new X509Certificate(certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
      return { problem: 'the key is not that of the certificate' };
  } catch {
    return { problem: 'it has no certificate and key in PEM' };
  }
  return { certificatePem, keyPem };
}
