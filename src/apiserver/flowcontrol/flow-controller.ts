/**
 * API Priority and Fairness: follows FlowSchemas and PriorityLevelConfigurations, keeps one queue set a priority level, redivides the server's seats
 * every ten seconds, and dispatches requests. A FlowSchema with a missing priority level gets the condition Dangling and matches nothing. Until the
 * objects exist, the mandatory ones apply. After upstream's util/flowcontrol.
 *
 *   objects change ──► digest (once a tick) ──► schemas in order, levels with limits; cached classifications are dropped
 *   a level's object is deleted ──► quiescing: no new requests, queued ones are served ──► idle ──► dropped
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { RequestContext } from '../context.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import type { RequestInfo } from '../http/request-info.ts';
import { bootstrapFlowObjects } from './bootstrap-objects.ts';
import { divideSeats } from './borrowing.ts';
import {
  FLOW_SCHEMAS,
  inMatchingOrder,
  createLevel,
  matchesSchema,
  namedNamespaces,
  PRIORITY_LEVELS,
  schemaOf,
  type Level,
  type Schema,
} from './configuration.ts';
import { isLongRunning, isMutating, tooManyRequests, type RequestLimiter } from './limiter.ts';
import type { FlowIdentity } from './flow-identity.ts';
import { requestTimeoutMs } from '../http/timeout-parameter.ts';
import { FlowStats, QueueSet, Ticket, type FlowShare, type RejectReason } from './queue-set.ts';
import { dealHand, flowHash } from './shuffle-sharding.ts';
import { WorkEstimator } from './work-estimate.ts';

interface FlowControllerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Seats of all levels together. */
  readonly totalSeats: number;
  /** Of requests that name none themselves: a quarter of it may be spent waiting. */
  readonly requestTimeoutMs: number;
  readonly cacheOf: (group: string, resource: string) => ResourceCache | undefined;
}

const BORROWING_PERIOD_MS = 10_000;
/** Of a level's seats, for one request. */
const MAX_SEATS_SHARE = 0.15;
const MAX_WAIT_MS = 60_000;
/** Flows of one level that are remembered; more are forgotten and worked out again. */
const MAX_FLOWS = 1024;
/** Kinds of requests remembered for one user, the newest first: few do more than this, and looking through them is quicker than any map. */
const MAX_REMEMBERED = 16;
const STATUS_RETRY_MS = 1000;
/** Writes of one schema's status in a minute; more means that someone else writes something different. */
const MAX_STATUS_WRITES = 6;
const NO_HAND: readonly number[] = [];

/** One priority level as it runs. */
export class LevelState {
  level: Level;
  readonly set: QueueSet;
  readonly stats = new Map<string, FlowStats>();
  /** By schema and distinguisher. */
  readonly flows = new Map<string, Flow>();
  quiescing = false;
  nominal = 0;
  minimum = 0;
  maximum = 0;
  current = 0;
  target = 0;
  maxSeats = 0;
  fresh = true;

  constructor(level: Level, set: QueueSet) {
    this.level = level;
    this.set = set;
  }

  statsOf(schema: string): FlowStats {
    let stats = this.stats.get(schema);
    if (!stats) this.stats.set(schema, (stats = new FlowStats(schema)));
    return stats;
  }
}

/** Requests with equal treatment: of one schema and, with a distinguisher, of one user or namespace. */
interface Flow extends FlowShare {
  readonly state: LevelState;
  readonly identity: FlowIdentity;
}

/** Cached classification of a user's requests of one kind; the flow is open where it depends on the namespace. */
interface Match {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  /** Path of a non-resource request, else ''. */
  readonly path: string;
  /** '' = none, '*' = one that no schema distinguishes. */
  readonly namespace: string;
  readonly schema: Schema;
  readonly state: LevelState;
  readonly flow: Flow | undefined;
}

export class FlowController implements RequestLimiter {
  readonly #options: FlowControllerOptions;
  readonly #estimator: WorkEstimator;
  #schemas: readonly Schema[] = [];
  #namedNamespaces: ReadonlySet<string> = new Set();
  readonly #levels = new Map<string, LevelState>();
  #remembered = new WeakMap<UserInfo, Match[]>();
  #nominalSum = 0;
  fairFraction = 0;
  readonly #schemaObjects = new Map<string, KubeObject>();
  readonly #levelObjects = new Map<string, KubeObject>();
  #internal: InternalApi | undefined;
  #digestAsked = false;
  #stopped = false;
  readonly #unsubscribe: (() => void)[] = [];
  #timer: Timer | undefined;
  #statusTimer: Timer | undefined;
  #writingStatus = false;
  #statusChanged = false;
  readonly #statusWrites = new Map<string, number[]>();

