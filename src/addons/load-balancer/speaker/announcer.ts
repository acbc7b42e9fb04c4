/**
 * Answers ARP and neighbor discovery for addresses, and announces those that are new here. Nothing is added to an interface: when the process ends, nobody answers.
 *
 *   set() ─► silent ──owner──► announcing: said to all at once and REPEATS times more; questions are answered ──not any more──► silent
 *                                   '── somebody else claims it, and mayDefend() is false ──► yielded ──mayDefend()──► announcing
 */
import { createSocket, type Socket } from 'node:dgram';
import type { Clock, Timer } from '#stdx/clock.ts';
import { openPackets, type DatagramSocket } from '#stdx/datagram-socket.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import {
  ARP,
  IPV6,
  NEIGHBOR_FILTER,
  readFrame,
  renderFrame,
  solicitedNodeGroup,
  type Heard,
} from './frames.ts';
import { interfacesOf, type LinkInterface } from './interfaces.ts';

interface AnnouncerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether this node is certain that the address is its own: it renewed its Speaker lately. */
  readonly mayDefend: () => boolean;
}

interface Wanted {
  readonly address: string;
  /** Empty: those that fit the address. */
  readonly interfaces: readonly string[];
}

interface Link {
  readonly on: LinkInterface;
  readonly socket: DatagramSocket;
  readonly family: 4 | 6;
}

interface Announced {
  readonly address: string;
  readonly links: readonly Link[];
  isYielded: boolean;
  /** Announcements to all that are still due. */
  repeats: number;
  conflictAtMs: number;
}

/** Of the sockets, while anything is announced: how long a question may wait. */
const POLL_MS = 10;
const MAXIMUM_FRAMES = 256;
const REPEATS = 4;
const REPEAT_MS = 1_000;
const CONFLICT_MS = 2_000;
const CONFLICT_FORGOTTEN_MS = 60_000;

