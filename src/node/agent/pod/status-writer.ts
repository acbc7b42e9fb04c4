/**
 * Writes pods' statuses: the newest one per pod, one request at a time, retried with backoff until it is stored or the pod is deleted. Bound: one
 * status per pod; an unwritten older one is dropped. After upstream's status manager: each event of the pod is compared with what was written, so
 * that a status overwritten by others (the node lifecycle controller while this node was silent) is written again.
 *
 * A static pod's status goes to its mirror pod, by the same key (the static pod's UID); without a mirror it waits for one.
 *
 *   set() ──differs from the last write──► patch ──response──► settled
 *      settled ──observe(): the API has other values than its response──► patch
 */
import type { Pod, PodCondition, PodStatus } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { isStaticPod, MIRROR_POD } from '#component-helpers/static-pods.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { compareResourceVersions } from '#machinery/resource-version.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

interface Entry {
  /** The newest version seen in the API, by an event or a response; for a static pod without a mirror, itself. */
  pod: Pod;
  wanted: PodStatus;
  /** After this status the pod is deleted from the API. */
  remove: boolean;
  /** The last one that the API took; '' before the first. */
  written: string;
  /** The API's response, reduced to fields that this node owns. */
  held: object;
  running: Promise<void> | undefined;
}

const RETRY = { initialMs: 200, maximumMs: 10_000 };
/** Removed from a status by a patch that does not name them. */
const CLEARED = ['reason', 'message', 'podIP'] as const;
/** Conditions that the node removes. */
const PASSING = new Set(['PodResizePending', 'PodResizeInProgress']);

interface StatusWriterOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** Of a static pod. */
  readonly mirrorOf?: ((pod: Pod) => Pod | undefined) | undefined;
}

export class StatusWriter {
  readonly #api: Client;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #mirrorOf: (pod: Pod) => Pod | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();

  constructor({ api, clock, log, mirrorOf = () => undefined }: StatusWriterOptions) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
    this.#mirrorOf = mirrorOf;
  }

  set(pod: Pod, status: PodStatus): void {
    this.#put(pod, status, false);
  }

  /** The last word on a pod that ends: writes the status, then removes the pod from the API. */
  setAndRemove(pod: Pod, status: PodStatus): void {
    this.#put(pod, status, true);
  }

  /** The pod in the API. Called for every event of the pod. */
  observe(pod: Pod): void {
    const uid = keyOf(pod);
    const entry = this.#entries.get(uid);
    if (!entry || isOlder(pod, entry.pod)) return;
    if (entry.pod.metadata?.uid !== pod.metadata?.uid) entry.written = '';
    entry.pod = pod;
    this.#wake(uid, entry);
  }

  /** The static pod has no mirror now: its status waits for the next one. */
  mirrorGone(pod: Pod): void {
    const entry = this.#entries.get(keyOf(pod));
    if (entry) entry.pod = pod;
  }

  forget(uid: string): void {
    this.#entries.delete(uid);
  }

  /** Resolves when no write is in flight; unwritten statuses are dropped. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    await Promise.all([...this.#entries.values()].map(({ running }) => running));
  }

  #put(pod: Pod, status: PodStatus, remove: boolean): void {
    const uid = keyOf(pod);
    const entry = this.#entries.get(uid) ?? {
      pod: this.#mirrorOf(pod) ?? pod,
      wanted: status,
      remove: false,
      written: '',
      held: {},
      running: undefined,
    };
    this.#entries.set(uid, entry);
    entry.wanted = status;
    entry.remove ||= remove;
    this.#wake(uid, entry);
  }

  #wake(uid: string, entry: Entry): void {
    if (isStaticPod(entry.pod) || (!entry.remove && isSettled(entry))) return;
    entry.running ??= this.#write(uid, entry);
  }

  async #write(uid: string, entry: Entry): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    // The entry holds this promise before it can end.
    await Promise.resolve();
    while (
      !signal.aborted &&
      this.#entries.get(uid) === entry &&
      !isStaticPod(entry.pod) &&
      (entry.remove || !isSettled(entry))
    ) {
      try {
        await this.#advance(entry);
        failures = 0;
      } catch (error) {
        if (isGone(error)) {
          this.#entries.delete(uid);
          break;
        }
        if (signal.aborted) break;
        if (failures > 0)
          this.#log.warn('error writing pod status', {
            pod: `${entry.pod.metadata?.namespace}/${entry.pod.metadata?.name}`,
            error: errorMessage(error),
          });
        await this.#clock.sleep(backoffMs(failures, RETRY), signal).catch(() => {});
        failures += 1;
      }
    }
    entry.running = undefined;
  }

  /** Writes the status, then removes the pod where that is wanted and no newer status came meanwhile. */
  async #advance(entry: Entry): Promise<void> {
    const { wanted, remove } = entry;
    if (!isSettled(entry)) await this.#patch(entry, wanted);
    if (!remove || entry.wanted !== wanted) return;
    await this.#remove(entry);
    entry.remove = false;
  }

  async #patch(entry: Entry, status: PodStatus): Promise<void> {
    const { name = '', namespace } = entry.pod.metadata ?? {};
    // A strategic merge patch keeps conditions of other owners.
    const patch = patchOf(entry.pod, status);
    const answer = await this.#api.patch(
      pods,
      { name, namespace },
      { type: 'strategic', subresource: 'status', patch },
    );
    entry.written = JSON.stringify(status);
    entry.held = ownFields(answer.status, status);
    if (!isOlder(answer, entry.pod)) entry.pod = answer;
  }

  async #remove({ pod }: Entry): Promise<void> {
    const { name = '', namespace, uid = '' } = pod.metadata ?? {};
    await this.#api.delete(pods, { name, namespace }, { gracePeriodSeconds: 0, preconditions: { uid } });
  }
}

