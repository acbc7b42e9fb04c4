/**
 * MutatingAdmissionWebhook: calls matching webhooks one after the other, each with the object as the previous ones left it. Those with
 * reinvocationPolicy IfNeeded are called once more if the object changed after their turn.
 */
import { errorMessage } from '#stdx/log.ts';
import { statusErrors } from '#machinery/errors.ts';
import { deepClone, deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { applyJsonPatch } from '#machinery/patch/json-patch.ts';
import { putMutated } from '../mutated.ts';
import type { AdmissionAttributes, AdmissionPlugin, AdmissionStart } from '../plugin.ts';
import { trackReinvocation, type Reinvocation } from '../reinvocation.ts';
import {
  CallingWebhookError,
  callHook,
  isRequestOver,
  requestTimedOut,
  settle,
  type Invocation,
} from './call.ts';
import { meetsConditions } from './conditions.ts';
import { WebhookConfigurations, type Hook } from './configurations.ts';
import { createWebhookMetrics, type WebhookMetrics } from './metrics.ts';
import type { Response } from './review.ts';
import { VersionedObjects } from './versioned-objects.ts';

const NAME = 'MutatingAdmissionWebhook';

interface State {
  readonly context: AdmissionStart;
  readonly configurations: WebhookConfigurations;
  readonly metrics: WebhookMetrics;
}

export function mutatingAdmissionWebhook(): AdmissionPlugin {
  let state: State | undefined;
  return {
    name: NAME,
    start(context) {
      const configurations = new WebhookConfigurations('mutatingwebhookconfigurations', context);
      state = { context, configurations, metrics: createWebhookMetrics(context.metrics) };
      return () => configurations.stop();
    },
    handles: (operation, target) =>
      state !== undefined && state.configurations.of(operation, target).length > 0,
    admit: (attributes) => state && admit(attributes, state),
  };
}

/** Webhooks to reinvoke for one request. */
interface Memory {
  /** Called in the first round, with reinvocationPolicy IfNeeded. */
  readonly willing: Set<string>;
  readonly due: Set<string>;
  /** The object when this plugin was last done with it. */
  left: KubeObject | undefined;
}

function memoryOf(reinvocation: Reinvocation): Memory {
  let memory = reinvocation.memory.get(NAME) as Memory | undefined;
  if (!memory)
    reinvocation.memory.set(NAME, (memory = { willing: new Set(), due: new Set(), left: undefined }));
  return memory;
}

/** The object changed: every webhook called before is due for reinvocation. */
function scheduleReinvocation({ willing, due }: Memory): void {
  for (const uid of willing) due.add(uid);
  willing.clear();
}

async function admit(attributes: AdmissionAttributes, state: State): Promise<void> {
  const { context, configurations } = state;
  const reinvocation = trackReinvocation(attributes);
  const memory = memoryOf(reinvocation);
  if (reinvocation.isSecondRound && memory.willing.size > 0 && !deepEqual(memory.left, attributes.object))
    scheduleReinvocation(memory);
  const versions = new VersionedObjects(attributes, context.kinds);
  for (const hook of configurations.of(attributes.operation, {
    ...attributes.gvr,
    subresource: attributes.subresource,
  })) {
    // The second round calls no webhook for the first time.
    if (reinvocation.isSecondRound && !memory.due.has(hook.uid)) continue;
    const seen = hook.matcher.match(attributes, context.kinds);
    if (!seen) continue;
    const objects = await versions.as(seen);
    if (
      !(await meetsConditions(
        attributes,
        { hook, seen, objects },
        { context, metrics: state.metrics, type: 'admit' },
      ))
    )
      continue;
    if (isRequestOver(attributes, context)) throw requestTimedOut();
    if (
      await ask(attributes, { hook, seen, objects }, { ...state, round: reinvocation.isSecondRound ? 1 : 0 })
    ) {
      versions.forget();
      scheduleReinvocation(memory);
      reinvocation.wanted = true;
    }
    if (hook.spec.reinvocationPolicy === 'IfNeeded') memory.willing.add(hook.uid);
  }
  memory.left = memory.willing.size > 0 ? deepClone(attributes.object) : undefined;
}

/** True when it changed the object. */
async function ask(
  attributes: AdmissionAttributes,
  invocation: Invocation,
  { context, configurations, metrics, round }: State & { readonly round: number },
): Promise<boolean> {
  const { hook } = invocation;
  const labels = { name: hook.spec.name, type: 'admit', operation: attributes.operation } as const;
  const place = `round_${round}_index_${configurations.all.indexOf(hook)}`;
  const startedMs = context.clock.monotonic();
  let changed = false;
  let error: unknown;
  try {
    const response = await callHook(attributes, invocation, { context, type: 'admit' });
    changed = await mutate(attributes, { invocation, response, context, place });
  } catch (caught) {
    error = caught;
  }
  attributes.annotate?.(
    `mutation.webhook.admission.k8s.io/${place}`,
    JSON.stringify({ ...named(hook), mutated: changed }),
  );
  const { thrown, failedOpen } = settle(error, { invocation, labels, metrics, context, startedMs });
  if (failedOpen)
    attributes.annotate?.(`failed-open.mutation.webhook.admission.k8s.io/${place}`, hook.spec.name);
  if ((thrown || failedOpen) && isRequestOver(attributes, context)) throw requestTimedOut();
  if (thrown) throw thrown;
  return changed;
}

function named({ configuration, spec }: Hook): { readonly configuration: string; readonly webhook: string } {
  return { configuration, webhook: spec.name };
}

interface Mutation {
  readonly invocation: Invocation;
  readonly response: Response;
  readonly context: AdmissionStart;
  readonly place: string;
}

/** Applies the patch to the object in the webhook's version and puts the result in the object's place. True when that made a difference. */
async function mutate(
  attributes: AdmissionAttributes,
  {
    invocation: { hook, seen, objects },
    response: { patch, patchType },
    context: { kinds },
    place,
  }: Mutation,
): Promise<boolean> {
  if (patch === undefined) return false;
  const { name } = hook.spec;
  const operations = parsePatch(patch, name);
  if (operations.length === 0) return false;
  const { object } = attributes;
  if (!object || !objects.object)
    throw statusErrors.internal(
      `admission webhook ${JSON.stringify(name)} attempted to modify the object, which is not supported for this operation`,
    );
  if (patchType !== 'JSONPatch')
    throw new CallingWebhookError(name, `unsupported patch type ${JSON.stringify(patchType)}`, { code: 400 });
  let patched: KubeObject;
  try {
    patched = kinds.decode(applyJsonPatch(objects.object, operations), attributes.gvr, seen.gvk);
  } catch (error) {
    throw statusErrors.internal(errorMessage(error));
  }
  attributes.annotate?.(
    `patch.webhook.admission.k8s.io/${place}`,
    JSON.stringify({ ...named(hook), patch: operations, patchType }),
    'Request',
  );
  const changed = !deepEqual(objects.object, patched);
  await putMutated(patched, { attributes, kinds, gvk: seen.gvk });
  return changed;
}

/** An unreadable response counts as a failed call: failurePolicy decides. */
function parsePatch(text: string, hook: string): unknown[] {
  const undecodable = (why: string, cause?: unknown): Error =>
    new CallingWebhookError(hook, `received undecodable patch in webhook response: ${why}`, {
      code: 422,
      cause,
    });
  let patch: unknown;
  try {
    patch = JSON.parse(text);
  } catch (error) {
    throw undecodable(errorMessage(error), error);
  }
  if (!Array.isArray(patch))
    throw undecodable('json: cannot unmarshal the patch into Go value of type jsonpatch.Patch');
  return patch;
}
