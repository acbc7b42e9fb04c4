/**
 * The BGP part of a node's speaker: follows BGPPeers, BGPAdvertisements and Services, and keeps the daemon's configuration equal to them. Without a BGPPeer for this node there is no daemon.
 * It waits for the definitions, which a controller manager of an older version has not installed.
 *
 *   informers ──change──► GATHER_MS ──► routes, sessions ─► configuration ─► daemon
 *   daemon ──each LOOK_MS──► states of sessions ─► events of BGPPeers, metrics
 */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { EndpointSlice, Node, Service } from '#api/types.ts';
import type { Informer, ResourceRef } from '#client/client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import { endpointSlices, nodes, secrets, services } from '#client/refs.ts';
import { indexByService } from '#component-helpers/endpoint-slices.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseIP } from '#machinery/ip.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { ipAddressPools, type IPAddressPool } from '../../api.ts';
import {
  bfdProfiles,
  bgpAdvertisements,
  bgpPeers,
  communities,
  type BFDProfile,
  type BGPAdvertisement,
  type BGPPeer,
  type Community,
} from '../../bgp-api.ts';
import { matchesAny, readPool } from '../../pools.ts';
import { isExcluded } from '../elect.ts';
import { Bird } from './bird.ts';
import { protocolName, renderBirdConfig } from './bird-config.ts';
import { computeRoutes } from './routes.ts';
import { sessionOf, type BgpSession } from './sessions.ts';

interface BgpSpeakerOptions extends ComponentContext {
  readonly nodeName: string;
}

const BY_SERVICE = 'bgp-service';
const GATHER_MS = 10;
const WAITING_MS = 5_000;
const LOOK_MS = 1_000;
const RETRY_MS = 5_000;
/** Secrets are not watched: a node may get single ones alone. */
const SECRETS_MS = 30_000;
const DEFAULT_SECRET_NAMESPACE = 'kube-system';
const ESTABLISHED = 'Established';

export class BgpSpeaker implements Component {
  readonly name = 'bgp-speaker';
  readonly #options: BgpSpeakerOptions;
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  readonly #events: StoppableEventRecorder;
  readonly #timers = new Set<Timer>();
  #bird: Bird | undefined;
  #informers: Informers | undefined;
  #due: Timer | undefined;
  #work: Promise<void> = Promise.resolve();
  #sessions: readonly BgpSession[] = [];
  /** Names of BGPPeers whose sessions are up. */
  #established = new Set<string>();
  /** By address, what the last event said. */
  #reported = new Map<string, string>();
  /** By the object's kind and name. */
  #problems = new Map<string, string>();
  #passwords = new Map<string, string>();
  #secretsReadMs = -Infinity;

