/** The containers of a pod, and whether a finished one restarts. Pure. */
import { createHash } from 'node:crypto';
import type { Container, ContainerRestartRule, EphemeralContainer, Pod } from '#api/types.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import type { RuntimeContainer } from '../runtime-view.ts';

export type AnyContainer = Container | EphemeralContainer;

export function allContainers(pod: Pod): AnyContainer[] {
  return [
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.ephemeralContainers ?? []),
  ];
}

export function findContainer(pod: Pod, name: string): AnyContainer | undefined {
  return allContainers(pod).find((container) => container.name === name);
}

export function podRestartPolicy(pod: Pod): string {
  return pod.spec?.restartPolicy ?? 'Always';
}

/** Changes when a running container has to be replaced: its image may be changed in place. */
export function containerHash({ name, image = '' }: AnyContainer): string {
  return createHash('sha256').update(JSON.stringify({ name, image })).digest('hex').slice(0, 8);
}

/** The first rule that matches this exit code. Every rule restarts: the container, or all of them. */
export function matchingRule(
  { restartPolicyRules }: AnyContainer,
  exitCode: number,
): ContainerRestartRule | undefined {
  return restartPolicyRules?.find(({ exitCodes }) => {
    if (!exitCodes) return false;
    const contained = exitCodes.values?.includes(exitCode) ?? false;
    return exitCodes.operator === 'NotIn' ? !contained : contained;
  });
}

/** For a container that exited with this code; its own rules and policy precede the pod's. */
export function restartsAfter(pod: Pod, container: AnyContainer, exitCode: number): boolean {
  if (matchingRule(container, exitCode)) return true;
  const policy = container.restartPolicy || podRestartPolicy(pod);
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** An init container that is no sidecar runs again when it failed, unless the pod never restarts anything. */
export function initRestartsAfter(pod: Pod, container: AnyContainer, exitCode: number): boolean {
  if (isSidecar(container)) return true;
  return (
    exitCode !== 0 &&
    restartsAfter(
      pod,
      {
        ...container,
        restartPolicy: container.restartPolicy || (podRestartPolicy(pod) === 'Never' ? 'Never' : 'OnFailure'),
      },
      exitCode,
    )
  );
}

/** Whether a regular container must start: it never ran, or it ended and its policy restarts it. */
export function shouldRun(pod: Pod, container: AnyContainer, status: RuntimeContainer | undefined): boolean {
  if (pod.metadata?.deletionTimestamp) return false;
  if (!status || status.phase === 'created' || status.phase === 'unknown') return true;
  return status.phase === 'exited' && restartsAfter(pod, container, status.exitCode);
}
