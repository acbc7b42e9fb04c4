/**
 * Leader election by Lease (coordination.k8s.io/v1), upstream's algorithm: at most one candidate considers itself the leader, given clocks that
 * run at the same rate (their times may differ: a lease expires by when this process last observed a change of it).
 *
 *   candidate --lease free or expired, write succeeded--> leader --renewed every retryPeriod--> leader
 *       ^                                                   | no renewal for renewDeadline, or another holder observed
 *       '---------- the caller runs it again ---------------'        signal aborted: lease released
 */
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';
import { isStatusError } from '#machinery/errors.ts';
import { assert } from '#stdx/assert.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import { formatMicroTime } from '#machinery/time.ts';
import type { Client, ResourceRef } from './client.ts';
import { abortReason } from './transport-error.ts';

export interface LeaderElectionOptions {
  readonly api: Client;
  readonly lease: { readonly namespace: string; readonly name: string };
  /** Unique among the candidates. */
  readonly identity: string;
  /** Default 15 s: how long other candidates wait after the last observed renewal. */
  readonly leaseDurationMs?: number;
  /** Default 10 s: how long a leader retries the renewal before it steps down; less than leaseDurationMs. */
  readonly renewDeadlineMs?: number;
  /** Default 2 s between attempts. */
  readonly retryPeriodMs?: number;
  /** Release the lease when stopped, so that another candidate takes over at once. Default true. */
  readonly releaseOnStop?: boolean;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly random?: Random;
  /** Called when the observed holder changes, also to this candidate; '' when the lease is free. */
  readonly onNewLeader?: (identity: string) => void;
}

export interface LeaderElector {
  readonly isLeader: boolean;
  /**
   * The lease is surely still held: the last renewal was sent less than renewDeadline ago. Also right at once in a process that stood still (SIGSTOP, a suspended
   * machine) and whose timers have not fired yet; ask before each write (fenced-client.ts).
   */
  readonly mayWrite: boolean;
  /** The last observed leader; '' when unknown. */
  readonly leader: string;
  /**
   * Waits for leadership, then runs `lead` with a signal that aborts when leadership is lost or `signal` is aborted, and resolves
   * after `lead` ended and the lease was released. Call it again for another term. Never throws, except what `lead` throws.
   */
  run(signal: AbortSignal, lead: (leading: AbortSignal) => Promise<void>): Promise<void>;
}

interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string | null;
  renewTime?: string | null;
  leaseTransitions?: number;
}
interface Lease extends KubeObject {
  metadata: ObjectMeta;
  spec?: LeaseSpec;
}

const LEASES: ResourceRef<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};
const JITTER = 1.2;

export function createLeaderElector(options: LeaderElectionOptions): LeaderElector {
  return new LeaseElector(options);
}

class LeaseElector implements LeaderElector {
  readonly #api: Client;
  readonly #name: { readonly namespace: string; readonly name: string };
  readonly #identity: string;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  readonly #releaseOnStop: boolean;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: Random;
  readonly #onNewLeader: ((identity: string) => void) | undefined;
  /** The last observed or written lease, and when (monotonic) it was first observed. */
  #observed: Lease | undefined;
  #observedAtMs = 0;
  #reportedLeader: string | undefined;
  /** When (monotonic) the last write of the lease that succeeded was sent. */
  #renewedAtMs = 0;
  #isLeader = false;

