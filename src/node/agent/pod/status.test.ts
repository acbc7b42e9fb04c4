import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Pod, PodStatus } from '#api/types.ts';
import type { RuntimeContainer, RuntimeSandbox } from '../runtime-view.ts';
import type { WaitingReason } from './container-status.ts';
import { podStatus, rejectedStatus, type PodFacts } from './status.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const SANDBOX: RuntimeSandbox = {
  id: 's',
  attempt: 0,
  ready: true,
  createdAtMs: 1,
  ips: ['10.0.0.9'],
  hostNetwork: false,
};

interface Options {
  readonly spec?: Partial<NonNullable<Pod['spec']>>;
  readonly before?: PodStatus;
  readonly runs?: readonly string[];
  readonly waiting?: Readonly<Record<string, WaitingReason>>;
  readonly notReady?: readonly string[];
  readonly notStarted?: readonly string[];
  readonly terminal?: boolean;
  readonly sandbox?: boolean;
  readonly ips?: readonly string[];
  readonly hostIPs?: readonly string[];
  readonly failure?: PodFacts['failure'];
}

/** runs: '<name> <phase> [exit code] [restart count]', newest first. */
function status({
  spec = {},
  before,
  runs = [],
  waiting = {},
  notReady = [],
  notStarted = [],
  terminal = false,
  sandbox = true,
  ips = SANDBOX.ips,
  hostIPs = ['192.0.2.1'],
  failure,
}: Options): PodStatus {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'd', uid: 'u', generation: 3 },
    spec: { restartPolicy: 'Always', containers: [{ name: 'a' }], ...spec },
    ...(before ? { status: before } : {}),
  };
  return podStatus({
    pod,
    runtime: {
      uid: 'u',
      name: 'p',
      namespace: 'd',
      sandboxes: sandbox ? [{ ...SANDBOX, ips }] : [],
      containers: runs.map(containerOf),
    },
    waiting: new Map(Object.entries(waiting)),
    messages: new Map(),
    isReady: ({ name }) => !notReady.includes(name),
    isStarted: ({ name }) => !notStarted.includes(name),
    terminal,
    hostIPs,
    nowMs: NOW,
    failure,
  });
}

function containerOf(text: string): RuntimeContainer {
  const [name = '', phase = '', exitCode = '0', restartCount = '0'] = text.split(' ');
  return {
    id: `${name}-${restartCount}`,
    sandboxId: 's',
    name,
    restartCount: Number(restartCount),
    phase: phase as RuntimeContainer['phase'],
    createdAtMs: NOW,
    startedAtMs: NOW,
    finishedAtMs: NOW,
    exitCode: Number(exitCode),
    reason: phase === 'exited' ? (exitCode === '0' ? 'Completed' : 'Error') : '',
    message: '',
    image: 'docker.io/library/x:1',
    imageRef: 'sha256:1',
    hash: '',
    logPath: '',
    annotations: {},
    mounts: [],
    user: undefined,
    resources: undefined,
  };
}

function conditions(of: PodStatus): Record<string, string> {
  return Object.fromEntries(
    (of.conditions ?? []).map(({ type, status: value, reason }) => [
      type,
      reason ? `${value} ${reason}` : value,
    ]),
  );
}

