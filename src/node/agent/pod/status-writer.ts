/**
 * Writes pods' statuses: the newest one per pod, one request at a time, again with backoff until it is there or the pod is gone. Bound: one
 * status per pod; an older one that was not written yet is dropped.
 */
import type { Pod, PodCondition, PodStatus } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

interface Entry {
  readonly pod: Pod;
  wanted: PodStatus;
  /** After this status the pod is to be removed from the API. */
  remove: boolean;
  written: string;
  before: PodStatus;
  running: Promise<void> | undefined;
}

const RETRY = { initialMs: 200, maximumMs: 10_000 };
/** Removed from a status by a patch that does not name them. */
const CLEARED = ['reason', 'message', 'podIP'] as const;
/** Conditions that the node takes back altogether. */
const PASSING = new Set(['PodResizePending', 'PodResizeInProgress']);

export class StatusWriter {
  readonly #api: Client;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();

  constructor({ api, clock, log }: { readonly api: Client; readonly clock: Clock; readonly log: Logger }) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
  }

  set(pod: Pod, status: PodStatus): void {
    this.#put(pod, status, false);
  }

  /** The last word on a pod that ends: writes the status, then removes the pod from the API. */
  setAndRemove(pod: Pod, status: PodStatus): void {
    this.#put(pod, status, true);
  }

  forget(uid: string): void {
    this.#entries.delete(uid);
  }

  /** Resolves when nothing is being written any more; what was not written is left. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    await Promise.all([...this.#entries.values()].map(({ running }) => running));
  }

  /** Writes what waits, for a shutdown that wants its last words to be heard. */
  async flushed(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ running }) => running));
  }

  #put(pod: Pod, status: PodStatus, remove: boolean): void {
    const uid = pod.metadata?.uid ?? '';
    const entry = this.#entries.get(uid) ?? {
      pod,
      wanted: status,
      remove: false,
      written: '',
      before: pod.status ?? {},
      running: undefined,
    };
    this.#entries.set(uid, entry);
    entry.wanted = status;
    entry.remove ||= remove;
    entry.running ??= this.#write(uid, entry);
  }

  async #write(uid: string, entry: Entry): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    // The entry holds this promise before it can end.
    await Promise.resolve();
    for (;;) {
      const status = entry.wanted;
      const text = JSON.stringify(status);
      const { remove } = entry;
      if (signal.aborted || (text === entry.written && !remove) || this.#entries.get(uid) !== entry) break;
      try {
        if (text !== entry.written) await this.#patch(entry, status);
        entry.written = text;
        entry.before = status;
        failures = 0;
        if (remove && entry.wanted === status) {
          await this.#remove(entry);
          entry.remove = false;
        }
      } catch (error) {
        if (isGone(error)) {
          this.#entries.delete(uid);
          break;
        }
        if (signal.aborted) break;
        if (failures > 0)
          this.#log.warn('pod status not written', {
            pod: `${entry.pod.metadata?.namespace}/${entry.pod.metadata?.name}`,
            error: errorMessage(error),
          });
        await this.#clock.sleep(backoffMs(failures, RETRY), signal).catch(() => {});
        failures += 1;
      }
    }
    entry.running = undefined;
  }

  async #patch({ pod, before }: Entry, status: PodStatus): Promise<void> {
    const { name = '', namespace, uid } = pod.metadata ?? {};
    const cleared = Object.fromEntries(
      CLEARED.filter((field) => before[field] !== undefined && status[field] === undefined).map((field) => [
        field,
        null,
      ]),
    );
    const patch = {
      metadata: { uid },
      status: {
        ...status,
        conditions: withCleared(before.conditions, status.conditions),
        ...cleared,
        ...replaced('podIPs', before.podIPs, status.podIPs),
        ...replaced('hostIPs', before.hostIPs, status.hostIPs),
      },
    };
    // Strategic merge keeps conditions that others own.
    await this.#api.patch(pods, { name, namespace }, { type: 'strategic', subresource: 'status', patch });
  }

  async #remove({ pod }: Entry): Promise<void> {
    const { name = '', namespace, uid = '' } = pod.metadata ?? {};
    await this.#api.delete(pods, { name, namespace }, { gracePeriodSeconds: 0, preconditions: { uid } });
  }
}

/** Conditions merge by type: what one of them says no more has to be taken back. */
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
