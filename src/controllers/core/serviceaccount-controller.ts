/** Maintains the ServiceAccount "default" in every namespace. */
import { isStatusError } from '#machinery/errors.ts';
import { namespaces, serviceAccounts } from '#client/refs.ts';
import { defineController, watch } from '#runtime/controller.ts';
import { isNamespaceTerminating } from '../pod-control.ts';

const ACCOUNTS = ['default'];

export const serviceAccountController = defineController({
  name: 'serviceaccount-controller',
  serviceAccount: 'service-account-controller',
  watches: [
    watch(namespaces),
    watch(serviceAccounts, {
      keys: (account) =>
        ACCOUNTS.includes(account.metadata?.name ?? '') ? [account.metadata.namespace!] : [],
    }),
  ],
  async reconcile({ key, api, informer }) {
    const namespace = informer(namespaces).get(key);
    if (!namespace || namespace.status?.phase === 'Terminating' || namespace.metadata?.deletionTimestamp)
      return;
    for (const name of ACCOUNTS) {
      if (informer(serviceAccounts).get(`${key}/${name}`)) continue;
      try {
        await api.create(serviceAccounts, { metadata: { name, namespace: key } });
      } catch (error) {
        if (!isStatusError(error, 'AlreadyExists') && !isNamespaceTerminating(error)) throw error;
      }
    }
  },
});
