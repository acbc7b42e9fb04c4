/** The authorizers there are, as kube-apiserver --authorization-mode and AuthorizationConfiguration name them. */
export const AUTHORIZATION_MODES = ['Node', 'RBAC', 'ABAC', 'Webhook', 'AlwaysAllow', 'AlwaysDeny'] as const;
export type AuthorizationMode = (typeof AUTHORIZATION_MODES)[number];
export const DEFAULT_MODES: readonly AuthorizationMode[] = ['Node', 'RBAC'];