describe('phase', () => {
  const init = { initContainers: [{ name: 'i' }] };
  const cases: readonly (readonly [string, Options, string])[] = [
    ['nothing runs yet', {}, 'Pending'],
    ['running', { runs: ['a running'] }, 'Running'],
    [
      'one of two runs',
      { spec: { containers: [{ name: 'a' }, { name: 'b' }] }, runs: ['a running'] },
      'Pending',
    ],
    ['in its backoff', { runs: ['a exited 1'], waiting: { a: { reason: 'CrashLoopBackOff' } } }, 'Running'],
    ['ended, to run again', { runs: ['a exited 0'] }, 'Running'],
    ['all succeeded', { spec: { restartPolicy: 'Never' }, runs: ['a exited 0'] }, 'Succeeded'],
    [
      'one failed',
      {
        spec: { restartPolicy: 'Never', containers: [{ name: 'a' }, { name: 'b' }] },
        runs: ['a exited 0', 'b exited 1'],
      },
      'Failed',
    ],
    [
      'one failed, one runs',
      {
        spec: { restartPolicy: 'Never', containers: [{ name: 'a' }, { name: 'b' }] },
        runs: ['a running', 'b exited 1'],
      },
      'Running',
    ],
    ['failed, to run again', { spec: { restartPolicy: 'OnFailure' }, runs: ['a exited 1'] }, 'Running'],
    ['init runs', { spec: init, runs: ['i running'] }, 'Pending'],
    ['init failed, again', { spec: init, runs: ['i exited 1'] }, 'Pending'],
    ['init failed for good', { spec: { ...init, restartPolicy: 'Never' }, runs: ['i exited 1'] }, 'Failed'],
    [
      'a sidecar does not keep a pod from success',
      {
        spec: { restartPolicy: 'Never', initContainers: [{ name: 'i', restartPolicy: 'Always' }] },
        runs: ['a exited 0', 'i running'],
      },
      'Succeeded',
    ],
    ['deleted after success', { runs: ['a exited 0'], terminal: true }, 'Succeeded'],
    ['deleted by force of signal', { runs: ['a exited 137'], terminal: true }, 'Failed'],
    ['deleted before it ran', { terminal: true }, 'Failed'],
    [
      'what has finished stays finished',
      { before: { phase: 'Succeeded' }, runs: ['a exited 137'] },
      'Succeeded',
    ],
    [
      'given up by the node',
      { runs: ['a running'], failure: { reason: 'DeadlineExceeded', message: 'm' } },
      'Failed',
    ],
  ];
  for (const [name, options, phase] of cases) test(name, () => assert.equal(status(options).phase, phase));
});

test('while all containers begin anew the pod runs on, whatever its policy says of those that were killed', () => {
  const source = {
    name: 'a',
    restartPolicy: 'Never',
    restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }],
  };
  const spec = {
    restartPolicy: 'Never',
    initContainers: [{ name: 'i' }],
    containers: [source, { name: 'b' }],
  };
  const cases: readonly (readonly [string, readonly string[], string, string])[] = [
    ['before', ['a running', 'b running', 'i exited 0'], 'Running', 'False'],
    [
      'all is killed',
      ['b exited 137', 'a exited 42', 'i exited 0'],
      'Running',
      'True RestartAllContainersStarted',
    ],
    [
      'a killed init container is no failure',
      ['i exited 137', 'b exited 137', 'a exited 42'],
      'Running',
      'True RestartAllContainersStarted',
    ],
    ['another exit code', ['a exited 1', 'b exited 0', 'i exited 0'], 'Failed', 'False PodFailed'],
  ];
  for (const [what, runs, phase, restarting] of cases) {
    const now = status({ spec, runs });
    assert.deepEqual([now.phase, conditions(now)['AllContainersRestarting']], [phase, restarting], what);
  }
});

test('conditions of a pod that is ready, with and without open gates', () => {
  assert.deepEqual(conditions(status({ runs: ['a running'] })), {
    PodReadyToStartContainers: 'True',
    Initialized: 'True',
    Ready: 'True',
    ContainersReady: 'True',
    PodScheduled: 'True',
  });
  const gated = status({ spec: { readinessGates: [{ conditionType: 'x/y' }] }, runs: ['a running'] });
  assert.equal(conditions(gated)['Ready'], 'False ReadinessGatesNotReady');
  assert.equal(
    gated.conditions?.find(({ type }) => type === 'Ready')?.message,
    'corresponding condition of pod readiness gate "x/y" does not exist.',
  );
  assert.equal(
    conditions(
      status({
        spec: { readinessGates: [{ conditionType: 'x/y' }] },
        runs: ['a running'],
        before: { conditions: [{ type: 'x/y', status: 'True' }] },
      }),
    )['Ready'],
    'True',
  );
});

