import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseParameters, type ClusterSize } from './parameters.ts';

/** Nodes and cores, all of them schedulable. */
function size(nodes: number, cores: number): ClusterSize {
  return { nodes, cores, schedulableNodes: nodes, schedulableCores: cores };
}

function linear(parameters: object): (nodes: number, cores: number) => number {
  const { replicasFor } = parseParameters({ linear: JSON.stringify(parameters) });
  return (nodes, cores) => replicasFor(size(nodes, cores));
}

describe('linear', () => {
  test('the larger of both shares, rounded up, between min and max', () => {
    const replicas = linear({ coresPerReplica: 2, nodesPerReplica: 1, min: 1, max: 100 });
    assert.equal(replicas(0, 0), 1);
    assert.equal(replicas(3, 6), 3);
    assert.equal(replicas(4, 13), 7);
    assert.equal(replicas(5, 6), 5);
    assert.equal(replicas(10, 1000), 100);
  });

  test('a share of a half', () => {
    assert.equal(linear({ nodesPerReplica: 0.5 })(3, 100), 6);
  });

  test('never one where there are two nodes, if asked', () => {
    const replicas = linear({ coresPerReplica: 256, nodesPerReplica: 16, preventSinglePointFailure: true });
    assert.equal(replicas(1, 4), 1);
    assert.equal(replicas(2, 8), 2);
    assert.equal(replicas(33, 8), 3);
    assert.equal(replicas(33, 1025), 5);
    assert.equal(linear({ nodesPerReplica: 16, max: 1, preventSinglePointFailure: true })(2, 8), 2);
  });

  test('unschedulable nodes count when asked', () => {
    const given = { nodes: 20, cores: 80, schedulableNodes: 4, schedulableCores: 16 };
    const of = (more: object): number =>
      parseParameters({ linear: JSON.stringify({ nodesPerReplica: 2, ...more }) }).replicasFor(given);
    assert.equal(of({}), 2);
    assert.equal(of({ includeUnschedulableNodes: true }), 10);
  });
});

describe('ladder', () => {
  const parameters = parseParameters({
    ladder: JSON.stringify({
      coresToReplicas: [
        [64, 3],
        [1, 1],
        [512, 5],
      ],
      nodesToReplicas: [
        [1, 1],
        [2, 2],
        [0, 0],
      ],
    }),
  });

  test('the last step that is reached, in any order of steps', () => {
    assert.equal(parameters.replicasFor(size(1, 1)), 1);
    assert.equal(parameters.replicasFor(size(2, 63)), 2);
    assert.equal(parameters.replicasFor(size(2, 64)), 3);
    assert.equal(parameters.replicasFor(size(2, 4096)), 5);
  });

  test('below the first step the first counts', () => {
    const { replicasFor } = parseParameters({ ladder: '{"nodesToReplicas":[[3,2],[9,4]]}' });
    assert.equal(replicasFor(size(1, 1)), 2);
  });
});

test('what is not a format says what it should be', () => {
  const cases: readonly (readonly [data: Record<string, string>, problem: RegExp])[] = [
    [{}, /no entry; it should have one entry/],
    [{ linear: '{}', ladder: '{}' }, /linear and ladder; it should have one/],
    [{ cubic: '{}' }, /cubic; it should have one entry, linear or ladder/],
    [{ linear: '{' }, /linear is not valid JSON/],
    [{ linear: '{}' }, /neither coresPerReplica nor nodesPerReplica/],
    [{ linear: '{"nodesPerReplica":-1}' }, /nodesPerReplica is -1; it should not be negative/],
    [{ linear: '{"nodesPerReplica":1,"min":3,"max":2}' }, /max is 2; it should be at least min, which is 3/],
    [{ linear: '{"nodesPerReplica":"1"}' }, /nodesPerReplica/],
    [{ linear: '[1]' }, /it holds no object/],
    [{ ladder: '{"nodesToReplicas":[[1]]}' }, /the step \[1\]; it should be two numbers/],
    [{ ladder: '{"coresToReplicas":[[1,-1]]}' }, /the step \[1,-1\]/],
    [{ ladder: '{}' }, /one should have steps/],
  ];
  for (const [data, problem] of cases)
    assert.throws(() => parseParameters(data), problem, JSON.stringify(data));
});

test('unknown fields are ignored, and reported', () => {
  const { unknown } = parseParameters({ linear: '{"nodesPerReplica":1,"preventSinglePoint":true}' });
  assert.match(unknown.join(), /unknown field "preventSinglePoint"/);
});
