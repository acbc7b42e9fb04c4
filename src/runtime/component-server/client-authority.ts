/**
 * Watches the client CA that the API server publishes in ConfigMap kube-system/extension-apiserver-authentication.
 * Without permission to read it (Role extension-apiserver-authentication-reader) client certificates are not accepted; bearer tokens work all the same.
 */
import type { ConfigMap } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

const NAMESPACE = 'kube-system';
const NAME = 'extension-apiserver-authentication';

/** changed is called with the PEM at once, if it exists, and at each change. Resolves after the first read, found or not. */
export async function followClientAuthority(
  api: Client,
  { changed, log }: { readonly changed: (pem: string) => void; readonly log: Logger },
): Promise<{ close(): void }> {
  let known = '';
  const seen = ({ data }: ConfigMap): void => {
    const pem = data?.['client-ca-file'] ?? '';
    if (pem === '' || pem === known) return;
    known = pem;
    changed(pem);
  };
  try {
    seen(await api.get(configMaps, { namespace: NAMESPACE, name: NAME }));
  } catch (error) {
    log.warn('client certificates are not accepted: their authority cannot be read', {
      configMap: `${NAMESPACE}/${NAME}`,
      error: errorMessage(error),
    });
    return { close: () => {} };
  }
  const informer = api.informer(configMaps, {
    namespace: NAMESPACE,
    fieldSelector: `metadata.name=${NAME}`,
  });
  return { close: informer.subscribe({ added: seen, updated: seen }) };
}
