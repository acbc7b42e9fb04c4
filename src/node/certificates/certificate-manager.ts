/**
 * Keeps one certificate of a node valid: requests it from the cluster when there is none, and renews it well before it expires.
 *
 *   none, expired, for other names ──► requested ──signed──► in use ──at 70 to 90 % of its life──► requested
 *                       │ refused, not approved, no API                           (the old one stays in use meanwhile)
 *                       └──► retried after 5 s to 5 min
 */
import { X509Certificate } from 'node:crypto';
import { isoTime } from '#stdx/dates.ts';
import type { Client } from '#client/client.ts';
import { generateKeyPem } from '#pki/keys.ts';
import type { Component } from '#runtime/component.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import type { CertificateFiles, Pair } from './certificate-files.ts';
import { askForCertificate, type CertificateKind, type RequestNames } from './request.ts';

export interface CertificateManagerOptions {
  /** In the log: 'client certificate'. */
  readonly what: string;
  readonly kind: CertificateKind;
  readonly names: RequestNames;
  readonly files: CertificateFiles;
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: Random;
  /** A new certificate is in use. */
  readonly changed?: (pair: Pair) => void;
  /** The current certificate expired before its renewal. Called after each attempt from then on. */
  readonly expired?: () => void;
  /** A request for the next one failed. */
  readonly failed?: (() => void) | undefined;
}

const ROTATE_FROM = 0.7;
const ROTATE_SPREAD = 0.2;
const RETRY_FIRST_MS = 5_000;
const RETRY_MAX_MS = 5 * 60_000;

export class CertificateManager implements Component {
  readonly name: string;
  readonly #options: CertificateManagerOptions;
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #current: Pair | undefined;
  /** Certificates are valid from a little before they are made: of one that has just come, what counts is the life it has left. */
  #sinceMs = 0;
  #work: Promise<void> | undefined;

  constructor(options: CertificateManagerOptions) {
    this.name = options.what;
    this.#options = options;
  }

  /** The current certificate; undefined until there is one. */
  get current(): Pair | undefined {
    return this.#current;
  }

  /** Renews now: the authority that signed the current one will be removed from the trust. */
  renewNow(): void {
    this.#wake.abort();
  }

  /** Loads the stored certificate; renewal runs in the background. */
  async start(): Promise<void> {
    const { files, clock, log, what, names } = this.#options;
    const kept = await files.load().catch((error: unknown) => {
      log.warn(`the stored ${what} is not usable, requesting a new one`, { error: errorMessage(error) });
      return undefined;
    });
    if (kept && kept.validToMs > clock.now() && isFor(kept, names)) this.#use(kept, kept.validFromMs);
    this.#work = this.#keepValid();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    await this.#work;
  }

  #use(pair: Pair, sinceMs: number): void {
    this.#current = pair;
    this.#sinceMs = sinceMs;
    this.#wake = new AbortController();
    this.#options.changed?.(pair);
  }

  /** Never rejects. */
  async #keepValid(): Promise<void> {
    const { clock, log, what } = this.#options;
    const { signal } = this.#stop;
    let retryMs = RETRY_FIRST_MS;
    while (!signal.aborted) {
      try {
        await sleepUntil(clock, { endMs: this.#deadlineMs(), signal: this.#wakeOrStop() }).catch(
          (error: unknown) => {
            if (signal.aborted) throw error;
          },
        );
        const renewed = await this.#renew();
        this.#use(renewed, clock.now());
        retryMs = RETRY_FIRST_MS;
        log.info(`${what} issued`, { validTo: isoTime(this.#current!.validToMs) });
      } catch (error) {
        if (signal.aborted) return;
        this.#options.failed?.();
        log.warn(`error requesting a ${what}, retrying`, { error: errorMessage(error), retryMs });
        if (this.#current && this.#current.validToMs <= clock.now()) this.#options.expired?.();
        await clock.sleep(retryMs, signal).catch(() => {});
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
  }

  #wakeOrStop(): AbortSignal {
    return AbortSignal.any([this.#stop.signal, this.#wake.signal]);
  }

  #deadlineMs(): number {
    if (!this.#current) return 0;
    const { random = realRandom } = this.#options;
    return (
      this.#sinceMs + (this.#current.validToMs - this.#sinceMs) * (ROTATE_FROM + ROTATE_SPREAD * random())
    );
  }

  async #renew(): Promise<Pair> {
    const { api, clock, kind, names, files, log, what } = this.#options;
    const keyPem = generateKeyPem();
    const waiting = (name: string): void =>
      log.info(`the ${what} waits for approval: kubectl certificate approve ${name}`);
    return files.save(
      await askForCertificate({ api, clock, signal: this.#stop.signal, kind, names, keyPem, waiting }),
      keyPem,
    );
  }
}

/** A machine may have got another address since. */
function isFor(
  { certificatePem }: Pair,
  { nodeName, dnsNames = [], ipAddresses = [] }: RequestNames,
): boolean {
  const certificate = new X509Certificate(certificatePem);
  return (
    certificate.subject.split('\n').includes(`CN=system:node:${nodeName}`) &&
    dnsNames.every((name) => certificate.checkHost(name) !== undefined) &&
    ipAddresses.every((address) => certificate.checkIP(address) !== undefined)
  );
}

/** Timers reach no further than some weeks; the machine's clock may also be set. */
const SLEEP_AT_MOST_MS = 3_600_000;

async function sleepUntil(
  clock: Clock,
  { endMs, signal }: { readonly endMs: number; readonly signal: AbortSignal },
): Promise<void> {
  for (let leftMs = endMs - clock.now(); leftMs > 0; leftMs = endMs - clock.now())
    await clock.sleep(Math.min(leftMs, SLEEP_AT_MOST_MS), signal);
}
