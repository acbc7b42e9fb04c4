/** Creating and deleting the pods of an owner, with upstream's events, and the slow start that bounds what a failing template costs. */
import type { Pod, PodTemplateSpec } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import type { KubeObject, ObjectMeta, OwnerReference } from '#machinery/object.ts';
import { pods } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

/** Longer names would leave a generated one no room for its random end. */
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

/** Shares the template's spec: not to be changed. */
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

/** Throws what the server refused with; the namespace going away is no event. */
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

/** A pod that is gone already is no failure, but `gone` is called: no event of the deletion may come. */
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

/** Calls `act` for 1, then 2, 4, 8 … at once, up to `count`; stops after the first batch in which one failed. */
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
