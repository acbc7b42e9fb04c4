/**
 * Pure scheduling decisions per second on this machine, for the kinds of pods of upstream's scheduler_perf: no API, no informers; each decision is followed
 * by what the component does to its cache. `node bench/scheduler.ts [--nodes 1000,5000] [--seconds N] [--only NAME]`
 */
import { parseArgs } from 'node:util';
import type { Pod } from '#api/types.ts';
import { SchedulerCache } from '#scheduler/cache.ts';
import { claimsState } from '#scheduler/plugins/dynamic-resources.ts';
import { defaultPlugins } from '#scheduler/plugins/list.ts';
import { podInfo, type PodInfo } from '#scheduler/pod-info.ts';
import { findPreemption } from '#scheduler/preemption.ts';
import { schedule } from '#scheduler/schedule.ts';
import type { Snapshot } from '#scheduler/snapshot.ts';
import { AllocatedDevices } from '#scheduler/dra/allocated-devices.ts';
import { DevicePools } from '#scheduler/dra/device-pools.ts';
import type { ResourceClaims } from '#scheduler/dra/resource-claims.ts';
import { cel, deviceClaim, deviceClass, DRIVER, exactly, slice } from '#scheduler/testing/devices.ts';
import { noResourceClaims, storage } from '#scheduler/testing/snapshot.ts';
import { seededRandom } from '#stdx/random.ts';
import { containerOf, KINDS, nodeOf, podOf, type Kind } from './pod-kinds.ts';

const DEVICES_PER_NODE = 8;
const { values: args } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000,5000' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
});

/** One claim per decision, allocated like the scheduler does. */
class Devices {
  readonly #pools = new DevicePools();
  readonly #taken = new AllocatedDevices();
  readonly #class = deviceClass('gpus', { selectors: [cel(`device.driver == "${DRIVER}"`)] });
  readonly #selector = cel(
    `device.attributes["${DRIVER}"].model == "a" && device.capacity["${DRIVER}"].memory.isGreaterThan(quantity("1Gi"))`,
  );
  #claim = deviceClaim([]);

  constructor(nodes: number) {
    for (let index = 0; index < nodes; index += 1) {
      const devices = Array.from({ length: DEVICES_PER_NODE }, (_, number) => ({
        name: `gpu-${number}`,
        attributes: { model: { string: number % 2 === 0 ? 'a' : 'b' } },
        capacity: { memory: { value: '40Gi' } },
      }));
      this.#pools.set(
        slice(devices, { name: `node-${index}`, pool: `node-${index}`, nodeName: `node-${index}` }),
      );
    }
  }

  get claims(): ResourceClaims {
    return {
      ...noResourceClaims,
      claim: () => this.#claim,
      deviceClass: () => this.#class,
      pools: (node) => this.#pools.of(node),
      taken: this.#taken,
    };
  }

  next(uid: string): void {
    this.#claim = deviceClaim([exactly('r', { selectors: [this.#selector] })], { name: uid });
  }

  take(uid: string, cycle: Parameters<typeof claimsState>[0], node: string): void {
    const allocation = claimsState(cycle)!.allocations.get(node)!.results()[0]!;
    this.#taken.set(uid, { ...this.#claim, status: { allocation } });
  }

  free(uid: string): void {
    this.#taken.set(uid, undefined);
  }
}

/** Of this thread: other work on the machine does not count. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Parsing of the pod is part of it: in life, each pod is new. */
function measure(nodeCount: number, kind: Kind): number {
  const cache = new SchedulerCache();
  for (let index = 0; index < nodeCount; index += 1)
    cache.setNode(nodeOf(index, kind.preempts ? '10' : '64'));
  if (kind.preempts) fill(cache, nodeCount);
  const matcher = {
    namespace: 'default',
    key: 'app=bench',
    matches: (labels: Readonly<Record<string, string>>) => labels['app'] === 'bench',
  };
  const devices = kind.devices ? new Devices(nodeCount) : undefined;
  const snapshot: Snapshot = {
    get nodes() {
      return cache.nodes();
    },
    byName: cache.byName,
    withAffinity: cache.withAffinity,
    withRequiredAntiAffinity: cache.withRequiredAntiAffinity,
    imageNodes: cache.imageNodes,
    namespaceLabels: () => ({ team: 'dev' }),
    namespacesVersion: 0,
    answers: cache.answers,
    sums: cache.sums,
    defaultSelector: () => (kind.ofService ? matcher : undefined),
    volumes: storage({}),
    resourceClaims: devices?.claims ?? noResourceClaims,
    nominated: () => [],
  };
  const profile = { schedulerName: 'bench', plugins: defaultPlugins };
  const random = seededRandom(1);
  const placed: string[] = [];
  const most = nodeCount * Math.min(kind.perNode ?? 20, devices ? DEVICES_PER_NODE / 4 : Infinity);
  const start = performance.now();
  const startCpuMs = cpuMs();
  let startIndex = 0;
  let decisions = 0;
  while (performance.now() - start < Number(args.seconds) * 1000) {
    const info = podInfo(podOf(decisions, kind));
    devices?.next(info.uid);
    const decision = schedule({ pod: info, snapshot, profile, random, startIndex });
    decisions += 1;
    if (decision.kind === 'fits') {
      startIndex += decision.evaluated;
      devices?.take(info.uid, decision.cycle, decision.node);
      cache.assume(info, decision.node);
      placed.push(info.uid);
    } else if (kind.preempts) {
      const { cycle, failure } = decision;
      const found = findPreemption({ cycle, failure, budgets: [], random });
      if (!('victims' in found)) throw new Error(`no victims: ${found.message}`);
      for (const victim of found.victims) cache.removePod(victim.uid);
      place(cache, info, found.node);
      placed.push(info.uid);
    } else if (!kind.unschedulable) throw new Error(`${kind.name}: no node`);
    if (placed.length <= most) continue;
    const gone = placed.shift() ?? '';
    cache.removePod(gone);
    devices?.free(gone);
  }
  return Math.round((decisions / (cpuMs() - startCpuMs)) * 1000);
}

function place(cache: SchedulerCache, info: PodInfo, node: string): void {
  cache.assume(info, node);
}

function fill(cache: SchedulerCache, nodeCount: number): void {
  for (let index = 0; index < nodeCount; index += 1)
    for (let number = 0; number < 4; number += 1) {
      const pod: Pod = {
        metadata: { name: `low-${index}-${number}`, namespace: 'default', uid: `low-${index}-${number}` },
        spec: { priority: 0, containers: [containerOf('2500m', '1Gi')] },
        status: { startTime: '2026-01-01T00:00:00Z' },
      };
      cache.assume(podInfo(pod), `node-${index}`);
    }
}

const rows = KINDS.filter(({ name }) => name.includes(args.only)).map((kind) => ({
  pods: kind.name,
  ...Object.fromEntries(
    args.nodes.split(',').map((count) => [`${count} nodes`, measure(Number(count), kind)]),
  ),
  'goal at 5000': kind.goal ?? '',
  "upstream's gate": kind.upstream ?? '',
}));
console.log('decisions per second of one CPU');
console.table(rows);
