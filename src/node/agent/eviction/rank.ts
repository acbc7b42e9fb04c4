/** Orders pods for eviction: the first goes first. Pure; upstream's order: those that use more than they request, then by priority, then by how much more. */
import type { Pod } from '#api/types.ts';
import { podRequests } from '#component-helpers/pod-resources.ts';
import type { DiskPart } from './decide.ts';
import type { StarvedResource } from './thresholds.ts';

export interface DiskUse {
  readonly bytes: number;
  readonly inodes: number;
}

interface ContainerUse {
  readonly name: string;
  /** The working set. */
  readonly memoryBytes: number;
  /** Of its writable layer and its logs; absent: not measured. */
  readonly rootfs?: DiskUse | undefined;
  readonly logs?: DiskUse | undefined;
}

/** What a pod uses now. */
export interface PodUse {
  readonly memoryBytes: number;
  readonly processes: number;
  readonly containers: readonly ContainerUse[];
  /** Of its emptyDirs on disk together; absent: not measured. */
  readonly volumes?: DiskUse | undefined;
}

export interface Candidate {
  readonly pod: Pod;
  /** undefined: nothing of it is known. */
  readonly use: PodUse | undefined;
}

export function rankForEviction<One extends Candidate>(
  candidates: readonly One[],
  { resource, parts }: { readonly resource: StarvedResource; readonly parts: readonly DiskPart[] },
): One[] {
  const keys = new Map(
    candidates.map((one) => [one, sortKey(one, { used: usedOf(one.use, { resource, parts }), resource })]),
  );
  return [...candidates].sort((one, other) => compareLists(keys.get(one)!, keys.get(other)!));
}

/** The smaller one goes first. As upstream, a pod of which nothing is known goes before others. */
function sortKey(
  { pod, use }: Candidate,
  { used, resource }: { readonly used: number; readonly resource: StarvedResource },
): readonly number[] {
  const unknown = use ? 1 : 0;
  const priority = pod.spec?.priority ?? 0;
  const requested = requestOf(pod, resource);
  if (resource === 'pids') return [priority, unknown, -used];
  // Inodes cannot be requested; as upstream, their excess is still counted from the request of bytes.
  const exceeds = used > (resource === 'inodes' ? 0 : requested);
  return [unknown, exceeds ? 0 : 1, priority, requested - used];
}

function compareLists(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((value, index) => value !== other[index]);
  return at === -1 ? 0 : one[at]! - other[at]!;
}

function requestOf(pod: Pod, resource: StarvedResource): number {
  if (resource === 'pids') return 0;
  const name = resource === 'memory' ? 'memory' : 'ephemeral-storage';
  return podRequests(pod).get(name)?.value() ?? 0;
}

function usedOf(
  use: PodUse | undefined,
  { resource, parts }: { readonly resource: StarvedResource; readonly parts: readonly DiskPart[] },
): number {
  if (!use) return 0;
  if (resource === 'memory') return use.memoryBytes;
  if (resource === 'pids') return use.processes;
  const unit = resource === 'inodes' ? 'inodes' : 'bytes';
  const of = (part: DiskPart): number =>
    part === 'volumes'
      ? (use.volumes?.[unit] ?? 0)
      : use.containers.reduce((sum, container) => sum + (container[part]?.[unit] ?? 0), 0);
  return parts.reduce((sum, part) => sum + of(part), 0);
}
