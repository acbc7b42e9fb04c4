import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import {
  replicasForAverage,
  replicasForTotal,
  replicasForUtilization,
  replicasForValue,
  requestsByPod,
} from './replica-calculator.ts';

const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;
const tolerances = { scaleUp: 0.1, scaleDown: 0.1 };
const readiness = { nowMs: NOW_MS, cpuInitializationMs: 5 * MINUTE_MS, initialReadinessDelayMs: 30_000 };

interface PodOptions {
  readonly phase?: string;
  readonly ready?: boolean;
  readonly startedMs?: number;
  readonly changedMs?: number;
  readonly terminating?: boolean;
  readonly request?: string;
}

function pod(index: number, options: PodOptions = {}): Stored<Pod> {
  const {
    phase = 'Running',
    ready = true,
    startedMs = NOW_MS - 60 * MINUTE_MS,
    terminating,
    request = '1',
  } = options;
  const { changedMs = startedMs + 1_000 } = options;
  return {
    metadata: {
      name: `web-${index}`,
      namespace: 'shop',
      uid: String(index),
      resourceVersion: '1',
      ...(terminating ? { deletionTimestamp: formatTime(NOW_MS) } : {}),
    },
    spec: { containers: [{ name: 'web', resources: { requests: { cpu: request } } }] },
    status: {
      phase,
      startTime: formatTime(startedMs),
      conditions: [
        { type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: formatTime(changedMs) },
      ],
    },
  } as unknown as Stored<Pod>;
}

/** undefined: no metric. */
function metricsOf(pods: readonly Stored<Pod>[], milli: readonly (number | undefined)[]) {
  return new Map(
    pods.flatMap(({ metadata }, index) => {
      const value = milli[index];
      return value === undefined
        ? []
        : [[metadata.name, { milli: value, timestampMs: NOW_MS, windowMs: MINUTE_MS }] as const];
    }),
  );
}

interface Row {
  readonly what: string;
  readonly pods: readonly PodOptions[];
  readonly usage: readonly (number | undefined)[];
  readonly target: number;
  readonly replicas: number;
  readonly utilization?: number;
}

const minutes = (count: number): number => NOW_MS - count * MINUTE_MS;

/** Decisions of upstream's documented algorithm: each pod requests 1 CPU, targets are percentages of it. */
const UTILIZATION: readonly Row[] = [
  {
    what: 'scales up by the ratio',
    pods: [{}, {}, {}],
    usage: [300, 500, 700],
    target: 30,
    replicas: 5,
    utilization: 50,
  },
  { what: 'rounds up', pods: [{}, {}, {}], usage: [500, 500, 500], target: 40, replicas: 4 },
  {
    what: 'scales down by the ratio',
    pods: [{}, {}, {}, {}, {}],
    usage: [100, 300, 500, 250, 250],
    target: 50,
    replicas: 3,
    utilization: 28,
  },
  {
    what: 'stays within the tolerance above',
    pods: [{}, {}, {}],
    usage: [1010, 1030, 1020],
    target: 100,
    replicas: 3,
  },
  { what: 'stays within the tolerance below', pods: [{}, {}], usage: [920, 920], target: 100, replicas: 2 },
  {
    what: 'keeps replicas where missing pods would turn it',
    pods: [{}, {}, {}],
    usage: [400, 500, undefined],
    target: 50,
    replicas: 3,
  },
  {
    what: 'counts missing pods as idle when it scales up',
    pods: [{}, {}, {}],
    usage: [950, 950, undefined],
    target: 50,
    replicas: 4,
  },
  {
    what: 'counts missing pods as full when it scales down',
    pods: [{}, {}, {}, {}],
    usage: [100, 100, 100, undefined],
    target: 50,
    replicas: 3,
  },
  {
    what: 'counts missing pods as at the target, when that is above 100 %',
    pods: [{}, {}, {}, {}],
    usage: [1000, 1000, 1000, undefined],
    target: 200,
    replicas: 3,
  },
  {
    what: 'counts pending pods as idle when it scales up',
    pods: [{}, {}, { phase: 'Pending' }],
    usage: [900, 900, 0],
    target: 30,
    replicas: 6,
  },
  {
    what: 'leaves pending pods out when it scales down',
    pods: [{}, {}, { phase: 'Pending' }],
    usage: [100, 100, 0],
    target: 50,
    replicas: 1,
  },
  {
    what: 'leaves failed and terminating pods out',
    pods: [{}, {}, { phase: 'Failed' }, { terminating: true }],
    usage: [1000, 1000, 9000, 9000],
    target: 50,
    replicas: 4,
  },
  {
    what: 'leaves out a pod that is starting and not ready',
    pods: [{}, {}, { ready: false, startedMs: minutes(2) }],
    usage: [500, 500, 9000],
    target: 50,
    replicas: 3,
  },
  {
    what: 'leaves out a pod that has been ready for less than a window',
    pods: [{}, {}, { startedMs: minutes(2), changedMs: NOW_MS - 30_000 }],
    usage: [500, 500, 9000],
    target: 50,
    replicas: 3,
  },
  {
    what: 'counts a pod that has become unready after it was ready',
    pods: [{}, {}, { ready: false, startedMs: minutes(60), changedMs: minutes(10) }],
    usage: [500, 500, 2000],
    target: 50,
    replicas: 6,
  },
];

