/** The downward API: a pod's own fields and resources as text, for environment variables and volumes. Pure. */
import type { ObjectFieldSelector, Pod, ResourceFieldSelector } from '#api/types.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { findContainer } from '../pod/restart-policy.ts';

/** An error in a container's configuration: shown in its status as CreateContainerConfigError. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export interface DownwardContext {
  readonly pod: Pod;
  readonly podIPs: readonly string[];
  readonly hostIPs: readonly string[];
  readonly nodeName: string;
  /** Limits of a container that sets none: the node's allocatable resources. */
  readonly allocatable: Readonly<Record<string, string>>;
}

/** Throws ConfigError for an unsupported field. */
export function fieldValue(
  { fieldPath }: ObjectFieldSelector,
  { pod, podIPs, hostIPs, nodeName }: DownwardContext,
): string {
  const meta = pod.metadata ?? {};
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(fieldPath);
  if (subscript)
    return (subscript[1] === 'labels' ? meta.labels : meta.annotations)?.[subscript[2] ?? ''] ?? '';
  switch (fieldPath) {
    case 'metadata.name':
      return meta.name ?? '';
    case 'metadata.namespace':
      return meta.namespace ?? '';
    case 'metadata.uid':
      return meta.uid ?? '';
    case 'metadata.labels':
      return formatMap(meta.labels);
    case 'metadata.annotations':
      return formatMap(meta.annotations);
    case 'spec.nodeName':
      return pod.spec?.nodeName ?? nodeName;
    case 'spec.serviceAccountName':
      return pod.spec?.serviceAccountName ?? '';
    case 'status.hostIP':
      return hostIPs[0] ?? '';
    case 'status.hostIPs':
      return hostIPs.join(',');
    case 'status.podIP':
      return podIPs[0] ?? '';
    case 'status.podIPs':
      return podIPs.join(',');
    default:
      throw new ConfigError(`unsupported fieldPath: ${fieldPath}`);
  }
}

/** Sorted 'key="value"' lines, values quoted as Go does. */
function formatMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.keys(map ?? {})
    .sort()
    .map((key) => `${key}=${JSON.stringify(map?.[key])}`)
    .join('\n');
}

const PATTERN = /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/;

/** Rounded up to a multiple of the divisor. Throws ConfigError. */
export function resourceFieldValue(
  { resource, containerName, divisor }: ResourceFieldSelector,
  { pod, allocatable }: DownwardContext,
  ownName = '',
): string {
  const container = findContainer(pod, containerName || ownName);
  if (!container) throw new ConfigError(`container ${containerName || ownName} not found`);
  const [, kind, name = ''] = PATTERN.exec(resource) ?? [];
  if (!kind) throw new ConfigError(`unsupported container resource : ${resource}`);
  const { limits, requests } = container.resources ?? {};
  const own = parseResourceQuantity(
    kind === 'limits' ? limits?.[name] : (requests?.[name] ?? limits?.[name]),
  );
  const amount =
    kind === 'limits' && own.isZero ? smaller(pod.spec?.resources?.limits?.[name], allocatable[name]) : own;
  const unit = divisor && divisor !== '0' ? (tryParseQuantity(divisor) ?? Quantity.of(1)) : Quantity.of(1);
  if (name === 'cpu') return String(Math.ceil(amount.milliValue() / unit.milliValue()));
  return String(Math.ceil(amount.value() / unit.value()));
}

function parseResourceQuantity(text: string | undefined): Quantity {
  return (text === undefined ? undefined : tryParseQuantity(text)) ?? Quantity.zero;
}

/** The limit of a container that sets none: its pod's limit, and at most the node's allocatable. */
function smaller(ofPod: string | undefined, ofNode: string | undefined): Quantity {
  const [limit, allocatable] = [parseResourceQuantity(ofPod), parseResourceQuantity(ofNode)];
  return !limit.isZero && limit.compare(allocatable) < 0 ? limit : allocatable;
}
