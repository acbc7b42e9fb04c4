/**
 * Waits until a volume is attached to this node: the attach-detach controller asks for it by a VolumeAttachment, the driver's attacher does it, and the
 * controller says so in the node's status. Attaches nothing.
 */
import type { Node } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { nodes, volumeAttachments } from '#client/refs.ts';
import { attachmentName, uniqueVolumeName } from '#component-helpers/csi.ts';
import { isStatusError } from '#machinery/errors.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Texts } from './protocol.ts';
import type { CsiVolume } from './volume-request.ts';

interface AttachmentsOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly nodeName: string;
  /** The own Node as the API has it. */
  readonly node: () => Node | undefined;
}

/** Upstream's. */
const ATTACH_TIMEOUT_MS = 120_000;
const POLL = { initialMs: 50, maximumMs: 1_000 };

export class Attachments {
  readonly #options: AttachmentsOptions;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  /** Its name and what the attacher says of it, for the driver. Throws what keeps it from being attached. */
  async wait(
    volume: CsiVolume,
    signal: AbortSignal,
  ): Promise<{ readonly name: string; readonly context: Texts }> {
    const { clock, nodeName } = this.#options;
    const name = attachmentName(volume, nodeName);
    const endMs = clock.now() + ATTACH_TIMEOUT_MS;
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted();
      const context = await this.#context(volume, name);
      if (context) return { name, context };
      if (clock.now() >= endMs)
        throw new Error(
          `timed out waiting for external-attacher of ${volume.driver} CSI driver to attach volume ${volume.volumeHandle}`,
        );
      await clock.sleep(backoffMs(attempt, POLL), signal);
    }
  }

  /** Undefined: not attached yet. Nothing is mounted before the API knows that the node uses it: it would be detached under the pod. */
  async #context(volume: CsiVolume, name: string): Promise<Texts | undefined> {
    const { api, node, nodeName } = this.#options;
    const unique = uniqueVolumeName(volume);
    // The cache may be behind what detaches the volume of a pod before this one: it saves requests, and decides nothing.
    if (!hasAttached(node(), unique)) return undefined;
    if (!hasAttached(await api.get(nodes, { name: nodeName }), unique)) return undefined;
    try {
      const { status, metadata } = await api.get(volumeAttachments, { name });
      if (metadata.deletionTimestamp || !status?.attached) return undefined;
      return status.attachmentMetadata ?? {};
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  }
}

function hasAttached(node: Node | undefined, unique: string): boolean {
  const { volumesInUse = [], volumesAttached = [] } = node?.status ?? {};
  return volumesInUse.includes(unique) && volumesAttached.some(({ name }) => name === unique);
}
