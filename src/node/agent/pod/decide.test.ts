import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Container, Pod } from '#api/types.ts';
import { ANNOTATIONS } from '../labels.ts';
import type { PodRuntime, RuntimeContainer, RuntimeSandbox } from '../runtime-view.ts';
import { decide, type PodPlan, type ProbeState } from './decide.ts';
import { backoffUntilMs, goSeconds, nextBackoff, type BackoffRecord } from './restart-backoff.ts';
import { containerHash } from './restart-policy.ts';

const NOW = 1_000_000;
const READY: RuntimeSandbox = {
  id: 's1',
  attempt: 0,
  ready: true,
  createdAtMs: 1,
  ips: ['10.0.0.2'],
  hostNetwork: false,
};
const SIDECAR = { restartPolicy: 'Always' };
const SOURCE: Container = {
  name: 'a',
  restartPolicy: 'Never',
  restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }],
};
const ALL = {
  policy: 'Never',
  containers: [SOURCE, 'b'],
  init: ['i', { name: 'p', ...SIDECAR }],
  sandboxes: [READY],
};

interface Case {
  readonly name: string;
  readonly policy?: string;
  readonly containers?: readonly (string | Container)[];
  readonly init?: readonly (string | Container)[];
  readonly sandboxes?: readonly RuntimeSandbox[];
  /** '<name> <phase> [exit code] [sandbox] [round]' newest first. */
  readonly runs?: readonly string[];
  readonly probes?: Readonly<Record<string, ProbeState>>;
  readonly backoffs?: Readonly<Record<string, BackoffRecord>>;
  readonly ephemeral?: readonly string[];
  readonly expect: Partial<Summary>;
}

interface Summary {
  readonly stopAll: boolean;
  readonly sandbox: number | undefined;
  readonly kill: readonly string[];
  readonly start: readonly string[];
  readonly wait: readonly string[];
}

