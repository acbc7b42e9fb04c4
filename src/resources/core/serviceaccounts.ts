/** ServiceAccount: its list of secrets is deprecated, kept for mountable secrets. */
import type { ServiceAccount } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const ENFORCE = 'kubernetes.io/enforce-mountable-secrets';

export const serviceaccounts = defineResource<ServiceAccount>({
  group: '',
  plural: 'serviceaccounts',
  prepareForCreate: nameSecretsOnly,
  prepareForUpdate: nameSecretsOnly,
  warnings: (account, previous) =>
    account.metadata?.annotations?.[ENFORCE] === 'true' &&
    previous?.metadata?.annotations?.[ENFORCE] === undefined
      ? [
          'metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets',
        ]
      : [],
  table: {
    columns: columns('Name', 'Age'),
    row: (account, context) => [nameOf(account), formatAge(account, context)],
  },
});

/** A reference to a secret in the same namespace only has its name. */
function nameSecretsOnly(account: ServiceAccount): void {
  if (!account.secrets) return;
  account.secrets = account.secrets.map(({ name }) => (name === undefined ? {} : { name }));
  if (account.secrets.length === 0) delete account.secrets;
}
