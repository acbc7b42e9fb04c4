/** How a pod and its containers are named: in messages, events, metrics and directories. Pure. */
import type { Pod } from '#api/types.ts';
import { label } from '#stdx/instruments.ts';

/** Pods' logs: '<logsDir>/<namespace>_<name>_<uid>'. */
export function podLogDirectory(logsDir: string, { metadata }: Pod): string {
  return `${logsDir}/${metadata?.namespace}_${metadata?.name}_${metadata?.uid}`;
}

/** What /metrics calls the end of a container. */
export function terminationLabels(
  pod: Pod,
  { name, exitCode, reason }: { readonly name: string; readonly exitCode: number; readonly reason: string },
): string {
  const is = (list: readonly { readonly name: string }[] | undefined): boolean =>
    list?.some((container) => container.name === name) ?? false;
  const type = is(pod.spec?.initContainers)
    ? 'init_container'
    : is(pod.spec?.ephemeralContainers)
      ? 'ephemeral_container'
      : 'container';
  return `${label('container_type', type)},${label('exit_code', String(exitCode))},${label('reason', reason)}`;
}

/** How messages name a pod: 'web-0_default(uid)'. */
export function podText({ metadata }: Pod): string {
  return `${metadata?.name}_${metadata?.namespace}(${metadata?.uid})`;
}

/** Field path of a container, for events: 'spec.containers{web}'. */
export function formatFieldPath(pod: Pod, name: string): string {
  const list = pod.spec?.initContainers?.some((container) => container.name === name)
    ? 'initContainers'
    : pod.spec?.ephemeralContainers?.some((container) => container.name === name)
      ? 'ephemeralContainers'
      : 'containers';
  return `spec.${list}{${name}}`;
}
