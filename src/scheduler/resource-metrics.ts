/**
 * /metrics/resources of the scheduler: what pods request and are limited to, as the scheduler counts it. Pods that are over are left out. One series for each
 * resource of a pod, made at each scrape.
 */
import type { Pod } from '#api/types.ts';
import { podLimits, podRequests, type ResourceAmounts } from '#component-helpers/pod-resources.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { label, seriesLine } from '#stdx/instruments.ts';

export const RESOURCES_PATH = '/metrics/resources';

const FAMILIES = [
  {
    name: 'kube_pod_resource_request',
    help: 'What pods request, by resource and unit, as the scheduler counts it.',
    amountsOf: (pod: Pod) => podRequests(pod),
  },
  {
    name: 'kube_pod_resource_limit',
    help: 'What pods are limited to, by resource and unit, as the scheduler counts it.',
    amountsOf: (pod: Pod) => podLimits(pod),
  },
] as const;

const UNITS: ReadonlyMap<string, string> = new Map([
  ['cpu', 'cores'],
  ['memory', 'bytes'],
  ['storage', 'bytes'],
  ['ephemeral-storage', 'bytes'],
]);

/** Whole families. */
export function podResourceLines(pods: readonly Pod[]): readonly string[] {
  const counted = pods.filter((pod) => !pod.spec?.nodeName || !isPodTerminal(pod));
  return FAMILIES.flatMap(({ name, help, amountsOf }) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} gauge`,
    ...counted.flatMap((pod) => linesOf(pod, { name, amounts: amountsOf(pod) })),
  ]);
}

function linesOf(
  { metadata, spec }: Pod,
  { name, amounts }: { readonly name: string; readonly amounts: ResourceAmounts },
): string[] {
  const lines: string[] = [];
  // In alphabetical order, as upstream's exposition has them.
  const [first, last] = [
    [
      label('namespace', metadata?.namespace ?? ''),
      label('node', spec?.nodeName ?? ''),
      label('pod', metadata?.name ?? ''),
      label('priority', spec?.priority === undefined ? '' : String(spec.priority)),
    ].join(),
    label('scheduler', spec?.schedulerName ?? ''),
  ];
  for (const [resource, amount] of amounts)
    if (!amount.isZero) {
      const labels = `${first},${label('resource', resource)},${last},${label('unit', unitOf(resource))}`;
      lines.push(seriesLine(name, labels, amount.asApproximateFloat64()));
    }
  return lines;
}

function unitOf(resource: string): string {
  if (resource.startsWith('hugepages-')) return 'bytes';
  if (resource.startsWith('attachable-volumes-')) return 'integer';
  return UNITS.get(resource) ?? '';
}
