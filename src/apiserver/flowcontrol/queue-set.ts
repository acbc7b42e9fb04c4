/**
 * The queues and seats of one priority level: fair queuing over shuffle-sharded queues, after upstream's
 * k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing. Independent of HTTP and of configuration objects.
 *
 *   start() ──seats free, queues empty─────────────► executing ──finish()──► [holding: seats of work after the response] ──► done
 *      │                                                 ▲
 *      ├─► queued ──its queue's turn and seats free──────┘
 *      │      └──timeout, client gone──► refused
 *      └──queue full, or no queues──► refused
 *
 * Fairness: virtual time R advances by the seats in use divided by the active queues. A queue's next request starts at nextDispatchR: the virtual
 * time at which its predecessors finish at equal service. The queued request with the earliest virtual finish is next; while it does not fit, no
 * other overtakes it, so that wide requests are not starved.
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { SeatDemand } from './borrowing.ts';
import type { Queuing } from './configuration.ts';
import { Histogram, TimingRatio } from './histogram.ts';

/** What one request is assumed to take until it is known. */
const ASSUMED_SECONDS = 0.003;

export type RejectReason = 'queue-full' | 'concurrency-limit' | 'time-out' | 'cancelled';

export interface Work {
  /** Seats while the request runs. */
  readonly seats: number;
  /** Additional seats for extraMs: notifying watchers. */
  readonly finalSeats: number;
  readonly extraMs: number;
}

/** Requests that are treated alike. */
export interface FlowShare {
  /** Queues of this flow; not computed without queues. */
  readonly hand: readonly number[];
  readonly stats: FlowStats;
  /** For the debug pages. */
  readonly distinguisher: string;
}

export interface Arrival {
  readonly flow: FlowShare;
  readonly work: Work;
  /** Called only when the request is queued; a client that is gone leaves the queue. */
  readonly subject: { readonly request: { onAbort(callback: () => void): void } };
  readonly maxWaitMs: number;
  readonly isWatch: boolean;
}

const QUEUE_LENGTH_BUCKETS = [0, 10, 25, 50, 100, 250, 500, 1000];
const DURATION_BUCKETS = [0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
const SEAT_BUCKETS = [1, 2, 4, 10];
const WATCH_COUNT_BUCKETS = [0, 1, 10, 100, 1000, 10_000];
const SEAT_RATIO_BUCKETS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1];
const REQUEST_RATIO_BUCKETS = [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1];

/** Metrics of one schema in one level. */
export class FlowStats {
  readonly schema: string;
  dispatched = 0;
  executing = 0;
  executingSeats = 0;
  waiting = 0;
  waitingSeats = 0;
  noAccommodation = 0;
  readonly rejected = new Map<RejectReason, number>();
  readonly waitExecuted = new Histogram(DURATION_BUCKETS);
  readonly waitRejected = new Histogram(DURATION_BUCKETS);
  readonly execution = new Histogram(DURATION_BUCKETS);
  readonly watchInitialization = new Histogram(DURATION_BUCKETS);
  readonly queueLength = new Histogram(QUEUE_LENGTH_BUCKETS);
  readonly seats = new Histogram(SEAT_BUCKETS);
  readonly watchCounts = new Histogram(WATCH_COUNT_BUCKETS);

  constructor(schema: string) {
    this.schema = schema;
  }
}

class Queue {
  readonly index: number;
  readonly waiting: Ticket[] = [];
  executing = 0;
  seatsInUse = 0;
  waitingSeats = 0;
  nextDispatchR = 0;

  constructor(index: number) {
    this.index = index;
  }

  get inUse(): boolean {
    return this.seatsInUse > 0 || this.waiting.length > 0;
  }

  /** Seats of all that is here. */
  get load(): number {
    return this.seatsInUse + this.waitingSeats;
  }
}

type State = 'waiting' | 'executing' | 'holding' | 'over';

