/** Creates and deletes a job's pods, up to parallelism and the remaining completions, with backoff after failures. */
import type { Container, Pod, PodTemplateSpec } from '#api/types.ts';
import { objectKey } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { jobs } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import {
  createPod,
  deletePod,
  isNamespaceTerminating,
  podFromTemplate,
  slowStart,
} from '../../pod-control.ts';
import { podsToDelete } from '../../pod-ranking.ts';
import { judge } from './failure-policy.ts';
import {
  INDEX,
  INDEX_FAILURES,
  INDEX_IGNORED_FAILURES,
  TRACKING,
  completionIndex,
  countIn,
  finishedMs,
  isIndexed,
  isSuspended,
  replacesOnlyFailed,
} from './model.ts';
import { releasePod } from './release.ts';
import type { JobView } from './view.ts';

/** Maximum number of pods created or deleted in one reconcile. */
const BURST = 500;
const FAILURE_BACKOFF = { initialMs: 10_000, maximumMs: 600_000 };

interface Managed {
  /** Active pods afterwards. */
  readonly active: number;
  readonly removed: number;
  /** Reconcile again after this time: the backoff has not elapsed. */
  readonly waitMs?: number | undefined;
  /** The server's error. */
  readonly failure?: unknown;
}

/** Never throws: the result includes what was done before an error. */
export async function manage(context: ReconcileContext, view: JobView): Promise<Managed> {
  const { spec, active, job } = view;
  const { parallelism = 1, completions } = spec;
  const wanted =
    completions === undefined
      ? view.succeeded > 0
        ? active.length
        : parallelism
      : Math.max(0, Math.min(completions - view.succeeded - view.failedIndexes.size, parallelism));
  const surplus = isSuspended(job) ? active : surplusPods(view, Math.max(0, active.length - wanted));
  if (surplus.length > 0 || isSuspended(job)) {
    // Deleting a surplus pod is no failure.
    const { removed, failure } = await remove(context, view, {
      pods: surplus,
      before: (pod) => releasePod(context, pod),
    });
    return { active: active.length - removed, removed, failure };
  }
  const missing = wanted - active.length - (replacesOnlyFailed(spec) ? view.terminating : 0);
  if (missing <= 0) return { active: active.length, removed: 0 };
  return create(context, view, Math.min(missing, BURST));
}

interface Removed {
  readonly removed: number;
  readonly failure: unknown;
}

/** Deletes all active pods. They are accounted for afterwards. */
export async function removeActive(context: ReconcileContext, view: JobView): Promise<Removed> {
  return remove(context, view, { pods: view.active });
}

/** Surplus pods, and pods of duplicate or finished indexes. */
function surplusPods(view: JobView, count: number): Pod[] {
  if (!isIndexed(view.job))
    return count === 0 ? [] : podsToDelete(view.active, count, { ranks: new Map(), nowMs: view.nowMs });
  const seen = new Set<number>();
  const surplus: Pod[] = [],
    kept: Pod[] = [];
  for (const pod of view.active) {
    const index = completionIndex(pod);
    if (
      index === undefined ||
      index >= (view.spec.completions ?? 0) ||
      seen.has(index) ||
      view.failedIndexes.has(index)
    )
      surplus.push(pod);
    else {
      seen.add(index);
      kept.push(pod);
    }
  }
  const more = count - surplus.length;
  return more > 0
    ? [...surplus, ...podsToDelete(kept, more, { ranks: new Map(), nowMs: view.nowMs })]
    : surplus;
}

/** At most one burst: observed deletions trigger the next reconcile. */
async function remove(
  context: ReconcileContext,
  { job }: JobView,
  { pods, before }: { readonly pods: readonly Pod[]; readonly before?: (pod: Pod) => Promise<void> },
): Promise<Removed> {
  const doomed = pods.slice(0, BURST);
  if (doomed.length === 0) return { removed: 0, failure: undefined };
  const { key, expectations } = context;
  expectations.expectDeletions(key, doomed.map(objectKey));
  const outcomes = await Promise.allSettled(
    doomed.map(async (pod) => {
      const gone = (): void => expectations.deletionObserved(key, objectKey(pod));
      try {
        await before?.(pod);
      } catch (error) {
        gone();
        throw error;
      }
      await deletePod(pod, { owner: job, context, gone });
    }),
  );
  const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
  return { removed: doomed.length - failed.length, failure: failed[0]?.reason };
}

async function create(context: ReconcileContext, view: JobView, missing: number): Promise<Managed> {
  const { key, expectations } = context;
  const { job, active } = view;
  const unchanged = { active: active.length, removed: 0 };
  const waitMs = view.spec.backoffLimitPerIndex === undefined ? failureWaitMs(context, view) : 0;
  if (waitMs > 0) return { ...unchanged, waitMs };
  const pending = isIndexed(job) ? pendingIndexes(view, missing) : undefined;
  const indexes = pending?.indexes;
  const count = indexes ? indexes.length : missing;
  if (count === 0) return { ...unchanged, waitMs: pending?.waitMs };
  expectations.expectCreations(key, count);
  let refused = 0;
  const { succeeded, error } = await slowStart(count, async (at) => {
    try {
      await createPod(newPod(view, indexes?.[at]), { owner: job, context });
    } catch (caught) {
      // A terminating namespace rejects pods; its deletion removes the job too.
      if (isNamespaceTerminating(caught)) return;
      refused += 1;
      expectations.creationObserved(key);
      throw caught;
    }
  });
  const skipped = count - succeeded - refused;
  if (skipped > 0) expectations.lower(key, { creations: skipped });
  return { active: active.length + succeeded, removed: 0, waitMs: pending?.waitMs, failure: error };
}

