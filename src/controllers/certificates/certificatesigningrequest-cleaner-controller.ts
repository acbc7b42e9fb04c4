/**
 * Deletes certificate signing requests: an hour after they were issued, denied, approved without being signed, or failed; a day after
 * creation while they are pending; and when their certificate has expired. After upstream's pkg/controller/certificates/cleaner.
 */
import { X509Certificate } from 'node:crypto';
import type { CertificateSigningRequest } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { timeMs } from '#machinery/time.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { defineController, watch, type ReconcileResult } from '#runtime/controller.ts';
import { conditionOf } from './requests.ts';

const DECIDED_MS = 3_600_000;
const PENDING_MS = 24 * 3_600_000;

export const certificateSigningRequestCleanerController = defineController({
  name: 'certificatesigningrequest-cleaner-controller',
  serviceAccount: 'certificate-controller',
  watches: [watch(certificateSigningRequests)],
  async reconcile({ key, api, clock, informer }): Promise<ReconcileResult> {
    const request = informer(certificateSigningRequests).get(key);
    if (!request || request.metadata?.deletionTimestamp) return;
    const leftMs = endMs(request) - clock.now();
    if (leftMs > 0) return { requeueAfterMs: leftMs };
    try {
      await api.delete(
        certificateSigningRequests,
        { name: key },
        { preconditions: { uid: request.metadata.uid } },
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    }
  },
});

/** The time at which the request is deleted. */
function endMs(request: CertificateSigningRequest): number {
  const decided = ['Approved', 'Denied', 'Failed'].flatMap((type) => conditionOf(request, type) ?? []);
  if (decided.length === 0) return (timeMs(request.metadata?.creationTimestamp) ?? 0) + PENDING_MS;
  const ends = decided.map(
    ({ lastUpdateTime }) =>
      (timeMs(lastUpdateTime) ?? timeMs(request.metadata?.creationTimestamp) ?? 0) + DECIDED_MS,
  );
  return Math.min(...ends, certificateEndMs(request));
}

function certificateEndMs({ status }: CertificateSigningRequest): number {
  if (!status?.certificate) return Infinity;
  try {
    return Date.parse(new X509Certificate(Buffer.from(status.certificate, 'base64')).validTo);
  } catch {
    // Another signer issued it, in a format that is not parsed here.
    return Infinity;
  }
}
