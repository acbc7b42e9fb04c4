import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { HPAScalingRules } from '#api/types.ts';
import { decide, recordScaling, type ScalingHistory } from './scaling-behavior.ts';

const SECOND_MS = 1_000;
const UP: HPAScalingRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
};
const DOWN: HPAScalingRules = {
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
};

function emptyHistory(): ScalingHistory {
  return { proposals: [], scaledUp: [], scaledDown: [] };
}

function at(seconds: number): { readonly nowMs: number; readonly downscaleStabilizationMs: number } {
  return { nowMs: seconds * SECOND_MS, downscaleStabilizationMs: 300 * SECOND_MS };
}

const bounds = { minReplicas: 1, maxReplicas: 100 };

describe('without behavior', () => {
  const wish = (currentReplicas: number, proposed: number, more: object = {}) => ({
    ...bounds,
    currentReplicas,
    proposed,
    behavior: undefined,
    ...more,
  });

  it('keeps the highest recommendation of five minutes', () => {
    const history = emptyHistory();
    assert.equal(decide(history, wish(10, 10), at(0)).replicas, 10);
    const held = decide(history, wish(10, 2), at(60));
    assert.equal(held.replicas, 10);
    assert.equal(held.stabilized.reason, 'ScaleDownStabilized');
    assert.equal(held.limited.reason, 'DesiredWithinRange');
    const free = decide(history, wish(10, 2), at(301));
    assert.equal(free.replicas, 2);
    assert.equal(free.stabilized.reason, 'ReadyForNewScale');
  });

  it('limits by the object and by twice as many', () => {
    const limited = (currentReplicas: number, proposed: number, more: object) => {
      const { replicas, limited: condition } = decide(
        emptyHistory(),
        wish(currentReplicas, proposed, more),
        at(0),
      );
      return [replicas, condition.status, condition.reason];
    };
    assert.deepEqual(limited(3, 50, {}), [6, 'True', 'ScaleUpLimit']);
    assert.deepEqual(limited(1, 50, {}), [4, 'True', 'ScaleUpLimit']);
    assert.deepEqual(limited(3, 50, { maxReplicas: 5 }), [5, 'True', 'TooManyReplicas']);
    assert.deepEqual(limited(3, 1, { minReplicas: 2 }), [2, 'True', 'TooFewReplicas']);
    assert.deepEqual(limited(3, 4, {}), [4, 'False', 'DesiredWithinRange']);
  });
});

describe('with behavior', () => {
  const wish = (currentReplicas: number, proposed: number, behavior: object = {}) => ({
    ...bounds,
    currentReplicas,
    proposed,
    behavior: { scaleUp: UP, scaleDown: DOWN, ...behavior },
  });

  it('scales up by the fastest policy, counting what the period has seen', () => {
    const history = emptyHistory();
    const first = decide(history, wish(2, 40), at(0));
    assert.deepEqual([first.replicas, first.limited.reason], [6, 'ScaleUpLimit']);
    recordScaling(history, { behavior: { scaleUp: UP }, from: 2, to: 6, nowMs: 0 });
    const again = decide(history, wish(6, 40), at(10));
    assert.deepEqual([again.replicas, again.limited.reason], [6, 'ScaleUpLimit'], 'the period is used up');
    assert.equal(decide(history, wish(6, 40), at(16)).replicas, 12);
  });

  it('scales up by the slowest policy with Min, and never with Disabled', () => {
    assert.equal(
      decide(emptyHistory(), wish(2, 40, { scaleUp: { ...UP, selectPolicy: 'Min' } }), at(0)).replicas,
      4,
    );
    assert.equal(
      decide(emptyHistory(), wish(2, 40, { scaleUp: { ...UP, selectPolicy: 'Disabled' } }), at(0)).replicas,
      2,
    );
  });

  it('waits with scaling up for the lowest recommendation of the window', () => {
    const history = emptyHistory();
    const slow = { scaleUp: { ...UP, stabilizationWindowSeconds: 60 } };
    assert.equal(decide(history, wish(5, 5, slow), at(0)).replicas, 5);
    const held = decide(history, wish(5, 9, slow), at(30));
    assert.deepEqual([held.replicas, held.stabilized.reason], [5, 'ScaleUpStabilized']);
    assert.equal(decide(history, wish(5, 9, slow), at(61)).replicas, 9);
  });

  it('scales down at the rate of its policies', () => {
    const slow = {
      scaleDown: {
        stabilizationWindowSeconds: 0,
        selectPolicy: 'Max',
        policies: [
          { type: 'Pods', value: 2, periodSeconds: 60 },
          { type: 'Percent', value: 10, periodSeconds: 60 },
        ],
      },
    };
    const history = emptyHistory();
    const first = decide(history, wish(10, 1, slow), at(0));
    assert.deepEqual([first.replicas, first.limited.reason], [8, 'ScaleDownLimit']);
    recordScaling(history, { behavior: slow, from: 10, to: 8, nowMs: 0 });
    assert.equal(decide(history, wish(8, 1, slow), at(30)).replicas, 8, 'the period is used up');
    assert.equal(decide(history, wish(8, 1, slow), at(61)).replicas, 6);
    assert.equal(decide(emptyHistory(), wish(50, 1, slow), at(0)).replicas, 45);
    const least = { scaleDown: { ...slow.scaleDown, selectPolicy: 'Min' } };
    assert.equal(decide(emptyHistory(), wish(50, 1, least), at(0)).replicas, 48);
    const never = { scaleDown: { ...slow.scaleDown, selectPolicy: 'Disabled' } };
    assert.equal(decide(emptyHistory(), wish(50, 1, never), at(0)).replicas, 50);
  });

  it('forgets what no rule looks at', () => {
    const history = emptyHistory();
    for (let second = 0; second < 10_000; second += 15) {
      decide(history, wish(10, 10), at(second));
      recordScaling(history, { behavior: { scaleUp: UP }, from: 1, to: 2, nowMs: second * SECOND_MS });
    }
    assert.ok(history.proposals.length <= 22, `${history.proposals.length} proposals`);
    assert.ok(history.scaledUp.length <= 2, `${history.scaledUp.length} scalings`);
  });
});
