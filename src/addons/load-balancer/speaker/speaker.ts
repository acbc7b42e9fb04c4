/**
 * The speaker of one node: follows Services and pools, writes a Speaker to say that it lives, elects with the others who announces which address, and hands its own to the announcer.
 * It waits for the load balancer's definitions, and writes nothing while no Service has an address.
 */
import type { EndpointSlice, Node, OwnerReference, Service } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import { endpointSlices, nodes, services } from '#client/refs.ts';
import { indexByService } from '#component-helpers/endpoint-slices.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import { formatMicroTime } from '#machinery/time.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import {
  ipAddressPools,
  l2Advertisements,
  speakers,
  type IPAddressPool,
  type L2Advertisement,
  type Speaker as SpeakerObject,
} from '../api.ts';
import { bgpAdvertisements, type BGPAdvertisement } from '../bgp-api.ts';
import { readPool } from '../pools.ts';
import { Announcer } from './announcer.ts';
import { BgpSpeaker, isServed } from './bgp/bgp-speaker.ts';
import { announcedAddresses, electAnnouncements, isRoutedOnly, poolsOfNode } from './elect.ts';
import { Membership } from './membership.ts';

interface SpeakerOptions extends ComponentContext {
  readonly nodeName: string;
}

const BY_SERVICE = 'load-balancer-service';
const GATHER_MS = 10;
const RENEW_MS = 500;
/** While it is alone, or has nothing to announce with anybody. */
const RENEW_SLOW_MS = 5_000;
const FAST_LEASE_SECONDS = 2;
const SLOW_LEASE_SECONDS = 20;
/** Renewed so lately that others have not counted this node out. */
const FRESH_MS = 1_500;
const WAITING_MS = 5_000;
/** Interfaces are looked at again: they come, go and get other addresses. */
const LOOK_AGAIN_MS = 5_000;

/** For the segment, and for BGP peers. */
export function createLoadBalancerSpeaker(options: SpeakerOptions): Component {
  const parts = [new Speaker(options), new BgpSpeaker(options)];
  return {
    name: 'load-balancer-speaker',
    start: async () => void (await Promise.all(parts.map((part) => part.start()))),
    stop: async () => void (await Promise.all(parts.map((part) => part.stop()))),
  };
}

class Speaker implements Component {
  readonly name = 'load-balancer-speaker';
  readonly #options: SpeakerOptions;
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  readonly #membership: Membership;
  readonly #announcer: Announcer;
  readonly #events: StoppableEventRecorder;
  #informers: Informers | undefined;
  #timer: Timer | undefined;
  #renewTimer: Timer | undefined;
  #lookTimer: Timer | undefined;
  #routedTimer: Timer | undefined;
  #routed: Informer<BGPAdvertisement> | undefined;
  #freshUntilMs = 0;
  #isFast = false;
  #work: Promise<void> = Promise.resolve();
  #renewing: Promise<void> = Promise.resolve();

  constructor(options: SpeakerOptions) {
    const { api, clock, log, nodeName } = options;
    this.#options = options;
    this.#membership = new Membership(nodeName);
    this.#announcer = new Announcer({ clock, log, mayDefend: () => clock.monotonic() < this.#freshUntilMs });
    this.#events = createEventRecorder(api, { component: this.name, host: nodeName, clock, log });
    options.metrics?.collect(() => [
      '# HELP capstan_load_balancer_announced_addresses Addresses that this node announces.',
      '# TYPE capstan_load_balancer_announced_addresses gauge',
      `capstan_load_balancer_announced_addresses ${this.#announcer.addresses.length}`,
      '# HELP capstan_load_balancer_answers_total Questions of ARP and neighbor discovery that were answered.',
      '# TYPE capstan_load_balancer_answers_total counter',
      `capstan_load_balancer_answers_total ${this.#announcer.answers}`,
    ]);
  }

