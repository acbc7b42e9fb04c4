/** Converts requests and limits to cgroup settings, with upstream's formulas (kubelet/cm, kuberuntime). Pure. */
import type { Container, PodSpec, ResourceRequirements } from '#api/types.ts';
import { computePodQOS, type QOSClass } from '#component-helpers/pod-qos.ts';
import { podLimits, podRequests } from '#component-helpers/pod-resources.ts';
import { tryParseQuantity, type Quantity } from '#machinery/quantity.ts';
import type { CriInput, LinuxContainerResources } from '../../cri/types.ts';

const CPU_PERIOD = 100_000;
const MIN_QUOTA = 1_000;
const MIN_SHARES = 2;
const MAX_SHARES = 262_144;

export function milliCpuToShares(milli: number): number {
  return milli === 0
    ? MIN_SHARES
    : Math.min(MAX_SHARES, Math.max(MIN_SHARES, Math.floor((milli * 1024) / 1000)));
}

/** 0: no quota. */
export function milliCpuToQuota(milli: number): number {
  return milli === 0 ? 0 : Math.max(MIN_QUOTA, Math.floor((milli * CPU_PERIOD) / 1000));
}

/** cgroup v2's cpu.weight (1 … 10000) for v1's shares (2 … 262144). */
export function sharesToWeight(shares: number): number {
  return Math.floor(1 + ((shares - MIN_SHARES) * 9999) / 262_142);
}

/** oom_score_adj: the order in which the kernel kills processes when memory runs out. */
export function oomScoreAdj(spec: PodSpec, container: Container, machineMemoryBytes: number): number {
  // system-node-critical
  if ((spec.priority ?? 0) >= 2_000_000_000 + 1000) return -997;
  const qos = computePodQOS(spec);
  if (qos === 'Guaranteed') return -997;
  if (qos === 'BestEffort') return 1000;
  const request = amount(container.resources?.requests, 'memory')?.value() ?? 0;
  const score = 1000 - Math.floor((1000 * request) / machineMemoryBytes);
  return Math.min(999, Math.max(3, score));
}

/** undefined for an absent or zero amount. */
function amount(list: Readonly<Record<string, string>> | undefined, name: string): Quantity | undefined {
  const text = list?.[name];
  const quantity = text === undefined ? undefined : tryParseQuantity(text);
  return quantity && !quantity.isZero ? quantity : undefined;
}

interface ResourceOptions {
  readonly spec: PodSpec;
  readonly container: Container;
  readonly machineMemoryBytes: number;
  readonly cgroupVersion: 1 | 2;
  /** Whether swap can be disabled for a container (v2 only: in v1 the runtime disables it with a memory limit). */
  readonly controlsSwap?: boolean;
}

export function linuxResources({
  spec,
  container,
  machineMemoryBytes,
  cgroupVersion,
  controlsSwap = false,
}: ResourceOptions): CriInput<LinuxContainerResources> {
  const { requests } = container.resources ?? {};
  const limits = { ...spec.resources?.limits, ...withoutZeros(container.resources?.limits) };
  const cpuLimit = amount(limits, 'cpu')?.milliValue() ?? 0;
  const cpuRequest =
    amount(requests, 'cpu')?.milliValue() ?? (requests?.['cpu'] === undefined ? cpuLimit : 0);
  const memoryLimitInBytes = amount(limits, 'memory')?.value() ?? 0;
  return {
    cpuShares: milliCpuToShares(cpuRequest),
    cpuPeriod: CPU_PERIOD,
    cpuQuota: milliCpuToQuota(cpuLimit),
    memoryLimitInBytes,
    oomScoreAdj: oomScoreAdj(spec, container, machineMemoryBytes),
    // An OOM kill ends all processes of the container, and the container does not swap (upstream's NoSwap).
    ...(cgroupVersion === 2
      ? { unified: { 'memory.oom.group': '1', ...(controlsSwap ? { 'memory.swap.max': '0' } : {}) } }
      : {}),
  };
}

/** A zero limit is no limit: the container then has the limit of its pod. */
export function withoutZeros(limits: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(limits).filter(([name]) => amount(limits, name)));
}

/** The pod's resources as its status shows them: the sums of requests, and a limit where each container or the pod itself sets one. */
export function podResources(spec: PodSpec): {
  readonly allocatedResources?: Record<string, string>;
  readonly resources: ResourceRequirements;
} {
  const texts = (amounts: Iterable<readonly [string, Quantity]>): Record<string, string> =>
    Object.fromEntries([...amounts].map(([name, quantity]) => [name, quantity.toString()]));
  const requests = texts(podRequests({ spec }));
  const limits = texts([...podLimits({ spec })].filter(([name]) => isHeld(name) && isLimited(spec, name)));
  const own = Object.fromEntries(Object.entries(requests).filter(([name]) => isHeld(name)));
  return {
    ...(Object.keys(requests).length > 0 ? { allocatedResources: requests } : {}),
    resources: {
      ...(Object.keys(limits).length > 0 ? { limits } : {}),
      ...(Object.keys(own).length > 0 ? { requests: own } : {}),
    },
  };
}

/** The resources that the pod's cgroup limits. */
function isHeld(name: string): boolean {
  return name === 'cpu' || name === 'memory';
}

function isLimited(spec: PodSpec, name: string): boolean {
  return (
    spec.resources?.limits?.[name] !== undefined ||
    [...spec.containers, ...(spec.initContainers ?? [])].every(({ resources }) =>
      amount(resources?.limits, name),
    )
  );
}

export interface PodCgroup {
  readonly path: string;
  readonly cpuShares: number;
  readonly cpuQuota: number;
  /** 0: unlimited. */
  readonly memoryLimitBytes: number;
}

/** '<root>/kubepods/burstable/pod<uid>'; Guaranteed pods are directly below kubepods. */
export function podCgroup(
  spec: PodSpec,
  { root, uid }: { readonly root: string; readonly uid: string },
): PodCgroup {
  const qos = computePodQOS(spec);
  const requests = podRequests({ spec });
  const limits = podLimits({ spec });
  return {
    path: `${root}/kubepods${qosPath(qos)}/pod${uid}`,
    cpuShares: milliCpuToShares(requests.get('cpu')?.milliValue() ?? 0),
    cpuQuota: isLimited(spec, 'cpu') ? milliCpuToQuota(limits.get('cpu')?.milliValue() ?? 0) : 0,
    memoryLimitBytes: isLimited(spec, 'memory') ? (limits.get('memory')?.value() ?? 0) : 0,
  };
}

function qosPath(qos: QOSClass): string {
  return qos === 'Guaranteed' ? '' : `/${qos.toLowerCase()}`;
}
