/**
 * Identities of the API servers: each holds a Lease in kube-system, named after the machine and its address; any server deletes expired ones. After
 * upstream's APIServerIdentity. Only this expiry depends on renewals, so an idle server renews six times per lease duration, where upstream does
 * every ten seconds.
 */
import { createHash, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatMicroTime, timeMs } from '#machinery/time.ts';
import type { InternalApi } from '../registry/loopback-client.ts';

export const LEASES = { group: 'coordination.k8s.io', resource: 'leases' };
const NAMESPACE = 'kube-system';
const IDENTITY_LABEL = 'apiserver.kubernetes.io/identity',
  IDENTITY = 'kube-apiserver';
const DURATION_SECONDS = 3600;
const RENEW_MS = 600_000;

interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    renewTime?: string;
    [field: string]: unknown;
  };
}

interface IdentityLeaseOptions {
  readonly internal: InternalApi;
  /** Distinguishes servers of one machine. */
  readonly address: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class IdentityLease {
  readonly #options: IdentityLeaseOptions;
  readonly #host = hostname();
  readonly #name: string;
  readonly #holder: string;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: IdentityLeaseOptions) {
    this.#options = options;
    this.#name = `apiserver-${base32(createHash('sha256').update(`${this.#host} ${options.address}`).digest().subarray(0, 16))}`;
    this.#holder = `${this.#name}_${randomUUID()}`;
  }

  get name(): string {
    return this.#name;
  }

  /** Holds the lease from now on. Rejects when it cannot be had at all. */
  async start(): Promise<void> {
    await this.renew();
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(RENEW_MS, () => {
      this.renew()
        .then(() => this.#removeExpired())
        .catch((error: unknown) =>
          this.#options.log.warn('error renewing the lease of this API server, retrying', {
            lease: this.#name,
            error: errorMessage(error),
          }),
        )
        .finally(() => this.#schedule());
    });
  }

  /** Writes the lease now, whenever it is due. */
  async renew(): Promise<void> {
    const { internal, clock } = this.#options;
    const metadata = {
      name: this.#name,
      namespace: NAMESPACE,
      labels: { [IDENTITY_LABEL]: IDENTITY, 'kubernetes.io/hostname': this.#host },
    };
    const spec = {
      holderIdentity: this.#holder,
      leaseDurationSeconds: DURATION_SECONDS,
      renewTime: formatMicroTime(clock.now()),
    };
    if (!internal.get(LEASES, metadata))
      return void (await internal.create(LEASES, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata,
        spec,
      }));
    await internal.modify(LEASES, metadata, (lease) => {
      lease['spec'] = spec;
      lease.metadata.labels = { ...lease.metadata.labels, ...metadata.labels };
    });
  }

  async #removeExpired(): Promise<void> {
    const { internal, clock } = this.#options;
    for (const lease of internal.list(LEASES, { namespace: NAMESPACE }) as Lease[]) {
      const { metadata, spec } = lease;
      const endMs = (timeMs(spec?.renewTime) ?? 0) + (spec?.leaseDurationSeconds ?? 0) * 1000;
      if (!isIdentityLease(lease) || endMs > clock.now()) continue;
      await internal
        .delete(LEASES, { name: metadata!.name!, namespace: NAMESPACE })
        .catch((error: unknown) => {
          if (!isStatusError(error, 'NotFound')) throw error;
        });
    }
  }
}

export function isIdentityLease({ metadata }: KubeObject): boolean {
  return metadata?.namespace === NAMESPACE && metadata.labels?.[IDENTITY_LABEL] === IDENTITY;
}

const DIGITS = 'abcdefghijklmnopqrstuvwxyz234567';

/** RFC 4648 in lower case, without padding. */
function base32(bytes: Buffer): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => DIGITS[Number.parseInt(five.padEnd(5, '0'), 2)]!)
    .join('');
}