  /** Does not wait for the definitions. */
  async start(): Promise<void> {
    this.#work = this.#follow().catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#options.log.error('load balancer addresses are not announced', { error: errorMessage(error) });
    });
  }

  /** Its addresses move at once: the Speaker is deleted. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('load balancer speaker stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const timer of [this.#timer, this.#renewTimer, this.#lookTimer, this.#routedTimer]) timer?.cancel();
    await Promise.all([this.#work, this.#renewing]);
    await this.#announcer.close();
    this.#events.stop();
    if (this.#freshUntilMs > 0) await this.#deleteSpeaker();
  }

  async #follow(): Promise<void> {
    const { api, clock, log, nodeName } = this.#options;
    const { signal } = this.#stop;
    while (!(await isServed(api, [ipAddressPools, l2Advertisements, speakers], log)))
      await clock.sleep(WAITING_MS, signal);
    const knowsRouted = await this.#followRouted();
    const informers: Informers = {
      services: api.informer(services),
      slices: api.informer(endpointSlices),
      node: api.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` }),
      pools: api.informer(ipAddressPools),
      advertisements: api.informer(l2Advertisements),
      speakers: api.informer(speakers),
    };
    informers.slices.addIndex(BY_SERVICE, indexByService);
    await Promise.all(Object.values(informers).map((one: Informer<KubeObject>) => one.synced(signal)));
    if (signal.aborted) return;
    this.#informers = informers;
    const changed = (): void => this.#schedule();
    const all = { added: changed, updated: changed, deleted: changed };
    const seen = (speaker: Stored<SpeakerObject>): void => {
      this.#seen(speaker);
      changed();
    };
    this.#unsubscribe.push(
      ...[
        informers.services,
        informers.slices,
        informers.pools,
        informers.advertisements,
        informers.node,
      ].map((one) => one.subscribe(all)),
      informers.speakers.subscribe({
        added: seen,
        updated: seen,
        deleted: ({ metadata }) => {
          this.#membership.left(metadata.name);
          changed();
        },
      }),
    );
    this.#lookAgain();
    this.#renewSoon(0);
    if (!knowsRouted) this.#followRoutedLater();
  }

  /** Pools that are announced to routers. False: a controller manager of an older version has not installed their definition; it is looked for again. */
  async #followRouted(): Promise<boolean> {
    const { api, log } = this.#options;
    if (!(await isServed(api, [bgpAdvertisements], log))) return false;
    const informer = api.informer(bgpAdvertisements);
    await informer.synced(this.#stop.signal);
    this.#routed = informer;
    const changed = (): void => this.#schedule();
    this.#unsubscribe.push(informer.subscribe({ added: changed, updated: changed, deleted: changed }));
    return true;
  }

  #followRoutedLater(): void {
    this.#routedTimer = this.#options.clock.after(WAITING_MS, () => {
      this.#inTurn('error following BGPAdvertisements', async () => {
        if (!(await this.#followRouted())) this.#followRoutedLater();
      });
    });
  }

  #seen({ metadata, spec }: Stored<SpeakerObject>): void {
    this.#membership.seen({
      node: metadata.name,
      renewTime: spec.renewTime,
      isSlow: spec.leaseDurationSeconds !== FAST_LEASE_SECONDS,
      pools: spec.ipAddressPools,
    });
    // Somebody came: both renew fast from now on.
    if (metadata.name !== this.#options.nodeName && !this.#isFast && this.#isActive()) this.#renewSoon(0);
  }

  #schedule(): void {
    this.#timer ??= this.#options.clock.after(GATHER_MS, () => {
      this.#timer = undefined;
      this.#inTurn('error announcing load balancer addresses', () => this.#apply());
    });
  }

  #inTurn(problem: string, work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#stop.signal.aborted) return;
      await work().catch((error: unknown) => this.#options.log.warn(problem, { error: errorMessage(error) }));
    });
  }

  #lookAgain(): void {
    this.#lookTimer = this.#options.clock.after(LOOK_AGAIN_MS, () => {
      this.#schedule();
      this.#lookAgain();
    });
  }

  async #apply(): Promise<void> {
    const informers = this.#informers!;
    const announcements = electAnnouncements({
      node: this.#options.nodeName,
      services: informers.services.list(),
      slicesOf: (service) => informers.slices.byIndex(BY_SERVICE, objectKey(service)),
      pools: informers.pools.list().map(readPool),
      advertisements: informers.advertisements.list(),
      announcersOf: (pool) => this.#membership.announcers(pool),
    });
    const fresh = await this.#announcer.set(announcements);
    for (const { address, service } of announcements) {
      const on = fresh.get(address);
      if (on) this.#report(service, { address, on });
    }
    if (this.#isActive() && this.#freshUntilMs === 0) this.#renewSoon(0);
  }

  #report(
    service: Stored<Service>,
    { address, on }: { readonly address: string; readonly on: readonly string[] },
  ): void {
    const { nodeName } = this.#options;
    this.#events.event(
      service,
      on.length > 0
        ? {
            type: 'Normal',
            reason: 'AddressAnnounced',
            message: `announcing ${address} from node ${nodeName} on ${on.join(', ')}`,
          }
        : {
            type: 'Warning',
            reason: 'AddressNotAnnounced',
            message: `node ${nodeName} has no interface to announce ${address} on`,
          },
    );
  }

  /** Whether any node has anything to announce to a segment. */
  #isActive(): boolean {
    const informers = this.#informers;
    if (!informers) return false;
    const advertisements = informers.advertisements.list();
    const routed = this.#routed?.list() ?? [];
    const pools = informers.pools
      .list()
      .map(readPool)
      .filter((pool) => !isRoutedOnly(pool, { advertisements, routed }));
    return announcedAddresses({ services: informers.services.list(), pools }).size > 0;
  }

  #renewSoon(delayMs: number): void {
    this.#renewTimer?.cancel();
    if (this.#stop.signal.aborted) return;
    this.#renewTimer = this.#options.clock.after(delayMs, () => {
      this.#renewing = this.#renewing
        .then(() => this.#renew())
        .catch((error: unknown) => {
          if (!this.#stop.signal.aborted)
            this.#options.log.warn('error renewing the Speaker', { error: errorMessage(error) });
        })
        .finally(() => this.#renewSoon(this.#isFast ? RENEW_MS : RENEW_SLOW_MS));
    });
  }

  async #renew(): Promise<void> {
    const { api, clock, nodeName } = this.#options;
    const informers = this.#informers;
    if (!informers || !this.#isActive()) {
      this.#isFast = false;
      return;
    }
    this.#isFast = this.#membership.hasPeers;
    const node = informers.node.get(nodeName);
    const pools = node
      ? poolsOfNode(node, {
          pools: informers.pools.list().map(readPool),
          advertisements: informers.advertisements.list(),
          routed: this.#routed?.list() ?? [],
        })
      : [];
    const startedMs = clock.monotonic();
    const speaker: SpeakerObject = {
      apiVersion: `${speakers.group}/${speakers.version}`,
      kind: speakers.kind,
      metadata: {
        name: nodeName,
        // It is deleted with its Node: other nodes may not.
        ...(node ? { ownerReferences: [ownedBy(node)] } : {}),
      },
      spec: {
        renewTime: formatMicroTime(clock.now()),
        leaseDurationSeconds: this.#isFast ? FAST_LEASE_SECONDS : SLOW_LEASE_SECONDS,
        ipAddressPools: pools,
      },
    };
    await api
      .patch(speakers, { name: nodeName }, { type: 'merge', patch: speaker })
      .catch((error: unknown) => {
        if (!isStatusError(error, 'NotFound')) throw error;
        return api.create(speakers, speaker);
      });
    this.#freshUntilMs = startedMs + FRESH_MS + (this.#isFast ? 0 : RENEW_SLOW_MS);
    this.#schedule();
  }

  async #deleteSpeaker(): Promise<void> {
    const { api, log, nodeName } = this.#options;
    await api.delete(speakers, { name: nodeName }).catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound'))
        log.warn('error deleting the Speaker', { error: errorMessage(error) });
    });
  }
}

interface Informers {
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly node: Informer<Node>;
  readonly pools: Informer<IPAddressPool>;
  readonly advertisements: Informer<L2Advertisement>;
  readonly speakers: Informer<SpeakerObject>;
}

function ownedBy({ metadata: { name, uid } }: Stored<Node>): OwnerReference {
  return { apiVersion: 'v1', kind: 'Node', name, uid };
}
