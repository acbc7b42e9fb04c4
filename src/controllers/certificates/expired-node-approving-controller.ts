/**
 * Decides on client certificates that nodes ask for with one that has ended (the API server calls them capstan:expired-node:NAME): a machine that was off past
 * its certificate's end comes back without a new token. Approved is a certificate of the same name, for a Node that is still there, is as old as the
 * certificate and does not run now, and only where the requester may create certificatesigningrequests/expirednodeclient. Denied are the others; one
 * whose Node runs waits, since that may be the Node's last status from before.
 */
import type { CertificateSigningRequest, Node } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests, nodes } from '#client/refs.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import { EXPIRED_AT, EXPIRED_NODE_CLIENT, expiredNodeName } from '#component-helpers/expired-node.ts';
import { isStatusError } from '#machinery/errors.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { approve, deny, isOpen, mayHave, namesIn } from './approval.ts';
import { KUBE_APISERVER_CLIENT_KUBELET, kubeletClientProblem, type RequestedNames } from './requests.ts';

/** The Node becomes Unknown, and the requester gets its role, after the request. */
const RETRY_MS = 5_000;
const JOIN_AGAIN = 'join the machine again with a new token';

export const expiredNodeApprovingController = defineController({
  name: 'expired-node-approving-controller',
  serviceAccount: 'expired-node-approver',
  watches: [watch(certificateSigningRequests)],
  reconcile,
});

async function reconcile({ key, api, clock, log, informer }: ReconcileContext): Promise<ReconcileResult> {
  const request = informer(certificateSigningRequests).get(key);
  if (!request || !isOpen(request) || request.spec.signerName !== KUBE_APISERVER_CLIENT_KUBELET) return;
  const nodeName = expiredNodeName(request.spec.username);
  if (nodeName === undefined) return;
  const names = namesIn(request.spec.request);
  const node = await readNode(api, nodeName);
  const refusal = refusalOf({ request, nodeName, names, node });
  if (refusal !== undefined)
    return void (await deny(request, { api, clock, message: `${refusal}; ${JOIN_AGAIN}` }));
  const waitsFor = isRunning(node)
    ? `Node ${nodeName} is running with another certificate, or was until a moment ago`
    : (await mayHave(api, request, EXPIRED_NODE_CLIENT))
      ? undefined
      : `the requester may not create certificatesigningrequests/${EXPIRED_NODE_CLIENT}`;
  if (waitsFor === undefined)
    return void (await approve(request, {
      api,
      clock,
      message: `Auto approving the client certificate of Node ${nodeName}, whose last one has ended, after SubjectAccessReview.`,
    }));
  log.info('certificate of an expired node not approved', { request: key, problem: waitsFor });
  return { requeueAfterMs: RETRY_MS };
}

/** From the server: the informer may not know yet that the Node was deleted, after which nobody may come back as it. */
async function readNode(api: Client, name: string): Promise<Node | undefined> {
  try {
    return await api.get(nodes, { name });
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** Why the request will never be approved. */
function refusalOf({
  request: { spec },
  nodeName,
  names,
  node,
}: {
  readonly request: CertificateSigningRequest;
  readonly nodeName: string;
  readonly names: RequestedNames | undefined;
  readonly node: Node | undefined;
}): string | undefined {
  if (!names) return 'The certificate request cannot be parsed';
  const problem = kubeletClientProblem(names, spec.usages ?? []);
  if (problem !== undefined) return `This is not the request of a node: ${problem}`;
  if (names.commonName !== `system:node:${nodeName}`)
    return `The expired certificate is that of Node ${nodeName}, and ${names.commonName} is asked for`;
  if (!node) return `Node ${nodeName} was removed from the cluster`;
  const expiredMs = Date.parse(spec.extra?.[EXPIRED_AT]?.[0] ?? '');
  if (!(expiredMs >= Date.parse(node.metadata?.creationTimestamp ?? '')))
    return `Node ${nodeName} was made after the certificate had ended, for another machine`;
  return undefined;
}

function isRunning(node: Node | undefined): boolean {
  const ready = findCondition(node?.status?.conditions, 'Ready');
  return ready !== undefined && ready.status !== 'Unknown';
}
