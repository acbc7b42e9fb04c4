/**
 * Live API servers of a shared store: upstream's leases at /registry/masterleases/IP (Endpoints with one address), which the store deletes unless
 * they are renewed. Upstream's last 15 s; these last TTL_SECONDS, so that with etcd's own delay a killed server is removed within 15 s. The port
 * is not part of a lease: all servers listen on the same one, as upstream's.
 *
 *   start() ─▶ held, renewed every RENEW_MS ─▶ remove(): deleted at once │ killed: deleted at expiry
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { StoreError, type Store, type StoreWatch } from '#storage/store.ts';

const MASTER_LEASES = '/registry/masterleases/';
const TTL_SECONDS = 12;
const RENEW_MS = 4_000;
const REOPEN_MS = 1_000;

interface ServerLeasesOptions {
  readonly store: Store;
  /** Default: /registry/masterleases/. */
  readonly prefix?: string | undefined;
  /** Of the lease. Default: the address. */
  readonly name?: string | undefined;
  /** Of this server. */
  readonly ip: string;
  /** In leases that name it; those below masterleases do not. */
  readonly port?: number | undefined;
  /** After each renewal, and when a lease came or went. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

interface LeaseObject {
  readonly subsets?: readonly {
    readonly addresses?: readonly { readonly ip?: string }[];
    readonly ports?: readonly { readonly port?: number }[];
  }[];
}

/** What a lease tells of its server. */
export interface LeasedServer {
  readonly name: string;
  readonly ip: string;
  readonly port: number | undefined;
}

export class ServerLeases {
  readonly #options: ServerLeasesOptions;
  #generation = 0;
  #timer: Timer | undefined;
  #watch: StoreWatch | undefined;
  #renewing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ServerLeasesOptions) {
    this.#options = options;
  }

  /** Resolves once this server has its lease. */
  async start(): Promise<void> {
    await this.#renew();
    this.follow();
    this.#schedule();
  }

  /** Addresses of all servers that live, sorted. */
  async list(): Promise<string[]> {
    return (await this.servers()).map(({ ip }) => ip).toSorted();
  }

  /** All servers that live. */
  async servers(): Promise<LeasedServer[]> {
    const { items } = await this.#options.store.list(this.#prefix);
    return items.flatMap(({ key, value }) => {
      const { subsets: [subset] = [] } = JSON.parse(value.toString()) as LeaseObject;
      const ip = subset?.addresses?.[0]?.ip;
      if (ip === undefined) return [];
      return { name: key.slice(this.#prefix.length), ip, port: subset?.ports?.[0]?.port };
    });
  }

  /** No more renewals. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#watch?.stop();
  }

  /** Deletes this server's lease at once. */
  async remove(): Promise<void> {
    this.stop();
    await this.#renewing?.catch(() => {});
    try {
      await this.#options.store.delete(this.#key);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
    }
  }

  get #key(): string {
    return `${this.#prefix}${this.#options.name ?? this.#options.ip}`;
  }

  get #prefix(): string {
    return this.#options.prefix ?? MASTER_LEASES;
  }

  #schedule(): void {
    if (this.#stopped) return;
    const { clock, log, onChange } = this.#options;
    this.#timer = clock.after(RENEW_MS, () => {
      this.#renewing = this.#renew();
      this.#renewing
        .then(onChange, (error: unknown) =>
          log.warn('error renewing the endpoint lease of this server, retrying', {
            error: errorMessage(error),
          }),
        )
        .finally(() => this.#schedule());
    });
  }

  async #renew(): Promise<void> {
    const { store, ip, port } = this.#options;
    const ports = port === undefined ? {} : { ports: [{ name: 'https', port, protocol: 'TCP' }] };
    const lease = {
      kind: 'Endpoints',
      apiVersion: 'v1',
      metadata: { generation: ++this.#generation },
      subsets: [{ addresses: [{ ip }], ...ports }],
    };
    await store.put(this.#key, Buffer.from(JSON.stringify(lease)), { ttlSeconds: TTL_SECONDS });
  }

  /** Only watches the leases of others. */
  follow(): void {
    if (this.#stopped) return;
    const { store, clock, log, onChange } = this.#options;
    const reopen = (error?: unknown): void => {
      if (this.#stopped) return;
      log.warn('the watch of API server leases ended, reopening it', {
        error: errorMessage(error),
      });
      clock.after(REOPEN_MS, () => this.follow());
    };
    try {
      this.#watch = store.watch({
        prefix: this.#prefix,
        afterRevision: store.revision,
        // Renewals of others change nothing.
        onEvents: (events) => {
          if (events.some(({ type, previous }) => type === 'delete' || !previous)) onChange();
        },
        onClose: reopen,
      });
    } catch (error) {
      reopen(error);
    }
  }
}