  constructor(options: LeaderElectionOptions) {
    this.#api = options.api;
    this.#name = options.lease;
    this.#identity = options.identity;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000;
    this.#releaseOnStop = options.releaseOnStop ?? true;
    this.#clock = options.clock ?? realClock;
    this.#log = (options.log ?? silentLogger).with({
      lease: `${options.lease.namespace}/${options.lease.name}`,
    });
    this.#random = options.random ?? realRandom;
    this.#onNewLeader = options.onNewLeader;
    assert(this.#identity !== '', 'a leader election candidate has an identity');
    assert(this.#leaseDurationMs > this.#renewDeadlineMs, 'leaseDuration is greater than renewDeadline');
    assert(
      this.#renewDeadlineMs > JITTER * this.#retryPeriodMs,
      'renewDeadline is greater than retryPeriod times 1.2',
    );
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }
  get mayWrite(): boolean {
    return this.#isLeader && this.#clock.monotonic() - this.#renewedAtMs < this.#renewDeadlineMs;
  }
  get leader(): string {
    return this.#observed?.spec?.holderIdentity ?? '';
  }

  async run(signal: AbortSignal, lead: (leading: AbortSignal) => Promise<void>): Promise<void> {
    if (!(await this.#acquire(signal))) return;
    const leading = new AbortController();
    const onStop = (): void => leading.abort(abortReason(signal));
    signal.addEventListener('abort', onStop, { once: true });
    if (signal.aborted) onStop();
    // The lease is renewed until the work has ended, also during shutdown: an earlier release would allow two leaders.
    const over = new AbortController();
    const renewing = this.#renew(over.signal).then((outcome) => {
      this.#isLeader = false;
      if (outcome === 'lost')
        leading.abort(new Error(`leadership of lease ${this.#name.namespace}/${this.#name.name} is lost`));
    });
    this.#isLeader = true;
    this.#log.info('leading', { identity: this.#identity });
    try {
      await lead(leading.signal);
    } finally {
      const lost = !this.#isLeader;
      this.#isLeader = false;
      over.abort();
      await renewing;
      signal.removeEventListener('abort', onStop);
      if (this.#releaseOnStop && !lost) await this.#release();
      this.#log.info('no longer leading', { identity: this.#identity });
    }
  }

  async #acquire(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      if (await this.#tryAcquireOrRenew()) return true;
      await this.#clock.sleep(this.#retryPeriodMs * (1 + JITTER * this.#random()), signal).catch(() => {});
    }
    return false;
  }

  async #renew(over: AbortSignal): Promise<'lost' | 'over'> {
    let renewedAtMs = this.#clock.monotonic();
    for (;;) {
      await this.#clock.sleep(this.#retryPeriodMs, over).catch(() => {});
      if (over.aborted) return 'over';
      const deadline = new AbortController();
      const leftMs = renewedAtMs + this.#renewDeadlineMs - this.#clock.monotonic();
      const timer = this.#clock.after(leftMs, () => deadline.abort());
      const startedMs = this.#clock.monotonic();
      const renewed = await Promise.race([this.#tryAcquireOrRenew(), aborted(deadline.signal)]);
      timer.cancel();
      if (over.aborted) return 'over';
      if (renewed) renewedAtMs = startedMs;
      else if (this.#clock.monotonic() - renewedAtMs >= this.#renewDeadlineMs) {
        this.#log.error('leadership lost: failed to renew the lease in time', {
          identity: this.#identity,
        });
        return 'lost';
      }
    }
  }

  /** Returns true when this candidate holds the lease. */
  async #tryAcquireOrRenew(): Promise<boolean> {
    try {
      // As upstream's fast path, a leader updates its last written lease without a read.
      if (this.#isLeader && this.#observed && this.#isValid()) {
        try {
          await this.#write(this.#observed);
          return true;
        } catch (error) {
          if (!isStatusError(error)) throw error;
        }
      }
      const current = await this.#read();
      if (!current) {
        const object = { metadata: { ...this.#name }, spec: this.#nextSpec(undefined) };
        await this.#hold(() => this.#api.create(LEASES, object));
        return true;
      }
      if (!sameRecord(current, this.#observed)) this.#observe(current);
      const holder = current.spec?.holderIdentity ?? '';
      if (holder !== '' && holder !== this.#identity && this.#isValid()) return false;
      await this.#write(current);
      return true;
    } catch (error) {
      if (!isStatusError(error, 'Conflict') && !isStatusError(error, 'AlreadyExists'))
        this.#log.warn('error acquiring or renewing the lease', { error: errorMessage(error) });
      return false;
    }
  }

  async #read(): Promise<Lease | undefined> {
    try {
      return await this.#api.get(LEASES, this.#name);
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #write(current: Lease): Promise<void> {
    const object = { ...current, spec: { ...current.spec, ...this.#nextSpec(current.spec) } };
    await this.#hold(() => this.#api.update(LEASES, object));
  }

  /** Held from when it was sent: others may have observed it long before the answer. */
  async #hold(write: () => Promise<Lease>): Promise<void> {
    const sentAtMs = this.#clock.monotonic();
    this.#observe(await write());
    this.#renewedAtMs = sentAtMs;
  }

  #nextSpec(current: LeaseSpec | undefined): LeaseSpec {
    const now = microTime(this.#clock.now());
    const held = current?.holderIdentity === this.#identity;
    return {
      holderIdentity: this.#identity,
      leaseDurationSeconds: Math.ceil(this.#leaseDurationMs / 1000),
      acquireTime: held ? (current.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (current?.leaseTransitions ?? 0) + (current && !held ? 1 : 0),
    };
  }

  /** True while the last observed holder may still consider itself the leader. */
  #isValid(): boolean {
    const seconds = this.#observed?.spec?.leaseDurationSeconds ?? 0;
    return this.#observedAtMs + seconds * 1000 > this.#clock.monotonic();
  }

  #observe(lease: Lease): void {
    this.#observed = lease;
    this.#observedAtMs = this.#clock.monotonic();
    const leader = lease.spec?.holderIdentity ?? '';
    if (leader === this.#reportedLeader) return;
    this.#reportedLeader = leader;
    this.#onNewLeader?.(leader);
  }

  /** As upstream, an empty holder with a duration of one second. */
  async #release(): Promise<void> {
    const lease = this.#observed;
    if (!lease || lease.spec?.holderIdentity !== this.#identity) return;
    const now = microTime(this.#clock.now());
    const spec: LeaseSpec = {
      ...lease.spec,
      holderIdentity: '',
      leaseDurationSeconds: 1,
      acquireTime: now,
      renewTime: now,
    };
    try {
      this.#observe(await this.#api.update(LEASES, { ...lease, spec }));
    } catch (error) {
      this.#log.warn('error releasing the lease, it will expire', { error: errorMessage(error) });
    }
  }
}

function sameRecord(a: Lease, b: Lease | undefined): boolean {
  return (
    b !== undefined &&
    a.metadata.uid === b.metadata.uid &&
    a.metadata.resourceVersion === b.metadata.resourceVersion
  );
}

function aborted(signal: AbortSignal): Promise<false> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(false);
    else signal.addEventListener('abort', () => resolve(false), { once: true });
  });
}

/** metav1.MicroTime: six digits of seconds. */
function microTime(ms: number): string {
  return formatMicroTime(ms);
}
