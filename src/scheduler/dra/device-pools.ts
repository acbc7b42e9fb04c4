/**
 * Pools of devices, from ResourceSlices: which devices a node reaches, and whether the pool may be used. After upstream's
 * dynamic-resource-allocation/structured pools.
 *
 * Only slices of a pool's newest generation count. A pool is incomplete while some of its slices are missing, and invalid when two devices share
 * a name or a device consumes counters that the pool does not have; no device is taken from either.
 */
import type { CounterSet, Device, ResourceSlice } from '#api/generated/types/resource-v1.ts';
import { matchesNodeSelectorTerms } from '#component-helpers/node-affinity.ts';
import type { Labels } from '#machinery/labels.ts';

export interface PoolDevice {
  /** 'driver/pool/device'. */
  readonly id: string;
  readonly driver: string;
  readonly pool: string;
  readonly device: Device;
  readonly slice: ResourceSlice;
}

export interface DevicePool {
  /** 'driver/pool'. */
  readonly id: string;
  readonly isIncomplete: boolean;
  /** Why no device is taken from it. */
  readonly invalid: string | undefined;
  /** In the order of their slices' names: those that the node reaches. */
  readonly devices: readonly PoolDevice[];
  /** All devices of the pool, also on other nodes: they share the counters. */
  readonly allDevices: readonly PoolDevice[];
  readonly counterSets: readonly CounterSet[];
}

export interface DeviceNode {
  readonly name: string;
  readonly labels: Labels;
}

/** What is the same for all nodes. */
interface PoolFacts {
  readonly id: string;
  readonly slices: readonly ResourceSlice[];
  readonly allDevices: readonly PoolDevice[];
  readonly counterSets: readonly CounterSet[];
  readonly isIncomplete: boolean;
  readonly invalid: string | undefined;
  readonly hasBindingConditions: boolean;
}

interface NodePools {
  readonly version: number;
  readonly labels: Labels;
  readonly pools: readonly DevicePool[];
}

/** Follows the cluster's ResourceSlices. Pools of a node are kept until a slice or the node's labels change: bounded by the nodes. */
export class DevicePools {
  readonly #slices = new Map<string, ResourceSlice>();
  readonly #ofPool = new Map<string, Set<string>>();
  readonly #facts = new Map<string, PoolFacts>();
  /** Pools with a slice for the node, and those that any node may reach. */
  readonly #onNode = new Map<string, Set<string>>();
  readonly #anywhere = new Set<string>();
  readonly #known = new Map<string, NodePools>();
  #version = 0;

