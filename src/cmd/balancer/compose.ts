/** The balancer from its flags: addresses parsed, the kubeconfig followed. It may be written later, and replaced; the balancer does not wait for it. */
import { existsSync, readFileSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { parseAddress, type Address } from '#balancer/address.ts';
import { createBalancer, type Balancer } from '#balancer/balancer.ts';
import type { CheckTrust } from '#balancer/checker.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions, type HttpsTransport } from '#client/https.ts';
import { UserError } from '#deploy/data-dir.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles } from '#stdx/watched-files.ts';
import { readFlags, type FlagValues } from '../flags/define.ts';
import { readConnection } from '../run-component.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { BALANCER_FLAGS, type BalancerFlags } from './flags.ts';

type Values = FlagValues<typeof BALANCER_FLAGS>;

/** Interval of checks for a kubeconfig that does not exist yet. */
const KUBECONFIG_EVERY_MS = 1_000;
/** Time that authorities from a file are cached. */
const TRUST_EVERY_MS = 5_000;

interface ComposedBalancer {
  readonly balancer: Balancer;
  close(): Promise<void>;
}

export function composeBalancer(given: BalancerFlags, log: Logger): ComposedBalancer {
  const flags = readFlags(BALANCER_FLAGS, given);
  const kubeconfig = flags.kubeconfig ?? process.env['KUBECONFIG'];
  const seeds = (flags.server ?? []).map((text) => requireAddress('--server', text));
  if (seeds.length === 0 && flags.listFile === undefined)
    throw new UserError(
      '--server HOST:PORT is needed: an API server to begin with (or --list-file, with a list in it).',
    );
  const credentials = new Credentials(kubeconfig, flags);
  const status = flags.healthzBindAddress;
  const balancer = createBalancer({
    clock: realClock,
    log,
    random: Math.random,
    listen: listenAddresses(flags.listen, log),
    seeds,
    resolve: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
    listFile: flags.listFile,
    trust: () => credentials.trust(),
    status: status === '' ? undefined : requireIPAddress('--healthz-bind-address', status),
    maxConnections: flags.maxConnections,
  });
  const followed =
    kubeconfig === undefined ? undefined : followKubeconfig({ balancer, credentials, log, kubeconfig });
  return {
    balancer,
    async close() {
      await followed?.close();
    },
  };
}

/** A machine without IPv6 has no ::1; any other address that is missing is an error. */
function listenAddresses(listen: readonly string[], log: Logger): Address[] {
  const addresses = listen.map((text) => requireIPAddress('--listen', text));
  const hasLoopback6 = (networkInterfaces()['lo'] ?? []).some(({ address }) => address === '::1');
  if (hasLoopback6 || addresses.length === 1) return addresses;
  const left = addresses.filter(({ host }) => host !== '::1');
  if (left.length < addresses.length) log.info('this machine has no ::1, the balancer does not listen there');
  return left;
}

function requireAddress(flag: string, text: string): Address {
  const address = parseAddress(text);
  if (!address)
    throw new UserError(
      `${flag} is "${text}"; it should be HOST:PORT, for example 10.0.0.1:6443 or [fd00::1]:6443.`,
    );
  return address;
}

function requireIPAddress(flag: string, text: string): Address {
  const address = requireAddress(flag, text);
  if (isIP(address.host) === 0)
    throw new UserError(`${flag} is "${text}"; it should be ADDRESS:PORT with an IP address.`);
  return address;
}

/** The current kubeconfig; undefined while there is none. */
class Credentials {
  readonly #kubeconfig: string | undefined;
  readonly #flags: Values;
  #trusted: { readonly trust: CheckTrust; readonly untilMs: number } | undefined;

  constructor(kubeconfig: string | undefined, flags: Values) {
    this.#kubeconfig = kubeconfig;
    this.#flags = flags;
  }

  /** Throws for a file that cannot be used. */
  read(): HttpsOptions | undefined {
    const file = this.#kubeconfig;
    if (file === undefined || !existsSync(file)) return undefined;
    const { context } = this.#flags;
    return readConnection({ kubeconfig: file, ...(context === undefined ? {} : { context }) }).options;
  }

  /** An unreadable file keeps the previous contents. */
  trust(): CheckTrust {
    const nowMs = realClock.monotonic();
    if (this.#trusted && this.#trusted.untilMs > nowMs) return this.#trusted.trust;
    let trust: CheckTrust;
    try {
      trust = this.#readTrust();
    } catch (error) {
      if (!this.#trusted) throw error;
      trust = this.#trusted.trust;
    }
    this.#trusted = { trust, untilMs: nowMs + TRUST_EVERY_MS };
    return trust;
  }

  #readTrust(): CheckTrust {
    const options = this.read();
    const file = options ? options.caFile : this.#flags.certificateAuthority;
    const ca = options?.ca ?? (file === undefined ? undefined : readFileSync(file));
    const serverName = options?.serverName ?? (options ? new URL(options.server).hostname : '127.0.0.1');
    return { ca, serverName: serverName.replace(/^\[|\]$/g, '') };
  }
}

interface Follow {
  readonly balancer: Balancer;
  readonly credentials: Credentials;
  readonly log: Logger;
  readonly kubeconfig: string;
}

/** Watches the list of API servers as soon as there are credentials, and with the newest ones. */
function followKubeconfig({ balancer, credentials, log, kubeconfig }: Follow): { close(): Promise<void> } {
  let transport: HttpsTransport | undefined;
  let client: Client | undefined;
  let lastProblem = '';
  const read = (): void => {
    try {
      const options = credentials.read();
      if (!options) return;
      if (transport) transport.reload(options);
      else {
        transport = createHttpsTransport(options);
        client = createClient(transport, { userAgent: `capstan-balancer/${KUBERNETES_VERSION}`, log });
        balancer.follow(client);
      }
      lastProblem = '';
    } catch (error) {
      if (lastProblem !== errorMessage(error))
        log.error('the kubeconfig cannot be used yet', { error: errorMessage(error) });
      lastProblem = errorMessage(error);
    }
  };
  const wait = setInterval(() => {
    if (transport) clearInterval(wait);
    else read();
  }, KUBECONFIG_EVERY_MS);
  read();
  const watched = watchFiles({
    paths: [kubeconfig],
    changed: read,
    unreadable: (error) => log.debug('the kubeconfig cannot be read', { error: error.message }),
  });
  return {
    async close() {
      clearInterval(wait);
      watched.close();
      // With its informer, whose retries would keep the process alive.
      await client?.close();
    },
  };
}

/** The sentence for a port in use. */
export function listenError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return new UserError(
      `Another program listens there (${message}); choose another address with --listen or --healthz-bind-address.`,
      error,
    );
  if (code === 'EADDRNOTAVAIL' || code === 'EACCES')
    return new UserError(`Cannot listen: ${message}.`, error);
  return error;
}
