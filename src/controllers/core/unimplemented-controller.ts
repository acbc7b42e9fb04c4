/**
 * Emits an event on objects that the API accepts but Capstan does not implement yet. One row per kind; the change that
 * implements the feature removes its row. Writes only events.
 */
import { ingresses } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import type { KubeObject } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';
import { defineController, watch, type ReconcileResult, type WatchSource } from '#runtime/controller.ts';

interface Row {
  readonly source: WatchSource<never>;
  readonly resource: ResourceRef;
  /** Delay before the event: another controller, installed into the cluster, may handle the object in that time. */
  readonly graceMs: number;
  /** The message, or undefined when this object needs nothing unimplemented. */
  message(object: KubeObject): string | undefined;
}

function row<T extends KubeObject>(
  resource: ResourceRef<T>,
  { graceMs = 0, message }: { readonly graceMs?: number; message(object: T): string | undefined },
): Row {
  const keys = ({ metadata }: T): string[] => [`${resource.plural}/${metadata?.namespace}/${metadata?.name}`];
  return {
    source: watch(resource, { keys }),
    resource,
    graceMs,
    message: message as (object: KubeObject) => string | undefined,
  };
}

const FOREIGN_GRACE_MS = 30_000;

const ROWS: readonly Row[] = [
  row(ingresses, {
    graceMs: FOREIGN_GRACE_MS,
    message: ({ status }) =>
      (status?.loadBalancer?.ingress?.length ?? 0) > 0
        ? undefined
        : 'no ingress controller has taken this Ingress: nothing routes by it; class capstan is that of `capstan gateway`',
  }),
];

/** Events expire after an hour: the event is repeated before that. */
const REPEAT_MS = 50 * 60_000;
/** Maximum number of objects per kind that get events. */
const MAX_REMEMBERED = 10_000;

export const unimplementedController = defineController({
  name: 'unimplemented-controller',
  watches: ROWS.map(({ source }) => source),
  async reconcile({ key, clock, events, informer, memory }): Promise<ReconcileResult> {
    const [plural = '', ...name] = key.split('/');
    const found = ROWS.find(({ resource }) => resource.plural === plural);
    const object = found && informer(found.resource).get(name.join('/'));
    const message = object?.metadata?.deletionTimestamp ? undefined : object && found?.message(object);
    if (!found || !object || message === undefined) return void memory.delete(key);
    const dueMs = nextMs(object, { graceMs: found.graceMs, emitted: memory.get(key) as Emitted | undefined });
    if (dueMs > clock.now()) return { requeueAfterMs: dueMs - clock.now() };
    if (memory.size >= MAX_REMEMBERED && !memory.has(key)) return;
    memory.set(key, { uid: object.metadata?.uid, atMs: clock.now() } satisfies Emitted);
    events.event(object, { type: 'Warning', reason: 'NotImplemented', message });
    return { requeueAfterMs: REPEAT_MS };
  },
});

interface Emitted {
  readonly uid: string | undefined;
  readonly atMs: number;
}

function nextMs(
  { metadata }: KubeObject,
  { graceMs, emitted }: { readonly graceMs: number; readonly emitted: Emitted | undefined },
): number {
  if (emitted && emitted.uid === metadata?.uid) return emitted.atMs + REPEAT_MS;
  return (timeMs(metadata?.creationTimestamp) ?? 0) + graceMs;
}
