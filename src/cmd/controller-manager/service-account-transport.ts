/**
 * Sends requests as a service account, over a connection shared by many: upstream's kube-controller-manager --use-service-account-credentials.
 * Creates a missing account; requests its token when first needed and again before it expires.
 */
import type { Client } from '#client/client.ts';
import { fencedClient, fencedTransport } from '#client/fenced-client.ts';
import { serviceAccounts } from '#client/refs.ts';
import type { Transport, TransportRequest, TransportResponse } from '#client/transport.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';

interface ServiceAccountTransportOptions {
  /** Has no credentials of its own. The caller owns it. */
  readonly shared: Transport;
  /** May create service accounts and their tokens. */
  readonly api: Client;
  readonly namespace: string;
  readonly name: string;
  readonly clock: Clock;
  /** Asked before each write, also those that this transport makes to get a token. */
  readonly mayWrite: () => boolean;
}

interface TokenRequest extends KubeObject {
  readonly status?: { readonly token?: string; readonly expirationTimestamp?: string };
}
interface Token {
  readonly value: string;
  readonly renewAtMs: number;
}

const LIFETIME_SECONDS = 3600;
/** Fraction of a token's lifetime after which a new one is requested. */
const RENEW_AFTER = 0.8;

/** close() leaves the shared transport open. */
export function createServiceAccountTransport(options: ServiceAccountTransportOptions): Transport {
  let token: Promise<Token> | undefined;
  // A token may take long, so a write is fenced again when it has one.
  const shared = fencedTransport(options.shared, options.mayWrite);

  async function current(): Promise<string> {
    const known = await token?.catch(() => undefined);
    if (known && options.clock.now() < known.renewAtMs) return known.value;
    const asked = requestToken(options);
    token = asked;
    // A failure affects the present caller only; the next one retries.
    asked.catch(() => {
      if (token === asked) token = undefined;
    });
    return (await asked).value;
  }

  async function send(request: TransportRequest): Promise<TransportResponse> {
    return shared.request({
      ...request,
      headers: { ...request.headers, authorization: `Bearer ${await current()}` },
    });
  }

  return {
    async request(request) {
      const response = await send(request);
      if (response.status !== 401) return response;
      // The account may have been recreated, or the signing key changed.
      await response.bytes();
      token = undefined;
      return send(request);
    },
    close: () => Promise.resolve(),
  };
}

async function requestToken({
  namespace,
  name,
  clock,
  ...options
}: ServiceAccountTransportOptions): Promise<Token> {
  const api = fencedClient(options.api, options.mayWrite);
  const body: KubeObject = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: LIFETIME_SECONDS },
  } as KubeObject;
  const ask = (): Promise<KubeObject> =>
    api.createSubresource(serviceAccounts, { name, namespace }, { subresource: 'token', body });
  const answer = await ask().catch(async (error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
    await api.create(serviceAccounts, { metadata: { name, namespace } }).catch((problem: unknown) => {
      if (!isStatusError(problem, 'AlreadyExists')) throw problem;
    });
    return ask();
  });
  const { token, expirationTimestamp } = (answer as TokenRequest).status ?? {};
  if (!token) throw new Error(`service account ${namespace}/${name}: the server issued no token`);
  const now = clock.now();
  const endMs = expirationTimestamp ? Date.parse(expirationTimestamp) : now + LIFETIME_SECONDS * 1000;
  return { value: token, renewAtMs: now + RENEW_AFTER * (endMs - now) };
}
