import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Pod, PodSpec, PodStatus } from '#api/types.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { createRecord as adopted, startDelayMs, step, type PodRecord, type Step } from './lifecycle.ts';

const SEEN = Date.parse('2026-01-01T00:00:00Z');

function podOf(spec: Partial<PodSpec> = {}, annotations: Record<string, string> = {}): Pod {
  const named = Object.fromEntries(
    Object.entries(annotations).map(([key, value]) => [`capstan.dev/simulate-${key}`, value]),
  );
  return {
    metadata: { name: 'p', namespace: 'd', uid: 'u1', generation: 2, annotations: named },
    spec: { restartPolicy: 'Always', containers: [{ name: 'c', image: 'x' }], ...spec },
  };
}

function createRecord(pod: Pod): PodRecord {
  return {
    seenMs: SEEN,
    podIPs: ['10.0.0.2'],
    hostIP: '192.0.2.1',
    runStartMs: SEEN + startDelayMs(pod),
    restarts: 0,
    lastEndMs: undefined,
  };
}

/** Goes from step to step as the component does, until nothing is due; answers each with its time. */
function live(
  pod: Pod,
  { untilMs }: { readonly untilMs: number },
): { readonly atMs: number; readonly made: Step }[] {
  const record = createRecord(pod);
  const steps: { atMs: number; made: Step }[] = [];
  let current = pod;
  for (let atMs: number | undefined = SEEN; atMs !== undefined && atMs - SEEN <= untilMs;) {
    const made = step(current, record, atMs);
    steps.push({ atMs: atMs - SEEN, made });
    if (made.status) current = { ...current, status: made.status };
    assert.ok(made.nextAtMs === undefined || made.nextAtMs >= atMs, 'the next step is not in the past');
    atMs = made.nextAtMs;
  }
  return steps;
}

function phases(pod: Pod, untilMs = 60_000): string[] {
  const all = live(pod, { untilMs }).map(({ made }) => made.status?.phase ?? '-');
  return all.filter((phase, index) => phase !== all[index - 1]);
}

function ready(status: PodStatus | undefined): string | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready')?.status;
}

describe('phases', () => {
  test('a server runs on', () => assert.deepEqual(phases(podOf()), ['Pending', 'Running']));
  test('a task succeeds by itself', () =>
    assert.deepEqual(phases(podOf({ restartPolicy: 'Never' })), ['Pending', 'Running', 'Succeeded']));
  test('a task fails with the configured exit code', () => {
    const last = live(podOf({ restartPolicy: 'Never' }, { 'exit-code': '3', 'run-seconds': '2' }), {
      untilMs: 60_000,
    }).at(-1);
    assert.equal(last?.made.status?.phase, 'Failed');
    assert.equal(last?.made.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 3);
    assert.equal(last?.atMs, 2_050);
  });
  test('OnFailure restarts failures and ends with success', () => {
    assert.deepEqual(phases(podOf({ restartPolicy: 'OnFailure' })), ['Pending', 'Running', 'Succeeded']);
    assert.deepEqual(phases(podOf({ restartPolicy: 'OnFailure' }, { 'exit-code': '1' })), [
      'Pending',
      'Running',
    ]);
  });
});

test('starting takes the configured time, init containers one after another', () => {
  const pod = podOf(
    { initContainers: [{ name: 'i' }, { name: 'side', restartPolicy: 'Always' }, { name: 'j' }] },
    { 'start-seconds': '2' },
  );
  assert.equal(startDelayMs(pod), 2_100);
  const steps = live(pod, { untilMs: 10_000 });
  const initialized = steps.find(
    ({ made }) => made.status?.conditions?.find(({ type }) => type === 'Initialized')?.status === 'True',
  );
  assert.equal(initialized?.atMs, 2_100);
  assert.deepEqual(
    initialized?.made.status?.initContainerStatuses?.map(({ state }) => Object.keys(state ?? {})[0]),
    ['terminated', 'running', 'terminated'],
  );
  assert.ok(
    steps.filter(({ atMs }) => atMs < 2_100).every(({ made }) => made.status?.podIP === undefined),
    'no address before it is initialized',
  );
});

test('an annotation that is no number is as if it were not there', () => {
  for (const text of ['x', '-1', 'NaN', 'Infinity'])
    assert.equal(startDelayMs(podOf({}, { 'start-seconds': text })), 50);
});

test("ready after the probe's initial delay, and only with open gates", () => {
  const pod = podOf({ containers: [{ name: 'c', image: 'x', readinessProbe: { initialDelaySeconds: 5 } }] });
  assert.deepEqual(
    live(pod, { untilMs: 10_000 }).map(({ atMs, made }) => [atMs, ready(made.status)]),
    [
      [0, 'False'],
      [50, 'False'],
      [5_050, 'True'],
    ],
  );
  const gated = podOf({ readinessGates: [{ conditionType: 'x/y' }] });
  assert.equal(ready(live(gated, { untilMs: 10_000 }).at(-1)?.made.status), 'False');
});