const CASES: readonly Case[] = [
  { name: 'nothing yet: a sandbox first', expect: { sandbox: 0, start: ['a'] } },
  {
    name: 'nothing yet, with init containers: the first of them',
    init: ['i', 'j'],
    expect: { sandbox: 0, start: ['i'] },
  },
  {
    name: 'sandbox without address: another one',
    sandboxes: [{ ...READY, ips: [] }],
    expect: { stopAll: true, sandbox: 1, start: ['a'] },
  },
  {
    name: "sandbox in the machine's network needs no address",
    sandboxes: [{ ...READY, ips: [], hostNetwork: true }],
    expect: { start: ['a'] },
  },
  {
    name: 'two ready sandboxes are one too many',
    sandboxes: [{ ...READY, id: 's2', attempt: 1 }, READY],
    expect: { stopAll: true, sandbox: 2, start: ['a'] },
  },
  { name: 'all run', sandboxes: [READY], runs: ['a running'], expect: {} },
  {
    name: 'all containers start together',
    containers: ['a', 'b'],
    sandboxes: [READY],
    expect: { start: ['a', 'b'] },
  },
  {
    name: 'the next init container after the one that succeeded',
    init: ['i', 'j'],
    sandboxes: [READY],
    runs: ['i exited 0'],
    expect: { start: ['j'] },
  },
  {
    name: 'an init container that runs is waited for',
    init: ['i'],
    sandboxes: [READY],
    runs: ['i running'],
    expect: {},
  },
  {
    name: 'a failed init container runs again',
    init: ['i'],
    sandboxes: [READY],
    runs: ['i exited 1'],
    expect: { start: ['i'] },
  },
  {
    name: 'a failed init container ends a pod that never restarts',
    policy: 'Never',
    init: ['i'],
    sandboxes: [READY],
    runs: ['i exited 1'],
    expect: { stopAll: true },
  },
  {
    name: 'init containers that were cleaned up do not run again',
    init: ['i'],
    sandboxes: [READY],
    runs: ['a running'],
    expect: {},
  },
  {
    name: 'init containers run again in a new sandbox',
    init: ['i'],
    sandboxes: [
      { ...READY, id: 's2' },
      { ...READY, ready: false },
    ],
    runs: ['a exited 137 s1', 'i exited 0 s1'],
    expect: { start: ['i'] },
  },
  {
    name: 'a sidecar starts, then the containers',
    init: [{ name: 'p', ...SIDECAR }],
    sandboxes: [READY],
    runs: ['p running'],
    expect: { start: ['a'] },
  },
  {
    name: 'a sidecar holds the others back until its startup probe passed',
    init: [{ name: 'p', ...SIDECAR }],
    sandboxes: [READY],
    runs: ['p running'],
    probes: { p: { startup: 'unknown' } },
    expect: {},
  },
  {
    name: 'a sidecar restarts beside what runs',
    init: [{ name: 'p', ...SIDECAR }],
    sandboxes: [READY],
    runs: ['a running', 'p exited 0'],
    expect: { start: ['p'] },
  },
  {
    name: 'a sidecar alone does not keep a pod',
    policy: 'Never',
    init: [{ name: 'p', ...SIDECAR }],
    sandboxes: [READY],
    runs: ['a exited 0', 'p running'],
    expect: { stopAll: true },
  },
  {
    name: 'Always: again also after success',
    sandboxes: [READY],
    runs: ['a exited 0'],
    expect: { start: ['a'] },
  },
  {
    name: 'OnFailure: not after success',
    policy: 'OnFailure',
    sandboxes: [READY],
    runs: ['a exited 0'],
    expect: { stopAll: true },
  },
  {
    name: 'OnFailure: again after failure',
    policy: 'OnFailure',
    containers: ['a', 'b'],
    sandboxes: [READY],
    runs: ['a exited 1', 'b exited 0'],
    expect: { start: ['a'] },
  },
  {
    name: 'Never: never',
    policy: 'Never',
    sandboxes: [READY],
    runs: ['a exited 1'],
    expect: { stopAll: true },
  },
  {
    name: 'Never: one that still runs keeps the pod',
    policy: 'Never',
    containers: ['a', 'b'],
    sandboxes: [READY],
    runs: ['a exited 1', 'b running'],
    expect: {},
  },
  {
    name: 'Never: no second sandbox for what ran',
    policy: 'Never',
    sandboxes: [{ ...READY, ready: false }],
    runs: ['a exited 137'],
    expect: {},
  },
  {
    name: 'OnFailure: no second sandbox when all succeeded',
    policy: 'OnFailure',
    sandboxes: [{ ...READY, ready: false }],
    runs: ['a exited 0'],
    expect: {},
  },
  {
    name: 'Always: a new sandbox after a reboot',
    sandboxes: [{ ...READY, ready: false, attempt: 3 }],
    runs: ['a exited 255'],
    expect: { sandbox: 4, start: ['a'] },
  },
  {
    name: "a container's own policy comes first",
    policy: 'Never',
    containers: [{ name: 'a', restartPolicy: 'OnFailure' }],
    sandboxes: [READY],
    runs: ['a exited 2'],
    expect: { start: ['a'] },
  },
  {
    name: 'a rule for an exit code',
    policy: 'Never',
    containers: [
      {
        name: 'a',
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
      },
    ],
    sandboxes: [READY],
    runs: ['a exited 42'],
    expect: { start: ['a'] },
  },
  {
    name: 'all begin anew: what runs is killed first',
    ...ALL,
    runs: ['b running', 'a exited 42', 'p running', 'i exited 0'],
    expect: { kill: ['b restart-all', 'p restart-all'] },
  },
  {
    name: 'all begin anew: init containers again, in order',
    ...ALL,
    runs: ['b exited 137', 'a exited 42', 'p exited 137', 'i exited 0'],
    expect: { start: ['i'] },
  },
  {
    name: 'all begin anew: sidecars after them',
    ...ALL,
    runs: ['i exited 0 s1 1', 'b exited 137', 'a exited 42', 'p exited 137', 'i exited 0'],
    expect: { start: ['p'] },
  },
  {
    name: 'all begin anew: also what succeeded and never restarts',
    ...ALL,
    runs: ['p running 0 s1 1', 'i exited 0 s1 1', 'b exited 0', 'a exited 42', 'p exited 137', 'i exited 0'],
    expect: { start: ['a', 'b'] },
  },
  {
    name: 'all began anew: earlier rounds count no more',
    ...ALL,
    init: [],
    runs: ['a running 0 s1 1', 'b running 0 s1 1', 'b exited 42', 'a exited 42'],
    expect: {},
  },
  {
    name: 'all begin anew: the one that asks for it again and again waits',
    ...ALL,
    init: [],
    runs: ['a exited 42 s1 1', 'b exited 137 s1 1'],
    backoffs: { a: { delayMs: 20_000, sinceMs: NOW - 30_000 } },
    expect: { start: ['b'], wait: ['a'] },
  },
  { name: 'not for other exit codes', ...ALL, init: [], runs: ['b running', 'a exited 1'], expect: {} },
  {
    name: 'in its backoff it waits',
    sandboxes: [READY],
    runs: ['a exited 1'],
    backoffs: { a: { delayMs: 20_000, sinceMs: NOW - 30_000 } },
    expect: { wait: ['a'] },
  },
  {
    name: 'liveness failed: killed, and started only once it ended',
    sandboxes: [READY],
    runs: ['a running'],
    probes: { a: { liveness: 'failure' } },
    expect: { kill: ['a liveness'] },
  },
  {
    name: 'startup failed: killed',
    sandboxes: [READY],
    runs: ['a running'],
    probes: { a: { startup: 'failure' } },
    expect: { kill: ['a startup'] },
  },
  {
    name: 'another image: replaced',
    containers: [{ name: 'a', image: 'new' }],
    sandboxes: [READY],
    runs: ['a running'],
    expect: { kill: ['a changed'], start: ['a'] },
  },
  {
    name: 'created but never started: replaced',
    sandboxes: [READY],
    runs: ['a created'],
    expect: { kill: ['a unknown'], start: ['a'] },
  },
  {
    name: 'an ephemeral container starts once',
    sandboxes: [READY],
    runs: ['a running', 'e exited 1'],
    ephemeral: ['e', 'f'],
    expect: { start: ['f'] },
  },
];

