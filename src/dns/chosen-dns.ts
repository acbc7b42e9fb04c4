/**
 * The DNS server of a node that is not a control plane: it answers while its Node is chosen, and says so. A server that is no longer chosen answers on for a while, since clients still have
 * its address.
 *
 *   failed ◄──cannot listen── (for ten minutes, so that another is chosen)
 *   standby ──label──► serving (annotation HOST:PORT) ──no label──► leaving (annotation standby, answers) ──10 s──► standby
 */
import type { Node } from '#api/types.ts';
import { nodes } from '#client/refs.ts';
import {
  DNS_FAILED,
  DNS_SERVER_ANNOTATION,
  DNS_SERVER_LABEL,
  DNS_STANDBY,
} from '#component-helpers/machine-dns.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ClusterDns, ClusterDnsOptions } from './cluster-dns.ts';

interface ChosenDnsOptions extends ComponentContext {
  readonly nodeName: string;
  readonly port: number;
  readonly create: (options: Pick<ClusterDnsOptions, 'listen'>) => ClusterDns;
}

const LINGER_MS = 10_000;
const RETRY_MS = 10_000;
/** How long a Node that could not listen is not to be chosen again. */
const FAILED_MS = 10 * 60_000;
/** Taking the annotation back while the API server may be gone. */
const LEAVE_TIMEOUT_MS = 2_000;

export function createChosenDns(options: ChosenDnsOptions): Component {
  return new ChosenDns(options);
}

class ChosenDns implements Component {
  readonly name = 'chosen-dns';
  readonly #options: ChosenDnsOptions;
  #server: ClusterDns | undefined;
  #timer: Timer | undefined;
  #unsubscribe: () => void = () => {};
  #working: Promise<void> = Promise.resolve();
  #stopped = false;
  #leavingSince: number | undefined;
  #failedAt: number | undefined;

  constructor(options: ChosenDnsOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    const { api, nodeName } = this.#options;
    const changed = (): void => this.#look();
    this.#unsubscribe = api
      .informer(nodes, { fieldSelector: `metadata.name=${nodeName}` })
      .subscribe({ added: changed, updated: changed, deleted: changed });
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    await this.#working;
    const gone = this.#announce(undefined).catch(() => {});
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, LEAVE_TIMEOUT_MS).unref())]);
    await this.#server?.stop();
  }

  #look(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#working = this.#working
      .then(() => (this.#stopped ? undefined : this.#reconcile()))
      .catch((error: unknown) => {
        // Run with other credentials than a node's, it is never chosen.
        if (isStatusError(error, 'Forbidden')) return this.#unsubscribe();
        this.#options.log.warn('error serving DNS on this node, retrying', { error: errorMessage(error) });
        this.#lookIn(RETRY_MS);
      });
  }

  #lookIn(delayMs: number): void {
    if (!this.#stopped) this.#timer = this.#options.clock.after(delayMs, () => this.#look());
  }

  async #reconcile(): Promise<void> {
    const { clock } = this.#options;
    const node = this.#node();
    if (!node) return;
    if (this.#failedAt !== undefined && clock.monotonic() - this.#failedAt < FAILED_MS)
      return this.#lookIn(FAILED_MS);
    this.#failedAt = undefined;
    if (node.metadata?.labels?.[DNS_SERVER_LABEL] === 'true') {
      this.#leavingSince = undefined;
      return this.#announce(await this.#serve(node).catch((error: unknown) => this.#fail(error)));
    }
    await this.#announce(DNS_STANDBY);
    if (!this.#server) return;
    this.#leavingSince ??= clock.monotonic();
    const left = this.#leavingSince + LINGER_MS - clock.monotonic();
    if (left > 0) return this.#lookIn(left);
    await this.#server.stop();
    this.#server = undefined;
    this.#options.log.info('this node no longer serves DNS');
  }

  #node(): Node | undefined {
    const { api, nodeName } = this.#options;
    return api.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` }).get(nodeName);
  }

  /** Returns where. */
  async #serve({ status }: Node): Promise<string> {
    const { log, port, create } = this.#options;
    const address = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
    if (address === undefined) throw new Error('the Node has no InternalIP yet');
    if (!this.#server) {
      const server = create({ listen: [{ address, port }] });
      await server.start();
      this.#server = server;
      log.info('this node serves DNS', { address, port: server.addresses[0]?.port });
    }
    const [at] = this.#server.addresses;
    return formatHostPort(at!.address, at!.port);
  }

  #fail(error: unknown): string {
    const { log, clock } = this.#options;
    log.warn('this node cannot serve DNS', { error: errorMessage(error) });
    this.#failedAt = clock.monotonic();
    this.#lookIn(FAILED_MS);
    return DNS_FAILED;
  }

  /** undefined: this node has no server any more. */
  async #announce(value: string | undefined): Promise<void> {
    const { api, nodeName } = this.#options;
    if (this.#node()?.metadata?.annotations?.[DNS_SERVER_ANNOTATION] === value) return;
    const annotations = { [DNS_SERVER_ANNOTATION]: value ?? null };
    await api.patch(nodes, { name: nodeName }, { type: 'merge', patch: { metadata: { annotations } } });
  }
}
