/** What a server does once at start, in the background: the objects of a new cluster, ServiceCIDRs, the identity lease. */
import { errorMessage } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ServerCore } from '../server-core.ts';
import { DEFAULT_SERVICE_CIDR, type ApiServerOptions } from '../options.ts';
import { IdentityLease } from './identity-lease.ts';
import { KubernetesService } from './kubernetes-service.ts';
import { ServiceAddresses } from './service-addresses.ts';
import { bootstrapCluster } from './system-objects.ts';

const BOOTSTRAP_RETRY_MS = 1000;

/** Runs once; a failure that may pass is tried again until the server stops. */
export class Bootstrap {
  readonly #core: ServerCore;
  readonly #options: ApiServerOptions;
  readonly #addresses: ServiceAddresses;
  readonly #identity: IdentityLease;
  readonly #kubernetes: KubernetesService;
  #running: Promise<void> | undefined;
  done = false;

  constructor(core: ServerCore, options: ApiServerOptions) {
    this.#core = core;
    this.#options = options;
    const { internal, catalogue, services: allocation, clock, log } = core;
    this.#identity = new IdentityLease({
      internal,
      address: options.advertiseAddress
        ? `${options.advertiseAddress.ip}:${options.advertiseAddress.port}`
        : '',
      clock,
      log,
    });
    this.#kubernetes = new KubernetesService(
      {
        internal,
        serviceAddress: allocation.addresses.first,
        advertiseAddress: options.advertiseAddress,
      },
      { clock, log },
    );
    this.#addresses = new ServiceAddresses({
      internal,
      catalogue,
      allocation,
      cidr: options.serviceCidr ?? DEFAULT_SERVICE_CIDR,
      clock,
      log,
    });
  }

  async stop(): Promise<void> {
    this.#identity.stop();
    await Promise.all([this.#kubernetes.stop(), this.#addresses.stop()]);
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
        if (isStatusError(error, 'Invalid')) {
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
        }),
        this.#core.aggregator.registerLocal(),
        this.#addresses.prepare(),
        this.#options.bootstrap?.(internal),
      ]);
      await this.#addresses.start();
      this.#kubernetes.start();
      await this.#identity.start();
    } else await this.#options.bootstrap?.(internal);
  }
}
