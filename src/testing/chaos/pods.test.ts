import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgePods, type PodLine } from './pods.ts';

const RUNS: PodLine = {
  kind: 'pod',
  name: 'p',
  uid: 'u1',
  phase: 'Running',
  containerID: 'containerd://1',
  startedAt: '2026-01-01T00:00:00Z',
  restarts: 0,
  terminating: false,
  deleted: false,
};

describe('pods', () => {
  it('may be told of again', () => {
    assert.deepEqual(judgePods([RUNS, RUNS, { ...RUNS, name: 'q', uid: 'u2' }]), []);
  });

  it('are found out where one was restarted, replaced, evicted or deleted, even if it runs again', () => {
    const judge = (change: Partial<PodLine>): string =>
      judgePods([RUNS, { ...RUNS, ...change }, RUNS]).join();
    assert.match(
      judge({ restarts: 1, containerID: 'containerd://2' }),
      /containerID was .*1, is .*2,.*restarts was 0, is 1/,
    );
    assert.match(judge({ startedAt: '2026-01-01T00:01:00Z' }), /startedAt/);
    assert.match(judge({ uid: 'u9' }), /uid was u1, is u9/);
    assert.match(judge({ phase: 'Failed' }), /phase was Running, is Failed/);
    assert.match(judge({ terminating: true }), /terminating was false, is true/);
    assert.match(judge({ deleted: true }), /deleted was false, is true/);
  });
});
