/**
 * RestartAllContainers (KEP-5532): a container whose exit matches such a rule restarts the pod in its sandbox, including init containers. Pure.
 *
 * Runs are counted in rounds, recorded on each container at its creation: the matching exit closes its round, and containers of a closed round
 * count as never run. So a new agent continues, and earlier runs stay for restart counts and logs.
 */
import type { Pod } from '#api/types.ts';
import { ANNOTATIONS } from '../labels.ts';
import type { PodRuntime, RuntimeContainer } from '../runtime-view.ts';
import { matchingRule, type AnyContainer } from './restart-policy.ts';

const ACTION = 'RestartAllContainers';

/** Containers that restart: all but the ephemeral ones. */
function containersOf({ spec }: Pod): AnyContainer[] {
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
}

export function mayRestartAll(pod: Pod): boolean {
  return containersOf(pod).some(({ restartPolicyRules }) =>
    restartPolicyRules?.some(({ action }) => action === ACTION),
  );
}

export function roundOfRun({ annotations }: RuntimeContainer): number {
  return Number(annotations[ANNOTATIONS.round] ?? 0);
}

/** A run whose end restarts all containers. */
export function endsRound(pod: Pod, { name, phase, exitCode }: RuntimeContainer): boolean {
  const container = containersOf(pod).find((one) => one.name === name);
  return (
    phase === 'exited' && container !== undefined && matchingRule(container, exitCode)?.action === ACTION
  );
}

/** The round the pod is in. */
export function readRound(pod: Pod, { containers }: PodRuntime): number {
  if (!mayRestartAll(pod)) return 0;
  return containers.reduce(
    (round, run) => Math.max(round, roundOfRun(run) + (endsRound(pod, run) ? 1 : 0)),
    0,
  );
}

/** What still runs of rounds that are over. */
export function leftovers(pod: Pod, runtime: PodRuntime): RuntimeContainer[] {
  const round = readRound(pod, runtime),
    names = new Set(containersOf(pod).map(({ name }) => name));
  return runtime.containers.filter(
    (run) => run.phase === 'running' && names.has(run.name) && roundOfRun(run) < round,
  );
}

/** Until each container of an earlier round has started again. */
export function isRestartingAll(pod: Pod, runtime: PodRuntime): boolean {
  const round = readRound(pod, runtime);
  return (
    round > 0 &&
    containersOf(pod).some(({ name }) => {
      const latest = runtime.containers.find((run) => run.name === name);
      return latest !== undefined && roundOfRun(latest) < round;
    })
  );
}
