/** The servers that the machine was joined with. Never forgotten; names are resolved again and again, and keep their last addresses while they cannot be. */
import { isIP } from 'node:net';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { formatAddress, type Address } from './address.ts';

const RESOLVE_EVERY_MS = 15_000;
/** While a name has no address yet. */
const RESOLVE_AGAIN_MS = 1_000;

/** The addresses of a name; throws when there are none. */
export type Resolve = (name: string) => Promise<readonly string[]>;

interface SeedsOptions {
  readonly seeds: readonly Address[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly resolve: Resolve;
  changed(): void;
}

export class Seeds {
  readonly #options: SeedsOptions;
  readonly #resolved = new Map<string, readonly string[]>();
  readonly #failing = new Set<string>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: SeedsOptions) {
    this.#options = options;
  }

  get addresses(): readonly Address[] {
    return this.#options.seeds.flatMap(({ host, port }) =>
      isIP(host) === 0
        ? (this.#resolved.get(host) ?? []).map((ip) => ({ host: ip, port }))
        : [{ host, port }],
    );
  }

  /** Runs until close(). */
  start(): void {
    const names = new Set(this.#options.seeds.map(({ host }) => host).filter((host) => isIP(host) === 0));
    if (names.size > 0) void this.#round([...names]);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #round(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.#look(name)));
    if (this.#closed) return;
    const waitMs = names.every((name) => this.#resolved.has(name)) ? RESOLVE_EVERY_MS : RESOLVE_AGAIN_MS;
    this.#timer = this.#options.clock.after(waitMs, () => void this.#round(names));
  }

  async #look(name: string): Promise<void> {
    const { resolve, log, changed } = this.#options;
    try {
      const addresses = [...(await resolve(name))].sort();
      if (this.#closed || addresses.length === 0) return;
      this.#failing.delete(name);
      if (addresses.join() === this.#resolved.get(name)?.join()) return;
      this.#resolved.set(name, addresses);
      log.info('name of an API server resolved', { name, addresses: addresses.join(' ') });
      changed();
    } catch (error) {
      if (this.#failing.has(name)) return;
      this.#failing.add(name);
      const kept = this.#resolved
        .get(name)
        ?.map((host) => formatAddress({ host, port: 0 }).replace(/:0$/, ''));
      log.warn('cannot resolve the name of an API server', {
        name,
        error: errorMessage(error),
        ...(kept ? { kept: kept.join(' ') } : {}),
      });
    }
  }
}
