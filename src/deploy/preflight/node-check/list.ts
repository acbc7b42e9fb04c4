/**
 * Every check of `capstan node check`, in the order it reports them: those that init and join run, and those that take longer or only help to find a fault. A check is one
 * function, wherever it is run.
 */
import type { Check } from '../check.ts';
import {
  bridgeNetfilter,
  cgroup2,
  clock,
  diskSpace,
  hostName,
  ipForward,
  isLinux,
  isPrivilegedUser,
  memory,
  mtu,
  noOtherKubelet,
  numCPU,
  portFree,
  programs,
  swap,
} from '../checks.ts';
import { MINIMUM_DISK_BYTES, MINIMUM_MEMORY_BYTES } from '../machine-checks.ts';
import { diskSync } from './disk-sync.ts';
import {
  appArmor,
  cgroupControllers,
  kernelConfig,
  kernelModules,
  kernelSettings,
  kernelVersion,
  seccomp,
} from './kernel.ts';
import { firewalls, peersReached, resolvers, type Peer } from './network.ts';
import { runtimeVersions } from './runtime.ts';
import { timeSync } from './time-sync.ts';

export interface NodeCheckPlan {
  readonly role: 'control-plane' | 'worker' | 'witness';
  readonly nodeName: string;
  /** Of this machine, that others reach it by. */
  readonly address: string;
  readonly etcdData: string;
  /** The node's directory, which holds images. */
  readonly nodeDir: string;
  readonly nowMs: number;
  /** Ports are held by this machine's own services. */
  holdsPorts(): boolean;
  /** Names that have to be resolved: that of the cluster's endpoint. */
  readonly names: readonly string[];
  readonly peers: readonly Peer[];
  readonly server?: Parameters<typeof timeSync>[0]['server'];
  /** In words what blocks pods; undefined: nothing. */
  blockingFirewall(): Promise<string | undefined>;
}

const ETCD_PORTS = [2379, 2380];
const CONTROL_PLANE_PORTS = [6443, 10_257, 10_259];
const NODE_PORTS = [10_250];
/** Images and containers' files. */
const MINIMUM_NODE_BYTES = 10 * 2 ** 30;

export function nodeChecks(plan: NodeCheckPlan): readonly Check[] {
  const { role, nodeName, address, etcdData, nodeDir, nowMs, names } = plan;
  const hasNode = role !== 'witness';
  const hasEtcd = role !== 'worker';
  const ports = [
    ...(role === 'control-plane' ? CONTROL_PLANE_PORTS : []),
    ...(hasEtcd ? ETCD_PORTS : []),
    ...(hasNode ? NODE_PORTS : []),
  ];
  return [
    isPrivilegedUser(),
    isLinux(),
    ...(role === 'control-plane' ? [numCPU(), memory(MINIMUM_MEMORY_BYTES)] : []),
    kernelVersion(),
    ...(hasNode ? kernelChecks() : []),
    kernelSettings(),
    swap(),
    clock(nowMs),
    timeSync({ nowMs, server: plan.server }),
    ...(hasNode ? [programs(), runtimeVersions(), noOtherKubelet(), seccomp(), appArmor()] : []),
    ...(hasEtcd ? [diskSpace(etcdData, { minimumBytes: MINIMUM_DISK_BYTES }), diskSync(etcdData)] : []),
    ...(hasNode ? [named('NodeDiskSpace', diskSpace(nodeDir, { minimumBytes: MINIMUM_NODE_BYTES }))] : []),
    ...ports.map((port) => portFree(port, { holdsIt: () => plan.holdsPorts() })),
    mtu(address),
    hostName(nodeName),
    resolvers({ names }),
    peersReached(plan.peers),
    ...(hasNode ? [firewalls(() => plan.blockingFirewall())] : []),
  ];
}

function kernelChecks(): readonly Check[] {
  return [kernelConfig(), kernelModules(), cgroup2(), cgroupControllers(), ipForward(), bridgeNetfilter()];
}

function named(name: string, check: Check): Check {
  return { ...check, name };
}
