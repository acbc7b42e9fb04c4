/**
 * A node's part in the rotation of the cluster's authorities: it reads the trust bundle from ConfigMap kube-system/capstan-ca-rotation over a connection
 * verified by the previous authorities, renews its certificates once the new authority signs, and reports on its Node what it trusts and uses.
 *
 *   every 30 s: ConfigMap? ──no──► nothing
 *                  │yes
 *                  ▼
 *   trust its bundle ─► certificates not of its first authority, and that one signs: renew ─► annotation of the Node
 */
import type { Client } from '#client/client.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { AUTHORITY_REPORT, renderReport, ROTATION_CONFIG_MAP } from '#component-helpers/authority-report.ts';
import { isStatusError } from '#machinery/errors.ts';
import { isIssuedBy } from '#pki/chain.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import type { Component } from '#runtime/component.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { X509Certificate } from 'node:crypto';

/** A certificate in use. */
export interface UsedCertificate {
  /** PEM; undefined while there is none. */
  current(): string | undefined;
  /** Has the next one issued now. */
  renew(): void;
}

interface TrustFollowerOptions {
  readonly api: Client;
  readonly nodeName: string;
  /** PEM of the current trust bundle. */
  trusted(): string;
  /** From now on this is trusted. */
  trust(caPem: string): Promise<void>;
  readonly used: readonly UsedCertificate[];
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_EVERY_MS = 30_000;

export class TrustFollower implements Component {
  readonly name = 'trust-follower';
  readonly #options: TrustFollowerOptions;
  readonly #stop = new AbortController();
  #work: Promise<void> | undefined;
  /** Authorities that have been trusted: a certificate in use may be of one that is no more. */
  #known = new Map<string, X509Certificate>();
  #reported = '';

  constructor(options: TrustFollowerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    await this.#work;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.look().catch((error: unknown) => {
        if (!signal.aborted)
          log.warn('error following the authorities of the cluster, retrying', {
            error: errorMessage(error),
          });
      });
      await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
    }
  }

  async look(): Promise<void> {
    const { api, trusted, trust, log } = this.#options;
    const rotation = await api.get(configMaps, ROTATION_CONFIG_MAP).catch(ifNotThere);
    const { 'ca.crt': bundle = '', phase } = rotation?.data ?? {};
    const [signer] = certificatesIn(bundle);
    if (!signer) return;
    this.#remember(trusted());
    if (bundle !== trusted()) {
      await trust(bundle);
      log.info('the authorities of the cluster changed', { phase });
    }
    this.#remember(bundle);
    if (phase !== 'overlap') this.#renewOthers(signer);
    await this.#report(bundle);
  }

  #remember(bundle: string): void {
    for (const certificate of certificatesIn(bundle))
      this.#known.set(publicKeyHash(certificate), certificate);
  }

  #renewOthers(signer: X509Certificate): void {
    for (const { current, renew } of this.#options.used) {
      const pem = current();
      if (pem !== undefined && !isIssuedBy(new X509Certificate(pem), signer)) renew();
    }
  }

  async #report(bundle: string): Promise<void> {
    const { api, nodeName, used } = this.#options;
    const issuers = used.flatMap(({ current }) => {
      const pem = current();
      return pem === undefined ? [] : this.#issuersOf(new X509Certificate(pem));
    });
    const text = renderReport({
      trusted: certificatesIn(bundle).map(publicKeyHash),
      used: [...new Set(issuers)],
    });
    if (text === this.#reported) return;
    await api.patch(
      nodes,
      { name: nodeName },
      { type: 'merge', patch: { metadata: { annotations: { [AUTHORITY_REPORT]: text } } } },
    );
    this.#reported = text;
  }

  /** None for a self-signed one. */
  #issuersOf(certificate: X509Certificate): string[] {
    return [...this.#known].flatMap(([hash, authority]) =>
      isIssuedBy(certificate, authority) ? [hash] : [],
    );
  }
}

/** Before the first rotation there is no permission to read it. */
function ifNotThere(error: unknown): undefined {
  if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Forbidden')) throw error;
  return undefined;
}