  constructor(options: FlowControllerOptions) {
    this.#options = options;
    this.#estimator = new WorkEstimator(options);
    this.#digest();
  }

  /** Starts to follow the objects and to move seats between levels. */
  start(internal: InternalApi): void {
    this.#internal = internal;
    this.#unsubscribe.push(
      this.#follow(internal, FLOW_SCHEMAS, this.#schemaObjects),
      this.#follow(internal, PRIORITY_LEVELS, this.#levelObjects),
    );
    this.#digest();
    this.#scheduleBorrowing();
  }

  stop(): void {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#timer?.cancel();
    this.#statusTimer?.cancel();
  }

  get levels(): Iterable<LevelState> {
    return this.#levels.values();
  }

  // ----------------------------------------------------------------------------------------------------------- requests

  admit(context: RequestContext): void | Promise<void> {
    const { info, user } = context;
    const isWatch = info.verb === 'watch';
    if (!isWatch && isLongRunning(info)) return;
    const flow = this.#flowOf(user, info);
    context.flow = flow.identity;
    const { state, stats } = flow;
    const work = this.#estimator.estimate({ info, stats, maxSeats: state.maxSeats });
    const outcome = state.set.start({
      flow,
      work,
      isWatch,
      subject: context,
      maxWaitMs: this.#maxWaitMs(info),
    });
    if (outcome instanceof Promise) return outcome.then((settled) => this.#take(context, settled));
    this.#take(context, outcome);
  }

  #take(context: RequestContext, outcome: Ticket | RejectReason): void {
    if (typeof outcome === 'string') throw tooManyRequests();
    const leave = this.#options.metrics.enter(isMutating(context.info));
    context.release = () => {
      leave();
      outcome.finish();
    };
  }

  #maxWaitMs({ query }: RequestInfo): number {
    const { requestTimeoutMs: standard } = this.#options;
    return Math.min(
      MAX_WAIT_MS,
      (query['timeout'] === undefined ? standard : requestTimeoutMs(query['timeout'], standard)) / 4,
    );
  }

  #flowOf(user: UserInfo, info: RequestInfo): Flow {
    let known = this.#remembered.get(user);
    if (!known) this.#remembered.set(user, (known = []));
    const namespace =
      info.namespace === '' ? '' : this.#namedNamespaces.has(info.namespace) ? info.namespace : '*';
    const path = info.isResourceRequest ? '' : info.path;
    let match = known.find(
      (one) =>
        one.resource === info.resource &&
        one.verb === info.verb &&
        one.namespace === namespace &&
        one.group === info.group &&
        one.subresource === info.subresource &&
        one.path === path,
    );
    if (!match) {
      match = this.#match(user, info, { namespace, path });
      if (known.unshift(match) > MAX_REMEMBERED) known.pop();
    }
    return match.flow ?? this.#flowIn(match.state, match.schema, info.namespace);
  }

  #match(user: UserInfo, info: RequestInfo, { namespace, path }: Pick<Match, 'namespace' | 'path'>): Match {
    // catch-all takes the rest: a user in neither of the groups of everyone.
    const schema =
      this.#schemas.find((one) => matchesSchema(one, user, info)) ??
      this.#schemas.findLast(({ name }) => name === 'catch-all')!;
    const state = this.#levels.get(schema.level)!;
    const { verb, group, resource, subresource } = info;
    const flow =
      schema.distinguisher === 'ByNamespace'
        ? undefined
        : this.#flowIn(state, schema, schema.distinguisher === 'ByUser' ? user.name : '');
    return { verb, group, resource, subresource, path, namespace, schema, state, flow };
  }

  #flowIn(state: LevelState, schema: Schema, distinguisher: string): Flow {
    const key = `${schema.name}/${distinguisher}`;
    let flow = state.flows.get(key);
    if (!flow) {
      const { queuing, uid } = state.level;
      const hand = queuing ? dealHand(flowHash(schema.name, distinguisher), queuing) : NO_HAND;
      flow = {
        state,
        stats: state.statsOf(schema.name),
        hand,
        distinguisher,
        identity: { schemaUid: schema.uid, levelUid: uid },
      };
      if (state.flows.size >= MAX_FLOWS) state.flows.clear();
      state.flows.set(key, flow);
    }
    return flow;
  }

  // ------------------------------------------------------------------------------------------------------ configuration

  #follow(
    internal: InternalApi,
    resource: typeof FLOW_SCHEMAS | typeof PRIORITY_LEVELS,
    objects: Map<string, KubeObject>,
  ): () => void {
    const set = (object: KubeObject): void => {
      objects.set(object.metadata?.name ?? '', object);
      this.#askDigest();
    };
    return internal.watch(resource, {
      added: set,
      updated: set,
      deleted: ({ metadata }) => {
        objects.delete(metadata?.name ?? '');
        this.#askDigest();
      },
    });
  }

  #askDigest(): void {
    if (this.#digestAsked || this.#stopped) return;
    this.#digestAsked = true;
    queueMicrotask(() => {
      this.#digestAsked = false;
      if (!this.#stopped) this.#digest();
    });
  }

  #digest(): void {
    const levels = new Map<string, Level>();
    for (const object of this.#levelObjects.values()) {
      const level = createLevel(object);
      if (level) levels.set(level.name, level);
      else
        this.#options.log.warn('a priority level with an invalid spec is ignored', {
          name: object.metadata?.name,
        });
    }
    const wanted = new Set(levels.keys());
    for (const level of IMAGINED.levels) if (!levels.has(level.name)) levels.set(level.name, level);
    const schemas = Array.from(this.#schemaObjects.values(), schemaOf).filter(({ level }) =>
      wanted.has(level),
    );
    for (const schema of IMAGINED.schemas)
      if (!schemas.some(({ name }) => name === schema.name)) schemas.push(schema);
    this.#schemas = inMatchingOrder(schemas);
    this.#namedNamespaces = namedNamespaces(this.#schemas);
    this.#takeLevels(levels);
    this.#setLimits();
    this.#remembered = new WeakMap();
    if (this.#internal) void this.#writeStatus(wanted);
  }

  #takeLevels(levels: ReadonlyMap<string, Level>): void {
    for (const level of levels.values()) {
      const state = this.#levels.get(level.name);
      if (state) {
        state.level = level;
        state.quiescing = false;
        state.flows.clear();
      } else this.#levels.set(level.name, this.#newLevel(level));
    }
    for (const [name, state] of this.#levels) {
      if (levels.has(name)) continue;
      state.quiescing = true;
      if (state.set.idle) this.#levels.delete(name);
    }
  }

  #newLevel(level: Level): LevelState {
    const state: LevelState = new LevelState(
      level,
      new QueueSet({
        clock: this.#options.clock,
        exempt: level.exempt,
        queuing: level.queuing,
        onIdle: () => {
          if (state.quiescing) this.#askDigest();
        },
      }),
    );
    return state;
  }

  #setLimits(): void {
    const { totalSeats } = this.#options;
    const shareSum = Array.from(this.#levels.values()).reduce((sum, { level }) => sum + level.shares, 0);
    this.#nominalSum = 0;
    for (const state of this.#levels.values()) {
      const { shares, lendablePercent, borrowingLimitPercent, queuing } = state.level;
      state.nominal = shareSum === 0 ? 0 : Math.ceil((totalSeats * shares) / shareSum);
      const lendable = Math.round((state.nominal * lendablePercent) / 100);
      state.minimum = state.nominal - lendable;
      state.maximum =
        state.nominal +
        (borrowingLimitPercent === undefined
          ? totalSeats
          : Math.round((state.nominal * borrowingLimitPercent) / 100));
      state.maxSeats = queuing
        ? Math.max(
            1,
            Math.min(
              Math.ceil(state.nominal * MAX_SEATS_SHARE),
              Math.floor(state.nominal / queuing.handSize),
            ),
          )
        : 0;
      this.#nominalSum += state.nominal;
      if (state.fresh) {
        state.fresh = false;
        state.current = state.nominal - Math.trunc(lendable / 2);
      }
    }
    this.#borrow();
  }

  #scheduleBorrowing(): void {
    this.#timer = this.#options.clock.after(BORROWING_PERIOD_MS, () => {
      if (this.#stopped) return;
      this.#borrow();
      this.#scheduleBorrowing();
    });
  }

  /** Divides the seats by the demand of the period that ends now. */
  #borrow(): void {
    const states = Array.from(this.#levels.values());
    const claims = states.map((state) => {
      const { set, minimum, maximum, nominal } = state;
      set.endDemandPeriod();
      const lower = Math.max(minimum, Math.min(nominal, set.demand.highWatermark));
      state.target = Math.max(lower, set.demand.smoothed);
      return { lower, upper: maximum, target: state.target };
    });
    const allocation = divideSeats(this.#nominalSum, claims);
    // No division satisfies the bounds: each level keeps its seats.
    if (allocation) this.fairFraction = allocation.fairFraction;
    states.forEach((state, i) => {
      if (allocation) state.current = Math.round(allocation.seats[i]!);
      state.set.configure({ queuing: state.level.queuing, limit: state.current });
    });
  }

  // ------------------------------------------------------------------------------------------------------------- status

  /** Sets the Dangling condition of each schema. */
  async #writeStatus(levels: ReadonlySet<string>): Promise<void> {
    this.#statusChanged = this.#writingStatus;
    if (this.#writingStatus) return;
    this.#writingStatus = true;
    let delayMs: number | undefined;
    for (const [name, object] of Array.from(this.#schemaObjects)) {
      const level = schemaOf(object).level;
      const condition = danglingCondition(level, levels.has(level));
      if (this.#stopped || holdsCondition(object, condition)) continue;
      if (this.#writesTooOften(name)) {
        delayMs ??= 30_000;
        continue;
      }
      try {
        await this.#internal!.modify(
          FLOW_SCHEMAS,
          { name },
          (stored) =>
            setCondition(stored, { ...condition, lastTransitionTime: formatTime(this.#options.clock.now()) }),
          { subresource: 'status' },
        );
      } catch (error) {
        if (isStatusError(error, 'NotFound')) continue;
        this.#options.log.warn('error writing the status of a FlowSchema, retrying', {
          name,
          error: errorMessage(error),
        });
        delayMs = STATUS_RETRY_MS;
      }
    }
    this.#writingStatus = false;
    if (this.#statusChanged) this.#askDigest();
    this.#statusTimer?.cancel();
    if (delayMs !== undefined && !this.#stopped)
      this.#statusTimer = this.#options.clock.after(delayMs, () => this.#askDigest());
  }

  #writesTooOften(name: string): boolean {
    const nowMs = this.#options.clock.monotonic();
    const recent = (this.#statusWrites.get(name) ?? []).filter((atMs) => nowMs - atMs < 60_000);
    if (recent.length >= MAX_STATUS_WRITES) return true;
    this.#statusWrites.set(name, [...recent, nowMs]);
    return false;
  }
}

/** The mandatory ones, for as long as there are no such objects. */
const IMAGINED = {
  levels: bootstrapFlowObjects()
    .filter(({ mandatory, resource }) => mandatory && resource === PRIORITY_LEVELS)
    .map(({ object }) => createLevel(object)!),
  schemas: bootstrapFlowObjects()
    .filter(({ mandatory, resource }) => mandatory && resource === FLOW_SCHEMAS)
    .map(({ object }) => schemaOf(object)),
};

interface Condition {
  type?: string;
  status?: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

function danglingCondition(level: string, found: boolean): Condition {
  const said = `This FlowSchema references the PriorityLevelConfiguration object named ${JSON.stringify(level)}`;
  return found
    ? { type: 'Dangling', status: 'False', reason: 'Found', message: `${said} and it exists` }
    : {
        type: 'Dangling',
        status: 'True',
        reason: 'NotFound',
        message: `${said} but there is no such object`,
      };
}

function conditionsOf(object: KubeObject): Condition[] {
  return (object as { status?: { conditions?: Condition[] } }).status?.conditions ?? [];
}

function holdsCondition(object: KubeObject, { type, status, reason, message }: Condition): boolean {
  const found = conditionsOf(object).find((one) => one.type === type);
  return found?.status === status && found?.reason === reason && found?.message === message;
}

function setCondition(object: KubeObject, condition: Condition): boolean {
  if (holdsCondition(object, condition)) return false;
  object['status'] = {
    ...(object['status'] as object | undefined),
    conditions: [...conditionsOf(object).filter(({ type }) => type !== condition.type), condition],
  };
  return true;
}
