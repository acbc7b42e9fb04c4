/**
 * Approves client certificates of kubelets whose requester is authorized: by SubjectAccessReviews on the subresources nodeclient
 * (a joining machine) and selfnodeclient (a node that renews its certificate). Others approve
 * serving certificates (kubelet-serving-approving-controller.ts) and those of nodes whose certificate has ended (expired-node-approving-controller.ts).
 * After upstream's pkg/controller/certificates/approver.
 */
import type { CertificateSigningRequest } from '#api/types.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { expiredNodeName } from '#component-helpers/expired-node.ts';
import { approve, isOpen, mayHave, namesIn } from './approval.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { KUBE_APISERVER_CLIENT_KUBELET, kubeletClientProblem, type RequestedNames } from './requests.ts';

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
  if (!request || !isOpen(request) || request.spec.signerName !== KUBE_APISERVER_CLIENT_KUBELET) return;
  // expired-node-approving-controller decides on these, whatever role lets others ask.
  if (expiredNodeName(request.spec.username) !== undefined) return;
  const names = namesIn(request.spec.request);
  if (!names || kubeletClientProblem(names, request.spec.usages ?? []) !== undefined) return;
  const recognized = RECOGNIZERS.filter(({ recognizes }) => recognizes(request, names));
  for (const { subresource, message } of recognized) {
    if (!(await mayHave(api, request, subresource))) continue;
    await approve(request, { api, clock, message });
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
