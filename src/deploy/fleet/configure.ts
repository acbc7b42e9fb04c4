/** Labels and taints of the file, applied to the cluster as its administrator. What others set besides stays. */
import type { Node, Taint } from '#api/types.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import type { Stored } from '#machinery/object.ts';
import type { Change, DesiredNode } from './agent.ts';

const FIELD_MANAGER = 'capstan-fleet';
/** A list of taints has no owner for each: which ones the fleet set is noted here, as 'key:effect' with commas between. */
const TAINTS_ANNOTATION = 'fleet.capstan.dev/taints';
/** Against changes of the node itself at the same moment. */
const MAX_ATTEMPTS = 20;

interface Configuring {
  readonly dryRun: boolean;
}

export async function configureNode(
  api: Client,
  desired: DesiredNode,
  { dryRun }: Configuring,
): Promise<readonly Change[]> {
  const node = await api.get(nodes, { name: desired.name });
  const labels = labelChanges(node, desired.labels);
  const owned = ownedLabels(node);
  const isOwned = Object.keys(desired.labels).every((key) => owned.includes(key));
  if (!dryRun && (labels.length > 0 || !isOwned))
    await api.patch(
      nodes,
      { name: desired.name },
      {
        type: 'apply',
        patch: {
          apiVersion: 'v1',
          kind: 'Node',
          // The uid: it must not make a Node that was deleted meanwhile.
          metadata: { name: desired.name, uid: node.metadata.uid, labels: desired.labels },
        },
        fieldManager: FIELD_MANAGER,
        force: true,
      },
    );
  const taints = await configureTaints(api, desired, { dryRun });
  return [...labels, ...taints].map((change) => ({ object: `node ${desired.name}`, change }));
}

function labelChanges({ metadata }: Stored<Node>, desired: Readonly<Record<string, string>>): string[] {
  const { labels = {} } = metadata;
  const set = Object.entries(desired)
    .filter(([key, value]) => labels[key] !== value)
    .map(([key, value]) => `label ${key}=${value}`);
  const removed = ownedLabels({ metadata } as Stored<Node>)
    .filter((key) => desired[key] === undefined && labels[key] !== undefined)
    .map((key) => `label ${key} removed`);
  return [...set, ...removed];
}

/** Those that the field manager of the fleet has. */
function ownedLabels({ metadata }: Stored<Node>): string[] {
  const entry = metadata.managedFields?.find(
    ({ manager, operation, subresource }) =>
      manager === FIELD_MANAGER && operation === 'Apply' && !subresource,
  );
  const fields = entry?.fieldsV1 as { 'f:metadata'?: { 'f:labels'?: object } } | undefined;
  return Object.keys(fields?.['f:metadata']?.['f:labels'] ?? {})
    .filter((key) => key.startsWith('f:'))
    .map((key) => key.slice(2));
}

async function configureTaints(
  api: Client,
  { name, taints }: DesiredNode,
  { dryRun }: Configuring,
): Promise<readonly string[]> {
  return retryOnConflict(MAX_ATTEMPTS, async () => {
    const node = await api.get(nodes, { name });
    const { next, changes, annotation } = taintsAfter(node, taints);
    const before = node.metadata.annotations?.[TAINTS_ANNOTATION];
    if (dryRun || (changes.length === 0 && before === annotation)) return changes;
    const { [TAINTS_ANNOTATION]: _, ...annotations } = node.metadata.annotations ?? {};
    await api.update(nodes, {
      ...node,
      metadata: {
        ...node.metadata,
        annotations: {
          ...annotations,
          ...(annotation === undefined ? {} : { [TAINTS_ANNOTATION]: annotation }),
        },
      },
      spec: { ...node.spec, taints: [...next] },
    });
    return changes;
  });
}

interface TaintsAfter {
  readonly next: readonly Taint[];
  readonly changes: readonly string[];
  readonly annotation: string | undefined;
}

/** Without taints in the file only what an earlier file had is taken away. */
export function taintsAfter(node: Node, desired: readonly Taint[] | undefined): TaintsAfter {
  const current = node.spec?.taints ?? [];
  const before = node.metadata?.annotations?.[TAINTS_ANNOTATION]?.split(',').filter(Boolean) ?? [];
  const ours = new Set([
    ...before,
    ...(desired === undefined ? [] : [`${CONTROL_PLANE_ROLE}:NoSchedule`, ...desired.map(idOf)]),
  ]);
  const wanted = desired ?? [];
  const next = [
    ...current.filter((taint) => !ours.has(idOf(taint)) || wanted.some((one) => isSame(one, taint))),
    ...wanted.filter((one) => !current.some((taint) => isSame(one, taint))),
  ];
  return {
    next,
    changes: [
      ...wanted
        .filter((one) => !current.some((taint) => isSame(one, taint)))
        .map((one) => `taint ${one.key}${one.value ? `=${one.value}` : ''}:${one.effect}`),
      ...current
        .filter((taint) => ours.has(idOf(taint)) && !wanted.some((one) => idOf(one) === idOf(taint)))
        .map((taint) => `taint ${idOf(taint)} removed`),
    ],
    annotation: wanted.length === 0 ? undefined : wanted.map(idOf).toSorted().join(),
  };
}

function idOf({ key, effect }: Taint): string {
  return `${key}:${effect}`;
}

function isSame(one: Taint, other: Taint): boolean {
  return idOf(one) === idOf(other) && (one.value ?? '') === (other.value ?? '');
}