  constructor(options: BgpSpeakerOptions) {
    const { api, clock, log, nodeName } = options;
    this.#options = options;
    this.#events = createEventRecorder(api, {
      component: 'load-balancer-speaker',
      host: nodeName,
      clock,
      log,
    });
    options.metrics?.collect(() => this.#metricLines());
  }

  async start(): Promise<void> {
    this.#work = this.#follow().catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#options.log.error('BGPPeers are not followed', { error: errorMessage(error) });
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('BGP speaker stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const timer of this.#timers) timer.cancel();
    await this.#work;
    await this.#bird?.stop();
    this.#events.stop();
  }

  async #follow(): Promise<void> {
    const { api, clock, nodeName, log } = this.#options;
    const { signal } = this.#stop;
    while (
      !(await isServed(api, [ipAddressPools, bgpPeers, bgpAdvertisements, communities, bfdProfiles], log))
    )
      await clock.sleep(WAITING_MS, signal);
    const informers: Informers = {
      services: api.informer(services),
      slices: api.informer(endpointSlices),
      node: api.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` }),
      pools: api.informer(ipAddressPools),
      peers: api.informer(bgpPeers),
      advertisements: api.informer(bgpAdvertisements),
      communities: api.informer(communities),
      profiles: api.informer(bfdProfiles),
    };
    informers.slices.addIndex(BY_SERVICE, indexByService);
    const all: readonly Informer<KubeObject>[] = Object.values(informers);
    await Promise.all(all.map((one) => one.synced(signal)));
    if (signal.aborted) return;
    this.#informers = informers;
    const changed = (): void => this.#schedule(GATHER_MS);
    for (const one of all)
      this.#unsubscribe.push(one.subscribe({ added: changed, updated: changed, deleted: changed }));
    changed();
    this.#lookLater();
  }

  #after(delayMs: number, work: () => void): Timer {
    const timer = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      work();
    });
    this.#timers.add(timer);
    return timer;
  }

  #schedule(delayMs: number): void {
    if (this.#stop.signal.aborted || this.#due) return;
    this.#due = this.#after(delayMs, () => {
      this.#due = undefined;
      this.#inTurn(() => this.#apply());
    });
  }

  #inTurn(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#stop.signal.aborted) return;
      try {
        await work();
      } catch (error) {
        this.#options.log.warn('error announcing addresses by BGP', { error: errorMessage(error) });
        this.#problemsOf(
          'BGPPeer',
          new Map(this.#ownPeers().map(({ metadata }) => [metadata.name, errorMessage(error)])),
        );
        this.#after(RETRY_MS, () => this.#schedule(0));
      }
    });
  }

  /** Those that this node is to talk to. */
  #ownPeers(): Stored<BGPPeer>[] {
    const informers = this.#informers!;
    const node = informers.node.get(this.#options.nodeName);
    if (!node || isExcluded(node)) return [];
    return informers.peers
      .list()
      .filter(
        ({ spec: { nodeSelectors = [] } }) =>
          nodeSelectors.length === 0 || matchesAny(nodeSelectors, node.metadata.labels),
      )
      .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  async #apply(): Promise<void> {
    const informers = this.#informers!;
    const peers = this.#ownPeers();
    const node = informers.node.get(this.#options.nodeName);
    if (!node || (peers.length === 0 && !this.#bird)) return;
    const { ofPeer, announced, problems } = computeRoutes({
      node,
      services: informers.services.list(),
      slicesOf: (service) => informers.slices.byIndex(BY_SERVICE, objectKey(service)),
      pools: informers.pools.list().map(readPool),
      advertisements: informers.advertisements.list(),
      communities: informers.communities.list(),
      peers: peers.map(({ metadata }) => metadata.name),
    });
    await this.#readSecrets(peers);
    const sessions: BgpSession[] = [];
    const peerProblems = new Map<string, string>();
    for (const peer of peers) {
      const found = sessionOf(peer, {
        profiles: informers.profiles.list(),
        secretPassword: this.#passwords.get(secretOf(peer) ?? ''),
        routes: ofPeer.get(peer.metadata.name) ?? new Map(),
      });
      const same = 'problem' in found ? undefined : sessions.find(({ address }) => address === found.address);
      if ('problem' in found) peerProblems.set(peer.metadata.name, found.problem);
      else if (same)
        peerProblems.set(peer.metadata.name, `BGPPeer ${same.name} of this node has the same peerAddress`);
      else sessions.push(found);
    }
    this.#bird ??= new Bird({ ...this.#options, dir: directoryOf(this.#options.nodeName) });
    await this.#bird.configure(renderBirdConfig(sessions, { routerId: routerIdOf(node) }));
    this.#sessions = sessions;
    this.#problemsOf('BGPPeer', peerProblems);
    this.#problemsOf('BGPAdvertisement', problems);
    this.#report(announced, new Set(sessions.map(({ name }) => name)));
  }

  #report(
    announced: ReadonlyMap<string, { readonly service: Stored<Service>; readonly peers: readonly string[] }>,
    configured: ReadonlySet<string>,
  ): void {
    const reported = new Map<string, string>();
    for (const [address, { service, peers }] of announced) {
      const to = peers.filter((peer) => configured.has(peer)).sort();
      if (to.length === 0) continue;
      const message = `announcing ${address} from node ${this.#options.nodeName} to BGP peers ${to.join(', ')}`;
      reported.set(address, message);
      if (this.#reported.get(address) !== message)
        this.#events.event(service, { type: 'Normal', reason: 'AddressAnnounced', message });
    }
    this.#reported = reported;
  }

  /** Emits an event for each that is new. */
  #problemsOf(kind: 'BGPPeer' | 'BGPAdvertisement', problems: ReadonlyMap<string, string>): void {
    const informers = this.#informers!;
    const list: readonly Stored<KubeObject>[] = (
      kind === 'BGPPeer' ? informers.peers : informers.advertisements
    ).list();
    for (const object of list) {
      const key = `${kind}/${object.metadata.name}`;
      const problem = problems.get(object.metadata.name);
      if (problem !== undefined && problem !== this.#problems.get(key))
        this.#events.event(
          { ...object, apiVersion: `${bgpPeers.group}/${bgpPeers.version}`, kind },
          {
            type: 'Warning',
            reason: `${kind}NotConfigured`,
            message: `node ${this.#options.nodeName}: ${problem}`,
          },
        );
      if (problem === undefined) this.#problems.delete(key);
      else this.#problems.set(key, problem);
    }
  }

  async #readSecrets(peers: readonly Stored<BGPPeer>[]): Promise<void> {
    const wanted = new Set(peers.flatMap((peer) => secretOf(peer) ?? []));
    const isKnown = [...wanted].every((key) => this.#passwords.has(key));
    if (isKnown && this.#options.clock.monotonic() - this.#secretsReadMs < SECRETS_MS) return;
    this.#secretsReadMs = this.#options.clock.monotonic();
    const passwords = new Map<string, string>();
    for (const key of wanted) {
      const password = await this.#readPassword(key);
      if (password !== undefined) passwords.set(key, password);
    }
    this.#passwords = passwords;
    if (wanted.size > 0) this.#after(SECRETS_MS, () => this.#schedule(0));
  }

  async #readPassword(key: string): Promise<string | undefined> {
    const [namespace = '', name = ''] = key.split('/');
    try {
      const { type, data } = await this.#options.api.get(secrets, { namespace, name });
      const encoded = type === 'kubernetes.io/basic-auth' ? data?.['password'] : undefined;
      return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString();
    } catch (error) {
      this.#options.log.warn('error reading the password of a BGPPeer', {
        secret: key,
        error: errorMessage(error),
      });
      // What was read before stays while the API server does not answer.
      return isStatusError(error, 'NotFound') || isStatusError(error, 'Forbidden')
        ? undefined
        : this.#passwords.get(key);
    }
  }

  #lookLater(): void {
    this.#after(LOOK_MS, () => {
      this.#inTurn(() => this.#look());
      this.#lookLater();
    });
  }

  async #look(): Promise<void> {
    if (!this.#bird || this.#sessions.length + this.#established.size === 0) return;
    const states = await this.#bird.sessions().catch(() => new Map<string, string>());
    const established = new Set(
      this.#sessions
        .filter(({ name }) => states.get(protocolName(name)) === ESTABLISHED)
        .map(({ name }) => name),
    );
    for (const peer of this.#informers!.peers.list()) {
      const isUp = established.has(peer.metadata.name);
      if (isUp === this.#established.has(peer.metadata.name)) continue;
      this.#events.event(
        { ...peer, apiVersion: `${bgpPeers.group}/${bgpPeers.version}`, kind: bgpPeers.kind },
        {
          type: isUp ? 'Normal' : 'Warning',
          reason: isUp ? 'BGPSessionEstablished' : 'BGPSessionLost',
          message: `node ${this.#options.nodeName}: the session with ${peer.spec.peerAddress} is ${isUp ? 'established' : 'down'}`,
        },
      );
    }
    this.#established = established;
  }

  #metricLines(): string[] {
    if (this.#sessions.length === 0) return [];
    return [
      '# HELP capstan_load_balancer_bgp_session_up Whether the BGP session with the peer is established.',
      '# TYPE capstan_load_balancer_bgp_session_up gauge',
      ...this.#sessions.map(
        ({ name }) =>
          `capstan_load_balancer_bgp_session_up{peer="${name}"} ${this.#established.has(name) ? 1 : 0}`,
      ),
      '# HELP capstan_load_balancer_bgp_announced_prefixes Prefixes that the node announces to the BGP peer.',
      '# TYPE capstan_load_balancer_bgp_announced_prefixes gauge',
      ...this.#sessions.map(
        ({ name, routes }) => `capstan_load_balancer_bgp_announced_prefixes{peer="${name}"} ${routes.size}`,
      ),
    ];
  }
}

