/**
 * The gateway's proxy on one machine: follows Ingresses, Gateways, routes and what they name, and has HAProxy carry out what they mean. It starts no process while there is nothing to serve. Where it runs, it says by
 * an EndpointSlice of Service kube-system/capstan-gateway.
 */
import type { EndpointSlice } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import { endpointSlices, ingressClasses, ingresses, namespaces, secrets, services } from '#client/refs.ts';
import { SERVICE_NAME_LABEL, indexByService } from '#component-helpers/endpoint-slices.ts';
import {
  ENDPOINTS_LEASE_SECONDS,
  ENDPOINTS_RENEW_MS,
  LEASED_LABEL,
} from '#component-helpers/leased-endpoints.ts';
import { isStatusError } from '#machinery/errors.ts';
import { ipFamily } from '#machinery/ip.ts';
import { deepEqual } from '#machinery/json.ts';
import { objectKey } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { keepEndpointsLeases } from '#runtime/endpoints-lease.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import {
  BY_SERVICE,
  compileAll,
  gatewayApiInformers,
  GATEWAY_SERVICE,
  INGRESS_CLASS,
  TLS_SECRETS,
  type GatewayInformers,
} from './gateway-objects.ts';
import { Haproxy } from './haproxy/haproxy.ts';
import type { GatewayModel } from './model.ts';

interface GatewayOptions extends ComponentContext {
  /** Names its EndpointSlice. */
  readonly nodeName: string;
  /** Where others reach this machine. */
  readonly address: string;
  /** Addresses that listeners are bound to. */
  readonly listenOn: readonly string[];
  readonly dir: string;
  /** It may end without the API server: its endpoints then expire with a Lease. Default: false. */
  readonly leased?: boolean;
}

/** Changes within this time are one change of the configuration. */
const GATHER_MS = 50;
const RETRY_MS = 5_000;
const DEFINITIONS_WAIT_MS = 2_000;

export function createGateway(options: GatewayOptions): Component {
  return new Gateway(options);
}

class Gateway implements Component {
  readonly name = 'gateway';
  readonly #options: GatewayOptions;
  readonly #events: StoppableEventRecorder;
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  #informers: GatewayInformers | undefined;
  #haproxy: Haproxy | undefined;
  #timer: Timer | undefined;
  #work: Promise<void> = Promise.resolve();
  #published = '';
  #listens = false;
  #failure: string | undefined;

  constructor(options: GatewayOptions) {
    const { api, clock, log, nodeName } = options;
    this.#options = options;
    this.#events = createEventRecorder(api, { component: this.name, host: nodeName, clock, log });
    options.metrics?.collect(() => [
      '# HELP capstan_gateway_reloads_total Reloads of the proxy; changes of endpoints need none.',
      '# TYPE capstan_gateway_reloads_total counter',
      `capstan_gateway_reloads_total ${this.#haproxy?.reloads ?? 0}`,
    ]);
  }