  set(slice: ResourceSlice): void {
    const name = slice.metadata?.name ?? '';
    this.delete(name);
    this.#slices.set(name, slice);
    const pool = poolId(slice);
    addTo(this.#ofPool, pool, name);
    this.#changed(pool);
  }

  delete(name: string): void {
    const slice = this.#slices.get(name);
    if (!slice) return;
    this.#slices.delete(name);
    const pool = poolId(slice);
    this.#ofPool.get(pool)?.delete(name);
    this.#changed(pool);
  }

  forgetNode(name: string): void {
    this.#known.delete(name);
  }

  /** Pools whose devices have binding conditions come last, as upstream's; otherwise by name. */
  of(node: DeviceNode): readonly DevicePool[] {
    const known = this.#known.get(node.name);
    if (known && known.version === this.#version && known.labels === node.labels) return known.pools;
    const ids = new Set([...(this.#onNode.get(node.name) ?? []), ...this.#anywhere]);
    const pools = [...ids]
      .map((id) => this.#poolFacts(id))
      .sort((a, b) => Number(a.hasBindingConditions) - Number(b.hasBindingConditions) || compare(a.id, b.id))
      .flatMap((facts) => poolOnNode(facts, node) ?? []);
    this.#known.set(node.name, { version: this.#version, labels: node.labels, pools });
    return pools;
  }

  #poolFacts(id: string): PoolFacts {
    let facts = this.#facts.get(id);
    if (!facts) {
      const slices = [...(this.#ofPool.get(id) ?? [])].sort(compare).map((name) => this.#slices.get(name)!);
      facts = factsOf(id, slices);
      this.#facts.set(id, facts);
    }
    return facts;
  }

  #changed(pool: string): void {
    this.#version += 1;
    this.#facts.delete(pool);
    this.#anywhere.delete(pool);
    const names = this.#ofPool.get(pool);
    if (names?.size === 0) this.#ofPool.delete(pool);
    for (const name of names ?? []) {
      const { nodeName } = this.#slices.get(name)!.spec;
      if (nodeName) addTo(this.#onNode, nodeName, pool);
      else this.#anywhere.add(pool);
    }
  }
}

function addTo(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  if (set) set.add(value);
  else sets.set(key, new Set([value]));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function poolId({ spec }: ResourceSlice): string {
  return `${spec.driver}/${spec.pool.name}`;
}

function factsOf(id: string, all: readonly ResourceSlice[]): PoolFacts {
  const generation = Math.max(...all.map(({ spec }) => spec.pool.generation));
  const slices = all.filter(({ spec }) => spec.pool.generation === generation);
  const allDevices = slices.flatMap((slice) =>
    (slice.spec.devices ?? []).map((device): PoolDevice => ({
      id: `${id}/${device.name}`,
      driver: slice.spec.driver,
      pool: slice.spec.pool.name,
      device,
      slice,
    })),
  );
  const counterSets = slices.flatMap(({ spec }) => spec.sharedCounters ?? []);
  return {
    id,
    slices,
    allDevices,
    counterSets,
    isIncomplete: slices.length !== (slices[0]?.spec.pool.resourceSliceCount ?? 0),
    invalid: problemOf(allDevices, counterSets),
    hasBindingConditions: allDevices.some(({ device }) => (device.bindingConditions ?? []).length > 0),
  };
}

function problemOf(devices: readonly PoolDevice[], counterSets: readonly CounterSet[]): string | undefined {
  const sets = new Set<string>();
  for (const { name } of counterSets) {
    if (sets.has(name)) return `duplicate counter set name ${name}`;
    sets.add(name);
  }
  const names = new Set<string>();
  for (const { device } of devices) {
    if (names.has(device.name)) return `duplicate device name ${device.name}`;
    names.add(device.name);
    const missing = device.consumesCounters?.find(({ counterSet }) => !sets.has(counterSet));
    if (missing) return `counter set ${missing.counterSet} not found`;
  }
  return undefined;
}

/** Undefined: the node reaches none of its devices. */
function poolOnNode(facts: PoolFacts, node: DeviceNode): DevicePool | undefined {
  const reached = new Set(facts.slices.filter((slice) => reaches(slice, node)));
  if (reached.size === 0) return undefined;
  const devices = facts.allDevices.filter(
    ({ slice, device }) =>
      reached.has(slice) && (!slice.spec.perDeviceNodeSelection || isSelected(device, node)),
  );
  const { id, isIncomplete, invalid, allDevices, counterSets } = facts;
  return { id, isIncomplete, invalid, devices, allDevices, counterSets };
}

function reaches({ spec }: ResourceSlice, node: DeviceNode): boolean {
  return spec.perDeviceNodeSelection
    ? (spec.devices ?? []).some((device) => isSelected(device, node))
    : isSelected(spec, node);
}

type Selection = Pick<Device, 'nodeName' | 'nodeSelector' | 'allNodes'>;

function isSelected({ nodeName, nodeSelector, allNodes }: Selection, node: DeviceNode): boolean {
  if (nodeName) return nodeName === node.name;
  if (allNodes) return true;
  return nodeSelector !== undefined && matchesNodeSelectorTerms(nodeSelector.nodeSelectorTerms, node);
}
