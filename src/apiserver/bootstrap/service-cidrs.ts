/**
 * ServiceCIDRs: the ranges of service addresses, after upstream's service CIDR controller. Each server passes them to its allocation and maintains
 * finalizer and condition.
 *
 *   ServiceCIDR  created --finalizer, Ready--> allocated from --delete--> Ready=False (Terminating) --no address left in it--> finalizer off, gone
 */
import { formatTime, timeMs } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ServiceCIDR } from '#api/types.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { ServiceAllocation } from '../registry/core/services/allocation.ts';
import { AddressRange } from '../registry/core/services/ranges.ts';
import { IP_ADDRESSES, SERVICE_CIDRS } from '../registry/core/services/resources.ts';

const DEFAULT_SERVICE_CIDR_NAME = 'kubernetes';
const FINALIZER = 'networking.k8s.io/service-cidr-finalizer';
/** Time for every server to observe the deletion and for allocations in flight to become visible; upstream's value. */
const DELETION_GRACE_MS = 10_000;

interface ServiceCIDRsOptions {
  readonly internal: InternalApi;
  readonly allocation: ServiceAllocation;
  /** Of the cluster: the ranges of the ServiceCIDR named kubernetes, the default family's first. */
  readonly cidrs: readonly string[];
  /** Other servers allocate too. */
  readonly isShared: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ServiceCIDRs {
  readonly #options: ServiceCIDRsOptions;
  readonly #cidrs: KeyedWork;
  #unwatch: (() => void) | undefined;

  constructor(options: ServiceCIDRsOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#cidrs = new KeyedWork({
      clock,
      log,
      complaint: 'a ServiceCIDR could not be kept up',
      work: (name) => this.#reconcileCidr(name),
    });
  }

  /** Resolves when the cluster's own range has its ServiceCIDR. */
  async prepare(): Promise<void> {
    const { internal, cidrs, clock } = this.#options;
    const stored = internal.get(SERVICE_CIDRS, { name: DEFAULT_SERVICE_CIDR_NAME }) as
      | ServiceCIDR
      | undefined;
    if (!stored) await this.#createDefault(cidrs, clock.now());
    else if (!deepEqual(stored.spec?.cidrs, cidrs)) await this.#adaptDefault(stored.spec?.cidrs ?? []);
  }

  start(): void {
    this.#unwatch ??= this.#options.internal.watch(SERVICE_CIDRS, {
      added: (object) => this.#cidrChanged(object),
      updated: (object) => this.#cidrChanged(object),
      deleted: () => this.#useRanges(),
    });
  }

  async stop(): Promise<void> {
    this.#unwatch?.();
    await this.#cidrs.stop();
  }

  /** A range that goes may have waited for it. */
  addressGone(): void {
    for (const { metadata } of this.#all()) if (metadata?.deletionTimestamp) this.#cidrs.add(metadata.name!);
  }

  /** A cluster of one family may get a second one; any other difference is for the administrator to mend. */
  async #adaptDefault(stored: readonly string[]): Promise<void> {
    const { cidrs, log } = this.#options;
    if (cidrs.length === 2 && stored.length === 1 && stored[0] === cidrs[0])
      return this.#modify(DEFAULT_SERVICE_CIDR_NAME, (object) => {
        if (object.spec?.cidrs?.length !== 1) return false;
        object.spec = { ...object.spec, cidrs: [...cidrs] };
        return undefined;
      });
    log.warn('the default ServiceCIDR does not match the flags', {
      stored: stored.join(','),
      flags: cidrs.join(','),
    });
  }

  async #createDefault(cidrs: readonly string[], nowMs: number): Promise<void> {
    const { internal } = this.#options;
    try {
      await internal.create(SERVICE_CIDRS, {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'ServiceCIDR',
        metadata: { name: DEFAULT_SERVICE_CIDR_NAME, finalizers: [FINALIZER] },
        spec: { cidrs },
      } as KubeObject);
    } catch (error) {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
    await this.#setReady(
      DEFAULT_SERVICE_CIDR_NAME,
      { status: 'True', reason: '', message: 'Kubernetes default Service CIDR is ready' },
      nowMs,
    );
  }

  #all(): ServiceCIDR[] {
    return this.#options.internal.list(SERVICE_CIDRS) as ServiceCIDR[];
  }

  #cidrChanged(object: KubeObject): void {
    this.#useRanges();
    this.#cidrs.add(object.metadata?.name ?? '');
  }

  /** Ranges under deletion are not allocated from; the cluster's own one always is while it lasts. */
  #useRanges(): void {
    const { allocation, cidrs: own, log } = this.#options;
    const usable = this.#all()
      .filter(({ metadata }) => !metadata?.deletionTimestamp)
      .flatMap(({ spec }) => spec?.cidrs ?? [])
      .filter(isServiceCIDR);
    if (usable.length === 0)
      log.warn('no ServiceCIDR is ready: Services get no addresses', { cidrs: own.join(',') });
    // The configured ranges are first where they are among them.
    allocation.addresses.use(
      [...new Set(usable)].toSorted(
        (left, right) => Number(own.includes(right)) - Number(own.includes(left)),
      ),
    );
  }

  async #reconcileCidr(name: string): Promise<void> {
    const { internal, clock } = this.#options;
    const object = internal.get(SERVICE_CIDRS, { name }) as ServiceCIDR | undefined;
    if (!object) return;
    const { deletionTimestamp, finalizers = [] } = object.metadata ?? {};
    if (deletionTimestamp) {
      if (!finalizers.includes(FINALIZER)) return;
      const graceMs = (timeMs(deletionTimestamp) ?? 0) + DELETION_GRACE_MS - clock.now();
      if (this.#options.isShared && graceMs > 0)
        return void clock.after(graceMs, () => this.#cidrs.add(name));
      if (this.#isInUse(object)) {
        return this.#setReady(
          name,
          {
            status: 'False',
            reason: 'Terminating',
            message:
              'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR',
          },
          clock.now(),
        );
      }
      return this.#modify(
        name,
        ({ metadata }) =>
          void (metadata!.finalizers = (metadata!.finalizers ?? []).filter(
            (finalizer) => finalizer !== FINALIZER,
          )),
      );
    }
    if (!finalizers.includes(FINALIZER))
      await this.#modify(
        name,
        ({ metadata }) => void (metadata!.finalizers = [...(metadata!.finalizers ?? []), FINALIZER]),
      );
    const unusable = (object.spec?.cidrs ?? []).filter((cidr) => !isServiceCIDR(cidr));
    if (unusable.length > 0)
      await this.#setReady(
        name,
        {
          status: 'False',
          reason: 'NotSupported',
          message: `the prefix of a range has 8 to 30 bits (IPv4) or 64 to 126 (IPv6): nothing is allocated from ${unusable.join(', ')}`,
        },
        clock.now(),
      );
    else if (!object.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
      await this.#setReady(
        name,
        {
          status: 'True',
          reason: '',
          message:
            name === DEFAULT_SERVICE_CIDR_NAME
              ? 'Kubernetes default Service CIDR is ready'
              : 'Kubernetes Service CIDR is ready',
        },
        clock.now(),
      );
  }

  /** True if an allocated address would be left outside every range. */
  #isInUse({ metadata, spec }: ServiceCIDR): boolean {
    const own = rangesOf(spec?.cidrs),
      others = this.#all()
        .filter((other) => other.metadata?.name !== metadata?.name && !other.metadata?.deletionTimestamp)
        .flatMap((other) => rangesOf(other.spec?.cidrs));
    return this.#options.internal.list(IP_ADDRESSES).some((address) => {
      const ip = address.metadata?.name ?? '';
      return own.some((range) => range.has(ip)) && !others.some((range) => range.has(ip));
    });
  }

  async #setReady(
    name: string,
    condition: { readonly status: 'True' | 'False'; readonly reason: string; readonly message: string },
    nowMs: number,
  ): Promise<void> {
    await this.#modify(
      name,
      (object) => {
        const conditions = object.status?.conditions ?? [];
        const old = conditions.find(({ type }) => type === 'Ready');
        const next = {
          type: 'Ready',
          ...condition,
          lastTransitionTime: old?.status === condition.status ? old.lastTransitionTime : formatTime(nowMs),
        };
        if (deepEqual(old, next)) return false;
        object.status = {
          ...object.status,
          conditions: [...conditions.filter(({ type }) => type !== 'Ready'), next],
        };
        return undefined;
      },
      { subresource: 'status' },
    );
  }

  async #modify(
    name: string,
    change: (object: ServiceCIDR) => false | void,
    options?: { readonly subresource: 'status' },
  ): Promise<void> {
    try {
      await this.#options.internal.modify(
        SERVICE_CIDRS,
        { name },
        (object) => change(object as ServiceCIDR),
        options,
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }
}

function rangesOf(cidrs: readonly string[] = []): AddressRange[] {
  return cidrs.filter(isServiceCIDR).map((cidr) => new AddressRange(cidr));
}
