/** Which of a pod's containers run concurrently. Pure. */
import type { Container, PodSpec } from '#api/types.ts';

/** Upstream's restartable init container: starts in turn like an init container, then runs beside the containers until they end. */
export function isSidecar(container: { readonly restartPolicy?: string }): boolean {
  return container.restartPolicy === 'Always';
}

/** The containers that run concurrently once the pod is started: containers, then sidecars. */
export function longRunningContainers(spec: PodSpec | undefined): readonly Container[] {
  const sidecars = spec?.initContainers?.filter(isSidecar) ?? [];
  const containers = spec?.containers ?? [];
  return sidecars.length === 0 ? containers : [...containers, ...sidecars];
}