export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #links = new Map<string, Link>();
  readonly #announced = new Map<string, Announced>();
  readonly #groups = new Map<string, Socket>();
  #poll: Timer | undefined;
  #repeat: Timer | undefined;
  #turn: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** For metrics. */
  answers = 0;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  get addresses(): string[] {
    return [...this.#announced.values()].filter((one) => !one.isYielded).map(({ address }) => address);
  }

  /** Resolves with the interfaces of those that are new, by address. */
  set(wanted: readonly Wanted[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const result = this.#turn.then(() => this.#set(wanted));
    this.#turn = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  async close(): Promise<void> {
    await this.set([]);
    this.#isClosed = true;
    this.#poll?.cancel();
    this.#repeat?.cancel();
  }

  async #set(wanted: readonly Wanted[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const fresh = new Map<string, readonly string[]>();
    if (this.#isClosed) return fresh;
    const names = new Set(wanted.map(({ address }) => address));
    for (const address of this.#announced.keys()) if (!names.has(address)) this.#drop(address);
    for (const { address, interfaces } of wanted) {
      const links = await this.#linksFor(address, interfaces);
      const before = this.#announced.get(address);
      if (
        before &&
        before.links.length === links.length &&
        links.every((link) => before.links.includes(link))
      )
        continue;
      this.#announced.set(address, {
        address,
        links,
        isYielded: false,
        repeats: REPEATS,
        conflictAtMs: -CONFLICT_FORGOTTEN_MS,
      });
      for (const { on } of links) this.#join(address, on);
      this.#sayAll(address);
      fresh.set(
        address,
        links.map(({ on }) => on.name),
      );
    }
    this.#closeUnused();
    this.#schedule();
    return fresh;
  }

  async #linksFor(address: string, named: readonly string[]): Promise<Link[]> {
    const family = address.includes(':') ? 6 : 4;
    const links: Link[] = [];
    for (const on of interfacesOf(address, named)) {
      const key = `${on.name} ${on.index} ${on.mac} ${family}`;
      try {
        const socket =
          this.#links.get(key)?.socket ??
          (await openPackets({
            interfaceIndex: on.index,
            protocol: family === 4 ? ARP : IPV6,
            filter: family === 4 ? undefined : NEIGHBOR_FILTER,
          }));
        const link = this.#links.get(key) ?? { on, socket, family };
        this.#links.set(key, link);
        links.push(link);
      } catch (error) {
        this.#options.log.error('error opening a packet socket', {
          interface: on.name,
          error: errorMessage(error),
        });
      }
    }
    return links;
  }

  /** Solicitations go to a multicast group, which the card must take in, and switches must know of. */
  #join(address: string, { name }: LinkInterface): void {
    const key = `${address}%${name}`;
    if (!address.includes(':') || this.#groups.has(key)) return;
    const socket = createSocket('udp6').unref();
    this.#groups.set(key, socket);
    const failed = (error: unknown): void =>
      this.#options.log.warn('error joining the group of solicitations', {
        address,
        interface: name,
        error: errorMessage(error),
      });
    socket.on('error', failed);
    socket.bind({ port: 0, address: '::' }, () => {
      try {
        socket.addMembership(solicitedNodeGroup(address), `::%${name}`);
      } catch (error) {
        failed(error);
      }
    });
  }

  #drop(address: string): void {
    this.#announced.delete(address);
    for (const [key, socket] of this.#groups)
      if (key.startsWith(`${address}%`)) {
        socket.close();
        this.#groups.delete(key);
      }
  }

  #closeUnused(): void {
    const used = new Set([...this.#announced.values()].flatMap(({ links }) => links));
    for (const [key, link] of this.#links)
      if (!used.has(link)) {
        link.socket.close();
        this.#links.delete(key);
      }
  }

  #schedule(): void {
    const { clock } = this.#options;
    if (this.#isClosed || this.#announced.size === 0) return;
    this.#poll ??= clock.after(POLL_MS, () => {
      this.#poll = undefined;
      for (const link of this.#links.values()) this.#listen(link);
      this.#schedule();
    });
    this.#repeat ??= clock.after(REPEAT_MS, () => {
      this.#repeat = undefined;
      for (const one of this.#announced.values()) this.#again(one);
      this.#schedule();
    });
  }

  #again(one: Announced): void {
    if (one.isYielded && this.#options.mayDefend()) {
      one.isYielded = false;
      one.repeats = REPEATS;
    }
    if (one.repeats === 0 || one.isYielded) return;
    one.repeats -= 1;
    this.#sayAll(one.address);
  }

  #listen(link: Link): void {
    try {
      for (let left = MAXIMUM_FRAMES; left > 0; left -= 1) {
        const frame = link.socket.receive();
        if (!frame) return;
        const heard = readFrame(frame);
        const one = heard && this.#announced.get(heard.address);
        if (heard && one?.links.includes(link)) this.#hear(heard, { one, link });
      }
    } catch (error) {
      // The interface is down or gone: what is announced is looked at again soon.
      this.#options.log.debug('error reading a packet socket', {
        interface: link.on.name,
        error: errorMessage(error),
      });
    }
  }

  #hear(heard: Heard, { one, link }: { readonly one: Announced; readonly link: Link }): void {
    const { clock, log, mayDefend } = this.#options;
    if (heard.kind === 'claimed') {
      if (heard.mac === link.on.mac) return;
      if (!mayDefend()) {
        one.isYielded = true;
        log.warn('another node announces an address, and the API server has not answered here: yielding', {
          address: one.address,
          mac: heard.mac,
        });
        return;
      }
      // A hand-over has two claims for a moment: only what is heard again is a conflict.
      const sinceMs = clock.monotonic() - one.conflictAtMs;
      if (sinceMs < CONFLICT_MS) return;
      one.conflictAtMs = clock.monotonic();
      if (sinceMs > CONFLICT_FORGOTTEN_MS) return;
      log.warn('an address of the load balancer is used by another machine', {
        address: one.address,
        mac: heard.mac,
      });
      this.#say(one.address, { link });
      return;
    }
    if (one.isYielded) return;
    this.answers += 1;
    this.#say(one.address, { link, to: { mac: heard.mac, address: heard.from } });
  }

  #sayAll(address: string): void {
    for (const link of this.#announced.get(address)?.links ?? []) this.#say(address, { link });
  }

  #say(
    address: string,
    { link, to }: { readonly link: Link; readonly to?: { readonly mac: string; readonly address: string } },
  ): void {
    try {
      link.socket.send(renderFrame({ address, mac: link.on.mac, to }));
    } catch (error) {
      this.#options.log.debug('error announcing an address', {
        address,
        interface: link.on.name,
        error: errorMessage(error),
      });
    }
  }
}