/** One request in a queue set. finish() must be called once after start() returned the ticket; further calls have no effect. */
export class Ticket {
  readonly set: QueueSet;
  readonly arrival: Arrival;
  readonly queue: Queue | undefined;
  readonly arrivedMs: number;
  readonly arrivalR: number;
  /** Seats it occupies; fixed when it starts. */
  seats: number;
  startedMs = 0;
  endsMs = 0;
  state: State = 'waiting';
  settle: ((outcome: Ticket | RejectReason) => void) | undefined;
  timer: Timer | undefined;
  /** Neighbours among the executing. */
  before: Ticket | undefined;
  after: Ticket | undefined;

  constructor(
    set: QueueSet,
    {
      arrival,
      queue,
      nowMs,
      r,
    }: {
      readonly arrival: Arrival;
      readonly queue: Queue | undefined;
      readonly nowMs: number;
      readonly r: number;
    },
  ) {
    this.set = set;
    this.arrival = arrival;
    this.queue = queue;
    this.arrivedMs = nowMs;
    this.arrivalR = r;
    this.seats = Math.max(arrival.work.seats, arrival.work.finalSeats);
  }

  finish(): void {
    if (this.state === 'executing') this.set.finished(this);
  }
}

interface QueueSetOptions {
  readonly clock: Clock;
  readonly exempt: boolean;
  readonly queuing: Queuing | undefined;
  /** Called when nothing runs or waits any more. */ readonly onIdle?: () => void;
}

export class QueueSet {
  readonly #clock: Clock;
  readonly #exempt: boolean;
  readonly #onIdle: (() => void) | undefined;
  #queuing: Queuing | undefined;
  #limit = 0;
  /** Created on first use: a configuration may name millions. */
  #queues: Queue[] = [];
  /** Those in which someone waits. */
  readonly #active: Queue[] = [];
  #queuesInUse = 0;
  #r = 0;
  #rAtMs: number;
  #waiting = 0;
  #waitingSeats = 0;
  #executing = 0;
  #seatsInUse = 0;
  #turn = 0;
  /** Ordered by end: seats occupied after the response. */
  readonly #holding: Ticket[] = [];
  #holdTimer: Timer | undefined;
  #first: Ticket | undefined;
  readonly demand: SeatDemand;
  readonly seatUtilization: TimingRatio;
  readonly executingUtilization: TimingRatio;
  readonly waitingUtilization: TimingRatio;
  readonly totals = { dispatched: 0, rejected: 0, timedOut: 0, cancelled: 0 };

  constructor({ clock, exempt, queuing, onIdle }: QueueSetOptions) {
    this.#clock = clock;
    this.#exempt = exempt;
    this.#queuing = queuing;
    this.#onIdle = onIdle;
    const nowMs = clock.monotonic();
    this.#rAtMs = nowMs;
    this.demand = new SeatDemand(nowMs);
    this.seatUtilization = new TimingRatio(SEAT_RATIO_BUCKETS, nowMs);
    this.executingUtilization = new TimingRatio(REQUEST_RATIO_BUCKETS, nowMs);
    this.waitingUtilization = new TimingRatio(REQUEST_RATIO_BUCKETS, nowMs);
  }

  get limit(): number {
    return this.#limit;
  }
  get waiting(): number {
    return this.#waiting;
  }
  get executing(): number {
    return this.#executing;
  }
  get seatsInUse(): number {
    return this.#seatsInUse;
  }
  get currentR(): number {
    return this.#r;
  }
  get idle(): boolean {
    return this.#executing === 0 && this.#waiting === 0 && this.#holding.length === 0;
  }

