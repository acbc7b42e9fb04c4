/**
 * Shared by the bootstrap token controllers: Secrets of type bootstrap.kubernetes.io/token in kube-system. The API server authenticates with them
 * (src/apiserver/authn/bootstrap-tokens.ts). After upstream's k8s.io/cluster-bootstrap.
 */
import type { Secret } from '#api/types.ts';
import { secrets } from '#client/refs.ts';
import { timeMs } from '#machinery/time.ts';
import { watch, type WatchSource } from '#runtime/controller.ts';

const TOKEN_TYPE = 'bootstrap.kubernetes.io/token';
const NAME_PREFIX = 'bootstrap-token-';

export interface BootstrapToken {
  /** The token ID: six characters, public. */
  readonly id: string;
  readonly secret: string;
}

/** The source both controllers watch. */
export function watchTokens(options: Pick<WatchSource<Secret>, 'keys'> = {}): WatchSource<never> {
  return watch(secrets, {
    select: { namespace: 'kube-system', fieldSelector: `type=${TOKEN_TYPE}` },
    ...options,
  });
}

/** When a token expires: undefined without an expiration, -Infinity for one that cannot be parsed, as upstream. */
export function expirationMs(secret: Secret): number | undefined {
  const text = dataOf(secret, 'expiration');
  return text === '' ? undefined : (timeMs(text) ?? -Infinity);
}

/** The token, if it may sign now; undefined when the Secret is invalid, as upstream's ValidateSecretForSigning. */
export function signingToken(secret: Secret, nowMs: number): BootstrapToken | undefined {
  const id = dataOf(secret, 'token-id');
  const tokenSecret = dataOf(secret, 'token-secret');
  const usable =
    secret.type === TOKEN_TYPE &&
    secret.metadata?.name === `${NAME_PREFIX}${id}` &&
    id !== '' &&
    tokenSecret !== '' &&
    dataOf(secret, 'usage-bootstrap-signing') === 'true' &&
    !((expirationMs(secret) ?? Infinity) <= nowMs);
  return usable ? { id, secret: tokenSecret } : undefined;
}

function dataOf({ data }: Secret, key: string): string {
  return Buffer.from(data?.[key] ?? '', 'base64').toString('utf8');
}
