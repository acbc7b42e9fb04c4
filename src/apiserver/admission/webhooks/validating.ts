/** ValidatingAdmissionWebhook: calls all matching webhooks concurrently; the first rejection is the response. */
import type { AdmissionAttributes, AdmissionPlugin, AdmissionStart } from '../plugin.ts';
import { callHook, isRequestOver, requestTimedOut, settle, type Invocation } from './call.ts';
import { WebhookConfigurations } from './configurations.ts';
import { createWebhookMetrics, type WebhookMetrics } from './metrics.ts';
import { VersionedObjects } from './versioned-objects.ts';
import { meetsConditions } from './conditions.ts';

interface State {
  readonly context: AdmissionStart;
  readonly configurations: WebhookConfigurations;
  readonly metrics: WebhookMetrics;
}

const FAILED_OPEN_KEY = 'failed-open.validating.webhook.admission.k8s.io/round_0_index_';

export function validatingAdmissionWebhook(): AdmissionPlugin {
  let state: State | undefined;
  return {
    name: 'ValidatingAdmissionWebhook',
    start(context) {
      const configurations = new WebhookConfigurations('validatingwebhookconfigurations', context);
      state = { context, configurations, metrics: createWebhookMetrics(context.metrics) };
      return () => configurations.stop();
    },
    handles: (operation, target) =>
      state !== undefined && state.configurations.of(operation, target).length > 0,
    validate: (attributes) => state && validate(attributes, state),
  };
}

async function validate(attributes: AdmissionAttributes, state: State): Promise<void> {
  const { context, configurations } = state;
  const versions = new VersionedObjects(attributes, context.kinds);
  const invocations: Invocation[] = [];
  for (const hook of configurations.of(attributes.operation, {
    ...attributes.gvr,
    subresource: attributes.subresource,
  })) {
    const seen = hook.matcher.match(attributes, context.kinds);
    if (!seen) continue;
    const objects = await versions.as(seen);
    if (
      await meetsConditions(
        attributes,
        { hook, seen, objects },
        { context, metrics: state.metrics, type: 'validating' },
      )
    )
      invocations.push({ hook, seen, objects });
  }
  if (invocations.length === 0) return;
  if (isRequestOver(attributes, context)) throw requestTimedOut();
  const refusals: Error[] = [];
  await Promise.all(
    invocations.map(async (invocation, i) => {
      const refusal = await ask(attributes, invocation, { ...state, index: i });
      if (refusal) refusals.push(refusal);
    }),
  );
  // In the order they came.
  const [first] = refusals;
  if (isRequestOver(attributes, context)) throw requestTimedOut();
  if (first) throw first;
}

async function ask(
  attributes: AdmissionAttributes,
  invocation: Invocation,
  { context, metrics, index }: State & { readonly index: number },
): Promise<Error | undefined> {
  const { name } = invocation.hook.spec;
  const labels = { name, type: 'validating', operation: attributes.operation } as const;
  const startedMs = context.clock.monotonic();
  let error: unknown;
  try {
    await callHook(attributes, invocation, { context, type: 'validating' });
  } catch (caught) {
    error = caught;
  }
  const { thrown, failedOpen } = settle(error, { invocation, labels, metrics, context, startedMs });
  if (failedOpen) attributes.annotate?.(`${FAILED_OPEN_KEY}${index}`, name);
  return thrown;
}
