/** Runs once at start, in the background: the objects of a new cluster, ServiceCIDRs, the identity lease. */
import { errorMessage } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ServerCore } from '../server-core.ts';
import { IP_ADDRESSES, SERVICE_CIDRS, SERVICES } from '../registry/core/services/resources.ts';
import type { ServedEndpoints } from '../registry/endpoints.ts';
import { DEFAULT_SERVICE_CIDR, type ApiServerOptions } from '../options.ts';
import { IdentityLease } from './identity-lease.ts';
import { KubernetesService } from './kubernetes-service.ts';
import { ServiceAddresses } from './service-addresses.ts';
import { ServiceCIDRs } from './service-cidrs.ts';
import { ServiceRepair } from './service-repair.ts';
import { bootstrapCluster } from './system-objects.ts';

const BOOTSTRAP_RETRY_MS = 1000;
const SHARED_RETRY_MS = 200;

/** Runs once; a failure that may pass is tried again until the server stops. */
export class Bootstrap {
  readonly #core: ServerCore;
  readonly #options: ApiServerOptions;
  readonly #cidrs: ServiceCIDRs;
  /** One of the two, by who else writes to the store. */
  readonly #addresses: ServiceAddresses | undefined;
  readonly #repair: ServiceRepair | undefined;
  readonly #identity: IdentityLease;
  readonly #kubernetes: KubernetesService;
  #running: Promise<void> | undefined;
  done = false;

  constructor(core: ServerCore, options: ApiServerOptions) {
    this.#core = core;
    this.#options = options;
    const { internal, servedEndpoints, services: allocation, clock, log } = core;
    this.#identity = new IdentityLease({
      internal,
      address: identityAddress(options),
      clock,
      log,
    });
    this.#kubernetes = new KubernetesService(
      {
        internal,
        serviceAddress: allocation.addresses.first,
        advertiseAddress: options.advertiseAddress,
        shared: core.cache.isShared ? core.store : undefined,
        reconciler: options.endpointReconciler,
      },
      { clock, log },
    );
    const { isShared } = core.cache;
    const cidrs = (options.serviceCidr ?? DEFAULT_SERVICE_CIDR).split(',');
    this.#cidrs = new ServiceCIDRs({ internal, allocation, cidrs, isShared, clock, log });
    const follower = { internal, allocation, onAddressGone: () => this.#cidrs.addressGone(), clock, log };
    if (!servesAddresses(servedEndpoints)) return;
    if (core.nodePorts)
      this.#repair = new ServiceRepair({
        ...follower,
        ports: core.nodePorts,
        caughtUp: () => core.cache.caughtUp(),
      });
    else this.#addresses = new ServiceAddresses(follower);
  }

  async stop(): Promise<void> {
    this.#identity.stop();
    await Promise.all([
      this.#kubernetes.stop(),
      this.#addresses?.stop(),
      this.#repair?.stop(),
      this.#cidrs.stop(),
    ]);
  }

  /** The server is about to shut down: clients in the cluster are led to others. */
  async leave(): Promise<void> {
    await Promise.all([this.#kubernetes.leave(), this.#core.peers?.leave()]).catch((error: unknown) =>
      this.#core.log.warn('this server is still an endpoint of the kubernetes Service until its lease ends', {
        error: errorMessage(error),
      }),
    );
  }

  get #hasAddresses(): boolean {
    return this.#addresses !== undefined || this.#repair !== undefined;
  }

  /** A write that changes nothing of note. */
  renewIdentity(): Promise<void> {
    return this.#identity.renew();
  }

  run(): Promise<void> {
    return (this.#running ??= this.#run());
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#core;
    for (;;) {
      try {
        await this.#once();
        this.done = true;
        return;
      } catch (error) {
        if (this.#core.stopping) throw error;
        const isInvalid = isStatusError(error, 'Invalid');
        // The address of the kubernetes Service, say, which another server that starts has claimed and is about to write down.
        if (isInvalid && this.#core.cache.isShared) {
          log.info("another server may be creating the cluster's first objects", {
            error: errorMessage(error),
          });
          await clock.sleep(SHARED_RETRY_MS);
          continue;
        }
        if (isInvalid) {
          log.error("the cluster's first objects cannot be created", { error: errorMessage(error) });
          throw error;
        }
        log.warn("creating the cluster's first objects failed, trying again", { error: errorMessage(error) });
        await clock.sleep(BOOTSTRAP_RETRY_MS);
      }
    }
  }

  async #once(): Promise<void> {
    const { internal, services } = this.#core;
    // Repairs what a crashed server left of its start while this one keeps retrying.
    this.#repair?.follow();
    if (this.#options.bootstrapObjects ?? true) {
      const { advertiseAddress, clientCa, requestHeader } = this.#options;
      // Policy does not depend on namespaces: both go out together and share the store's group commits.
      await Promise.all([
        bootstrapCluster({
          internal,
          serviceAddress: services.addresses.first,
          advertiseAddress,
          clientCa,
          requestHeader,
          nowMs: this.#core.clock.now(),
          shared: this.#core.cache.isShared ? this.#core.store : undefined,
          reconciler: this.#options.endpointReconciler,
        }),
        this.#core.aggregator.registerLocal(),
        this.#hasAddresses ? this.#cidrs.prepare() : undefined,
        this.#options.bootstrap?.(internal),
      ]);
      if (this.#hasAddresses) this.#cidrs.start();
      await this.#addresses?.start();
      await this.#repair?.repairPorts();
      await this.#repair?.warnOfConflicts();
      await this.#kubernetes.start();
      await this.#identity.start();
      await this.#core.peers?.start(this.#identity.name);
    } else await this.#options.bootstrap?.(internal);
  }
}

/** Where the server is reached, by clients or else by its peers. */
function identityAddress({ advertiseAddress: own, peers }: ApiServerOptions): string {
  if (own) return `${own.ip}:${own.port}`;
  const { ip, port } = peers?.advertise ?? {};
  return ip === undefined ? '' : `${ip}:${port ?? ''}`;
}

function servesAddresses(servedEndpoints: ServedEndpoints): boolean {
  return [SERVICES, IP_ADDRESSES, SERVICE_CIDRS].every(
    ({ group, resource }) => servedEndpoints.byGroup(group, resource) !== undefined,
  );
}