test('conditions of a pod that is not ready say which containers are to blame', () => {
  const waiting = status({
    spec: { initContainers: [{ name: 'i' }], containers: [{ name: 'a' }, { name: 'b' }] },
    runs: ['i running'],
  });
  assert.deepEqual(conditions(waiting), {
    PodReadyToStartContainers: 'True',
    Initialized: 'False ContainersNotInitialized',
    Ready: 'False ContainersNotReady',
    ContainersReady: 'False ContainersNotReady',
    PodScheduled: 'True',
  });
  assert.deepEqual(waiting.conditions?.map(({ message }) => message).filter(Boolean), [
    'containers with incomplete status: [i]',
    'containers with unready status: [a b]',
    'containers with unready status: [a b]',
  ]);
  assert.equal(
    conditions(status({ runs: ['a running'], notReady: ['a'] }))['Ready'],
    'False ContainersNotReady',
  );
  assert.equal(
    conditions(status({ spec: { restartPolicy: 'Never' }, runs: ['a exited 0'] }))['Ready'],
    'False PodCompleted',
  );
  assert.equal(
    conditions(status({ spec: { restartPolicy: 'Never' }, runs: ['a exited 1'] }))['Ready'],
    'False PodFailed',
  );
  assert.equal(conditions(status({ sandbox: false }))['PodReadyToStartContainers'], 'False');
});

test('transition times change with the status only', () => {
  const old = '2020-01-01T00:00:00Z';
  const now = status({
    runs: ['a running'],
    before: {
      conditions: [
        { type: 'Ready', status: 'True', lastTransitionTime: old },
        { type: 'ContainersReady', status: 'False', lastTransitionTime: old },
      ],
    },
  });
  assert.deepEqual(
    ['Ready', 'ContainersReady'].map(
      (type) => now.conditions?.find((one) => one.type === type)?.lastTransitionTime,
    ),
    [old, '2026-01-02T03:04:05Z'],
  );
});

test('a container in backoff waits, and its end is its last state', () => {
  const [one] =
    status({
      runs: ['a exited 1 2', 'a exited 1 1'],
      waiting: { a: { reason: 'CrashLoopBackOff', message: 'm' } },
    }).containerStatuses ?? [];
  assert.deepEqual(one?.state, { waiting: { reason: 'CrashLoopBackOff', message: 'm' } });
  assert.equal(one?.lastState?.terminated?.containerID, 'containerd://a-2');
  assert.equal(one?.restartCount, 2);
  const [never] =
    status({
      spec: { restartPolicy: 'Never' },
      runs: ['a exited 128'],
      waiting: { a: { reason: 'RunContainerError' } },
    }).containerStatuses ?? [];
  assert.equal(never?.state?.terminated?.exitCode, 128);
});

test('a running container that ran before', () => {
  const [one] = status({ runs: ['a running 0 1', 'a exited 3 0'] }).containerStatuses ?? [];
  assert.deepEqual(
    [one?.ready, one?.started, one?.restartCount, one?.lastState?.terminated?.exitCode],
    [true, true, 1, 3],
  );
  const [starting] = status({ runs: ['a running'], notStarted: ['a'] }).containerStatuses ?? [];
  assert.deepEqual([starting?.ready, starting?.started], [false, false]);
});

test('waiting containers say for what', () => {
  assert.deepEqual(status({}).containerStatuses?.[0]?.state, { waiting: { reason: 'ContainerCreating' } });
  assert.deepEqual(status({ spec: { initContainers: [{ name: 'i' }] } }).containerStatuses?.[0]?.state, {
    waiting: { reason: 'PodInitializing' },
  });
  assert.deepEqual(
    status({ waiting: { a: { reason: 'ErrImagePull', message: 'm' } } }).containerStatuses?.[0]?.state,
    { waiting: { reason: 'ErrImagePull', message: 'm' } },
  );
});

