/**
 * Checks of certificate signing requests: conditions, and whether subject, names and usages meet the rules of a kubernetes.io
 * signer. After upstream's pkg/apis/certificates/helpers.go. Does not parse DER: x509.ts does.
 */
import type { CertificateSigningRequest, CertificateSigningRequestCondition } from '#api/types.ts';
import { findCondition } from '#component-helpers/conditions.ts';

const KUBE_APISERVER_CLIENT = 'kubernetes.io/kube-apiserver-client';
export const KUBE_APISERVER_CLIENT_KUBELET = 'kubernetes.io/kube-apiserver-client-kubelet';
export const KUBELET_SERVING = 'kubernetes.io/kubelet-serving';
const LEGACY_UNKNOWN = 'kubernetes.io/legacy-unknown';
export const SIGNERS = [
  KUBE_APISERVER_CLIENT,
  KUBE_APISERVER_CLIENT_KUBELET,
  KUBELET_SERVING,
  LEGACY_UNKNOWN,
] as const;
export type SignerName = (typeof SIGNERS)[number];

/** The parsed contents of a certificate request. */
export interface RequestedNames {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly emailAddresses: readonly string[];
  readonly uris: readonly string[];
}

const NODES = 'system:nodes';
const NODE_PREFIX = 'system:node:';
const KUBELET_CLIENT_USAGES = ['client auth', 'digital signature', 'key encipherment'];
const KUBELET_SERVING_USAGES = ['digital signature', 'key encipherment', 'server auth'];

export function conditionOf(
  { status }: CertificateSigningRequest,
  type: string,
): CertificateSigningRequestCondition | undefined {
  return findCondition(status?.conditions, type);
}

export function isApproved(request: CertificateSigningRequest): boolean {
  return conditionOf(request, 'Approved') !== undefined && !conditionOf(request, 'Denied');
}

/** Why this signer must not sign it; undefined when it may. */
export function signerProblem(
  signer: SignerName,
  names: RequestedNames,
  usages: readonly string[],
): string | undefined {
  switch (signer) {
    case KUBE_APISERVER_CLIENT:
      return clientUsageProblem(usages);
    case KUBE_APISERVER_CLIENT_KUBELET:
      return kubeletClientProblem(names, usages);
    case KUBELET_SERVING:
      return kubeletServingProblem(names, usages);
    // As upstream: kept for older clients, without rules.
    case LEGACY_UNKNOWN:
      return undefined;
  }
}

function clientUsageProblem(usages: readonly string[]): string | undefined {
  const foreign = usages.find((usage) => !KUBELET_CLIENT_USAGES.includes(usage));
  if (foreign !== undefined) return `invalid usage for client certificate: ${foreign}`;
  return usages.includes('client auth')
    ? undefined
    : 'missing required usage for client certificate: client auth';
}

export function kubeletClientProblem(names: RequestedNames, usages: readonly string[]): string | undefined {
  if (!isNodesOnly(names)) return 'subject organization is not system:nodes';
  if (names.dnsNames.length > 0) return 'DNS subjectAltNames are not allowed';
  if (names.emailAddresses.length > 0) return 'Email subjectAltNames are not allowed';
  if (names.ipAddresses.length > 0) return 'IP subjectAltNames are not allowed';
  if (names.uris.length > 0) return 'URI subjectAltNames are not allowed';
  if (!names.commonName.startsWith(NODE_PREFIX))
    return 'subject common name does not begin with system:node:';
  return usageProblem(usages, KUBELET_CLIENT_USAGES);
}

export function kubeletServingProblem(names: RequestedNames, usages: readonly string[]): string | undefined {
  if (!isNodesOnly(names)) return 'subject organization is not system:nodes';
  if (names.dnsNames.length === 0 && names.ipAddresses.length === 0)
    return 'DNS or IP subjectAltName is required';
  if (names.emailAddresses.length > 0) return 'Email subjectAltNames are not allowed';
  if (names.uris.length > 0) return 'URI subjectAltNames are not allowed';
  const problem = usageProblem(usages, KUBELET_SERVING_USAGES);
  if (problem !== undefined) return problem;
  return names.commonName.startsWith(NODE_PREFIX)
    ? undefined
    : 'subject common name does not begin with system:node:';
}

function isNodesOnly({ organizations }: RequestedNames): boolean {
  return organizations.length === 1 && organizations[0] === NODES;
}

/** Key encipherment only applies to RSA keys; requests of other keys may omit it. */
function usageProblem(usages: readonly string[], required: readonly string[]): string | undefined {
  const asked = new Set(usages);
  const rest = required.filter((usage) => !asked.has(usage));
  const complete = rest.length === 0 || (rest.length === 1 && rest[0] === 'key encipherment');
  return complete && [...asked].every((usage) => required.includes(usage))
    ? undefined
    : `usages did not match [${required.join(' ')}]`;
}
