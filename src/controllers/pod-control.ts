/** Creates and deletes the pods of an owner, with upstream's events, and with slow start to limit failing requests. */
import type { Pod, PodTemplateSpec } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import type { KubeObject, ObjectMeta, OwnerReference } from '#machinery/object.ts';
import { pods } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

/** Longer names leave no room for the random suffix. */
const MAX_PREFIX = 253;

interface PodFromTemplate {
  readonly template: PodTemplateSpec;
  readonly owner: KubeObject;
  readonly reference: OwnerReference;
  /** Default: generated from the owner's name. */
  readonly name?: string;
  readonly generateName?: string;
  readonly finalizers?: readonly string[];
}

/** Shares the template's spec: do not change it. */
export function podFromTemplate({
  template,
  owner,
  reference,
  name,
  generateName,
  finalizers,
}: PodFromTemplate): Pod {
  const { labels, annotations, finalizers: templateFinalizers } = template.metadata ?? {};
  const allFinalizers = [...(templateFinalizers ?? []), ...(finalizers ?? [])];
  const prefix = generateName ?? `${owner.metadata!.name!}-`;
  const metadata: ObjectMeta = {
    namespace: owner.metadata!.namespace!,
    ownerReferences: [reference],
    ...(name === undefined
      ? { generateName: prefix.length > MAX_PREFIX ? owner.metadata!.name! : prefix }
      : { name }),
    ...(labels ? { labels: { ...labels } } : {}),
    ...(annotations ? { annotations: { ...annotations } } : {}),
    ...(allFinalizers.length > 0 ? { finalizers: allFinalizers } : {}),
  };
  return { metadata, spec: template.spec! };
}

/** Throws the server's error; emits no event when the namespace is terminating. */
export async function createPod(
  pod: Pod,
  { owner, context }: { readonly owner: KubeObject; readonly context: ReconcileContext },
): Promise<Pod> {
  try {
    const created = await context.api.create(pods, pod);
    context.events.event(owner, {
      type: 'Normal',
      reason: 'SuccessfulCreate',
      message: `Created pod: ${created.metadata.name}`,
    });
    return created;
  } catch (error) {
    if (!isNamespaceTerminating(error))
      context.events.event(owner, {
        type: 'Warning',
        reason: 'FailedCreate',
        message: `Error creating: ${errorMessage(error)}`,
      });
    throw error;
  }
}

/** A pod that does not exist is no error, but `gone` is called: its deletion event may have been missed. */
export async function deletePod(
  pod: Pod,
  {
    owner,
    context,
    gone,
  }: { readonly owner: KubeObject; readonly context: ReconcileContext; readonly gone?: () => void },
): Promise<void> {
  const { name = '', namespace, uid } = pod.metadata!;
  try {
    await context.api.delete(pods, { name, namespace }, uid ? { preconditions: { uid } } : {});
    context.events.event(owner, {
      type: 'Normal',
      reason: 'SuccessfulDelete',
      message: `Deleted pod: ${name}`,
    });
  } catch (error) {
    gone?.();
    if (isStatusError(error, 'NotFound') || isStatusError(error, 'Conflict')) return;
    context.events.event(owner, {
      type: 'Warning',
      reason: 'FailedDelete',
      message: `Error deleting: ${errorMessage(error)}`,
    });
    throw error;
  }
}

export function isNamespaceTerminating(error: unknown): boolean {
  return (
    isStatusError(error) &&
    error.status.details?.causes?.some(({ reason }) => reason === 'NamespaceTerminating') === true
  );
}

interface SlowStart {
  readonly succeeded: number;
  readonly error: unknown;
}

/** Calls `act` for 1, then 2, 4, 8 … concurrently, up to `count`; stops after the first batch with a failure. */
export async function slowStart(count: number, act: (index: number) => Promise<unknown>): Promise<SlowStart> {
  let done = 0;
  for (let batch = Math.min(count, 1); batch > 0; batch = Math.min(2 * batch, count - done)) {
    const outcomes = await Promise.allSettled(Array.from({ length: batch }, (_, index) => act(done + index)));
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
    done += batch - failed.length;
    if (failed.length > 0) return { succeeded: done, error: failed[0]!.reason };
  }
  return { succeeded: done, error: undefined };
}
