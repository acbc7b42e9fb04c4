/** Maintains the ConfigMap kube-root-ca.crt in every namespace, with the CA bundle for verifying the API server. */
import { isStatusError } from '#machinery/errors.ts';
import { configMaps, namespaces } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { isNamespaceTerminating } from '../pod-control.ts';

const NAME = 'kube-root-ca.crt';
const FILE = 'ca.crt';
const DESCRIPTION = 'kubernetes.io/description';
const DESCRIPTION_TEXT =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';

/** PEM. A function, called at each use, when the CA bundle can be rotated. */
export type RootCA = string | (() => string);

export function currentRootCA(source: RootCA): string {
  return typeof source === 'function' ? source() : source;
}

const LOOK_EVERY_MS = 5_000;

export function rootCACertificatePublisherController({
  rootCA: source,
}: {
  readonly rootCA: RootCA;
}): ControllerDefinition {
  let published: string | undefined;
  return defineController({
    name: 'root-ca-certificate-publisher-controller',
    serviceAccount: 'root-ca-cert-publisher',
    watches: [
      watch(namespaces),
      // Only ConfigMaps of this name: a cache of all of them would waste memory.
      watch(configMaps, {
        select: { fieldSelector: `metadata.name=${NAME}` },
        keys: (map) => [map.metadata.namespace!],
      }),
    ],
    ...(typeof source === 'function' ? { resyncEveryMs: LOOK_EVERY_MS } : {}),
    async reconcile(context) {
      const rootCA = currentRootCA(source);
      if (context.key !== '') return publish(context, { namespace: context.key, rootCA });
      if (published !== undefined && published !== rootCA)
        for (const { metadata } of context.informer(namespaces).list())
          await publish(context, { namespace: metadata!.name!, rootCA });
      published = rootCA;
    },
  });
}

async function publish(
  { api, informer }: Pick<ReconcileContext, 'api' | 'informer'>,
  { namespace: name, rootCA }: { readonly namespace: string; readonly rootCA: string },
): Promise<void> {
  const namespace = informer(namespaces).get(name);
  if (!namespace || namespace.status?.phase === 'Terminating' || namespace.metadata?.deletionTimestamp)
    return;
  const current = informer(configMaps).get(`${name}/${NAME}`);
  const { [FILE]: data, ...others } = current?.data ?? {};
  if (data === rootCA && Object.keys(others).length === 0 && current?.metadata?.annotations?.[DESCRIPTION])
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
        metadata: { name: NAME, namespace: name, annotations: { [DESCRIPTION]: DESCRIPTION_TEXT } },
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
}
