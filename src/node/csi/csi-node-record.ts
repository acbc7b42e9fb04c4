/**
 * What the API shows of this node's CSI drivers: the CSINode of the node, the annotation with its identity for each driver, and topology labels.
 * After upstream's nodeinfomanager.
 */
import type { CSINode, CSINodeDriver, Node } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { csiNodes, nodes } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { NodeInfo } from './protocol.ts';

const NODE_ID = 'csi.volume.kubernetes.io/nodeid';
/** Conflicts with others that write the same object. */
const ATTEMPTS = 5;

export class CsiNodeRecord {
  readonly #api: Client;
  readonly #nodeName: string;

  constructor({ api, nodeName }: { readonly api: Client; readonly nodeName: string }) {
    this.#api = api;
    this.#nodeName = nodeName;
  }

  /** Idempotent. Throws StatusError, and Error for a topology that contradicts the node's labels. */
  async add(driver: string, info: NodeInfo): Promise<void> {
    const segments = info.accessibleTopology?.segments ?? {};
    await this.#change(nodes, (node) => withDriver(node, { driver, nodeId: info.nodeId, segments }));
    await this.#writeDrivers((drivers) => [
      ...drivers.filter(({ name }) => name !== driver),
      {
        name: driver,
        nodeID: info.nodeId,
        topologyKeys: Object.keys(segments).sort(),
        ...(info.maxVolumesPerNode > 0 ? { allocatable: { count: info.maxVolumesPerNode } } : {}),
      },
    ]);
  }

  /** The labels stay, as upstream's: volumes may still be bound to them. */
  async remove(driver: string): Promise<void> {
    await this.#writeDrivers((drivers) => drivers.filter(({ name }) => name !== driver));
    await this.#change(nodes, (node) => withDriver(node, { driver, nodeId: undefined, segments: {} }));
  }

  async #writeDrivers(next: (drivers: readonly CSINodeDriver[]) => CSINodeDriver[]): Promise<void> {
    const found = await this.#change(csiNodes, (known) => ({
      ...known,
      spec: { ...known.spec, drivers: next((known.spec.drivers as CSINodeDriver[] | null) ?? []) },
    }));
    if (found) return;
    const drivers = next([]);
    if (drivers.length === 0) return;
    const { metadata } = await this.#api.get(nodes, { name: this.#nodeName });
    const owner = { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: metadata.uid };
    const created: CSINode = {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      metadata: { name: this.#nodeName, ownerReferences: [owner] },
      spec: { drivers },
    };
    await this.#api.create(csiNodes, created);
  }

  /** False: there is no such object. */
  async #change<T extends Node | CSINode>(
    resource: ResourceRef<T>,
    change: (object: T) => T,
  ): Promise<boolean> {
    try {
      await retryOnConflict(ATTEMPTS, async () => {
        const known = await this.#api.get(resource, { name: this.#nodeName });
        const wanted = change(known);
        if (!deepEqual(known, wanted)) await this.#api.update(resource, wanted as typeof known);
      });
      return true;
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return false;
      throw error;
    }
  }
}

interface DriverOnNode {
  readonly driver: string;
  /** Absent: the driver has left. */
  readonly nodeId: string | undefined;
  readonly segments: Readonly<Record<string, string>>;
}

function withDriver(node: Node, { driver, nodeId, segments }: DriverOnNode): Node {
  const { labels = {}, annotations = {} } = node.metadata ?? {};
  for (const [key, value] of Object.entries(segments))
    if (labels[key] !== undefined && labels[key] !== value)
      throw new Error(
        `detected topology value collision: driver reported ${JSON.stringify(key)}:${JSON.stringify(value)} but existing label is ${JSON.stringify(key)}:${JSON.stringify(labels[key])}`,
      );
  const { [NODE_ID]: known, ...others } = annotations;
  const { [driver]: _before, ...ids } = parseIds(known);
  const next = nodeId === undefined ? ids : { ...ids, [driver]: nodeId };
  return {
    ...node,
    metadata: {
      ...node.metadata,
      labels: { ...labels, ...segments },
      annotations: {
        ...others,
        ...(Object.keys(next).length > 0 ? { [NODE_ID]: JSON.stringify(next) } : {}),
      },
    },
  };
}

/** One that somebody damaged is written anew. */
function parseIds(text: string | undefined): Record<string, string> {
  try {
    const ids: unknown = JSON.parse(text ?? '{}');
    return typeof ids === 'object' && ids !== null && !Array.isArray(ids)
      ? (ids as Record<string, string>)
      : {};
  } catch {
    return {};
  }
}
