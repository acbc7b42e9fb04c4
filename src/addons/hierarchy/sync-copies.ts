/** Writes and removes the copies of one kind as planned; failures are events on the copy and on its source. */
import type { ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatApiVersion, type KubeObject, type Stored } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CopyWrite, PropagationPlan } from './propagation.ts';
import { isStale, type Task } from './run-tasks.ts';

type Writer = Pick<ReconcileContext, 'api' | 'events' | 'memory'>;

export function copyTasks(
  context: Writer,
  { ref, plan }: { readonly ref: ResourceRef; readonly plan: PropagationPlan },
): Task[] {
  for (const { source, reason, message } of plan.problems)
    warnOnce(context, { about: named(source, ref), reason, message });
  return [
    ...plan.remove.map((copy) => () => remove(context, { ref, copy })),
    ...plan.write.map((one) => () => write(context, { ref, ...one })),
  ];
}

async function remove(
  { api }: Writer,
  { ref, copy }: { readonly ref: ResourceRef; readonly copy: Stored },
): Promise<void> {
  const { name, namespace, uid, resourceVersion } = copy.metadata;
  await api
    .delete(ref, { name, namespace }, { preconditions: { uid, resourceVersion } })
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound')) throw error;
    });
}

async function write(
  context: Writer,
  { ref, copy, source, existing }: CopyWrite & { readonly ref: ResourceRef },
): Promise<void> {
  try {
    if (existing) await replace(context, { ref, copy, existing });
    else await context.api.create(ref, copy);
  } catch (error) {
    if (isStale(error)) throw error;
    const { namespace } = source.metadata;
    warnOnce(context, {
      about: copy,
      reason: 'CannotUpdateObject',
      message: `Could not write from source namespace "${namespace}": ${errorMessage(error)}.`,
    });
    warnOnce(context, {
      about: named(source, ref),
      reason: 'CannotPropagateObject',
      message: `Could not write to destination namespace "${copy.metadata?.namespace}": ${errorMessage(error)}.`,
    });
    throw error;
  }
}

async function replace(
  { api }: Writer,
  {
    ref,
    copy,
    existing,
  }: { readonly ref: ResourceRef; readonly copy: KubeObject; readonly existing: Stored },
): Promise<void> {
  const { name, namespace, resourceVersion, uid } = existing.metadata;
  try {
    await api.update(ref, { ...copy, metadata: { ...copy.metadata, resourceVersion } });
  } catch (error) {
    // The role of a RoleBinding cannot be changed.
    if (!isStatusError(error, 'Invalid') || ref.kind !== 'RoleBinding') throw error;
    await api.delete(ref, { name, namespace }, { preconditions: { uid } });
    await api.create(ref, copy);
  }
}

/** What the cache has of an object may lack its kind. */
function named(object: Stored, ref: ResourceRef): KubeObject {
  return { ...object, apiVersion: formatApiVersion(ref), kind: ref.kind };
}

/** The same words about the same object once, for each leader. */
function warnOnce(
  { events, memory }: Writer,
  {
    about,
    reason,
    message,
  }: { readonly about: KubeObject; readonly reason: string; readonly message: string },
): void {
  const { namespace, name, resourceVersion } = about.metadata ?? {};
  const key = `event ${about.kind} ${namespace}/${name} ${reason}`;
  const words = `${message} ${resourceVersion}`;
  if (memory.get(key) === words) return;
  memory.set(key, words);
  events.event(about, { type: 'Warning', reason, message });
}
