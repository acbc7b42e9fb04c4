/**
 * Connections between nodes, as TCP has them: messages of one stream arrive in order or not at all, messages of different requests overtake each other, a
 * partition is silence until it heals or somebody gives up, and a connection that breaks takes with it whatever is under way.
 *
 *   up ──partition──▶ silent (messages wait) ──heal──▶ up
 *    └── reset │ a node died │ given up ──▶ broken: both ends are told, nothing arrives any more
 */
import { seededRandom, type Random } from '#stdx/random.ts';
import type { SimNode, World } from './world.ts';

interface Delays {
  readonly lowMs: number;
  readonly highMs: number;
}

/** Between the chances of connections of two worlds. */
const SEEDS_APART = 1_000_003;
const USUAL: Delays = { lowMs: 0.1, highMs: 3 };

export class Network {
  readonly world: World;
  delays: Delays = USUAL;
  /** One way each: 'api1>etcd2'. */
  readonly #cut = new Set<string>();
  readonly #connections = new Set<Connection>();
  #made = 0;

  constructor(world: World) {
    this.world = world;
  }

  connect(client: SimNode, server: SimNode): Connection {
    const connection: Connection = new Connection({
      network: this,
      random: seededRandom(this.world.seed * SEEDS_APART + this.#made++),
      ends: [client, server],
      onBroken: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
    return connection;
  }

  isCut(from: SimNode, to: SimNode): boolean {
    return this.#cut.has(`${from.name}>${to.name}`);
  }

  cut(from: SimNode, to: SimNode): void {
    this.#cut.add(`${from.name}>${to.name}`);
  }

  /** That way is open again. */
  restore(from: SimNode, to: SimNode): void {
    if (!this.#cut.delete(`${from.name}>${to.name}`)) return;
    for (const connection of Array.from(this.#connections)) connection.healed();
  }

  resetDelays(): void {
    this.delays = USUAL;
  }

  /** Of one node, or between two. */
  resetConnections(node: SimNode, other?: SimNode): void {
    for (const connection of Array.from(this.#connections))
      if (connection.ends.includes(node) && (other === undefined || connection.ends.includes(other)))
        connection.break('connection reset by peer');
  }
}

interface ConnectionOptions {
  readonly network: Network;
  readonly random: Random;
  readonly ends: readonly [client: SimNode, server: SimNode];
  readonly onBroken: () => void;
}

/** Its chance is its own: in which order two servers do what they do at one moment depends on the real time that it takes, and must not matter. */
export class Connection {
  readonly ends: readonly [client: SimNode, server: SimNode];
  broken: string | undefined;
  readonly random: Random;
  readonly #options: ConnectionOptions;
  readonly #lives: readonly [number, number];
  readonly #breaking = { client: new Set<(why: string) => void>(), server: new Set<(why: string) => void>() };
  /** What did not get through. */
  #waiting: (() => void)[] = [];

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.ends = options.ends;
    this.random = options.random;
    this.#lives = [options.ends[0].life, options.ends[1].life];
  }

  /** Called once, at that end, when it breaks. */
  onBreak(callback: (why: string) => void, end: 'client' | 'server' = 'client'): () => void {
    this.#breaking[end].add(callback);
    return () => this.#breaking[end].delete(callback);
  }

  /** One message. */
  send(towards: 'server' | 'client', deliver: () => void): void {
    const { network } = this.#options;
    const { lowMs, highMs } = network.delays;
    const delayMs = lowMs + this.random() * (highMs - lowMs);
    network.world.clock.after(delayMs, () => this.#arrive(towards, deliver));
  }

  /** A sequence of messages that arrive in their order. */
  openLane(towards: 'server' | 'client'): (deliver: () => void) => void {
    const queue: (() => void)[] = [];
    const next = (): void => queue.shift()!();
    return (deliver) => {
      queue.push(deliver);
      this.send(towards, next);
    };
  }

  break(why: string): void {
    if (this.broken !== undefined) return;
    this.broken = why;
    this.#waiting = [];
    this.#options.onBroken();
    const [client, server] = this.ends;
    for (const callback of this.#breaking.client) client.run(this.#lives[0], () => callback(why));
    for (const callback of this.#breaking.server) server.run(this.#lives[1], () => callback(why));
  }

  healed(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const arrive of waiting) arrive();
  }

  #arrive(towards: 'server' | 'client', deliver: () => void): void {
    if (this.broken !== undefined) return;
    const [client, server] = this.ends;
    const [from, to] = towards === 'server' ? [client, server] : [server, client];
    if (this.#options.network.isCut(from, to))
      return void this.#waiting.push(() => this.send(towards, deliver));
    const life = this.#lives[towards === 'server' ? 1 : 0];
    if (to.life !== life) return this.break('the peer is gone');
    to.run(life, () => {
      if (this.broken === undefined) deliver();
    });
  }
}
