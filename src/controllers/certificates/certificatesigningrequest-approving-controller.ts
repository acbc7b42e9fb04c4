/**
 * Approves client certificates of kubelets whose requester is authorized: by SubjectAccessReviews on the subresources nodeclient
 * (a joining machine) and selfnodeclient (a node that renews its certificate). Serving certificates need manual approval.
 * After upstream's pkg/controller/certificates/approver.
 */
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests, subjectAccessReviews } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import {
  conditionOf,
  KUBE_APISERVER_CLIENT_KUBELET,
  kubeletClientProblem,
  type RequestedNames,
} from './requests.ts';
import { parseRequest, UnsignableError } from './x509.ts';

interface Recognizer {
  readonly subresource: string;
  readonly message: string;
  readonly recognizes: (request: CertificateSigningRequest, names: RequestedNames) => boolean;
}

const RECOGNIZERS: readonly Recognizer[] = [
  {
    subresource: 'selfnodeclient',
    message: 'Auto approving self kubelet client certificate after SubjectAccessReview.',
    recognizes: ({ spec }, { commonName }) => spec.username === commonName,
  },
  {
    subresource: 'nodeclient',
    message: 'Auto approving kubelet client certificate after SubjectAccessReview.',
    recognizes: () => true,
  },
];
/** The role binding that authorizes the requester may be created after the request. */
const RETRY_MS = 15_000;

export const certificateSigningRequestApprovingController = defineController({
  name: 'certificatesigningrequest-approving-controller',
  serviceAccount: 'certificate-controller',
  watches: [watch(certificateSigningRequests)],
  reconcile,
});

async function reconcile({ key, api, clock, log, informer }: ReconcileContext): Promise<ReconcileResult> {
  const request = informer(certificateSigningRequests).get(key);
  if (
    !request ||
    request.status?.certificate ||
    conditionOf(request, 'Approved') ||
    conditionOf(request, 'Denied')
  )
    return;
  if (request.spec.signerName !== KUBE_APISERVER_CLIENT_KUBELET) return;
  const names = namesIn(request.spec.request);
  if (!names || kubeletClientProblem(names, request.spec.usages ?? []) !== undefined) return;
  const recognized = RECOGNIZERS.filter(({ recognizes }) => recognizes(request, names));
  for (const { subresource, message } of recognized) {
    if (!(await mayHave(api, request, subresource))) continue;
    const now = formatTime(clock.now());
    const condition = {
      type: 'Approved',
      status: 'True',
      reason: 'AutoApproved',
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
    return;
  }
  log.info(
    'kubelet certificate request not approved: the requester is not authorized for automatic approval',
    {
      request: key,
      recognizedAs: recognized.map(({ subresource }) => subresource).join(', '),
    },
  );
  return { requeueAfterMs: RETRY_MS };
}

/** A request that cannot be parsed is not a kubelet's; the signer reports the error once it is approved. */
function namesIn(request: string): RequestedNames | undefined {
  try {
    return parseRequest(request);
  } catch (error) {
    if (!(error instanceof UnsignableError)) throw error;
    return undefined;
  }
}

async function mayHave(
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
