/**
 * Turns requests into audit events by a policy and hands them to the backends. After upstream's endpoints/filters/audit.go.
 *
 *   begin ─► RequestReceived ─► … ─► answered ─┬─ whole answer ─► ResponseComplete
 *                                              ├─ stream ─► ResponseStarted ─► its end ─► ResponseComplete
 *                                              └─ fault of the server's ─► Panic
 */
import type { Duplex } from 'node:stream';
import { isoTime } from '#stdx/dates.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { statusErrors, type Status } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { RequestContext } from '../context.ts';
import { isLongRunning } from '../flowcontrol/limiter.ts';
import type { ApiResponse, ResponseSink } from '../http/request.ts';
import type { AuditSink } from './audit-sink.ts';
import type { AuditRecord } from './audit-record.ts';
import { LostEventsError } from './batching.ts';
import type { AuditBackend, AuditCounters } from './backend.ts';
import {
  completeRef,
  createObjectRef,
  sourceIPs,
  readUserAgent,
  createAuditUser,
  withoutManagedFields,
  type AuditEvent,
  type ObjectReference,
} from './event.ts';
import {
  LEVELS,
  ruleFor,
  type AuditLevel,
  type AuditPolicy,
  type AuditStage,
  type PolicyRule,
} from './policy.ts';
import { responseObject } from './response-object.ts';

interface AuditorOptions {
  readonly policy: AuditPolicy;
  readonly backends: readonly AuditBackend[];
  /** True for backends in mode blocking-strict: a request is refused when they cannot store its RequestReceived event. */
  readonly strict: (backend: AuditBackend) => boolean;
  readonly counters: AuditCounters;
  readonly clock: Clock;
}

const MAX_CLOCK_SKEW_MS = 10;

export class Auditor implements AuditSink {
  readonly #options: AuditorOptions;

