/** For tests only: a certificate authority in memory, and leaf certificates signed by it, for servers and clients. */
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import type { Subject } from '#pki/names.ts';

interface Authority {
  readonly cert: string;
  issue(subject: Subject & { readonly addresses?: readonly string[] }): { cert: string; key: string };
}

const DAY_MS = 86_400_000;

/** nowMs: when it and what it issues begin, for a day. */
export function makeAuthority({ nowMs = Date.now() }: { readonly nowMs?: number } = {}): Authority {
  const authority = createAuthority({ commonName: 'test authority', nowMs, lifetimeMs: DAY_MS });
  return {
    cert: authority.certificatePem,
    issue({ addresses = [], ...subject }) {
      const { certificatePem, keyPem } = issueCertificate(authority, {
        subject,
        usages: ['serverAuth', 'clientAuth'],
        altNames: { dnsNames: [], ipAddresses: addresses },
        nowMs,
        lifetimeMs: DAY_MS,
      });
      return { cert: certificatePem, key: keyPem };
    },
  };
}
