/**
 * RestartAllContainers (KEP-5532): a container whose end matches such a rule begins the pod anew in its sandbox, init containers and all. Pure.
 *
 * Runs are counted in rounds, written on each container at its creation: the run that ends by the rule closes its round, and all that is of a
 * closed round counts as never having run. So a new agent goes on where the last one was, and earlier runs stay for restart counts and logs.
 */
import type { Pod } from '#api/types.ts';
import { ANNOTATIONS } from '../labels.ts';
import type { PodRuntime, RuntimeContainer } from '../runtime-view.ts';
import { matchingRule, type AnyContainer } from './restart-policy.ts';

const ACTION = 'RestartAllContainers';

/** Those that begin anew: all but the ephemeral ones. */
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

/** A run that ended so that all containers begin anew. */
export function endsRound(pod: Pod, { name, phase, exitCode }: RuntimeContainer): boolean {
  const container = containersOf(pod).find((one) => one.name === name);
  return (
    phase === 'exited' && container !== undefined && matchingRule(container, exitCode)?.action === ACTION
  );
}

/** The round the pod is in. */
export function roundOf(pod: Pod, { containers }: PodRuntime): number {
  if (!mayRestartAll(pod)) return 0;
  return containers.reduce(
    (round, run) => Math.max(round, roundOfRun(run) + (endsRound(pod, run) ? 1 : 0)),
    0,
  );
}

/** What still runs of rounds that are over. */
export function leftovers(pod: Pod, runtime: PodRuntime): RuntimeContainer[] {
  const round = roundOf(pod, runtime),
    names = new Set(containersOf(pod).map(({ name }) => name));
  return runtime.containers.filter(
    (run) => run.phase === 'running' && names.has(run.name) && roundOfRun(run) < round,
  );
}

/** Until each container that ran in an earlier round has begun anew. */
export function isRestartingAll(pod: Pod, runtime: PodRuntime): boolean {
  const round = roundOf(pod, runtime);
  return (
    round > 0 &&
    containersOf(pod).some(({ name }) => {
      const latest = runtime.containers.find((run) => run.name === name);
      return latest !== undefined && roundOfRun(latest) < round;
    })
  );
}