  /** Between the clocks; put right when the wall clock is set. */
  #offsetMs = 0;

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  /** '2006-01-02T15:04:05.000000Z' of a moment by the monotonic clock, which alone has microseconds. Default: now. */
  timestamp(monotonicMs = this.#options.clock.monotonic()): string {
    const { clock } = this.#options;
    const offsetMs = clock.now() - clock.monotonic();
    if (Math.abs(offsetMs - this.#offsetMs) > MAX_CLOCK_SKEW_MS) this.#offsetMs = offsetMs;
    const microseconds = Math.round((this.#offsetMs + monotonicMs) * 1000);
    const ms = Math.floor(microseconds / 1000);
    return `${isoTime(ms).slice(0, 23)}${String(microseconds - ms * 1000).padStart(3, '0')}Z`;
  }

  begin(context: RequestContext): void | Promise<void> {
    const record = this.#record(context, context.user);
    if (!record) return;
    context.audit = record;
    context.annotate = record.annotate;
    for (const [key, value] of Object.entries(context.auditAnnotations ?? {})) record.annotate(key, value);
    const stored = this.emit(record, 'RequestReceived');
    if (stored instanceof Promise) return stored.then((done) => this.#require(context, done));
    this.#require(context, stored);
  }

  unauthenticated(context: RequestContext, status: Status): void | Promise<void> {
    const record = this.#record(context, undefined);
    if (!record) return;
    record.failed(status, { unexpected: false });
    const stored = this.emit(record, 'ResponseStarted');
    if (stored instanceof Promise) return stored.then(() => {});
  }

  /** False when a strict backend did not store it. */
  emit(record: Record, stage: AuditStage): boolean | Promise<boolean> {
    if (record.rule.omitStages.has(stage)) return true;
    const event = record.event(stage);
    const { backends, counters, strict } = this.#options;
    counters.events++;
    let stored = true;
    const waiting: Promise<void>[] = [];
    for (const backend of backends) {
      const failed = (error: unknown): void => {
        if (!(error instanceof LostEventsError)) counters.lost('backend', 1, errorMessage(error));
        if (strict(backend)) stored = false;
      };
      try {
        const done = backend.process([event]);
        if (done instanceof Promise) waiting.push(done.catch(failed));
      } catch (error) {
        failed(error);
      }
    }
    return waiting.length === 0 ? stored : Promise.all(waiting).then(() => stored);
  }

  #record(context: RequestContext, user: UserInfo | undefined): Record | undefined {
    const { policy, counters } = this.#options;
    const rule = ruleFor(policy, { user, info: context.info });
    counters.request(rule.level);
    return rule.level === 'None' ? undefined : new Record(this, { context, user, rule });
  }

  #require(context: RequestContext, stored: boolean): void {
    if (stored) return;
    this.#options.counters.rejected++;
    context.audit = context.annotate = undefined;
    throw statusErrors.internal('failed to store audit event');
  }
}

const RANK: Readonly<Partial<{ [level in AuditLevel]: number }>> = Object.fromEntries(
  LEVELS.map((level, rank) => [level, rank]),
);

class Record implements AuditRecord {
  readonly rule: PolicyRule;
  readonly #auditor: Auditor;
  readonly #context: RequestContext;
  readonly #user: UserInfo | undefined;
  readonly #receivedAt: string;
  #ref: ObjectReference | undefined;
  #annotations: { [key: string]: string } | undefined;
  #requestObject: unknown;
  #responseObject: unknown;
  #status: Partial<Status> | undefined;
  #response: ApiResponse | undefined;
  #unexpected = false;
  #over = false;

  constructor(
    auditor: Auditor,
    {
      context,
      user,
      rule,
    }: { readonly context: RequestContext; readonly user: UserInfo | undefined; readonly rule: PolicyRule },
  ) {
    this.rule = rule;
    this.#auditor = auditor;
    this.#context = context;
    this.#user = user;
    this.#receivedAt = auditor.timestamp(context.startedMs);
    this.#ref = createObjectRef(context.info);
  }

  #reaches(level: AuditLevel): boolean {
    return RANK[this.rule.level]! >= RANK[level]!;
  }

  readonly annotate = (key: string, value: string, level: AuditLevel = 'Metadata'): void => {
    if (!this.#reaches(level)) return;
    (this.#annotations ??= Object.create(null) as { [key: string]: string })[key] ??= value;
  };

  readonly received = (object: KubeObject, applyDefaults?: (object: KubeObject) => void): void => {
    this.#ref = completeRef(this.#ref, object);
    if (!this.#reaches('Request')) return;
    // As it came, with defaults: admission changes the object itself.
    const copy = JSON.parse(
      JSON.stringify(this.rule.omitManagedFields ? withoutManagedFields(object) : object),
    ) as KubeObject;
    applyDefaults?.(copy);
    this.#requestObject = copy;
  };

  patched(patch: unknown): void {
    if (this.#reaches('Request')) this.#requestObject = JSON.parse(JSON.stringify(patch)) as unknown;
  }

  answering(response: ApiResponse): void {
    this.#response = response;
  }

  failed(status: Status, { unexpected }: { readonly unexpected: boolean }): void {
    this.#status = statusFields(status);
    this.#unexpected = unexpected;
    if (this.#reaches('RequestResponse')) this.#responseObject = status;
  }

  answered(response: ApiResponse): ApiResponse | Promise<ApiResponse> {
    if (this.#over) return response;
    const { body } = response;
    if (typeof body === 'function') return this.#stream(response, body);
    this.#take(response.status);
    const stored = this.#complete();
    return stored instanceof Promise ? stored.then(() => response) : response;
  }

  upgraded(socket: Duplex): void {
    this.#status ??= { metadata: {}, code: 101 };
    void this.#auditor.emit(this, 'ResponseStarted');
    if (socket.destroyed) void this.#complete();
    else socket.once('close', () => void this.#complete());
  }

  /** A snapshot of the event. */
  event(stage: AuditStage): AuditEvent {
    const { request, info, auditId, user, impersonator } = this.#context;
    const agent = readUserAgent(request);
    const impersonated = impersonator ? createAuditUser(user) : undefined;
    const isEnd = stage !== 'RequestReceived';
    return {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: this.rule.level,
      auditID: auditId,
      stage,
      requestURI: request.query === '' ? request.path : `${request.path}?${request.query}`,
      verb: info.verb,
      user: this.#user ? createAuditUser(this.#user) : {},
      ...(impersonated ? { impersonatedUser: impersonated } : {}),
      ...(impersonator?.constraint
        ? { authenticationMetadata: { impersonationConstraint: impersonator.constraint } }
        : {}),
      sourceIPs: sourceIPs(request),
      ...(agent ? { userAgent: agent } : {}),
      ...(this.#ref ? { objectRef: this.#ref } : {}),
      ...(isEnd && this.#status ? { responseStatus: this.#status } : {}),
      ...(this.#requestObject === undefined ? {} : { requestObject: this.#requestObject }),
      ...(isEnd && this.#responseObject !== undefined ? { responseObject: this.#responseObject } : {}),
      requestReceivedTimestamp: this.#receivedAt,
      stageTimestamp: stage === 'RequestReceived' ? this.#receivedAt : this.#auditor.timestamp(),
      ...(this.#annotations ? { annotations: { ...this.#annotations } } : {}),
    };
  }

  #stream(response: ApiResponse, body: (sink: ResponseSink) => void): ApiResponse | Promise<ApiResponse> {
    this.#status ??= { metadata: {}, code: response.status };
    const followed: ApiResponse = {
      ...response,
      body: (sink) => body(new FollowedSink(sink, () => void this.#complete())),
    };
    const stored = isLongRunning(this.#context.info) ? this.#auditor.emit(this, 'ResponseStarted') : true;
    return stored instanceof Promise ? stored.then(() => followed) : followed;
  }

  #complete(): boolean | Promise<boolean> {
    if (this.#over) return true;
    this.#over = true;
    return this.#auditor.emit(this, this.#unexpected ? 'Panic' : 'ResponseComplete');
  }

  /** The status of a response without an error. */
  #take(code: number): void {
    if (this.#status) return;
    this.#status = { metadata: {}, code };
    const response = this.#response;
    const wanted = this.#reaches('RequestResponse');
    const unnamed = code === 201 && this.#ref !== undefined && this.#ref.name === undefined;
    if (!response || (!wanted && !unnamed && !saysStatus(response))) return;
    const object = responseObject(response) as KubeObject | undefined;
    if (object === undefined) return;
    if (object.kind === 'Status' && object.apiVersion === 'v1')
      this.#status = statusFields({ ...(object as unknown as Status), code });
    else if (unnamed && typeof object.metadata?.name === 'string')
      this.#ref = completeRef(this.#ref, { metadata: { name: object.metadata.name } });
    if (wanted) this.#responseObject = this.rule.omitManagedFields ? withoutManagedFields(object) : object;
  }
}

const STATUS_HEAD = '{"kind":"Status","apiVersion":"v1"';

/** Mostly responses of deletes. */
function saysStatus({ body }: ApiResponse): boolean {
  return Buffer.isBuffer(body) && body.subarray(0, STATUS_HEAD.length).toString() === STATUS_HEAD;
}

function statusFields({ status, message, reason, details, code }: Status): Partial<Status> {
  return {
    metadata: {},
    ...(status ? { status } : {}),
    ...(message ? { message } : {}),
    ...(reason ? { reason } : {}),
    ...(details ? { details } : {}),
    code,
  };
}

/** Wraps a stream's sink to report its end, whoever ends it. */
class FollowedSink implements ResponseSink {
  readonly #sink: ResponseSink;
  readonly #ended: () => void;

  constructor(sink: ResponseSink, ended: () => void) {
    this.#sink = sink;
    this.#ended = ended;
    sink.onClose(ended);
  }

  get bufferedBytes(): number {
    return this.#sink.bufferedBytes;
  }
  get closed(): boolean {
    return this.#sink.closed;
  }
  write(chunk: Buffer): boolean {
    return this.#sink.write(chunk);
  }
  drained(): Promise<void> {
    return this.#sink.drained();
  }
  onClose(callback: () => void): void {
    this.#sink.onClose(callback);
  }

  end(): void {
    this.#sink.end();
    this.#ended();
  }
}
