/**
 * Runs the pods of each Job until enough of them succeeded or too many failed. After upstream's pkg/controller/job.
 *
 *   read state (job/view.ts) -> stop or manage pods (job/manage.ts) -> account for finished pods and write the status (job/tracking.ts)
 *
 * Every pod has a finalizer until it is accounted for, so that a deleted pod is still counted. Keys are those of
 * jobs, and 'pod/namespace/name' for orphaned pods with the finalizer.
 */
import type { Job, Pod } from '#api/types.ts';
import { compileLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { objectKey } from '#machinery/object.ts';
import { jobs, pods } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ReconcileContext,
  type ReconcileResult,
  type SourceContext,
} from '#runtime/controller.ts';
import { byController, claim, controlledBy, controllerKey, orphans, ownerKeys } from '../owners.ts';
import { forgetFailures, manage, noteFailures, removeActive } from './job/manage.ts';
import { MANAGER, TRACKING, finishedCondition, hasTrackingFinalizer, deadlineInMs } from './job/model.ts';
import { releasedPods, releasePod } from './job/release.ts';
import { forgetTracking, newestJob, track, type Outcome } from './job/tracking.ts';
import { JobView } from './job/view.ts';

const ORPHAN = 'pod/';

export const jobController = defineController({
  name: 'job-controller',
  seesOwnWrites: {
    featureGate: 'StaleControllerConsistencyJob',
    subsystem: 'job_controller',
  },
  watches: [
    watch(jobs, { keys: jobKeys }),
    watch(pods, {
      keys: podKeys,
      observe: {
        added: (pod, context) =>
          ofOwner(pod, context, (key) =>
            pod.metadata?.deletionTimestamp
              ? context.expectations.deletionObserved(key, objectKey(pod))
              : context.expectations.creationObserved(key),
          ),
        updated: (pod, _previous, context) =>
          ofOwner(pod, context, (key) => {
            if (pod.metadata?.deletionTimestamp) context.expectations.deletionObserved(key, objectKey(pod));
          }),
        deleted: (pod, context) =>
          ofOwner(pod, context, (key) => context.expectations.deletionObserved(key, objectKey(pod))),
      },
    }),
  ],
  indexes: [byController(pods)],
  reconcile: (context) => (context.key.startsWith(ORPHAN) ? releaseOrphan(context) : reconcile(context)),
});

function selectorOf(job: Job): LabelSelector {
  return compileLabelSelector(job.spec?.selector);
}

/** A deleted job leaves pods behind whose finalizers only this controller removes. */
function jobKeys(job: Job, { informer }: SourceContext): string[] {
  const key = objectKey(job),
    current = informer(jobs).get(key);
  if (current?.metadata?.uid === job.metadata?.uid && !finishedCondition(job)) return [key];
  return [
    key,
    ...controlledBy(informer(pods), job)
      .filter(hasTrackingFinalizer)
      .map((pod) => ORPHAN + objectKey(pod)),
  ];
}

function podKeys(pod: Pod, context: SourceContext): string[] {
  const keys = ownerKeys(pod, { resource: jobs, informer: context.informer(jobs), selectorOf });
  return isForsaken(pod, context) ? [...keys, ORPHAN + objectKey(pod)] : keys;
}

function jobOf(pod: Pod, { informer }: Pick<SourceContext, 'informer'>): Job | undefined {
  const key = controllerKey(pod, { resource: jobs, informer: informer(jobs) });
  return key === undefined ? undefined : informer(jobs).get(key);
}

/** No job exists that would remove its finalizer. */
function isForsaken(pod: Pod, context: Pick<SourceContext, 'informer'>): boolean {
  const job = jobOf(pod, context);
  return (
    hasTrackingFinalizer(pod) && (!job || (finishedCondition(job) !== undefined && !isManagedByOthers(job)))
  );
}

function ofOwner(pod: Pod, { informer }: SourceContext, then: (key: string) => void): void {
  const key = controllerKey(pod, { resource: jobs, informer: informer(jobs) });
  if (key !== undefined) then(key);
}

async function releaseOrphan(context: ReconcileContext): Promise<void> {
  const pod = context.informer(pods).get(context.key.slice(ORPHAN.length));
  if (pod && isForsaken(pod, context)) await releasePod(context, pod);
}

function isManagedByOthers({ spec }: Job): boolean {
  return spec?.managedBy !== undefined && spec.managedBy !== MANAGER;
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, expectations, api, clock } = context;
  const cached = informer(jobs).get(key);
  const job = cached && newestJob(context, cached);
  if (!job || finishedCondition(job)) {
    forgetFailures(context);
    if (!cached || finishedCondition(cached)) forgetTracking(context);
    if (!job) expectations.forget(key);
    return;
  }
  if (isManagedByOthers(job)) return;
  const satisfied = expectations.satisfied(key);
  const candidates = [
    ...controlledBy(informer(pods), job),
    ...orphans(informer(pods), job.metadata!.namespace!),
  ];
  const claimed = await claim(candidates, {
    api,
    resource: pods,
    owner: job,
    ownerResource: jobs,
    selector: selectorOf(job),
    finalizers: [TRACKING],
  });
  const view = new JobView(job, {
    pods: claimed,
    released: releasedPods(context, claimed),
    nowMs: clock.now(),
  });
  noteFailures(context, view);
  const outcome = await act(context, view, { satisfied });
  const finished = await track(context, view, outcome);
  if (outcome.failure) throw outcome.failure;
  if (finished) return;
  const deadlineMs = deadlineInMs(job, { startedMs: view.startedMs, nowMs: clock.now() });
  const waitMs = Math.min(
    outcome.waitMs ?? Infinity,
    deadlineMs ?? Infinity,
    expectations.expiresInMs(key) ?? Infinity,
  );
  return waitMs === Infinity ? undefined : { requeueAfterMs: Math.max(1, waitMs) };
}

/** Deletes the active pods of a job that ends; otherwise creates and deletes pods. Never throws: the status is written in any case. */
async function act(
  context: ReconcileContext,
  view: JobView,
  { satisfied }: { readonly satisfied: boolean },
): Promise<Outcome> {
  const { active: before, terminating, spec } = view;
  const ending = view.ending();
  if (ending) {
    const { removed, failure } = await removeActive(context, view);
    // While pods are left, or created pods are missing in the cache, the job is not finished.
    const isOver = removed === before.length && satisfied;
    return {
      ending: isOver ? ending : undefined,
      active: before.length - removed,
      terminating: terminating + removed,
      managed: false,
      failure,
    };
  }
  const manages = satisfied && !view.job.metadata?.deletionTimestamp;
  const { active, removed, waitMs, failure } = manages
    ? await manage(context, view)
    : { active: before.length, removed: 0, waitMs: undefined, failure: undefined };
  const enough = spec.completions === undefined ? view.succeeded > 0 : view.succeeded >= spec.completions;
  const completed = {
    type: 'SuccessCriteriaMet',
    reason: 'CompletionsReached',
    message: 'Reached expected number of succeeded pods',
  } as const;
  return {
    ending: enough && active === 0 ? completed : undefined,
    active,
    terminating: terminating + removed,
    managed: manages,
    failure,
    waitMs,
  };
}
