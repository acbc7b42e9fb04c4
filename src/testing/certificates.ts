/** For tests only: a certificate authority in memory, and leaf certificates signed by it, for servers and clients. */
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import type { Subject } from '#pki/names.ts';

interface Authority {
  readonly cert: string;
  issue(subject: Subject & { readonly addresses?: readonly string[] }): { cert: string; key: string };
}

const DAY_MS = 86_400_000;

export function makeAuthority(): Authority {
  const authority = createAuthority({ commonName: 'test authority', nowMs: Date.now(), lifetimeMs: DAY_MS });
  return {
    cert: authority.certificatePem,
    issue({ addresses = [], ...subject }) {
      const { certificatePem, keyPem } = issueCertificate(authority, {
        subject,
        usages: ['serverAuth', 'clientAuth'],
        altNames: { dnsNames: [], ipAddresses: addresses },
        nowMs: Date.now(),
        lifetimeMs: DAY_MS,
      });
      return { cert: certificatePem, key: keyPem };
    },
  };
}