  /** What waits in queues that are no longer there is still served. */
  configure({ queuing, limit }: { readonly queuing: Queuing | undefined; readonly limit: number }): void {
    const nowMs = this.#sync();
    if (queuing?.queues !== this.#queuing?.queues) this.#queues = [];
    this.#queuing = queuing;
    this.#limit = limit;
    this.#dispatch(nowMs);
    this.#observe(nowMs);
  }

  /** A ticket: it may run now. A promise: it waits. A reason: refused. */
  start(arrival: Arrival): Ticket | RejectReason | Promise<Ticket | RejectReason> {
    const nowMs = this.#sync();
    const queuing = this.#queuing;
    const { hand, stats } = arrival.flow;
    stats.seats.observe(Math.max(arrival.work.seats, arrival.work.finalSeats));
    if (this.#exempt || !queuing) {
      const ticket = new Ticket(this, { arrival, queue: undefined, nowMs, r: this.#r });
      if (!this.#exempt && !this.#fits(ticket)) return this.#refuse(ticket, 'concurrency-limit', nowMs);
      this.demand.add(ticket.seats, nowMs);
      this.#begin(ticket, nowMs);
      return ticket;
    }
    const queue = this.#choose(hand);
    const ticket = new Ticket(this, { arrival, queue, nowMs, r: this.#r });
    // Where anyone waits nothing can run at once, or it would.
    if (queue.waiting.length >= queuing.queueLengthLimit) return this.#refuse(ticket, 'queue-full', nowMs);
    this.demand.add(ticket.seats, nowMs);
    if (!queue.inUse) {
      queue.nextDispatchR = this.#r;
      this.#queuesInUse++;
    }
    if (this.#waiting === 0 && this.#fits(ticket)) {
      stats.queueLength.observe(0);
      this.#begin(ticket, nowMs);
      return ticket;
    }
    this.#enqueue(ticket, queue);
    this.#dispatch(nowMs);
    this.#observe(nowMs);
    return (ticket.state as State) === 'executing' ? ticket : this.#wait(ticket);
  }

  /** By Ticket.finish alone. */
  finished(ticket: Ticket): void {
    const nowMs = this.#sync();
    const {
      arrival: {
        flow: { stats },
        work,
        isWatch,
      },
      queue,
    } = ticket;
    const seconds = (nowMs - ticket.startedMs) / 1000;
    (isWatch ? stats.watchInitialization : stats.execution).observe(seconds);
    // Corrects the estimate.
    if (queue) queue.nextDispatchR -= work.seats * (ASSUMED_SECONDS - seconds);
    this.#leave(ticket);
    if (work.extraMs > 0 && work.finalSeats > 0) {
      ticket.state = 'holding';
      ticket.endsMs = nowMs + work.extraMs;
      let at = this.#holding.length;
      while (at > 0 && this.#holding[at - 1]!.endsMs > ticket.endsMs) at--;
      this.#holding.splice(at, 0, ticket);
    } else this.#end(ticket, nowMs);
    this.#dispatch(nowMs);
    this.#observe(nowMs);
  }

  /** Brings the figures up to now: seats that only time gives back. */
  refresh(): void {
    this.#observe(this.#sync());
  }

  /** What demand was in the period that ends now. */
  endDemandPeriod(): void {
    this.demand.endPeriod(this.#sync());
  }

  /** Those that wait, queue by queue, then those that run, for the debug pages. */
  *tickets(): Generator<{ readonly ticket: Ticket; readonly position: number }> {
    for (const queue of this.#active.toSorted((left, right) => left.index - right.index)) {
      for (const [position, ticket] of queue.waiting.entries()) yield { ticket, position };
    }
    for (let ticket = this.#first; ticket; ticket = ticket.after) yield { ticket, position: -1 };
  }

  get queueCount(): number {
    return this.#queuing?.queues ?? 0;
  }
  get activeQueues(): number {
    return this.#active.length;
  }

  /** undefined: nothing was ever in it. */
  queueAt(index: number): Queue | undefined {
    return this.#queues[index];
  }

  // --------------------------------------------------------------------------------------------------------------- time

  /** Brings virtual time and held seats up to now. */
  #sync(): number {
    const nowMs = this.#clock.monotonic();
    while (this.#holding.length > 0 && this.#holding[0]!.endsMs <= nowMs) {
      const ticket = this.#holding.shift()!;
      this.#moveTo(ticket.endsMs);
      this.#end(ticket, ticket.endsMs);
    }
    this.#moveTo(nowMs);
    return nowMs;
  }

  #moveTo(nowMs: number): void {
    const seconds = (nowMs - this.#rAtMs) / 1000;
    if (seconds <= 0) return;
    this.#rAtMs = nowMs;
    if (this.#queuesInUse > 0)
      this.#r +=
        (seconds * Math.min(this.#seatsInUse + this.#waitingSeats, Math.max(1, this.#limit))) /
        this.#queuesInUse;
  }

  // ------------------------------------------------------------------------------------------------------------- queues

  #choose(hand: readonly number[]): Queue {
    let best: Queue | undefined;
    for (const index of hand) {
      const queue = (this.#queues[index] ??= new Queue(index));
      if (best === undefined || queue.load < best.load) best = queue;
      if (best.load === 0) break;
    }
    return best!;
  }

  #enqueue(ticket: Ticket, queue: Queue): void {
    const { stats } = ticket.arrival.flow;
    if (queue.waiting.length === 0) this.#active.push(queue);
    queue.waiting.push(ticket);
    queue.waitingSeats += ticket.seats;
    this.#waiting++;
    this.#waitingSeats += ticket.seats;
    stats.waiting++;
    stats.waitingSeats += ticket.seats;
    stats.queueLength.observe(queue.waiting.length);
  }

  #dequeue(ticket: Ticket, queue: Queue): void {
    const { stats } = ticket.arrival.flow;
    queue.waiting.splice(queue.waiting.indexOf(ticket), 1);
    if (queue.waiting.length === 0) this.#active.splice(this.#active.indexOf(queue), 1);
    queue.waitingSeats -= ticket.seats;
    this.#waiting--;
    this.#waitingSeats -= ticket.seats;
    stats.waiting--;
    stats.waitingSeats -= ticket.seats;
  }

  #wait(ticket: Ticket): Promise<Ticket | RejectReason> {
    const { arrival } = ticket;
    return new Promise((resolve) => {
      ticket.settle = resolve;
      ticket.timer = this.#clock.after(arrival.maxWaitMs, () => this.#giveUp(ticket, 'time-out'));
      arrival.subject.request.onAbort(() => this.#giveUp(ticket, 'cancelled'));
    });
  }

  #giveUp(ticket: Ticket, reason: RejectReason): void {
    if (ticket.state !== 'waiting') return;
    const nowMs = this.#sync();
    const queue = ticket.queue!;
    this.#dequeue(ticket, queue);
    if (!queue.inUse) this.#queuesInUse--;
    this.demand.add(-ticket.seats, nowMs);
    this.#refuse(ticket, reason, nowMs);
    ticket.timer?.cancel();
    ticket.settle?.(reason);
    // It may have been the wide one that all others waited for.
    this.#dispatch(nowMs);
    this.#observe(nowMs);
    if (this.idle) this.#onIdle?.();
  }

  #refuse(ticket: Ticket, reason: RejectReason, nowMs: number): RejectReason {
    ticket.state = 'over';
    const { stats } = ticket.arrival.flow;
    stats.rejected.set(reason, (stats.rejected.get(reason) ?? 0) + 1);
    stats.waitRejected.observe((nowMs - ticket.arrivedMs) / 1000);
    if (reason === 'time-out') this.totals.timedOut++;
    else if (reason === 'cancelled') this.totals.cancelled++;
    else this.totals.rejected++;
    return reason;
  }

  // ----------------------------------------------------------------------------------------------------------- dispatch

  /** One that is wider than the whole level runs when nothing else does. */
  #fits({ seats }: Ticket): boolean {
    return (
      this.#seatsInUse + Math.min(seats, Math.max(1, this.#limit)) <= this.#limit || this.#seatsInUse === 0
    );
  }

  #dispatch(nowMs: number): void {
    while (this.#active.length > 0) {
      const queue = this.#next();
      const ticket = queue.waiting[0]!;
      if (!this.#fits(ticket)) {
        ticket.arrival.flow.stats.noAccommodation++;
        this.#awaitHeld(nowMs);
        return;
      }
      this.#dequeue(ticket, queue);
      this.#turn = queue.index;
      this.#begin(ticket, nowMs);
      ticket.timer?.cancel();
      ticket.settle?.(ticket);
    }
  }

  /** The queue whose first request would end first; among equals the one after that which was last. */
  #next(): Queue {
    const queues = this.#queuing?.queues ?? 1;
    let best: Queue | undefined;
    let bestEnd = Infinity;
    let bestTurn = Infinity;
    for (const queue of this.#active) {
      const { arrival, arrivalR } = queue.waiting[0]!;
      const end = Math.max(queue.nextDispatchR, arrivalR) + describeWork(arrival.work);
      const turn = (queue.index - this.#turn - 1 + 2 * queues) % queues;
      if (end > bestEnd || (end === bestEnd && turn >= bestTurn)) continue;
      best = queue;
      bestEnd = end;
      bestTurn = turn;
    }
    return best!;
  }

  #begin(ticket: Ticket, nowMs: number): void {
    const { arrival, queue } = ticket;
    const { stats } = arrival.flow;
    const seats = Math.min(ticket.seats, Math.max(1, this.#limit));
    if (!this.#exempt && seats !== ticket.seats) {
      this.demand.add(seats - ticket.seats, nowMs);
      ticket.seats = seats;
    }
    ticket.state = 'executing';
    ticket.startedMs = nowMs;
    if (queue) {
      // Unused service is not accumulated.
      if (queue.nextDispatchR < ticket.arrivalR) queue.nextDispatchR = ticket.arrivalR;
      queue.nextDispatchR += describeWork(arrival.work);
      queue.executing++;
      queue.seatsInUse += ticket.seats;
    }
    this.#executing++;
    this.#seatsInUse += ticket.seats;
    this.totals.dispatched++;
    stats.dispatched++;
    stats.executing++;
    stats.executingSeats += ticket.seats;
    stats.waitExecuted.observe((nowMs - ticket.arrivedMs) / 1000);
    ticket.after = this.#first;
    if (this.#first) this.#first.before = ticket;
    this.#first = ticket;
    this.#observe(nowMs);
  }

  /** It does not run any more; its seats may still be held. */
  #leave({
    arrival: {
      flow: { stats },
    },
    queue,
    before,
    after,
  }: Ticket): void {
    if (queue) queue.executing--;
    this.#executing--;
    stats.executing--;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
  }

  /** Its seats are free again. */
  #end(ticket: Ticket, nowMs: number): void {
    const {
      arrival: {
        flow: { stats },
      },
      queue,
    } = ticket;
    ticket.state = 'over';
    if (queue) {
      queue.seatsInUse -= ticket.seats;
      if (!queue.inUse) this.#queuesInUse--;
    }
    this.#seatsInUse -= ticket.seats;
    this.demand.add(-ticket.seats, nowMs);
    stats.executingSeats -= ticket.seats;
    if (this.#onIdle && this.idle) this.#onIdle();
  }

  /** Someone waits for seats that only time gives back. */
  #awaitHeld(nowMs: number): void {
    const next = this.#holding[0];
    if (!next || this.#holdTimer) return;
    this.#holdTimer = this.#clock.after(next.endsMs - nowMs, () => {
      this.#holdTimer = undefined;
      const laterMs = this.#sync();
      this.#dispatch(laterMs);
      this.#observe(laterMs);
    });
  }

  #observe(nowMs: number): void {
    const limit = Math.max(1, this.#limit);
    this.seatUtilization.set(this.#seatsInUse / limit, nowMs);
    this.executingUtilization.set(this.#executing / limit, nowMs);
    if (this.#queuing)
      this.waitingUtilization.set(
        this.#waiting / (this.#queuing.queues * this.#queuing.queueLengthLimit),
        nowMs,
      );
  }
}

/** In seat-seconds. */
export function describeWork({ seats, finalSeats, extraMs }: Work): number {
  return seats * ASSUMED_SECONDS + (finalSeats * extraMs) / 1000;
}