interface Informers {
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly node: Informer<Node>;
  readonly pools: Informer<IPAddressPool>;
  readonly peers: Informer<BGPPeer>;
  readonly advertisements: Informer<BGPAdvertisement>;
  readonly communities: Informer<Community>;
  readonly profiles: Informer<BFDProfile>;
}

function secretOf({ spec: { passwordSecret } }: Stored<BGPPeer>): string | undefined {
  return passwordSecret && `${passwordSecret.namespace ?? DEFAULT_SECRET_NAMESPACE}/${passwordSecret.name}`;
}

/** Short, for the control socket's path: of the node and of the network that it is in. */
function directoryOf(nodeName: string): string {
  const key = `${nodeName} ${statSync('/proc/self/ns/net').ino}`;
  return `/run/capstan/bgp-${createHash('sha256').update(key).digest('hex').slice(0, 12)}`;
}

/** The node's first IPv4 address; without one a number made from its name. */
function routerIdOf({ metadata, status }: Stored<Node>): string {
  const address = status?.addresses?.find(
    ({ type, address: text }) => type === 'InternalIP' && parseIP(text)?.family === 4,
  )?.address;
  if (address !== undefined) return address;
  const bytes = createHash('sha256').update(metadata.name).digest();
  return [1 + (bytes[0]! % 223), bytes[1], bytes[2], bytes[3]].join('.');
}

/** Whether the API server serves all of these kinds. */
export async function isServed(
  api: ComponentContext['api'],
  refs: readonly Pick<ResourceRef, 'group' | 'version' | 'plural' | 'kind' | 'namespaced'>[],
  log: ComponentContext['log'],
): Promise<boolean> {
  try {
    await Promise.all(refs.map((ref) => api.list(ref, { limit: 1 })));
    return true;
  } catch (error) {
    if (!isStatusError(error, 'NotFound'))
      log.warn('error looking for the kinds of load balancers', { error: errorMessage(error) });
    return false;
  }
}