test('a container that the runtime no longer has gets a status that says so', () => {
  const lost = status({
    before: {
      phase: 'Running',
      containerStatuses: [
        {
          name: 'a',
          ready: true,
          restartCount: 4,
          image: 'x',
          imageID: 'y',
          containerID: 'containerd://z',
          state: { running: { startedAt: 't' } },
        },
      ],
    },
  });
  assert.equal(lost.containerStatuses?.[0]?.lastState?.terminated?.reason, 'ContainerStatusUnknown');
  assert.equal(lost.containerStatuses?.[0]?.restartCount, 5);
  assert.equal(
    status({ terminal: true }).containerStatuses?.[0]?.state?.terminated?.message,
    'The container could not be located when the pod was terminated',
  );
});

test('a pod that ends during its initialization never ran what waited for it', () => {
  const spec = { initContainers: [{ name: 'i' }, { name: 'j' }] };
  const kinds = (runs: readonly string[]): string[] => {
    const {
      initContainerStatuses = [],
      containerStatuses = [],
      phase = '',
    } = status({ spec, runs, terminal: true });
    return [
      phase,
      ...[...initContainerStatuses, ...containerStatuses].map(
        ({ name, state }) => `${name} ${Object.keys(state ?? {}).join()}`,
      ),
    ];
  };
  assert.deepEqual(kinds(['i exited 1']), ['Failed', 'i terminated', 'j waiting', 'a waiting']);
  assert.deepEqual(kinds([]), ['Failed', 'i terminated', 'j waiting', 'a waiting']);
  assert.deepEqual(kinds(['j exited 0', 'i exited 0']), [
    'Failed',
    'i terminated',
    'j terminated',
    'a terminated',
  ]);
});

test("addresses: the sandbox's, the machine's, and those of a pod that ended", () => {
  assert.deepEqual(status({ runs: ['a running'] }).podIPs, [{ ip: '10.0.0.9' }]);
  assert.equal(status({ spec: { hostNetwork: true }, runs: ['a running'] }).podIP, '192.0.2.1');
  assert.equal(
    status({ sandbox: false, terminal: true, before: { podIPs: [{ ip: '10.0.0.7' }] } }).podIP,
    '10.0.0.7',
  );
});

test('a rejected pod', () => {
  const rejected = rejectedStatus(
    { metadata: { name: 'p' }, spec: { containers: [{ name: 'a' }] } },
    { reason: 'OutOfcpu', message: 'm', nowMs: NOW },
  );
  assert.deepEqual(rejected, {
    phase: 'Failed',
    reason: 'OutOfcpu',
    message: 'Pod was rejected: m',
    startTime: '2026-01-02T03:04:05Z',
    qosClass: 'BestEffort',
  });
});

test("addresses of both families: one of each, that of the node's first address first", () => {
  const ips = ['10.0.0.9', 'fd00::9', 'fd00::a'];
  const both = (hostIPs: readonly string[]): PodStatus => status({ runs: ['a running'], ips, hostIPs });
  const four = both(['192.0.2.1', '2001:db8::1']);
  assert.deepEqual([four.podIP, four.podIPs], ['10.0.0.9', [{ ip: '10.0.0.9' }, { ip: 'fd00::9' }]]);
  assert.deepEqual(four.hostIPs, [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }]);
  const six = both(['2001:db8::1']);
  assert.deepEqual([six.podIP, six.podIPs], ['fd00::9', [{ ip: 'fd00::9' }, { ip: '10.0.0.9' }]]);
  const host = status({
    spec: { hostNetwork: true },
    runs: ['a running'],
    hostIPs: ['2001:db8::1', '192.0.2.1'],
  });
  assert.deepEqual(host.podIPs, [{ ip: '2001:db8::1' }, { ip: '192.0.2.1' }]);
});