function newPod(view: JobView, index: number | undefined): Pod {
  const { job } = view;
  const template = index === undefined ? view.spec.template : indexedTemplate(view, index);
  return podFromTemplate({
    template,
    owner: job,
    reference: controllerReference(job, jobs),
    finalizers: [TRACKING],
    ...(index === undefined ? {} : { generateName: `${job.metadata!.name!}-${index}-` }),
  });
}

function indexedTemplate(view: JobView, index: number): PodTemplateSpec {
  const {
    job,
    spec: { template, backoffLimitPerIndex },
  } = view;
  const { metadata, spec } = template;
  const counts = backoffLimitPerIndex === undefined ? {} : failureCounts(view, index);
  const withIndex = (container: Container): Container =>
    container.env?.some(({ name }) => name === 'JOB_COMPLETION_INDEX')
      ? container
      : {
          ...container,
          env: [
            ...(container.env ?? []),
            {
              name: 'JOB_COMPLETION_INDEX',
              valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: `metadata.labels['${INDEX}']` } },
            },
          ],
        };
  return {
    metadata: {
      ...metadata,
      labels: { ...metadata?.labels, [INDEX]: String(index) },
      annotations: { ...metadata?.annotations, [INDEX]: String(index), ...counts },
    },
    spec: {
      ...spec!,
      hostname: `${job.metadata!.name!}-${index}`,
      containers: spec!.containers.map(withIndex),
      ...(spec!.initContainers ? { initContainers: spec!.initContainers.map(withIndex) } : {}),
    },
  };
}

/** The failure count that a replacement inherits from the last failed pod of the index. */
function failureCounts(view: JobView, index: number): Record<string, string> {
  const last = view.lastFailed(index);
  const ignored = last !== undefined && judge(view.spec.podFailurePolicy, last)?.action === 'Ignore';
  const failures = last ? countIn(last, INDEX_FAILURES) + (ignored ? 0 : 1) : 0;
  const ignoredFailures = last ? countIn(last, INDEX_IGNORED_FAILURES) + (ignored ? 1 : 0) : 0;
  return {
    [INDEX_FAILURES]: String(failures),
    ...(ignoredFailures > 0 ? { [INDEX_IGNORED_FAILURES]: String(ignoredFailures) } : {}),
  };
}

/** The first indexes that are neither finished, failed, nor active; with a backoff per index, those whose backoff has elapsed. */
function pendingIndexes(
  view: JobView,
  count: number,
): { readonly indexes: number[]; readonly waitMs?: number | undefined } {
  const { completions = 0, backoffLimitPerIndex } = view.spec;
  const busy = new Set(view.active.map(completionIndex));
  if (replacesOnlyFailed(view.spec))
    for (const pod of view.pods)
      if (pod.metadata?.deletionTimestamp && pod.status?.phase !== 'Failed') busy.add(completionIndex(pod));
  const indexes: number[] = [];
  let waitMs: number | undefined;
  for (let index = 0; index < completions && indexes.length < count; index++) {
    if (busy.has(index) || view.succeededIndexes.has(index) || view.failedIndexes.has(index)) continue;
    const last = backoffLimitPerIndex === undefined ? undefined : view.lastFailed(index);
    const leftMs = last
      ? finishedMs(last) +
        backoffMs(countIn(last, INDEX_FAILURES) + countIn(last, INDEX_IGNORED_FAILURES), FAILURE_BACKOFF) -
        view.nowMs
      : 0;
    if (leftMs > 0) waitMs = Math.min(waitMs ?? Infinity, leftMs);
    else indexes.push(index);
  }
  return { indexes, waitMs };
}

interface Failures {
  readonly seen: ReadonlySet<string>;
  readonly count: number;
  readonly lastMs: number;
}

/** Counts consecutive failures; a success resets them. */
export function noteFailures({ memory, key }: ReconcileContext, view: JobView): void {
  const known = memory.get(`failures/${key}`) as Failures | undefined;
  let { count, lastMs } = known ?? { count: 0, lastMs: 0 };
  const ended = [...view.newSucceeded, ...view.newFailed].sort((a, b) => finishedMs(a) - finishedMs(b));
  for (const pod of ended) {
    if (known?.seen.has(pod.metadata!.uid!)) continue;
    count = pod.status?.phase === 'Succeeded' ? 0 : count + 1;
    if (count > 0) lastMs = finishedMs(pod);
  }
  // Counted pods are not new again, unless the cache is behind: then they are still among the pods.
  const seen = new Set([
    ...ended.map(({ metadata }) => metadata!.uid!),
    ...view.pods.map(({ metadata }) => metadata!.uid!).filter((uid) => known?.seen.has(uid)),
  ]);
  memory.set(`failures/${key}`, { count, lastMs, seen } satisfies Failures);
}

/** The backoff after the last of several consecutive failures. */
function failureWaitMs({ memory, key }: ReconcileContext, view: JobView): number {
  const { count, lastMs } = memory.get(`failures/${key}`) as Failures;
  return count === 0 ? 0 : lastMs + backoffMs(count - 1, FAILURE_BACKOFF) - view.nowMs;
}

export function forgetFailures({ memory, key }: ReconcileContext): void {
  memory.delete(`failures/${key}`);
}
