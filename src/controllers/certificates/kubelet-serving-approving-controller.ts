/**
 * Approves serving certificates of kubelets: requested by the node itself, for names and addresses that its Node has and no other Node has, and
 * only where the requester may create certificatesigningrequests/selfnodeserver (`capstan init` lets nodes). Upstream leaves them to people.
 */
import type { Node } from '#api/types.ts';
import { certificateSigningRequests, nodes } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { approve, isOpen, mayHave, namesIn } from './approval.ts';
import { KUBELET_SERVING, kubeletServingProblem, type RequestedNames } from './requests.ts';

const NODE_PREFIX = 'system:node:';
/** The Node gets its addresses, and the requester its role, after the request. */
const RETRY_MS = 5_000;

export const kubeletServingApprovingController = defineController({
  name: 'kubelet-serving-approving-controller',
  serviceAccount: 'kubelet-serving-approver',
  watches: [watch(certificateSigningRequests), watch(nodes, { keys: () => [] })],
  reconcile,
});

async function reconcile({ key, api, clock, log, informer }: ReconcileContext): Promise<ReconcileResult> {
  const request = informer(certificateSigningRequests).get(key);
  if (!request || !isOpen(request) || request.spec.signerName !== KUBELET_SERVING) return;
  const names = namesIn(request.spec.request);
  if (!names || kubeletServingProblem(names, request.spec.usages ?? []) !== undefined) return;
  if (request.spec.username !== names.commonName) return;
  const problem = namesProblem(names, informer(nodes).list());
  if (problem === undefined && (await mayHave(api, request, 'selfnodeserver')))
    return void (await approve(request, {
      api,
      clock,
      message: 'Auto approving kubelet serving certificate after SubjectAccessReview.',
    }));
  log.debug('kubelet serving certificate not approved', {
    request: key,
    problem: problem ?? 'the requester may not create certificatesigningrequests/selfnodeserver',
  });
  return { requeueAfterMs: RETRY_MS };
}

/** Why the names are not this node's alone; undefined: they are. Exported for its test. */
export function namesProblem(
  { commonName, dnsNames, ipAddresses }: RequestedNames,
  all: readonly Node[],
): string | undefined {
  const name = commonName.slice(NODE_PREFIX.length);
  const node = all.find(({ metadata }) => metadata?.name === name);
  if (!node) return `there is no Node ${name}`;
  for (const one of [...dnsNames, ...ipAddresses]) {
    if (!has(node, one)) return `${one} is not an address of Node ${name}`;
    const other = all.find((candidate) => candidate !== node && has(candidate, one));
    if (other) return `${one} is an address of Node ${other.metadata?.name} too`;
  }
  return undefined;
}

function has({ metadata, status }: Node, nameOrAddress: string): boolean {
  return (
    metadata?.name === nameOrAddress ||
    (status?.addresses ?? []).some(({ address }) => address === nameOrAddress)
  );
}
