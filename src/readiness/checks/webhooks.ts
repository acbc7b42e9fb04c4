/** Check webhooks: admission webhooks that must answer (failurePolicy Fail) and whose Service has no ready endpoint: they block writes. */
import {
  endpointSlices,
  mutatingWebhookConfigurations,
  validatingWebhookConfigurations,
} from '#client/refs.ts';
import type { EndpointSlice } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { Finding, ReadinessCheck } from '../check.ts';

interface Webhook {
  readonly name?: string;
  readonly failurePolicy?: string;
  readonly clientConfig?: { readonly service?: { readonly namespace?: string; readonly name?: string } };
  readonly rules?: readonly { readonly resources?: readonly string[] }[];
}

export const webhooks: ReadinessCheck = {
  name: 'webhooks',
  short: 'admission webhooks that must answer are there',
  async run({ api }) {
    const mutating = await api.list(mutatingWebhookConfigurations);
    const validating = await api.list(validatingWebhookConfigurations);
    const all = [...mutating.items, ...validating.items].flatMap(({ kind, metadata, webhooks: list = [] }) =>
      (list as readonly Webhook[]).map((webhook) => ({ kind, configuration: metadata.name, webhook })),
    );
    const found: Finding[] = [];
    for (const { kind, configuration, webhook } of all) {
      const service = webhook.clientConfig?.service;
      if ((webhook.failurePolicy ?? 'Fail') !== 'Fail' || !service) continue;
      if (await hasEndpoint(api, service)) continue;
      const resources = (webhook.rules ?? []).flatMap((rule) => rule.resources ?? []).join(', ');
      found.push({
        severity: 'error',
        object: `${kind ?? 'WebhookConfiguration'} ${configuration}`,
        evidence: `webhook ${webhook.name} must answer, and the Service ${service.namespace}/${service.name} has no ready endpoint: writes of ${resources || 'everything'} fail`,
        remedy: `start the pods behind the Service; to write meanwhile: kubectl delete ${kind === 'MutatingWebhookConfiguration' ? 'mutating' : 'validating'}webhookconfiguration ${configuration}`,
      });
    }
    return found;
  },
};

async function hasEndpoint(
  api: Client,
  { namespace = '', name = '' }: { readonly namespace?: string; readonly name?: string },
): Promise<boolean> {
  const { items } = await api.list(endpointSlices, {
    namespace,
    labelSelector: `kubernetes.io/service-name=${name}`,
  });
  return (items as readonly EndpointSlice[]).some(({ endpoints = [] }) =>
    endpoints?.some(({ conditions }) => conditions?.ready !== false),
  );
}
