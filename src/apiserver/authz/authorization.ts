/**
 * Composition of authorization: reads what is configured, answers the one authorizer of the pipeline and what others need of RBAC.
 *
 *   const authorization = createAuthorization({ internal, modes: ['Node', 'RBAC'], log });     watches start here
 *   await bootstrapPolicy(internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });       default roles, once the store is open
 *   … authorization.authorizer → pipeline and reviews.ts · authorization → createAdmission …
 *   authorization.stop();
 */
import { silentLogger, type Logger } from '#stdx/log.ts';
import type { InternalApi } from '../internal.ts';
import { keepAggregated } from './aggregation.ts';
import { allowAll, type Authorizer } from './authorizer.ts';
import { followNodeGraph, NodeGraph } from './node-graph.ts';
import { NodeAuthorizer } from './node.ts';
import { followRbac, RbacIndex } from './rbac-index.ts';
import { RbacAuthorizer } from './rbac.ts';
import { alwaysDeny, privilegedGroup, UnionAuthorizer } from './union.ts';

/** As in kube-apiserver --authorization-mode. ABAC and Webhook are not built yet and refused by name. */
export const AUTHORIZATION_MODES = ['Node', 'RBAC', 'AlwaysAllow', 'AlwaysDeny'] as const;
export type AuthorizationMode = (typeof AUTHORIZATION_MODES)[number];
export const DEFAULT_MODES: readonly AuthorizationMode[] = ['Node', 'RBAC'];

export interface AuthorizationOptions {
  readonly internal: InternalApi;
  /** Asked in this order, after the privileged group system:masters. Default Node, RBAC. */
  readonly modes?: readonly string[];
  readonly log?: Logger;
}

export interface Authorization {
  readonly authorizer: Authorizer;
  /** For escalation checks; present whatever the modes are. */
  readonly rbac: RbacAuthorizer;
  /** Whether RBAC is among the modes: escalation checks are made only then, as upstream does. */
  readonly rbacEnabled: boolean;
  stop(): void;
}

/** Throws an Error that names a mode it does not know. Does no I/O; the indexes fill from InternalApi's watches at once. */
export function createAuthorization(options: AuthorizationOptions): Authorization {
  const { internal, log = silentLogger } = options;
  const modes = checkModes(options.modes ?? DEFAULT_MODES);
  const index = new RbacIndex();
  const rbac = new RbacAuthorizer(index);
  const stops = [followRbac(index, internal), keepAggregated({ internal, log })];
  const build: Readonly<Record<AuthorizationMode, () => Authorizer>> = {
    RBAC: () => rbac,
    AlwaysAllow: () => allowAll,
    AlwaysDeny: () => alwaysDeny,
    Node: () => {
      const graph = new NodeGraph();
      stops.push(followNodeGraph(graph, internal));
      return new NodeAuthorizer(graph, internal);
    },
  };
  const authorizer = new UnionAuthorizer([privilegedGroup, ...modes.map((mode) => build[mode]())]);
  return { authorizer, rbac, rbacEnabled: modes.includes('RBAC'), stop: () => stops.forEach((stop) => stop()) };
}

function checkModes(modes: readonly string[]): AuthorizationMode[] {
  if (modes.length === 0) throw new Error('at least one authorization mode must be given');
  return modes.map((mode, index) => {
    const known = AUTHORIZATION_MODES.find((candidate) => candidate === mode);
    if (!known) throw new Error(`authorization mode ${JSON.stringify(mode)} is not supported: use ${AUTHORIZATION_MODES.join(', ')}`);
    if (modes.indexOf(mode) !== index) throw new Error(`authorization mode ${JSON.stringify(mode)} is given twice`);
    return known;
  });
}
