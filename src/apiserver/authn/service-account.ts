/** Names and claims of service accounts, shared by the issuer and the authenticator of their tokens. After upstream's pkg/serviceaccount. */
import type { UserInfo } from '#machinery/object.ts';

const SERVICE_ACCOUNT_PREFIX = 'system:serviceaccount:';
export const LEGACY_ISSUER = 'kubernetes/serviceaccount';
export const CREDENTIAL_ID = 'authentication.kubernetes.io/credential-id';
const EXTRA = {
  podName: 'authentication.kubernetes.io/pod-name',
  podUid: 'authentication.kubernetes.io/pod-uid',
  nodeName: 'authentication.kubernetes.io/node-name',
  nodeUid: 'authentication.kubernetes.io/node-uid',
} as const;

export interface ObjectRef {
  readonly name: string;
  readonly uid?: string;
}

/** The claim 'kubernetes.io'. */
export interface PrivateClaims {
  readonly namespace?: string;
  readonly node?: ObjectRef;
  readonly pod?: ObjectRef;
  readonly secret?: ObjectRef;
  readonly serviceaccount?: ObjectRef;
  readonly warnafter?: number | undefined;
}

export function serviceAccountName(namespace: string, name: string): string {
  return `${SERVICE_ACCOUNT_PREFIX}${namespace}:${name}`;
}

/** The namespace and name of a service account's user name, undefined for other users. */
export function parseServiceAccountName(
  user: string,
): { readonly namespace: string; readonly name: string } | undefined {
  if (!user.startsWith(SERVICE_ACCOUNT_PREFIX)) return undefined;
  const [namespace, name, ...rest] = user.slice(SERVICE_ACCOUNT_PREFIX.length).split(':');
  return namespace && name && rest.length === 0 ? { namespace, name } : undefined;
}

interface ServiceAccountIdentity {
  readonly namespace: string;
  readonly serviceAccount: ObjectRef;
  readonly pod?: ObjectRef | undefined;
  readonly node?: ObjectRef | undefined;
  readonly credentialId?: string | undefined;
}

export function serviceAccountUser({
  namespace,
  serviceAccount,
  pod,
  node,
  credentialId,
}: ServiceAccountIdentity): UserInfo {
  const extra: Record<string, readonly string[]> = {};
  if (pod) Object.assign(extra, { [EXTRA.podName]: [pod.name], [EXTRA.podUid]: [pod.uid ?? ''] });
  if (node)
    Object.assign(extra, {
      [EXTRA.nodeName]: [node.name],
      ...(node.uid ? { [EXTRA.nodeUid]: [node.uid] } : {}),
    });
  if (credentialId) extra[CREDENTIAL_ID] = [credentialId];
  return {
    name: serviceAccountName(namespace, serviceAccount.name),
    ...(serviceAccount.uid ? { uid: serviceAccount.uid } : {}),
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
    ...(Object.keys(extra).length > 0 ? { extra } : {}),
  };
}
