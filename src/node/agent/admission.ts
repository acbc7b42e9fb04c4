/** Decides whether this node admits a pod that was bound to it: the scheduler's view may have been stale, or the pod was bound by hand. Pure; upstream's lifecycle predicates. */
import type { Node, Pod } from '#api/types.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';
import { hostPortsConflict, podHostPorts } from '#component-helpers/host-ports.ts';
import { podQOS } from '#component-helpers/pod-qos.ts';
import { isCriticalPod } from '#component-helpers/static-pods.ts';
import { toleratesAny } from '#component-helpers/tolerations.ts';
import type { Pressure } from './eviction/decide.ts';
import { podRequests } from '#component-helpers/pod-resources.ts';
import type { ResizeRefusal } from './pod/resize.ts';
import { forbiddenSysctl } from './sysctls.ts';

export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

interface AdmissionOptions {
  /** Of the node. */
  readonly pressures?: readonly Pressure[] | undefined;
  readonly pod: Pod;
  /** The other pods that hold resources of this node. */
  readonly others: readonly Pod[];
  readonly node: Node | undefined;
  readonly allocatable: Readonly<Record<string, string>>;
  /** Beside the safe ones. */
  readonly allowedUnsafeSysctls?: readonly string[] | undefined;
}

/** Resource names as upstream writes them in reasons and messages. */
const NAMES: Readonly<Record<string, string>> = {
  cpu: 'cpu',
  memory: 'memory',
  'ephemeral-storage': 'ephemeral-storage',
};

export function rejection(options: AdmissionOptions): Rejection | undefined {
  return (
    unsupported(options) ??
    underPressure(options) ??
    platformMismatch(options) ??
    insufficient(options) ??
    portsTaken(options)
  );
}

const MEMORY_PRESSURE = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' };

/** As upstream: memory pressure alone refuses only pods without requests that do not tolerate it; any other refuses all but critical ones. */
function underPressure({ pod, pressures = [] }: AdmissionOptions): Rejection | undefined {
  if (pressures.length === 0 || isCriticalPod(pod)) return undefined;
  if (
    pressures.every((one) => one === 'MemoryPressure') &&
    (podQOS(pod) !== 'BestEffort' || toleratesAny(pod.spec?.tolerations, MEMORY_PRESSURE))
  )
    return undefined;
  return { reason: 'Evicted', message: `The node had condition: [${pressures.join(' ')}]. ` };
}

/** Checks a resize of a running pod: whether the node has the resources now (else Deferred) or could ever have them (else Infeasible). Upstream's messages. */
export function resizeRefusal(options: AdmissionOptions): ResizeRefusal | undefined {
  const wanted = podRequests(options.pod);
  for (const name of ['cpu', 'memory']) {
    const [requested, capacity] = [
      wanted.get(name) ?? Quantity.zero,
      tryParseQuantity(options.allocatable[name] ?? '0') ?? Quantity.zero,
    ];
    if (requested.compare(capacity) > 0)
      return {
        reason: 'Infeasible',
        message: `Node didn't have enough capacity: ${name}, requested: ${shown(name, requested)}, capacity: ${shown(name, capacity)}`,
      };
  }
  const lacking = insufficient(options);
  return lacking && { reason: 'Deferred', message: lacking.message };
}

/** Features that this node does not support: the pod is rejected by name of the feature, never run without it. */
function unsupported({ pod, allowedUnsafeSysctls }: AdmissionOptions): Rejection | undefined {
  const { spec } = pod;
  if (spec?.os?.name && spec.os.name !== 'linux')
    return {
      reason: 'PodOSNotSupported',
      message: "Failed to admit pod as the OS field doesn't match node OS",
    };
  if (spec?.hostUsers === false)
    return {
      reason: 'UnsupportedFeature',
      message: 'user namespaces (hostUsers: false) are not supported by this node',
    };
  const sysctl = forbiddenSysctl(pod, allowedUnsafeSysctls);
  return sysctl === undefined ? undefined : { reason: 'SysctlForbidden', message: sysctl };
}

function platformMismatch({ pod, node }: AdmissionOptions): Rejection | undefined {
  const { name = '', labels } = node?.metadata ?? {};
  if (!labels) return undefined;
  const mismatch = !matchesRequiredNodeAffinity(pod.spec, { name, labels });
  return mismatch
    ? {
        reason: 'NodeAffinity',
        message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
      }
    : undefined;
}

function portsTaken({ pod, others }: AdmissionOptions): Rejection | undefined {
  const taken = others.flatMap(({ spec }) => podHostPorts(spec));
  if (!hostPortsConflict(podHostPorts(pod.spec), taken)) return undefined;
  return {
    reason: 'NodePorts',
    message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
  };
}

function insufficient({ pod, others, node, allocatable }: AdmissionOptions): Rejection | undefined {
  const maximum = Number(allocatable['pods'] ?? Infinity);
  if (others.length + 1 > maximum) {
    return {
      reason: 'OutOfpods',
      message: `Node didn't have enough resource: pods, requested: 1, used: ${others.length}, capacity: ${maximum}`,
    };
  }
  const wanted = podRequests(pod);
  for (const [name, amount] of wanted) {
    if (amount.isZero) continue;
    // Cluster-wide extended resources are only in the API's Node; a resource that no Node lists is not checked by this node.
    const offered = allocatable[name] ?? node?.status?.allocatable?.[name];
    if (offered === undefined && name.includes('/')) continue;
    const total = tryParseQuantity(offered ?? '0') ?? Quantity.zero;
    const used = others
      .map((other) => podRequests(other).get(name) ?? Quantity.zero)
      .reduce((sum, one) => sum.add(one), Quantity.zero);
    if (used.add(amount).compare(total) <= 0) continue;
    return {
      reason: `OutOf${NAMES[name] ?? name}`,
      message: `Node didn't have enough resource: ${name}, requested: ${shown(name, amount)}, used: ${shown(name, used)}, capacity: ${shown(name, total)}`,
    };
  }
  return undefined;
}

function shown(name: string, quantity: Quantity): number {
  return name === 'cpu' ? quantity.milliValue() : quantity.value();
}