test('crashes back off: at once, 10 s, 20 s … up to 300 s', () => {
  const pod = podOf({}, { 'run-seconds': '1', 'exit-code': '1' });
  const record = createRecord(pod);
  const waits: number[] = [];
  for (let atMs = SEEN + 50; waits.length < 9;) {
    const made = step(pod, record, atMs);
    const next = made.nextAtMs ?? assert.fail('there is always a next step');
    if (record.lastEndMs !== undefined) waits.push((next - atMs) / 1000);
    atMs = next;
  }
  assert.deepEqual(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
  assert.equal(record.restarts, 8);
});

test('in its backoff a container says so, and how it ended', () => {
  const pod = podOf({}, { 'run-seconds': '1', 'exit-code': '7' });
  const record = { ...createRecord(pod), restarts: 1 };
  const [one] = step(pod, record, record.runStartMs + 1_000).status?.containerStatuses ?? [];
  assert.deepEqual(
    [one?.state?.waiting?.reason, one?.state?.waiting?.message, one?.lastState?.terminated?.exitCode],
    ['CrashLoopBackOff', 'back-off 10s restarting failed container=c pod=p_d(u1)', 7],
  );
});

test('deletion: a moment of grace, a last status, then removal', () => {
  const running = podOf();
  const record = createRecord(running);
  const { status } = step(running, record, SEEN + 60_000);
  const deleted: Pod = {
    ...running,
    metadata: {
      ...running.metadata,
      deletionTimestamp: '2026-01-01T00:01:30Z',
      deletionGracePeriodSeconds: 30,
    },
    ...(status ? { status } : {}),
  };
  assert.deepEqual(step(deleted, record, SEEN + 60_000), { nextAtMs: SEEN + 60_050 });
  const last = step(deleted, record, SEEN + 60_050);
  assert.equal(last.remove, true);
  assert.equal(last.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 143);
  const forced: Pod = {
    ...deleted,
    metadata: {
      ...deleted.metadata,
      deletionTimestamp: '2026-01-01T00:01:00Z',
      deletionGracePeriodSeconds: 0,
    },
  };
  assert.equal(step(forced, record, SEEN + 60_000).remove, true);
  assert.deepEqual(step({ ...deleted, status: { phase: 'Succeeded' } }, record, SEEN + 61_000), {
    remove: true,
  });
});

test('what has finished is left alone', () => {
  for (const phase of ['Succeeded', 'Failed']) {
    const pod: Pod = { ...podOf(), status: { phase } };
    assert.ok(isPodTerminal(pod));
    assert.deepEqual(step(pod, createRecord(pod), SEEN + 1e9), {});
  }
});

test('conditions of others stay, and transition times change with the status only', () => {
  const pod: Pod = {
    ...podOf(),
    status: {
      conditions: [
        { type: 'x/y', status: 'True' },
        { type: 'Ready', status: 'True', lastTransitionTime: '2020-01-01T00:00:00Z' },
      ],
    },
  };
  const { status } = step(pod, createRecord(pod), SEEN + 1_000);
  assert.ok(status?.conditions?.some(({ type }) => type === 'x/y'));
  assert.equal(
    status?.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime,
    '2020-01-01T00:00:00Z',
  );
});

test('after a restart a container says how it ended before', () => {
  const all = live(podOf({}, { 'run-seconds': '1', 'exit-code': '3' }), { untilMs: 1_500 });
  const [ended, again] = all.slice(-2).map(({ made }) => made.status?.containerStatuses?.[0]);
  assert.equal(ended?.state?.terminated?.exitCode, 3, 'the first restart comes at once');
  assert.deepEqual(
    [again?.restartCount, again?.lastState?.terminated?.exitCode, Object.keys(again?.state ?? {})],
    [1, 3, ['running']],
  );
});

test('a deadline ends the pod, running or backing off', () => {
  for (const annotations of [{}, { 'run-seconds': '1', 'exit-code': '1' }]) {
    const last = live(podOf({ activeDeadlineSeconds: 20 }, annotations), { untilMs: 60_000 }).at(-1);
    assert.deepEqual(
      [last?.atMs, last?.made.status?.phase, last?.made.status?.reason],
      [20_000, 'Failed', 'DeadlineExceeded'],
    );
  }
});

test('what another process began goes on as if nothing had happened', () => {
  for (const pod of [
    podOf(),
    podOf({}, { 'run-seconds': '4', 'exit-code': '1' }),
    podOf({ restartPolicy: 'Never' }, { 'run-seconds': '100' }),
    podOf({ initContainers: [{ name: 'i' }] }, { 'start-seconds': '9' }),
  ]) {
    const record = createRecord(pod);
    let current = pod;
    let next: number | undefined = SEEN;
    for (let count = 0; count < 7 && next !== undefined; count += 1) {
      const atMs: number = next;
      const made = step(current, record, atMs);
      if (made.status) current = { ...current, status: made.status };
      next = made.nextAtMs;
      const laterMs = Math.ceil((atMs + 1) / 1000) * 1000;
      if (next !== undefined && next <= laterMs) continue;
      const expected = step(current, { ...record }, laterMs);
      const found = step(
        current,
        adopted(current, { nowMs: laterMs, podIPs: record.podIPs, hostIP: record.hostIP }),
        laterMs,
      );
      assert.deepEqual(found.status, expected.status);
      assert.ok(
        Math.abs((found.nextAtMs ?? 0) - (expected.nextAtMs ?? 0)) < 1_000,
        'times in the API are whole seconds',
      );
    }
  }
});
