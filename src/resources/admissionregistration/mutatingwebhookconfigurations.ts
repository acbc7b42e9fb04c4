/** MutatingWebhookConfiguration. */
import type { MutatingWebhookConfiguration } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkWebhookExpressions, withExpressionErrors } from './expression-checks.ts';
import { checkWebhooks, defaultWebhook } from './webhooks.ts';

export const mutatingwebhookconfigurations = defineResource<MutatingWebhookConfiguration>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingwebhookconfigurations',
  allowUnconditionalUpdate: false,
  applyDefaults: (configuration) => {
    for (const webhook of configuration.webhooks ?? []) {
      defaultWebhook(webhook);
      webhook.reinvocationPolicy ??= 'Never';
    }
  },
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous, ['webhooks']),
  validate: (object) => withExpressionErrors(check(object), checkWebhookExpressions, { object }),
  validateUpdate: (object, previous) =>
    withExpressionErrors(check(object), checkWebhookExpressions, { object, previous }),
  table: {
    columns: columns('Name', 'Webhooks:integer', 'Age'),
    row: (configuration, context) => [
      nameOf(configuration),
      configuration.webhooks?.length ?? 0,
      formatAge(configuration, context),
    ],
  },
});

function check({ webhooks }: MutatingWebhookConfiguration): Errors['list'] {
  const errors = new Errors();
  checkWebhooks(webhooks, errors);
  return errors.list;
}
