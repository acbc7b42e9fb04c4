/** A client certificate for a user: requested by a CertificateSigningRequest, or signed with the data directory's authority where no signer runs. */
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isoTime } from '#stdx/dates.ts';
import type { ResourceRef } from '#client/client.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { KubeObject } from '#machinery/object.ts';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { createRequest } from '#pki/request.ts';
import type { Admin } from './users.ts';

const REQUESTS: ResourceRef = {
  group: 'certificates.k8s.io',
  version: 'v1',
  plural: 'certificatesigningrequests',
  kind: 'CertificateSigningRequest',
  namespaced: false,
};
const SIGNER_TIMEOUT_MS = 20_000;
const POLL_MS = 100;

interface WantedCertificate {
  readonly name: string;
  readonly groups: readonly string[];
  readonly lifetimeMs: number;
}
interface IssuedCertificate extends KeyPair {
  readonly expiresAt: string;
}

interface RequestStatus {
  readonly certificate?: string;
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason?: string;
    readonly message?: string;
  }[];
}

/** note: called with warnings. */
export async function certificateFor(
  wanted: WantedCertificate,
  { admin, note }: { readonly admin: Admin; readonly note: (text: string) => void },
): Promise<IssuedCertificate> {
  const pair = (await requested(wanted, admin)) ?? locallySigned(wanted, { admin, note });
  return { ...pair, expiresAt: isoTime(Date.parse(new X509Certificate(pair.certificatePem).validTo)) };
}

/** undefined when it is not signed in time. */
async function requested(
  { name, groups, lifetimeMs }: WantedCertificate,
  { client }: Admin,
): Promise<KeyPair | undefined> {
  const keyPem = generateKeyPem();
  const csrPem = createRequest({ keyPem, subject: { commonName: name, organizations: groups } });
  const object = { name: `capstan-user-${randomBytes(6).toString('hex')}` };
  const spec = {
    request: Buffer.from(csrPem).toString('base64'),
    signerName: 'kubernetes.io/kube-apiserver-client',
    usages: ['client auth'],
    expirationSeconds: Math.floor(lifetimeMs / 1000),
  };
  await client.create(REQUESTS, { metadata: object, spec } as KubeObject);
  try {
    const condition = {
      type: 'Approved',
      status: 'True',
      reason: 'CapstanUserCreate',
      message: 'made by capstan user create',
    };
    await client.patch(REQUESTS, object, {
      type: 'merge',
      patch: { status: { conditions: [condition] } },
      subresource: 'approval',
    });
    const deadline = performance.now() + SIGNER_TIMEOUT_MS;
    while (performance.now() < deadline) {
      const status = (await client.get(REQUESTS, object))['status'] as RequestStatus | undefined;
      const refused = status?.conditions?.find(
        ({ type, status: holds }) => (type === 'Failed' || type === 'Denied') && holds === 'True',
      );
      if (refused)
        throw new UserError(
          `The cluster does not sign a certificate for ${name}: ${refused.message ?? refused.reason ?? refused.type}`,
        );
      if (status?.certificate)
        return { certificatePem: Buffer.from(status.certificate, 'base64').toString('utf8'), keyPem };
      await sleep(POLL_MS);
    }
    return undefined;
  } finally {
    await client.delete(REQUESTS, object).catch(() => {});
  }
}

function locallySigned(
  { name, groups, lifetimeMs }: WantedCertificate,
  { admin: { pkiDir }, note }: { readonly admin: Admin; readonly note: (text: string) => void },
): KeyPair {
  if (pkiDir === undefined)
    throw new UserError(
      `The certificate request was not signed within ${SIGNER_TIMEOUT_MS / 1000} s: does the cluster's controller manager run? With --data-dir DIR it would be signed with the authority kept there.`,
    );
  note(
    `No signer in the cluster signed the certificate request within ${SIGNER_TIMEOUT_MS / 1000} s; it was signed with ${join(pkiDir, 'ca.key')}.`,
  );
  const read = (file: string): string => {
    try {
      return readFileSync(join(pkiDir, file), 'utf8');
    } catch (error) {
      throw new UserError(`${join(pkiDir, file)} cannot be read: ${(error as Error).message}`, error);
    }
  };
  return issueCertificate(
    { certificatePem: read('ca.crt'), keyPem: read('ca.key') },
    {
      subject: { commonName: name, organizations: groups },
      usages: ['clientAuth'],
      nowMs: Date.now(),
      lifetimeMs,
    },
  );
}
