/** Service account tokens of pods, requested by TokenRequest, cached in memory and renewed at four fifths of their life. */
import type { Pod, TokenRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { serviceAccounts } from '#client/refs.ts';
import { timeMs } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';

interface PodToken {
  readonly token: string;
  /** When to request the next one. */
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

interface Kept extends PodToken {
  readonly uid: string;
}

const DEFAULT_SECONDS = 3600;
/** Maximum time that a token is cached, whatever its life. */
const MAXIMUM_AGE_MS = 24 * 3_600_000;
const RENEW_SHARE = 0.8;

export class ServiceAccountTokens {
  readonly #api: Client;
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();

  constructor({ api, clock }: { readonly api: Client; readonly clock: Clock }) {
    this.#api = api;
    this.#clock = clock;
  }

  /** Throws StatusError, unless the token before is still good. */
  async token(
    pod: Pod,
    {
      audience,
      expirationSeconds = DEFAULT_SECONDS,
      serviceAccountUID = '',
    }: {
      readonly audience?: string | undefined;
      readonly expirationSeconds?: number | undefined;
      /** Of another one of the same name no token is given. */
      readonly serviceAccountUID?: string | undefined;
    },
  ): Promise<PodToken> {
    const { uid = '' } = pod.metadata ?? {};
    const key = `${uid}/${audience ?? ''}/${expirationSeconds}/${serviceAccountUID}`;
    const kept = this.#kept.get(key);
    const nowMs = this.#clock.now();
    if (kept && nowMs < kept.renewAtMs) return kept;
    try {
      const fresh = await this.#request(pod, { audience, expirationSeconds, serviceAccountUID });
      this.#kept.set(key, fresh);
      return fresh;
    } catch (error) {
      if (kept && nowMs < kept.expiresAtMs) return { ...kept, renewAtMs: nowMs + 10_000 };
      throw error;
    }
  }

  forget(uid: string): void {
    for (const [key, kept] of this.#kept) if (kept.uid === uid) this.#kept.delete(key);
  }

  async #request(
    pod: Pod,
    {
      audience,
      expirationSeconds,
      serviceAccountUID,
    }: {
      readonly audience: string | undefined;
      readonly expirationSeconds: number;
      readonly serviceAccountUID: string;
    },
  ): Promise<Kept> {
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    const body: TokenRequest = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      ...(serviceAccountUID === '' ? {} : { metadata: { uid: serviceAccountUID } }),
      spec: {
        audiences: audience ? [audience] : [],
        expirationSeconds,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
      },
    };
    const startedMs = this.#clock.now();
    const answer = (await this.#api.createSubresource(
      serviceAccounts,
      { name: pod.spec?.serviceAccountName || 'default', namespace },
      { subresource: 'token', body },
    )) as TokenRequest;
    const expiresAtMs = timeMs(answer.status?.expirationTimestamp) ?? startedMs + expirationSeconds * 1000;
    const renewAtMs = Math.min(
      startedMs + (expiresAtMs - startedMs) * RENEW_SHARE,
      startedMs + MAXIMUM_AGE_MS,
    );
    return { uid, token: answer.status?.token ?? '', expiresAtMs, renewAtMs };
  }
}
