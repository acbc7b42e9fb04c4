/**
 * The mandatory and suggested FlowSchemas and PriorityLevelConfigurations, and their maintenance. A suggested object is left unchanged once its
 * annotation apf.kubernetes.io/autoupdate-spec is "false"; one without the annotation, once a user changed it. After upstream's
 * apis/flowcontrol/bootstrap and registry/flowcontrol/ensurer.
 */
import { isStatusError } from '#machinery/errors.ts';
import { deepClone, deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { MANDATORY_FLOW_SCHEMAS, MANDATORY_PRIORITY_LEVELS } from '#resources/flowcontrol/mandatory.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';
import { FLOW_SCHEMAS, GROUP, PRIORITY_LEVELS } from './configuration.ts';

const AUTO_UPDATE = 'apf.kubernetes.io/autoupdate-spec';

interface FlowObject {
  readonly resource: GroupResource;
  readonly mandatory: boolean;
  readonly object: KubeObject;
}

interface LimitedShape {
  readonly shares: number;
  readonly lendable: number;
  readonly queues: number;
  readonly hand: number;
}

const QUEUE_LENGTH = 50;

const SUGGESTED_LEVELS: Readonly<Record<string, LimitedShape>> = {
  system: { shares: 30, lendable: 33, queues: 64, hand: 6 },
  'node-high': { shares: 40, lendable: 25, queues: 64, hand: 6 },
  'leader-election': { shares: 10, lendable: 0, queues: 16, hand: 4 },
  'workload-high': { shares: 40, lendable: 50, queues: 128, hand: 6 },
  'workload-low': { shares: 100, lendable: 90, queues: 128, hand: 6 },
  'global-default': { shares: 20, lendable: 50, queues: 128, hand: 6 },
};

function priorityLevel(name: string, spec: object): FlowObject {
  return {
    resource: PRIORITY_LEVELS,
    mandatory: Object.hasOwn(MANDATORY_PRIORITY_LEVELS, name),
    object: {
      apiVersion: `${GROUP}/v1`,
      kind: 'PriorityLevelConfiguration',
      metadata: { name, annotations: { [AUTO_UPDATE]: 'true' } },
      spec,
    },
  };
}

function limited({ shares, lendable, queues, hand }: LimitedShape): object {
  const limitResponse = {
    type: 'Queue',
    queuing: { queues, handSize: hand, queueLengthLimit: QUEUE_LENGTH },
  };
  return {
    type: 'Limited',
    limited: { nominalConcurrencyShares: shares, lendablePercent: lendable, limitResponse },
  };
}

type Subject = Record<string, unknown>;
const groups = (...names: string[]): Subject[] => names.map((name) => ({ kind: 'Group', group: { name } }));
const users = (...names: string[]): Subject[] => names.map((name) => ({ kind: 'User', user: { name } }));
const systemAccounts = (...names: string[]): Subject[] =>
  names.map((name) => ({ kind: 'ServiceAccount', serviceAccount: { name, namespace: 'kube-system' } }));

const EVERYTHING = {
  resourceRules: [
    { verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true, namespaces: ['*'] },
  ],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
};
const namespaced = (verbs: string[], apiGroup: string, resources: string[]): Record<string, unknown> => ({
  verbs,
  apiGroups: [apiGroup],
  resources,
  namespaces: ['*'],
});
const LEASES = namespaced(['get', 'create', 'update'], 'coordination.k8s.io', ['leases']);
const EVERYONE = groups('system:unauthenticated', 'system:authenticated');

interface SchemaShape {
  readonly level: string;
  readonly precedence: number;
  readonly by?: 'ByUser' | 'ByNamespace';
  readonly subjects: readonly Subject[];
  readonly rules?: Record<string, unknown>;
}

const SUGGESTED_SCHEMAS: Readonly<Record<string, SchemaShape>> = {
  probes: {
    level: 'exempt',
    precedence: 2,
    subjects: EVERYONE,
    rules: { nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/healthz', '/readyz', '/livez'] }] },
  },
  'system-leader-election': {
    level: 'leader-election',
    precedence: 100,
    by: 'ByUser',
    subjects: [...users('system:kube-controller-manager', 'system:kube-scheduler'), ...systemAccounts('*')],
    rules: { resourceRules: [LEASES] },
  },
  'system-node-high': {
    level: 'node-high',
    precedence: 400,
    by: 'ByUser',
    subjects: groups('system:nodes'),
    rules: {
      resourceRules: [
        { ...namespaced(['*'], '', ['nodes', 'nodes/status']), clusterScope: true },
        namespaced(['*'], 'coordination.k8s.io', ['leases']),
      ],
    },
  },
  'system-nodes': { level: 'system', precedence: 500, by: 'ByUser', subjects: groups('system:nodes') },
  'kube-controller-manager': {
    level: 'workload-high',
    precedence: 800,
    by: 'ByNamespace',
    subjects: users('system:kube-controller-manager'),
  },
  'kube-scheduler': {
    level: 'workload-high',
    precedence: 800,
    by: 'ByNamespace',
    subjects: users('system:kube-scheduler'),
  },
  'kube-system-service-accounts': {
    level: 'workload-high',
    precedence: 900,
    by: 'ByNamespace',
    subjects: systemAccounts('*'),
  },
  'service-accounts': {
    level: 'workload-low',
    precedence: 9000,
    by: 'ByUser',
    subjects: groups('system:serviceaccounts'),
  },
  'global-default': { level: 'global-default', precedence: 9900, by: 'ByUser', subjects: EVERYONE },
};

function flowSchema(name: string, spec: object): FlowObject {
  return {
    resource: FLOW_SCHEMAS,
    mandatory: Object.hasOwn(MANDATORY_FLOW_SCHEMAS, name),
    object: {
      apiVersion: `${GROUP}/v1`,
      kind: 'FlowSchema',
      metadata: { name, annotations: { [AUTO_UPDATE]: 'true' } },
      spec,
    },
  };
}

function schemaSpec({ level, precedence, by, subjects, rules = EVERYTHING }: SchemaShape): object {
  return {
    priorityLevelConfiguration: { name: level },
    matchingPrecedence: precedence,
    ...(by ? { distinguisherMethod: { type: by } } : {}),
    rules: [{ subjects, ...rules }],
  };
}

/** All of them, mandatory ones first. */
export function bootstrapFlowObjects(): FlowObject[] {
  return [
    ...Object.entries(MANDATORY_PRIORITY_LEVELS).map(([name, spec]) => priorityLevel(name, spec)),
    ...Object.entries(MANDATORY_FLOW_SCHEMAS).map(([name, spec]) => flowSchema(name, spec)),
    ...Object.entries(SUGGESTED_LEVELS).map(([name, shape]) => priorityLevel(name, limited(shape))),
    ...Object.entries(SUGGESTED_SCHEMAS).map(([name, shape]) => flowSchema(name, schemaSpec(shape))),
  ];
}

/** Creates missing objects, updates maintained ones, and deletes obsolete suggested ones that are still auto-updated. */
export async function ensureFlowObjects(internal: InternalApi): Promise<void> {
  const wanted = bootstrapFlowObjects();
  // Levels first: no schema dangles on the way.
  for (const resource of [PRIORITY_LEVELS, FLOW_SCHEMAS])
    await Promise.all(wanted.filter((one) => one.resource === resource).map((one) => ensure(internal, one)));
  for (const resource of [FLOW_SCHEMAS, PRIORITY_LEVELS]) {
    const names = new Set(
      wanted.filter((one) => one.resource === resource).map(({ object }) => object.metadata?.name),
    );
    for (const { metadata } of internal.list(resource)) {
      if (metadata?.annotations?.[AUTO_UPDATE] === 'true' && !names.has(metadata.name))
        await removeLeftover(internal, resource, metadata.name ?? '');
    }
  }
}

async function removeLeftover(internal: InternalApi, resource: GroupResource, name: string): Promise<void> {
  try {
    await internal.delete(resource, { name });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}

async function ensure(internal: InternalApi, { resource, mandatory, object }: FlowObject): Promise<void> {
  const name = object.metadata?.name ?? '';
  const current = internal.get(resource, { name });
  if (!current) {
    try {
      await internal.create(resource, deepClone(object));
    } catch (error) {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
    return;
  }
  if (upToDate(current, { mandatory, object })) return;
  await internal.modify(resource, { name }, (stored) => {
    if (upToDate(stored, { mandatory, object })) return false;
    const kept = keepsUp(stored, mandatory);
    stored.metadata.annotations = { ...stored.metadata.annotations, [AUTO_UPDATE]: String(kept) };
    if (kept) stored['spec'] = wantedSpec(stored, object);
    return true;
  });
}

function upToDate(
  stored: KubeObject,
  { mandatory, object }: Pick<FlowObject, 'mandatory' | 'object'>,
): boolean {
  const kept = keepsUp(stored, mandatory);
  return (
    stored.metadata?.annotations?.[AUTO_UPDATE] === String(kept) &&
    (!kept || deepEqual(stored['spec'], wantedSpec(stored, object)))
  );
}

function keepsUp({ metadata }: KubeObject, mandatory: boolean): boolean {
  if (mandatory) return true;
  const said = metadata?.annotations?.[AUTO_UPDATE];
  return said === 'true' || (said !== 'false' && metadata?.generation === 1);
}

/** How many seats the exempt level counts for is the administrator's to say. */
function wantedSpec(stored: KubeObject, { kind, metadata, spec }: KubeObject): unknown {
  const exempt = (stored['spec'] as { exempt?: unknown } | undefined)?.exempt;
  return kind === 'PriorityLevelConfiguration' && metadata?.name === 'exempt' && exempt
    ? { ...(spec as object), exempt }
    : deepClone(spec as KubeObject);
}
