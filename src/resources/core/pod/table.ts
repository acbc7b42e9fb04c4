/** The columns of `kubectl get pods`, including the status column. After upstream's printPod. */
import type { ContainerStatus, Pod } from '#api/types.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { isSidecar, longRunningContainers } from '#component-helpers/containers.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { TableCell, TableDefinition } from '../../define.ts';
import { formatAge, columns, humanDuration, nameOf, type RowContext } from '../../tables.ts';

interface Summary {
  ready: number;
  restarts: number;
  /** Time of the last restart, 0 without one. */
  restartedMs: number;
  reason: string;
}

export const podTable: TableDefinition<Pod> = {
  columns: columns(
    'Name',
    'Ready',
    'Status',
    'Restarts',
    'Age',
    'IP:wide',
    'Node:wide',
    'Nominated Node:wide',
    'Readiness Gates:wide',
  ),
  row: (pod, context) => podRow(pod, context),
};

function podRow(pod: Pod, context: RowContext): TableCell[] {
  const { status = {}, spec } = pod;
  const total = longRunningContainers(spec).length;
  const { ready, restarts, restartedMs, reason } = summarize(pod);
  const restartText =
    restarts > 0 && restartedMs > 0
      ? `${restarts} (${humanDuration(context.nowMs - restartedMs)} ago)`
      : String(restarts);
  const address = status.podIPs?.[0]?.ip ?? status.podIP;
  return [
    nameOf(pod),
    `${ready}/${total}`,
    reason,
    restartText,
    formatAge(pod, context),
    address || '<none>',
    spec?.nodeName || '<none>',
    status.nominatedNodeName || '<none>',
    readinessGates(pod),
  ];
}

function readinessGates(pod: Pod): string {
  const gates = pod.spec?.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const met = gates.filter((gate) => isConditionTrue(pod.status?.conditions, gate.conditionType)).length;
  return `${met}/${gates.length}`;
}

function summarize(pod: Pod): Summary {
  const { status = {}, spec } = pod;
  const summary: Summary = {
    ready: 0,
    restarts: 0,
    restartedMs: 0,
    reason: status.reason || status.phase || '',
  };
  for (const condition of status.conditions ?? [])
    if (condition.type === 'PodScheduled' && condition.reason === 'SchedulingGated')
      summary.reason = 'SchedulingGated';
  const sidecarNames = new Set((spec?.initContainers ?? []).filter(isSidecar).map(({ name }) => name));
  const sidecars: Summary = { ready: 0, restarts: 0, restartedMs: 0, reason: '' };
  const initializing = summarizeInit(pod, summary, sidecars, sidecarNames);
  if (!initializing || isConditionTrue(status.conditions, 'Initialized'))
    summarizeContainers(pod, summary, sidecars);
  if (pod.metadata?.deletionTimestamp) {
    if (status.reason === 'NodeLost') summary.reason = 'Unknown';
    else if (!isPodTerminal(pod)) summary.reason = 'Terminating';
  }
  return summary;
}

function timeOf(status: ContainerStatus): number {
  const finished = status.lastState?.terminated?.finishedAt;
  return finished ? Date.parse(finished) : 0;
}

function endOf(terminated: { reason?: string; signal?: number; exitCode: number }): string {
  return (
    terminated.reason ||
    (terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`)
  );
}

/** The status of the first init container that blocks the pod. Returns true when there is one. */
function summarizeInit(
  pod: Pod,
  summary: Summary,
  sidecars: Summary,
  sidecarNames: ReadonlySet<string>,
): boolean {
  const statuses = pod.status?.initContainerStatuses ?? [];
  for (let i = 0; i < statuses.length; i++) {
    const status = statuses[i]!,
      { terminated, waiting } = status.state ?? {};
    summary.restarts += status.restartCount;
    summary.restartedMs = Math.max(summary.restartedMs, timeOf(status));
    if (sidecarNames.has(status.name)) {
      sidecars.restarts += status.restartCount;
      sidecars.restartedMs = Math.max(sidecars.restartedMs, timeOf(status));
    }
    if (terminated && terminated.exitCode === 0) continue;
    if (sidecarNames.has(status.name) && status.started) {
      if (status.ready) summary.ready++;
      continue;
    }
    if (terminated) summary.reason = `Init:${endOf(terminated)}`;
    else if (waiting?.reason && waiting.reason !== 'PodInitializing')
      summary.reason = `Init:${waiting.reason}`;
    else summary.reason = `Init:${i}/${(pod.spec?.initContainers ?? []).length}`;
    return true;
  }
  return false;
}

function summarizeContainers(pod: Pod, summary: Summary, sidecars: Summary): void {
  summary.restarts = sidecars.restarts;
  summary.restartedMs = sidecars.restartedMs;
  let running = false;
  for (const status of (pod.status?.containerStatuses ?? []).toReversed()) {
    const { waiting, terminated, running: runs } = status.state ?? {};
    summary.restarts += status.restartCount;
    summary.restartedMs = Math.max(summary.restartedMs, timeOf(status));
    if (waiting?.reason) summary.reason = waiting.reason;
    else if (terminated) summary.reason = endOf(terminated);
    else if (status.ready && runs) {
      running = true;
      summary.ready++;
    }
  }
  if (summary.reason === 'Completed' && running)
    summary.reason = isConditionTrue(pod.status?.conditions, 'Ready') ? 'Running' : 'NotReady';
}