  async start(): Promise<void> {
    const { api } = this.#options;
    const informers: GatewayInformers = {
      ingresses: api.informer(ingresses),
      classes: api.informer(ingressClasses),
      services: api.informer(services),
      slices: api.informer(endpointSlices),
      secrets: api.informer(secrets, TLS_SECRETS),
      namespaces: api.informer(namespaces),
      api: gatewayApiInformers(api),
    };
    informers.slices.addIndex(BY_SERVICE, indexByService);
    const { api: _, ...ours } = informers;
    await Promise.all(
      Object.values(ours).map((one: { synced(signal: AbortSignal): Promise<void> }) =>
        one.synced(this.#stop.signal),
      ),
    );
    this.#informers = informers;
    if (this.#options.leased)
      keepEndpointsLeases({
        ...this.#options,
        slices: () => (this.#listens ? [this.#sliceName] : []),
        label: LEASED_LABEL,
        leaseSeconds: ENDPOINTS_LEASE_SECONDS,
        renewMs: ENDPOINTS_RENEW_MS,
        signal: this.#stop.signal,
      });
    void this.#gatewayApiKnown(informers).then(() => this.#follow(informers));
  }

  /** Not for long: where its definitions are not installed, it never is. Without it, Gateways would be served for a moment without their routes. */
  async #gatewayApiKnown({ api }: GatewayInformers): Promise<void> {
    const signal = this.#stop.signal;
    const all = Promise.all(
      Object.values(api).map((one: { synced(signal: AbortSignal): Promise<void> }) => one.synced(signal)),
    );
    await Promise.race([all, this.#options.clock.sleep(DEFINITIONS_WAIT_MS, signal)]).catch(() => {});
  }

  #follow({ api, ...others }: GatewayInformers): void {
    if (this.#stop.signal.aborted) return;
    const changed = (): void => this.#schedule(GATHER_MS);
    for (const one of [...Object.values(others), ...Object.values(api)] as Informer<never>[]) {
      this.#unsubscribe.push(one.subscribe({ added: changed, updated: changed, deleted: changed }));
      // Definitions may come later; even an empty list may release what waits for it.
      void one.synced(this.#stop.signal).then(changed, () => {});
    }
    changed();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('gateway stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#timer?.cancel();
    await this.#work;
    await this.#publish([]).catch((error: unknown) =>
      this.#options.log.warn('error deleting the EndpointSlice of the gateway', {
        error: errorMessage(error),
      }),
    );
    await this.#haproxy?.stop();
    this.#events.stop();
  }

  #schedule(delayMs: number): void {
    if (this.#stop.signal.aborted) return;
    this.#timer ??= this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#work = this.#work.then(() => this.#apply()).catch((error: unknown) => this.#failed(error));
    });
  }

  async #apply(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const { model } = compileAll(this.#informers!);
    if (model.listeners.length === 0 && !this.#haproxy) return;
    this.#haproxy ??= new Haproxy(this.#options);
    if (model.listeners.length > 0) await this.#haproxy.apply(model);
    else await this.#end();
    this.#failure = undefined;
    await this.#publish(model.listeners);
  }

  /** Nothing is to be served any more: no port is held. */
  async #end(): Promise<void> {
    await this.#haproxy?.stop();
    this.#haproxy = undefined;
  }

  #failed(error: unknown): void {
    const { log, nodeName } = this.#options;
    const message = errorMessage(error);
    log.error('error configuring the gateway', { error: message });
    const ours = this.#informers?.classes.get(INGRESS_CLASS);
    if (ours && this.#failure !== message)
      this.#events.event(ours, {
        type: 'Warning',
        reason: 'GatewayFailed',
        message: `node ${nodeName}: ${message}`.slice(0, 1024),
      });
    this.#failure = message;
    this.#schedule(RETRY_MS);
  }

  get #sliceName(): { readonly name: string; readonly namespace: string } {
    return {
      name: `${GATEWAY_SERVICE.name}-${this.#options.nodeName}`,
      namespace: GATEWAY_SERVICE.namespace,
    };
  }

  async #publish(listeners: GatewayModel['listeners']): Promise<void> {
    const { api, nodeName, address, leased = false } = this.#options;
    const at = this.#sliceName;
    this.#listens = listeners.length > 0;
    const ports = listeners.map(({ port }) => ({ name: `port-${port}`, port, protocol: 'TCP' }));
    // One that is not there any more expired: this machine was cut off from the API server.
    const isThere = this.#informers?.slices.get(objectKey({ metadata: at })) !== undefined;
    if (JSON.stringify(ports) === this.#published && isThere === this.#listens) return;
    if (ports.length === 0) {
      await api.delete(endpointSlices, at).catch(ignoring('NotFound'));
    } else {
      const wanted: EndpointSlice = {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          ...at,
          labels: {
            [SERVICE_NAME_LABEL]: GATEWAY_SERVICE.name,
            'endpointslice.kubernetes.io/managed-by': 'gateway.capstan.dev',
            ...(leased ? { [LEASED_LABEL]: '' } : {}),
          },
        },
        addressType: ipFamily(address),
        ports,
        endpoints: [
          { addresses: [address], nodeName, conditions: { ready: true, serving: true, terminating: false } },
        ],
      };
      const found = await api.get(endpointSlices, at).catch(ignoring('NotFound'));
      if (!found) await api.create(endpointSlices, wanted);
      else if (
        !deepEqual([found.ports, found.endpoints], [wanted.ports, wanted.endpoints]) ||
        (found.metadata.labels?.[LEASED_LABEL] !== undefined) !== leased
      )
        await api.update(endpointSlices, {
          ...found,
          metadata: { ...found.metadata, labels: wanted.metadata?.labels ?? {} },
          ports,
          endpoints: wanted.endpoints ?? [],
        });
    }
    this.#published = JSON.stringify(ports);
  }
}

function ignoring(reason: 'NotFound') {
  return (error: unknown): undefined => {
    if (!isStatusError(error, reason)) throw error;
    return undefined;
  };
}
