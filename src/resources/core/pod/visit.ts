/** All containers of a pod, in the order upstream looks at them. */
import type { Container, PodSpec } from '#api/types.ts';

/** at: gives the container's path, which is seldom wanted. Ephemeral containers pass for containers: they have the same fields and more. */
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
