/** What the controllers that approve certificate requests share: who may have one approved, and the condition that approves or denies it. */
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests, subjectAccessReviews } from '#client/refs.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { conditionOf, type RequestedNames } from './requests.ts';
import { parseRequest, UnsignableError } from './x509.ts';

/** Whether it still waits for a decision. */
export function isOpen(request: CertificateSigningRequest): boolean {
  return !request.status?.certificate && !conditionOf(request, 'Approved') && !conditionOf(request, 'Denied');
}

interface Decision {
  readonly api: Client;
  readonly clock: Clock;
  readonly message: string;
}

export function approve(request: Stored<CertificateSigningRequest>, decision: Decision): Promise<void> {
  return decide(request, { ...decision, type: 'Approved', reason: 'AutoApproved' });
}

export function deny(request: Stored<CertificateSigningRequest>, decision: Decision): Promise<void> {
  return decide(request, { ...decision, type: 'Denied', reason: 'AutoDenied' });
}

async function decide(
  request: Stored<CertificateSigningRequest>,
  { api, clock, type, reason, message }: Decision & { readonly type: string; readonly reason: string },
): Promise<void> {
  const now = formatTime(clock.now());
  const condition = {
    type,
    status: 'True',
    reason,
    message,
    lastUpdateTime: now,
    lastTransitionTime: now,
  };
  await api.updateSubresource(
    certificateSigningRequests,
    {
      ...request,
      status: { ...request.status, conditions: [...(request.status?.conditions ?? []), condition] },
    },
    'approval',
  );
}

/** A request that cannot be parsed is not a kubelet's; the signer reports the error once it is approved. */
export function namesIn(request: string): RequestedNames | undefined {
  try {
    return parseRequest(request);
  } catch (error) {
    if (!(error instanceof UnsignableError)) throw error;
    return undefined;
  }
}

export async function mayHave(
  api: Client,
  { spec }: CertificateSigningRequest,
  subresource: string,
): Promise<boolean> {
  const { username = '', uid, groups, extra } = spec;
  const review = await api.create(subjectAccessReviews, {
    spec: {
      user: username,
      ...(uid ? { uid } : {}),
      ...(groups ? { groups } : {}),
      ...(extra ? { extra } : {}),
      resourceAttributes: {
        group: 'certificates.k8s.io',
        resource: 'certificatesigningrequests',
        verb: 'create',
        subresource,
        version: '*',
      },
    },
  });
  return review.status?.allowed ?? false;
}
