import assert from 'node:assert/strict';
import { it } from 'node:test';
import { judgeUnavailability, unavailabilityOf, type Row } from './costs.ts';

const row = (changed: Partial<Row>): Row => ({
  fault: 'power cut (m1)',
  program: 'w1',
  isOutside: false,
  acknowledged: 10,
  refused: 0,
  unknown: 0,
  failedReads: 0,
  withoutReadMs: 0,
  withoutWriteMs: 0,
  slowestMs: 0,
  errors: [],
  ...changed,
});
const ROWS = [
  row({ lost: 'with the leader of etcd', withoutReadMs: 1_500, withoutWriteMs: 1_600 }),
  row({ lost: 'without the leader of etcd', withoutReadMs: 300, withoutWriteMs: 400 }),
  row({ lost: 'without the leader of etcd', withoutReadMs: 200, withoutWriteMs: 500 }),
  row({ lost: 'without the leader of etcd', isOutside: true, withoutReadMs: 900 }),
  row({ withoutReadMs: 70_000 }),
];

it('reports the time without an answer after losses with and without the leader of etcd, and of no other fault', () => {
  assert.deepEqual(unavailabilityOf(ROWS), [
    'after the loss of a control plane without the leader of etcd: no answer for at most 900 ms through any server, ' +
      'no read for 300 ms and no write for 500 ms through the local balancer',
    'after the loss of a control plane with the leader of etcd: no answer for at most 0 ms through any server, ' +
      'no read for 1500 ms and no write for 1600 ms through the local balancer',
  ]);
  assert.deepEqual(judgeUnavailability(ROWS), []);
  const long = row({ lost: 'with the leader of etcd', withoutReadMs: 70_000 });
  assert.deepEqual(judgeUnavailability([long]), ['w1 had no answer for 70000 ms: power cut (m1)']);
});
