/** All containers of a pod, in upstream's order. */
import type { Container, PodSpec } from '#api/types.ts';

/** at: returns the container's path, computed on demand. Ephemeral containers are typed as containers: they have the same fields and more. */
export function eachContainer(
  spec: PodSpec,
  path: string,
  visit: (container: Container, at: () => string) => void,
): void {
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    const list = spec[field];
    if (list)
      for (let i = 0; i < list.length; i++) visit(list[i] as Container, () => `${path}.${field}[${i}]`);
  }
}
