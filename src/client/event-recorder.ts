/**
 * Records events as core/v1 Events. Best effort: a bounded queue, dropped when full; one event at a time per object, so that
 * counts are correct. event-correlator.ts decides what to send.
 */
import type { KubeObject } from '#machinery/object.ts';
import { StatusError, isStatusError } from '#machinery/errors.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import { KeyedMutex } from '#stdx/keyed-mutex.ts';
import { formatTime } from '#machinery/time.ts';
import type { Client, ResourceRef } from './client.ts';
import {
  EventCorrelator,
  type CoreEvent,
  type Correlated,
  type ObjectReference,
} from './event-correlator.ts';
import type { EventRecorder } from './events.ts';

interface EventRecorderOptions {
  /** Upstream's name of the reporting component: 'deployment-controller', 'kubelet', 'default-scheduler'. */
  readonly component: string;
  /** The node's name, for node components. */
  readonly host?: string;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly random?: Random;
}

export interface StoppableEventRecorder extends EventRecorder {
  /** Resolves when the queue is empty. */
  flushed(): Promise<void>;
  /** Accepts no more events and discards queued ones. */
  stop(): void;
}

const EVENTS: ResourceRef<CoreEvent> = {
  group: '',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};
/** Queued events; further ones are dropped. */
const MAX_QUEUED = 1_000;
const MAX_MESSAGE = 1_024;
const MAX_TRIES = 12;
const RETRY_MS = 10_000;

type EventInput = Parameters<EventRecorder['event']>[1];

export function createEventRecorder(api: Client, options: EventRecorderOptions): StoppableEventRecorder {
  return new ApiEventRecorder(api, options);
}

class ApiEventRecorder implements StoppableEventRecorder {
  readonly #api: Client;
  readonly #component: string;
  readonly #host: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: Random;
  readonly #correlator: EventCorrelator;
  readonly #perObject = new KeyedMutex();
  readonly #sending = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  #sequence: number;
  #dropped = 0;

  constructor(api: Client, options: EventRecorderOptions) {
    this.#api = api;
    this.#component = options.component;
    this.#host = options.host ?? '';
    this.#clock = options.clock ?? realClock;
    this.#log = options.log ?? silentLogger;
    this.#random = options.random ?? realRandom;
    // Recorders that are created at the same time must not generate the same names.
    this.#sequence = Math.floor(this.#random() * 1_000_000);
    this.#correlator = new EventCorrelator(this.#clock);
  }

  event(about: KubeObject, input: EventInput): void {
    if (this.#abort.signal.aborted) return;
    if (this.#sending.size >= MAX_QUEUED) {
      this.#dropped += 1;
      if (this.#dropped % MAX_QUEUED === 1)
        this.#log.warn('event queue is full: dropping events', { dropped: this.#dropped });
      return;
    }
    const event = this.#makeEvent(about, input);
    const { namespace, name, kind } = event.involvedObject;
    const sending = this.#perObject
      .run(`${kind}/${namespace}/${name}`, () => this.#record(event))
      .catch((error: unknown) => {
        this.#log.warn('event could not be recorded', { error: errorMessage(error) });
      })
      .finally(() => this.#sending.delete(sending));
    this.#sending.add(sending);
  }

  async flushed(): Promise<void> {
    while (this.#sending.size > 0) await Promise.all(this.#sending);
  }

  stop(): void {
    this.#abort.abort(new Error('event recorder was stopped'));
  }

  async #record(event: CoreEvent): Promise<void> {
    if (this.#abort.signal.aborted) return;
    let correlated = this.#correlator.correlate(event);
    for (let attempt = 1; correlated.kind !== 'drop'; attempt += 1) {
      try {
        this.#correlator.recorded(correlated.countKey, await this.#send(correlated));
        return;
      } catch (error) {
        if (correlated.kind === 'count' && isStatusError(error, 'NotFound')) {
          // The event existed but has expired: create a new one with a new name.
          correlated = { ...correlated, kind: 'create', event: this.#renamed(correlated.event) };
          continue;
        }
        // The server rejected it: a retry does not help. Events in a terminating namespace are always rejected.
        if (error instanceof StatusError && error.code !== 429 && error.code < 500) {
          this.#log.debug('event was refused', { reason: event.reason, error: error.message });
          return;
        }
        if (attempt >= MAX_TRIES) throw error;
        await this.#clock.sleep(RETRY_MS * (attempt === 1 ? this.#random() : 1), this.#abort.signal);
      }
    }
  }

  #send(correlated: Exclude<Correlated, { kind: 'drop' }>): Promise<CoreEvent> {
    const { event } = correlated;
    if (correlated.kind === 'create')
      return this.#api.create(EVENTS, {
        ...event,
        metadata: withoutVersion(event.metadata),
      });
    return this.#api.patch(EVENTS, event.metadata, {
      type: 'strategic',
      patch: { count: event.count, lastTimestamp: event.lastTimestamp, message: event.message },
    });
  }

  #makeEvent(about: KubeObject, input: EventInput): CoreEvent {
    const reference = referenceTo(about);
    const now = seconds(this.#clock.now());
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        name: this.#eventName(reference.name),
        namespace: reference.namespace || 'default',
        ...(input.annotations ? { annotations: input.annotations } : {}),
      },
      involvedObject: { ...reference, ...(input.fieldPath ? { fieldPath: input.fieldPath } : {}) },
      reason: input.reason,
      message: truncated(input.message),
      type: input.type,
      source: { component: this.#component, ...(this.#host ? { host: this.#host } : {}) },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
      ...(input.action ? { action: input.action } : {}),
      reportingComponent: this.#component,
      reportingInstance: this.#host,
    };
  }

  #renamed(event: CoreEvent): CoreEvent {
    return {
      ...event,
      metadata: { ...withoutVersion(event.metadata), name: this.#eventName(event.involvedObject.name) },
    };
  }

  /** '<object>.<hexadecimal nanoseconds>'; a sequence number makes names of the same millisecond unique. */
  #eventName(objectName = ''): string {
    this.#sequence = (this.#sequence + 1) % 1_000_000;
    return `${objectName}.${(BigInt(Math.floor(this.#clock.now())) * 1_000_000n + BigInt(this.#sequence)).toString(16)}`;
  }
}

function withoutVersion({
  resourceVersion: _version,
  ...metadata
}: CoreEvent['metadata']): CoreEvent['metadata'] {
  return metadata;
}

function referenceTo(about: KubeObject): ObjectReference {
  // The argument may be an object reference instead of an object.
  const meta = about.metadata ?? (about as ObjectReference);
  const { name, namespace, uid, resourceVersion } = meta;
  return {
    ...(about.kind ? { kind: about.kind } : {}),
    ...(namespace ? { namespace } : {}),
    ...(name ? { name } : {}),
    ...(uid ? { uid } : {}),
    ...(about.apiVersion ? { apiVersion: about.apiVersion } : {}),
    ...(resourceVersion ? { resourceVersion } : {}),
  };
}

function truncated(message: string): string {
  return message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE - 3)}...`;
}

/** metav1.Time: whole seconds. */
function seconds(ms: number): string {
  return formatTime(ms);
}
