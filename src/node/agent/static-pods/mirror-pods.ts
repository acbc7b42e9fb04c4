/**
 * Maintains a mirror pod in the API for each static pod of this node: created where missing, recreated after a deletion or for another version, deleted
 * with its static pod. One request at a time; a failure is retried with backoff.
 *
 *   wanted ──no mirror──► create        mirror of another hash, or being deleted ──► delete (grace 0) ──► create
 *   not wanted ──mirror──► delete
 */
import type { Node, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { MIRROR_POD } from '#component-helpers/static-pods.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { SerialRunner } from '../serial-runner.ts';

interface MirrorPodsOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** Owner of mirror pods; undefined until it is registered. */
  readonly node: () => Node | undefined;
  /** By namespace/name; undefined until the manifests were read. */
  readonly wanted: () => ReadonlyMap<string, Pod> | undefined;
}

const RETRY = { initialMs: 500, maximumMs: 30_000 };

export class MirrorPods {
  readonly #options: MirrorPodsOptions;
  readonly #runner: SerialRunner;
  /** As the API has them, by namespace/name. */
  readonly #mirrors = new Map<string, Pod>();
  #failures = 0;

  constructor(options: MirrorPodsOptions) {
    this.#options = options;
    this.#runner = new SerialRunner({ clock: options.clock, work: () => this.#reconcile() });
  }

  /** The mirror pod of this static pod. */
  of(pod: Pod): Pod | undefined {
    const mirror = this.#mirrors.get(objectKey(pod));
    return mirror && hashOf(mirror) === pod.metadata?.uid ? mirror : undefined;
  }

  seen(mirror: Pod): void {
    this.#mirrors.set(objectKey(mirror), mirror);
    this.wake();
  }

  gone(mirror: Pod): void {
    const known = this.#mirrors.get(objectKey(mirror));
    if (known?.metadata?.uid !== mirror.metadata?.uid) return;
    this.#mirrors.delete(objectKey(mirror));
    this.wake();
  }

  wake(): void {
    this.#runner.wake();
  }

  stop(): Promise<void> {
    return this.#runner.stop();
  }

  async #reconcile(): Promise<number | undefined> {
    const { clock, log, wanted } = this.#options;
    const pods = wanted();
    if (!pods) return undefined;
    let failed = false;
    for (const key of new Set([...pods.keys(), ...this.#mirrors.keys()])) {
      try {
        await this.#settle(pods.get(key), this.#mirrors.get(key));
      } catch (error) {
        failed = true;
        log.warn('error updating a mirror pod', { pod: key, error: errorMessage(error) });
      }
    }
    this.#failures = failed ? this.#failures + 1 : 0;
    return failed ? clock.now() + backoffMs(this.#failures - 1, RETRY) : undefined;
  }

  /** After a deletion its event wakes the next round, which creates. */
  async #settle(pod: Pod | undefined, mirror: Pod | undefined): Promise<void> {
    if (mirror && (!pod || hashOf(mirror) !== pod.metadata?.uid || mirror.metadata?.deletionTimestamp))
      return deleteMirror(this.#options.api, mirror);
    if (pod && !mirror) await this.#create(pod);
  }

  async #create(pod: Pod): Promise<void> {
    const node = this.#options.node();
    if (!node?.metadata?.uid) return;
    const made = await this.#options.api.create(pods, mirrorOf(pod, node));
    this.#mirrors.set(objectKey(made), made);
  }
}

/** Deleted already, or replaced by another pod of its name: nothing to do. */
export async function deleteMirror(api: Client, { metadata }: Pod): Promise<void> {
  const { name = '', namespace, uid = '' } = metadata ?? {};
  await api
    .delete(pods, { name, namespace }, { gracePeriodSeconds: 0, preconditions: { uid } })
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    });
}

function hashOf({ metadata }: Pod): string | undefined {
  return metadata?.annotations?.[MIRROR_POD];
}

function mirrorOf(pod: Pod, { metadata: node }: Node): Pod {
  const { name, namespace, uid, labels, annotations } = pod.metadata ?? {};
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...(name !== undefined && { name }),
      ...(namespace !== undefined && { namespace }),
      ...(labels && { labels }),
      annotations: { ...annotations, [MIRROR_POD]: uid ?? '' },
      ownerReferences: [
        { apiVersion: 'v1', kind: 'Node', name: node?.name ?? '', uid: node?.uid ?? '', controller: true },
      ],
    },
    spec: pod.spec!,
  };
}
