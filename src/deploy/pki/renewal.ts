/**
 * Renews a cluster's certificates while it runs. Looks every hour, and after a failure sooner; users of a certificate reload its file.
 * Authorities and service account keys are not renewed: an authority near its end is warned of, keys have no end.
 *
 *   waiting ──an hour──► ensure: issue what is due ──► warn of what is new ──► waiting
 *                           └──failed: log, five minutes──►┘
 */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Pki } from './pki.ts';

/** What there is after looking. */
export type CertificateState = Pick<Pki, 'changes' | 'warnings' | 'ends'>;

interface CertificateRenewalOptions {
  /** Issues due certificates, and writes them where they are used. */
  readonly ensure: (nowMs: number) => Promise<CertificateState>;
  /** Warnings of the start, already reported. */
  readonly initial: CertificateState;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_EVERY_MS = 3_600_000;
const RETRY_MS = 300_000;

export class CertificateRenewal {
  readonly #options: CertificateRenewalOptions;
  readonly #stop = new AbortController();
  #told: ReadonlySet<string>;
  #ends = new Map<string, number>();
  #loop: Promise<void> | undefined;
  #looking: Promise<boolean> | undefined;

  constructor(options: CertificateRenewalOptions) {
    this.#options = options;
    this.#told = new Set(options.initial.warnings.map(({ key }) => key));
    this.#noteEnds(options.initial);
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    await this.#loop;
  }

  /** Checks now, or waits for the check in progress. False: a failure, which was logged. */
  look(): Promise<boolean> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Text exposition format. */
  metrics(): string {
    return [
      '# HELP capstan_certificate_expiration_timestamp_seconds End of each certificate that this program keeps, by its file.',
      '# TYPE capstan_certificate_expiration_timestamp_seconds gauge',
      ...[...this.#ends].map(
        ([name, notAfterMs]) =>
          `capstan_certificate_expiration_timestamp_seconds{name=${JSON.stringify(name)}} ${notAfterMs / 1000}`,
      ),
    ].join('\n');
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    let waitMs = LOOK_EVERY_MS;
    while (!signal.aborted) {
      await clock.sleep(waitMs, signal).catch(() => {});
      if (signal.aborted) return;
      waitMs = (await this.look()) ? LOOK_EVERY_MS : RETRY_MS;
    }
  }

  async #look(): Promise<boolean> {
    const { ensure, clock, log } = this.#options;
    try {
      const state = await ensure(clock.now());
      for (const change of state.changes) log.info('certificate renewed', { change });
      for (const { key, message } of state.warnings) if (!this.#told.has(key)) log.warn(message);
      this.#told = new Set(state.warnings.map(({ key }) => key));
      this.#noteEnds(state);
      return true;
    } catch (error) {
      log.error('certificates could not be renewed', { error: errorMessage(error) });
      return false;
    }
  }

  #noteEnds({ ends }: CertificateState): void {
    this.#ends = new Map(ends.map(({ name, notAfterMs }) => [name, notAfterMs]));
  }
}
