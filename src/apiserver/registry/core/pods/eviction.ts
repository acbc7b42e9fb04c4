/** pods/NAME/eviction: a delete that disruption budgets allow. Follows upstream's registry/core/pod/storage/eviction.go. */
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Pod } from '#api/types.ts';
import { isPodReady, isPodTerminal } from '#component-helpers/pod-status.ts';
import { readKind } from '../../body.ts';
import { writeRequest, type WriteCall } from '../../write-call.ts';
import { parseMutationOptions } from '../../verb-options.ts';
import type { ApiResponse } from '../../../http/request.ts';
import type { DeleteRequest } from '../../deletion.ts';
import { admitBody, created, requireNamespace } from '../../subresources/bodies.ts';
import type { StoredEndpoint } from '../../write-request.ts';
import type { Condition, PodParts } from './pod-parts.ts';

const EVICTION = { group: 'policy', version: 'v1', kind: 'Eviction' };
const PDBS = { group: 'policy', resource: 'poddisruptionbudgets' };
const MAX_DISRUPTED_PODS = 2000;
const RETRY_SECONDS = 10;

interface Budget extends KubeObject {
  spec?: { selector?: Parameters<typeof compileLabelSelector>[0]; unhealthyPodEvictionPolicy?: string };
  status?: {
    observedGeneration?: number;
    disruptionsAllowed?: number;
    currentHealthy?: number;
    desiredHealthy?: number;
    disruptedPods?: Record<string, string>;
  };
}

export async function evictPod(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const eviction = await readKind(EVICTION, context, {
    mode: options.fieldValidation,
    alsoAccepted: [{ ...EVICTION, version: 'v1beta1' }],
  });
  requireNamespace(eviction, target.namespace);
  if (eviction.metadata?.name !== target.name)
    throw statusErrors.badRequest('name in URL does not match name in Eviction object');
  const request = (eviction['deleteOptions'] ?? {}) as DeleteRequest & {
    readonly dryRun?: readonly string[];
  };
  const dryRun = options.dryRun || (request.dryRun?.length ?? 0) > 0;
  await admitBody(endpoint, call, {
    subresource: 'eviction',
    body: eviction,
    options: { ...options, dryRun },
  });
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  const pod = endpoint.cache.parsed.of(entry);
  if (!ignoresBudgets(pod)) await spendBudget(pod, call, dryRun);
  const marked = dryRun ? request : await markEvicted(call, request);
  await core.registry.delete(
    endpoint,
    marked,
    writeRequest(endpoint, call, {
      dryRun,
      subresource: 'eviction',
      options: { ...request },
      admitted: false,
    }),
  );
  return created(call);
}

/** Adds the DisruptionTarget condition before the deletion. Failed preconditions are left to the deletion to report. */
async function markEvicted({ core, target }: WriteCall, request: DeleteRequest): Promise<DeleteRequest> {
  const { uid, resourceVersion } = request.preconditions ?? {};
  const holds = ({ metadata }: KubeObject): boolean =>
    (uid === undefined || uid === metadata?.uid) &&
    (resourceVersion === undefined || resourceVersion === metadata?.resourceVersion);
  let marked = false;
  const { metadata } = await core.internal.modify(
    { group: '', resource: 'pods' },
    target,
    (object) => {
      marked = holds(object);
      if (!marked) return false;
      const status = ((object as PodParts).status ??= {});
      const before = status.conditions?.find(({ type }) => type === 'DisruptionTarget');
      const condition: Condition & { readonly observedGeneration: number } = {
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'EvictionByEvictionAPI',
        message: 'Eviction API: evicting',
        observedGeneration: object.metadata?.generation ?? 0,
        lastTransitionTime:
          (before?.status === 'True' ? before.lastTransitionTime : undefined) ?? formatTime(core.clock.now()),
      };
      status.conditions = [...(status.conditions ?? []).filter((other) => other !== before), condition];
      return true;
    },
    { subresource: 'status' },
  );
  return marked && resourceVersion !== undefined
    ? { ...request, preconditions: { ...request.preconditions, resourceVersion: metadata?.resourceVersion } }
    : request;
}

function ignoresBudgets(pod: KubeObject): boolean {
  return (
    isPodTerminal(pod as Pod) ||
    (pod as Pod).status?.phase === 'Pending' ||
    pod.metadata?.deletionTimestamp !== undefined
  );
}

async function spendBudget(pod: KubeObject, { core, target }: WriteCall, dryRun: boolean): Promise<void> {
  const budgets = (core.internal.list(PDBS, { namespace: target.namespace }) as Budget[]).filter(
    (budget) =>
      budget.spec?.selector && compileLabelSelector(budget.spec.selector).matches(pod.metadata?.labels),
  );
  if (budgets.length > 1)
    throw statusErrors.internal(
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  const budget = budgets[0];
  if (!budget) return;
  if (!isPodReady(pod as Pod)) {
    const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
    if (
      budget.spec?.unhealthyPodEvictionPolicy === 'AlwaysAllow' ||
      (currentHealthy >= desiredHealthy && desiredHealthy > 0)
    )
      return;
  }
  if (dryRun) return void allowance(budget);
  await core.internal.modify(
    PDBS,
    { name: budget.metadata!.name!, namespace: target.namespace },
    (current) => {
      const { status } = current as Budget;
      const left = allowance(current as Budget);
      status!.disruptionsAllowed = left - 1;
      (status!.disruptedPods ??= {})[target.name] = formatTime(core.clock.now());
    },
    { subresource: 'status' },
  );
}

function allowance(budget: Budget): number {
  const { metadata, status = {} } = budget;
  const name = metadata?.name ?? '';
  if ((status.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    throw refusedByBudget(
      `The disruption budget ${name} is still being processed by the server.`,
      RETRY_SECONDS,
    );
  const left = status.disruptionsAllowed ?? 0;
  const forbidden = (why: string): StatusError =>
    statusErrors.forbidden({ group: 'policy', resource: 'poddisruptionbudget', name }, why);
  if (left < 0) throw forbidden('pdb disruptions allowed is negative');
  if (Object.keys(status.disruptedPods ?? {}).length > MAX_DISRUPTED_PODS)
    throw forbidden('DisruptedPods map too big - too many evictions not confirmed by PDB controller');
  if (left === 0)
    throw refusedByBudget(
      `The disruption budget ${name} needs ${status.desiredHealthy ?? 0} healthy pods and has ${status.currentHealthy ?? 0} currently`,
    );
  return left;
}

/** Without a Retry-After the client chooses the interval: kubectl drain reports it and retries. */
function refusedByBudget(why: string, retryAfterSeconds = 0): StatusError {
  const error = statusErrors.tooManyRequests(
    "Cannot evict pod as it would violate the pod's disruption budget.",
    retryAfterSeconds,
  );
  error.status.details = { ...error.status.details, causes: [{ reason: 'DisruptionBudget', message: why }] };
  return error;
}
