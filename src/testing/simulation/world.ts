/**
 * The world of one seed: its clock, its chance, its nodes and its trace. Everything that happens in it is an event on the clock, one at a time, so that a seed
 * gives the same history each time. Real time, real sockets and real disks have no part in it.
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { FakeClock, sleepOn } from '#stdx/testing/fake-clock.ts';

/** Turns of the event loop after each event, at most, in which code that yields its turn comes to rest before the next event. */
const MAX_TURNS = 50;

export class World {
  readonly seed: number;
  readonly random: Random;
  readonly clock = new FakeClock();
  /** What happened, one line each, with its time. */
  readonly trace: string[] = [];
  /** Of servers, with level error: for the report of a failing seed. */
  readonly errors: string[] = [];

  constructor(seed: number) {
    this.seed = seed;
    this.random = seededRandom(seed);
  }

  get nowMs(): number {
    return this.clock.monotonic();
  }

  between(low: number, high: number): number {
    return low + this.random() * (high - low);
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  note(what: string): void {
    this.trace.push(`${this.nowMs.toFixed(3)} ${what}`);
  }

  async run(forMs: number): Promise<void> {
    const untilMs = this.nowMs + forMs;
    for (;;) {
      const nextMs = this.clock.nextDelayMs;
      if (nextMs === undefined || this.nowMs + nextMs > untilMs) break;
      await this.clock.advance(nextMs);
      await rest();
    }
    await this.clock.advance(untilMs - this.nowMs);
  }

  /** Until the condition holds; false where it does not within that time. */
  async runUntil(condition: () => boolean, withinMs: number): Promise<boolean> {
    const untilMs = this.nowMs + withinMs;
    while (!condition()) {
      if (this.nowMs >= untilMs) return false;
      await this.run(50);
    }
    return true;
  }
}

async function rest(): Promise<void> {
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!process.getActiveResourcesInfo().includes('Immediate')) return;
  }
}

/** A machine: it can stand still, and it can die, after which nothing of its former life runs any more. */
export class SimNode {
  readonly name: string;
  readonly world: World;
  /** Of this life: its timers end with it. */
  clock: Clock;
  paused = false;
  /** Counts its lives. */
  life = 0;
  /** Of its wall clock. */
  skewMs = 0;
  #waiting: { readonly life: number; readonly run: () => void }[] = [];

  constructor(name: string, world: World) {
    this.name = name;
    this.world = world;
    this.clock = new NodeClock(this);
  }

  /** Now, or when it goes on; never where it has died since `life`. */
  run(life: number, callback: () => void): void {
    if (life !== this.life) return;
    if (this.paused) this.#waiting.push({ life, run: callback });
    else callback();
  }

  pause(): void {
    this.paused = true;
  }

  /** What has waited runs in its order, each at a moment of its own. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    waiting.forEach(({ life, run }, index) =>
      this.world.clock.after(0.001 * (index + 1), () => this.run(life, run)),
    );
  }

  die(): void {
    this.life += 1;
    this.paused = false;
    this.#waiting = [];
    this.clock = new NodeClock(this);
  }
}

class NodeClock implements Clock {
  readonly #node: SimNode;
  readonly #life: number;

  constructor(node: SimNode) {
    this.#node = node;
    this.#life = node.life;
  }

  now(): number {
    return this.#node.world.clock.now() + this.#node.skewMs;
  }

  monotonic(): number {
    return this.#node.world.clock.monotonic();
  }

  after(delayMs: number, callback: () => void): Timer {
    const node = this.#node;
    return node.world.clock.after(delayMs, () => node.run(this.#life, callback));
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal);
  }
}
