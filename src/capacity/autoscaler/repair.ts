/** Machines that are not what they should be: instances that never became Nodes or report errors, targets that nothing came of, Nodes whose instance is gone, groups below their minimum. */
import { errorMessage } from '#stdx/log.ts';
import type { Findings, ObservedGroup } from './cluster-state.ts';
import type { AutoscalerContext } from './context.ts';
import { isBeingDeleted, isNodeReady } from './node-facts.ts';
import { deleteNodeObject } from './node-deletions.ts';
import { instanceNode } from './provider.ts';
import { increase } from './scale-up-step.ts';

/** A Node that is not Ready and that no instance is listed for stays so long: a provider may err. */
const GONE_MS = 60_000;

interface Repairing {
  readonly findings: Findings;
  /** Groups that lost a Node to remediation: they get back to their minimum in any case. */
  readonly replacing: ReadonlySet<string>;
}

/** True: the provider was asked to change something, and what is known of groups may not be so any more. */
export async function repair(
  context: AutoscalerContext,
  { findings, replacing }: Repairing,
): Promise<boolean> {
  report(context, findings);
  await deleteGone(context, findings.gone);
  const removed = await removeUnregistered(context);
  const failed = await removeFailed(context, findings.failed);
  const fixed = removed || failed ? false : await fixSizes(context);
  const grown = await growToMinimum(context, replacing);
  return removed || failed || fixed || grown;
}

function report(
  { metrics, events, statusConfigMap, log, state }: AutoscalerContext,
  findings: Findings,
): void {
  for (const { group, afterMs } of findings.timedOut) {
    metrics.failedScaleUp('timeout', state.upcoming(group));
    const message = `Nodes added to group ${group} failed to register within ${Math.round(afterMs / 1_000)}s`;
    log.warn(message, { group });
    events.event(statusConfigMap(), { type: 'Warning', reason: 'ScaleUpTimedOut', message });
  }
  for (const { group, instances, isNew } of findings.failed) {
    if (!isNew) continue;
    metrics.failedScaleUp('cloudProviderError', instances.length);
    const [{ error } = {}] = instances;
    const message = `Failed adding ${instances.length} nodes to group ${group} due to ${error?.code}: ${error?.message}`;
    log.warn(message, { group });
    events.event(statusConfigMap(), { type: 'Warning', reason: 'ScaleUpFailed', message });
  }
}

async function deleteGone(context: AutoscalerContext, gone: Findings['gone']): Promise<void> {
  if (!context.settings.deleteNodeObjects) return;
  const nowMs = context.clock.now();
  for (const { node, sinceMs } of gone) {
    // One that is Ready has its machine, whatever the provider says.
    const isOver = isBeingDeleted(node) || (!isNodeReady(node) && nowMs - sinceMs >= GONE_MS);
    if (isOver && !node.metadata?.deletionTimestamp) await deleteNodeObject(context, node);
  }
}

async function removeUnregistered(context: AutoscalerContext): Promise<boolean> {
  const { state, settings, events, metrics, statusConfigMap } = context;
  let changed = false;
  for (const group of state.groups) {
    const old = state.readinessOf(group.id).longUnregistered;
    const ids = settings.forceDeleteUnregisteredNodes ? old : old.slice(0, roomAboveMinimum(group));
    if (ids.length === 0) continue;
    for (const id of ids)
      events.event(statusConfigMap(), {
        type: 'Normal',
        reason: 'DeleteUnregistered',
        message: `Removing unregistered node ${id}`,
      });
    if (!(await removeInstances(context, { group, ids, failure: 'DeleteUnregisteredFailed' }))) continue;
    metrics.unregisteredRemoved(ids.length);
    changed = true;
  }
  return changed;
}

async function removeFailed(context: AutoscalerContext, failed: Findings['failed']): Promise<boolean> {
  const { state, settings } = context;
  let changed = false;
  for (const { group: id, instances } of failed) {
    const group = state.group(id)!;
    const all = instances.map((one) => one.id);
    const ids = settings.forceDeleteFailedNodes ? all : all.slice(0, roomAboveMinimum(group));
    if (ids.length === 0) continue;
    if (await removeInstances(context, { group, ids, failure: 'DeleteUnregisteredFailed' })) changed = true;
  }
  return changed;
}

function roomAboveMinimum({ target, minSize }: ObservedGroup): number {
  return Math.max(0, target - minSize);
}

interface Removal {
  readonly group: ObservedGroup;
  readonly ids: readonly string[];
  /** Reason of the event when it does not work. */
  readonly failure: string;
}

async function removeInstances(
  { provider, log, events, statusConfigMap, metrics }: AutoscalerContext,
  { group, ids, failure }: Removal,
): Promise<boolean> {
  try {
    await provider.deleteNodes(group.id, ids.map(instanceNode));
    log.info('removed instances that are no Nodes', { group: group.id, instances: ids.join(', ') });
    return true;
  } catch (error) {
    const message = `Failed to remove node ${ids.join(', ')}: ${errorMessage(error)}`;
    log.warn('error removing instances', { group: group.id, error: errorMessage(error) });
    events.event(statusConfigMap(), { type: 'Warning', reason: failure, message });
    metrics.failed('cloudProviderError');
    return false;
  }
}

/** Machines that were asked for and never came are not waited for any longer. */
async function fixSizes({ state, provider, clock, log, metrics }: AutoscalerContext): Promise<boolean> {
  let changed = false;
  for (const { group, delta } of state.sizesToFix(clock.now())) {
    try {
      await provider.decreaseTarget(group, delta);
      log.info('decreased the target of a node group whose machines did not come', { group, delta });
      changed = true;
    } catch (error) {
      log.warn('error decreasing the target of a node group', { group, error: errorMessage(error) });
      metrics.failed('cloudProviderError');
    }
  }
  return changed;
}

async function growToMinimum(context: AutoscalerContext, replacing: ReadonlySet<string>): Promise<boolean> {
  const { state, settings, clock } = context;
  let changed = false;
  for (const { id: group, target: from, minSize: to, maxSize } of state.groups) {
    if (!settings.enforceNodeGroupMinSize && !replacing.has(group)) continue;
    if (from >= to || state.backoffOf(group, clock.now())) continue;
    if (await increase(context, { group, from, to, maxSize })) changed = true;
  }
  return changed;
}
