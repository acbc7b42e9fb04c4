/** Keeps the config map kube-root-ca.crt in every namespace: what pods trust the API server by. */
import { isStatusError } from '#machinery/errors.ts';
import { configMaps, namespaces } from '#client/refs.ts';
import { defineController, watch, type ControllerDefinition } from '#runtime/controller.ts';
import { isNamespaceTerminating } from '../pod-control.ts';

const NAME = 'kube-root-ca.crt';
const FILE = 'ca.crt';
const DESCRIPTION = 'kubernetes.io/description';
const DESCRIPTION_TEXT =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';

export function rootCACertificatePublisherController({
  rootCA,
}: {
  readonly rootCA: string;
}): ControllerDefinition {
  return defineController({
    name: 'root-ca-certificate-publisher-controller',
    serviceAccount: 'root-ca-cert-publisher',
    watches: [
      watch(namespaces),
      // Only the config maps it keeps: a cache of all of them would be for nothing.
      watch(configMaps, {
        select: { fieldSelector: `metadata.name=${NAME}` },
        keys: (map) => [map.metadata!.namespace!],
      }),
    ],
    async reconcile({ key, api, informer }) {
      const namespace = informer(namespaces).get(key);
      if (!namespace || namespace.status?.phase === 'Terminating' || namespace.metadata?.deletionTimestamp)
        return;
      const current = informer(configMaps).get(`${key}/${NAME}`);
      const { [FILE]: data, ...others } = current?.data ?? {};
      if (
        data === rootCA &&
        Object.keys(others).length === 0 &&
        current?.metadata?.annotations?.[DESCRIPTION]
      )
        return;
      try {
        if (current)
          await api.update(configMaps, {
            ...current,
            metadata: {
              ...current.metadata,
              annotations: { ...current.metadata?.annotations, [DESCRIPTION]: DESCRIPTION_TEXT },
            },
            data: { [FILE]: rootCA },
          });
        else
          await api.create(configMaps, {
            metadata: { name: NAME, namespace: key, annotations: { [DESCRIPTION]: DESCRIPTION_TEXT } },
            data: { [FILE]: rootCA },
          });
      } catch (error) {
        if (
          !isStatusError(error, 'AlreadyExists') &&
          !isStatusError(error, 'NotFound') &&
          !isNamespaceTerminating(error)
        )
          throw error;
      }
    },
  });
}