/** A mirror pod has the static pod's status. */
function keyOf({ metadata }: Pod): string {
  return metadata?.annotations?.[MIRROR_POD] ?? metadata?.uid ?? '';
}

/** The API took the status that is wanted, and holds it still. */
function isSettled({ pod, wanted, written, held }: Entry): boolean {
  return JSON.stringify(wanted) === written && deepEqual(ownFields(pod.status, wanted), held);
}

/** The part of the API's status that this node owns. */
function ownFields(held: PodStatus = {}, status: PodStatus): object {
  const own = new Set<string>([...Object.keys(status), ...CLEARED]);
  const types = new Set([...PASSING, ...(status.conditions ?? []).map(({ type }) => type)]);
  return {
    ...Object.fromEntries(Object.entries(held).filter(([field]) => own.has(field))),
    conditions: (held.conditions ?? []).filter(({ type }) => types.has(type)),
  };
}

function isOlder(pod: Pod, known: Pod): boolean {
  const [version, knownVersion] = [pod.metadata?.resourceVersion, known.metadata?.resourceVersion];
  return (
    version !== undefined && knownVersion !== undefined && compareResourceVersions(version, knownVersion) < 0
  );
}

function patchOf({ metadata, status: before = {} }: Pod, status: PodStatus): object {
  const cleared = CLEARED.filter((field) => before[field] !== undefined && status[field] === undefined);
  return {
    metadata: { uid: metadata?.uid },
    status: {
      ...status,
      conditions: withCleared(before.conditions, status.conditions),
      ...Object.fromEntries(cleared.map((field) => [field, null])),
      ...replaced('podIPs', before.podIPs, status.podIPs),
      ...replaced('hostIPs', before.hostIPs, status.hostIPs),
    },
  };
}

/** Conditions merge by type: fields that a condition no longer has must be removed explicitly. */
function withCleared(before: readonly PodCondition[] = [], after: readonly PodCondition[] = []): object[] {
  const gone = before
    .filter(({ type }) => PASSING.has(type) && !after.some((condition) => condition.type === type))
    .map(({ type }) => ({ type, $patch: 'delete' }));
  return [
    ...gone,
    ...after.map((condition) => {
      const known = before.find(({ type }) => type === condition.type);
      return {
        ...(known?.reason ? { reason: null } : {}),
        ...(known?.message ? { message: null } : {}),
        ...condition,
      };
    }),
  ];
}

/** These lists merge by address: one that changes must say that it replaces. */
function replaced(
  field: string,
  before: readonly { readonly ip?: string }[] | undefined,
  after: readonly { readonly ip?: string }[] | undefined,
): Record<string, unknown> {
  if (!before || before.length === 0 || JSON.stringify(before) === JSON.stringify(after)) return {};
  return { [field]: [{ $patch: 'replace' }, ...(after ?? [])] };
}

/** Not there any more, or another pod of this name. */
function isGone(error: unknown): boolean {
  return (
    isStatusError(error, 'NotFound') ||
    (isStatusError(error, 'Conflict') && /uid/i.test(errorMessage(error))) ||
    (isStatusError(error, 'Invalid') && /uid/i.test(errorMessage(error)))
  );
}