describe('replicas by utilization', () => {
  for (const { what, pods: options, usage, target, replicas, utilization } of UTILIZATION)
    it(what, () => {
      const pods = options.map((option, index) => pod(index, option));
      const proposal = replicasForUtilization(
        { pods, metrics: metricsOf(pods, usage), currentReplicas: pods.length, tolerances, readiness },
        { targetPercent: target, resource: 'cpu', requests: requestsByPod(pods, { resource: 'cpu' }) },
      );
      assert.equal(proposal.replicas, replicas);
      if (utilization !== undefined) assert.equal(proposal.utilization, utilization);
    });

  it('says why there is no number', () => {
    const none = { pods: [], metrics: new Map(), currentReplicas: 1, tolerances, readiness };
    const by = { targetPercent: 50, resource: 'cpu', requests: new Map<string, number>() };
    assert.throws(
      () => replicasForUtilization(none, by),
      /^Error: no pods returned by selector while calculating replica count$/,
    );
    const pods = [pod(0)];
    assert.throws(
      () => replicasForUtilization({ ...none, pods }, by),
      /^Error: did not receive metrics for targeted pods \(pods might be unready\)$/,
    );
    assert.throws(
      () => replicasForUtilization({ ...none, pods, metrics: metricsOf(pods, [1]) }, by),
      /^Error: no metrics returned matched known pods$/,
    );
  });

  it('sums requests of containers and sidecars, and refuses a container without', () => {
    const one = pod(0, { request: '100m' });
    one.spec!.initContainers = [
      { name: 'mesh', restartPolicy: 'Always', resources: { requests: { cpu: '50m' } } },
      { name: 'setup' },
    ];
    assert.deepEqual([...requestsByPod([one], { resource: 'cpu' })], [['web-0', 150]]);
    assert.deepEqual([...requestsByPod([one], { resource: 'cpu', container: 'mesh' })], [['web-0', 50]]);
    assert.throws(
      () => requestsByPod([one], { resource: 'memory' }),
      /^Error: missing request for memory in container web of Pod web-0$/,
    );
    assert.throws(
      () => requestsByPod([one], { resource: 'cpu', container: 'db' }),
      /^Error: container db not found in Pod web-0$/,
    );
    one.spec!.resources = { requests: { cpu: '2' } };
    assert.deepEqual(
      [...requestsByPod([one], { resource: 'cpu' })],
      [['web-0', 2000]],
      'of the pod as a whole',
    );
  });
});

describe('replicas by average, value and total', () => {
  it('scales by the average of the pods', () => {
    const pods = [pod(0), pod(1), pod(2)];
    const sample = {
      pods,
      metrics: metricsOf(pods, [20_000, 10_000, 30_000]),
      currentReplicas: 3,
      tolerances,
      readiness,
    };
    assert.deepEqual(replicasForAverage(sample, { targetMilli: 15_000 }), {
      replicas: 4,
      averageMilli: 20_000,
    });
    assert.equal(replicasForAverage(sample, { targetMilli: 19_000 }).replicas, 3, 'within the tolerance');
    const lacking = { ...sample, metrics: metricsOf(pods, [20_000, undefined, 30_000]) };
    assert.equal(replicasForAverage(lacking, { targetMilli: 10_000 }).replicas, 5, 'a missing pod is idle');
  });

  it('takes a tolerance for each direction', () => {
    const pods = [pod(0), pod(1)];
    const sample = { pods, metrics: metricsOf(pods, [1_150, 1_150]), currentReplicas: 2, readiness };
    const by = { targetMilli: 1_000 };
    assert.equal(
      replicasForAverage({ ...sample, tolerances: { scaleUp: 0.2, scaleDown: 0 } }, by).replicas,
      2,
    );
    assert.equal(
      replicasForAverage({ ...sample, tolerances: { scaleUp: 0, scaleDown: 0.2 } }, by).replicas,
      3,
    );
  });

  it('scales a value by the ready pods, and from zero by the value alone', () => {
    const pods = [pod(0), pod(1), pod(2, { ready: false })];
    assert.equal(replicasForValue({ pods, currentReplicas: 3, tolerances, ratio: 2 }), 4);
    assert.equal(replicasForValue({ pods, currentReplicas: 3, tolerances, ratio: 1.05 }), 3);
    assert.equal(replicasForValue({ pods: [], currentReplicas: 0, tolerances, ratio: 2.1 }), 3);
    assert.throws(
      () => replicasForValue({ pods: [], currentReplicas: 1, tolerances, ratio: 2 }),
      /no pods returned/,
    );
  });

  it('shares a total over the pods', () => {
    const by = { targetMilli: 2_000, statusReplicas: 3, tolerances };
    assert.deepEqual(replicasForTotal({ ...by, totalMilli: 8_600 }), { replicas: 5, averageMilli: 2_867 });
    assert.deepEqual(replicasForTotal({ ...by, totalMilli: 6_100 }), { replicas: 3, averageMilli: 2_034 });
    assert.equal(replicasForTotal({ ...by, statusReplicas: 0, totalMilli: 3_000 }).replicas, 2);
  });
});
