/** The marks that the autoscaler writes on Nodes: upstream's taints, and a cordon that it takes back only if it made it. */
import type { Node, Taint } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import { DELETION_CANDIDATE, findTaint, TO_BE_DELETED } from './node-facts.ts';

/** Of Nodes that were not cordoned before. */
const CORDONED = 'capacity.capstan.dev/cordoned';
const ATTEMPTS = 5;

interface Marking {
  readonly cordon: boolean;
  readonly nowMs: number;
}

/** No more pods come to it. */
export function markToBeDeleted(api: Client, name: string, { cordon, nowMs }: Marking): Promise<void> {
  return change(api, name, (node) => {
    if (findTaint(node, TO_BE_DELETED)) return undefined;
    const marked = withTaint(node, { key: TO_BE_DELETED, effect: 'NoSchedule', value: seconds(nowMs) });
    if (!cordon || node.spec?.unschedulable) return marked;
    return {
      ...marked,
      metadata: { ...node.metadata, annotations: { ...node.metadata?.annotations, [CORDONED]: 'true' } },
      spec: { ...marked.spec, unschedulable: true },
    };
  });
}

/** It stays. */
export function unmarkToBeDeleted(api: Client, name: string): Promise<void> {
  return change(api, name, (node) => {
    if (!findTaint(node, TO_BE_DELETED)) return undefined;
    const { [CORDONED]: cordoned, ...annotations } = node.metadata?.annotations ?? {};
    const unmarked = withoutTaints(node, [TO_BE_DELETED, DELETION_CANDIDATE]);
    const { unschedulable, ...spec } = unmarked.spec ?? {};
    return {
      ...unmarked,
      metadata: { ...node.metadata, annotations },
      spec: { ...spec, ...(unschedulable && !cordoned ? { unschedulable } : {}) },
    };
  });
}

/** The scheduler prefers others. */
export function markCandidate(
  api: Client,
  name: string,
  { nowMs }: { readonly nowMs: number },
): Promise<void> {
  const taint = { key: DELETION_CANDIDATE, effect: 'PreferNoSchedule', value: seconds(nowMs) };
  return change(api, name, (node) =>
    findTaint(node, DELETION_CANDIDATE) ? undefined : withTaint(node, taint),
  );
}

export function unmarkCandidate(api: Client, name: string): Promise<void> {
  return change(api, name, (node) =>
    findTaint(node, DELETION_CANDIDATE) ? withoutTaints(node, [DELETION_CANDIDATE]) : undefined,
  );
}

function withTaint(node: Node, taint: Taint): Node {
  return { ...node, spec: { ...node.spec, taints: [...(node.spec?.taints ?? []), taint] } };
}

function withoutTaints(node: Node, keys: readonly string[]): Node {
  const taints = (node.spec?.taints ?? []).filter(({ key }) => !keys.includes(key));
  return { ...node, spec: { ...node.spec, taints } };
}

function seconds(nowMs: number): string {
  return String(Math.trunc(nowMs / 1_000));
}

/** changed: undefined where nothing is to be written. */
async function change(api: Client, name: string, changed: (node: Node) => Node | undefined): Promise<void> {
  await retryOnConflict(ATTEMPTS, async () => {
    const next = changed(await api.get(nodes, { name }));
    if (next) await api.update(nodes, next);
  });
}