describe('decide', () => {
  for (const one of CASES)
    test(one.name, () =>
      assert.deepEqual(summary(decide(situation(one))), {
        stopAll: false,
        sandbox: undefined,
        kill: [],
        start: [],
        wait: [],
        ...one.expect,
      }),
    );
});

test('backoff: at once, then 10 s doubling to 300 s, and anew after ten minutes of running', () => {
  assert.equal(backoffUntilMs(undefined, NOW, NOW), undefined);
  let record = nextBackoff(undefined, { endedMs: NOW });
  const delays = [record.delayMs];
  for (let ended = NOW + 1_000; delays.length < 8; ended += record.delayMs) {
    record = nextBackoff(record, { endedMs: ended });
    delays.push(record.delayMs);
  }
  assert.deepEqual(delays, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]);
  assert.equal(
    backoffUntilMs(record, record.sinceMs + 5_000, record.sinceMs + 5_001),
    record.sinceMs + 305_000,
  );
  assert.equal(backoffUntilMs(record, record.sinceMs + 600_001, record.sinceMs + 600_001), undefined);
  assert.deepEqual([10_000, 60_000, 80_000, 300_000].map(goSeconds), ['10s', '1m0s', '1m20s', '5m0s']);
});

function situation({
  policy = 'Always',
  containers = ['a'],
  init = [],
  sandboxes = [],
  runs = [],
  probes = {},
  backoffs = {},
  ephemeral = [],
}: Case) {
  const spec = (list: readonly (string | Container)[]): Container[] =>
    list.map((one) => (typeof one === 'string' ? { name: one } : one));
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'd', uid: 'u' },
    spec: {
      restartPolicy: policy,
      containers: spec(containers),
      initContainers: spec(init),
      ephemeralContainers: spec(ephemeral),
    },
  };
  const runtime: PodRuntime = {
    uid: 'u',
    name: 'p',
    namespace: 'd',
    sandboxes,
    containers: runs.map((text) => containerOf(text, sandboxes[0]?.id ?? 's1')),
  };
  return {
    pod,
    runtime,
    probes: new Map(Object.entries(probes)),
    backoffs: new Map(Object.entries(backoffs)),
    nowMs: NOW,
  };
}

function containerOf(text: string, sandbox: string): RuntimeContainer {
  const [name = '', phase = '', exitCode = '0', sandboxId = sandbox, round] = text.split(' ');
  return {
    id: name,
    sandboxId,
    name,
    restartCount: 0,
    phase: phase as RuntimeContainer['phase'],
    createdAtMs: 1,
    startedAtMs: 2,
    finishedAtMs: NOW - 5_000,
    exitCode: Number(exitCode),
    reason: '',
    message: '',
    image: '',
    imageRef: '',
    hash: containerHash({ name }),
    logPath: '',
    annotations: round ? { [ANNOTATIONS.round]: round } : {},
    mounts: [],
    user: undefined,
    resources: undefined,
  };
}

function summary({ stopAll, createSandbox, kill, start, wait }: PodPlan): Summary {
  return {
    stopAll,
    sandbox: createSandbox,
    kill: kill.map(({ container, reason }) => `${container.name} ${reason}`),
    start: start.map(({ name }) => name),
    wait: wait.map(({ name }) => name),
  };
}
