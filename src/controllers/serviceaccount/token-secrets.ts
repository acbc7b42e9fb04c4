/** Secrets that hold a legacy service account token: what the two controllers of them share. */
import type { Stored } from '#machinery/object.ts';
import type { Secret } from '#api/types.ts';
import { secrets } from '#client/refs.ts';
import { watch, type WatchSource } from '#runtime/controller.ts';

export const TOKEN_SECRET_TYPE = 'kubernetes.io/service-account-token';
export const ACCOUNT_NAME = 'kubernetes.io/service-account.name';
export const ACCOUNT_UID = 'kubernetes.io/service-account.uid';
export const LAST_USED = 'kubernetes.io/legacy-token-last-used';
export const INVALID_SINCE = 'kubernetes.io/legacy-token-invalid-since';

const BY_ACCOUNT = 'service-account';

/** Only secrets of this type are watched. */
export function watchTokenSecrets(keys: (secret: Stored<Secret>) => readonly string[]): WatchSource<never> {
  return watch(secrets, { select: { fieldSelector: `type=${TOKEN_SECRET_TYPE}` }, keys });
}

/** 'namespace/account', undefined for a secret that names no account. */
export function readServiceAccountName({ metadata }: Secret): string | undefined {
  const name = metadata?.annotations?.[ACCOUNT_NAME];
  return name ? `${metadata?.namespace}/${name}` : undefined;
}

export const secretsByAccount = {
  resource: secrets,
  name: BY_ACCOUNT,
  values: ((secret: Secret) => {
    const account = readServiceAccountName(secret);
    return account === undefined ? [] : [account];
  }) as (object: never) => readonly string[],
};
