/** ServiceAccount: its list of secrets is a matter of the past, kept for those who mount by it. */
import type { ServiceAccount } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

export const serviceaccounts = defineResource<ServiceAccount>({
  group: '',
  plural: 'serviceaccounts',
  prepareForCreate: (account) => {
    // The token controller of the past filled this; a client may not.
    if (account.secrets?.length === 0) delete account.secrets;
  },
  warnings: (account) => account.metadata?.annotations?.['kubernetes.io/enforce-mountable-secrets'] === 'true'
    ? ['metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets'] : [],
  table: {
    columns: columns('Name', 'Secrets', 'Age'),
    row: (account, context) => [nameOf(account), account.secrets?.length ?? 0, ageOf(account, context)],
  },
});
