/** Allocates pod CIDRs for nodes (spec.podCIDRs). After upstream's pkg/controller/nodeipam, range allocator. */
import type { Stored } from '#machinery/object.ts';
import type { Node } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { nodes } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { CIDRSet } from './cidr-set.ts';

interface NodeIPAMOptions {
  /** '10.244.0.0/16', or one per address family, separated by a comma. */
  readonly clusterCIDR: string;
  /** Prefix length of a node's pod CIDR, with one range only. Default 24 (IPv4) and 64 (IPv6). */
  readonly nodeCIDRMaskSize?: number | undefined;
  /** Of a family that there is a range of; not beside nodeCIDRMaskSize. */
  readonly nodeCIDRMaskSizeIPv4?: number | undefined;
  readonly nodeCIDRMaskSizeIPv6?: number | undefined;
}

/** Allocated CIDRs and their nodes. One for each run of the controller. */
interface Allocations {
  readonly sets: readonly CIDRSet[];
  readonly byNode: Map<string, readonly string[]>;
}

/** Throws an Error when the ranges are invalid. */
export function nodeIPAMController(options: NodeIPAMOptions): ControllerDefinition {
  // Fails at startup rather than when the first node is added.
  makeSets(options);
  return defineController({
    name: 'node-ipam-controller',
    serviceAccount: 'node-controller',
    eventSource: 'cidrAllocator',
    watches: [watch(nodes)],
    // Concurrent allocations could return the same subnet.
    workers: 1,
    reconcile: (context) => reconcile(context, options),
  });
}

function makeSets(options: NodeIPAMOptions): CIDRSet[] {
  const { clusterCIDR, nodeCIDRMaskSize, nodeCIDRMaskSizeIPv4, nodeCIDRMaskSizeIPv6 } = options;
  const cidrs = clusterCIDR.split(',').map((cidr) => cidr.trim());
  const problem = maskProblem(options, cidrs);
  if (problem !== undefined) throw new Error(problem);
  return cidrs.map(
    (cidr) =>
      new CIDRSet(
        cidr,
        nodeCIDRMaskSize ?? (cidr.includes(':') ? nodeCIDRMaskSizeIPv6 : nodeCIDRMaskSizeIPv4),
      ),
  );
}

/** Upstream's rules and texts. */
function maskProblem(
  { nodeCIDRMaskSize: any, nodeCIDRMaskSizeIPv4: four, nodeCIDRMaskSizeIPv6: six }: NodeIPAMOptions,
  cidrs: readonly string[],
): string | undefined {
  const usage = 'usage of --node-cidr-mask-size';
  if (cidrs.length > 1)
    return any === undefined ? undefined : `${usage} is not allowed with dual-stack clusters`;
  if (any !== undefined && (four !== undefined || six !== undefined))
    return `${usage}-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags`;
  const isIPv6 = cidrs[0]?.includes(':') === true;
  if (four !== undefined && isIPv6) return `${usage}-ipv4 is not allowed for a single-stack IPv6 cluster`;
  if (six !== undefined && !isIPv6) return `${usage}-ipv6 is not allowed for a single-stack IPv4 cluster`;
  return undefined;
}

async function reconcile(context: ReconcileContext, options: NodeIPAMOptions): Promise<void> {
  const { key, informer } = context;
  const allocations = allocationsOf(context, options);
  const node = informer(nodes).get(key);
  if (!node) return release(allocations, key);
  const own = rangesOf(node);
  if (own.length > 0) return hold(allocations, { name: key, cidrs: own });
  if (!node.metadata?.deletionTimestamp) await assign(node, allocations, context);
}

/** CIDRs of existing nodes are marked before the first allocation. */
function allocationsOf({ memory, informer }: ReconcileContext, options: NodeIPAMOptions): Allocations {
  const known = memory.get('allocations') as Allocations | undefined;
  if (known) return known;
  const made: Allocations = { sets: makeSets(options), byNode: new Map() };
  memory.set('allocations', made);
  for (const node of informer(nodes).list()) hold(made, { name: node.metadata.name, cidrs: rangesOf(node) });
  return made;
}

function rangesOf({ spec }: Stored<Node>): readonly string[] {
  if (spec?.podCIDRs?.length) return spec.podCIDRs;
  return spec?.podCIDR ? [spec.podCIDR] : [];
}

function hold(
  allocations: Allocations,
  { name, cidrs }: { readonly name: string; readonly cidrs: readonly string[] },
): void {
  const held = allocations.byNode.get(name);
  if (cidrs.length === 0 || (held && held.join() === cidrs.join())) return;
  for (const set of allocations.sets) for (const cidr of cidrs) set.occupy(cidr);
  release(allocations, name);
  allocations.byNode.set(name, cidrs);
}

function release({ sets, byNode }: Allocations, name: string): void {
  for (const cidr of byNode.get(name) ?? []) for (const set of sets) set.release(cidr);
  byNode.delete(name);
}

async function assign(
  node: Stored<Node>,
  allocations: Allocations,
  { api, key, events }: ReconcileContext,
): Promise<void> {
  // Kept until the cache shows it: a second call before that returns the same CIDRs.
  const podCIDRs = allocations.byNode.get(key) ?? allocate(allocations, key);
  if (!podCIDRs) {
    events.event(node, {
      type: 'Normal',
      reason: 'CIDRNotAvailable',
      message: `Node ${key} status is now: CIDRNotAvailable`,
    });
    throw new Error(`no address range is left for node ${key}`);
  }
  try {
    await api.patch(
      nodes,
      { name: key },
      {
        type: 'merge',
        patch: { metadata: { uid: node.metadata.uid }, spec: { podCIDR: podCIDRs[0], podCIDRs } },
      },
    );
  } catch (error) {
    release(allocations, key);
    if (isStatusError(error, 'NotFound')) return;
    if (!isStatusError(error, 'Conflict'))
      events.event(node, {
        type: 'Normal',
        reason: 'CIDRAssignmentFailed',
        message: `Node ${key} status is now: CIDRAssignmentFailed`,
      });
    throw error;
  }
}

/** One subnet of each range, or none at all. */
function allocate({ sets, byNode }: Allocations, name: string): readonly string[] | undefined {
  const cidrs: string[] = [];
  for (const set of sets) {
    const cidr = set.allocate();
    if (cidr !== undefined) cidrs.push(cidr);
  }
  if (cidrs.length < sets.length) {
    for (const cidr of cidrs) for (const set of sets) set.release(cidr);
    return undefined;
  }
  byNode.set(name, cidrs);
  return cidrs;
}
