import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Truth } from '#storage/testing/watch-oracle.ts';
import { History, judgeLeases, judgeList, type Lease } from './history.ts';

const put = (key: string, revision: number, previous?: number) => ({
  type: 'put' as const,
  key,
  revision,
  value: `v${revision}`,
  ...(previous !== undefined && { previous: { revision: previous } }),
});
const TRUTH = new Truth([put('chaos-a', 11), put('chaos-a', 12, 11), put('chaos-a', 15, 12)]);

function watching(...revisions: readonly number[]): History {
  const history = new History('a');
  history.add({ kind: 'watching', after: 10 });
  for (const revision of revisions)
    history.add({
      kind: 'event',
      type: revision === 11 ? 'ADDED' : 'MODIFIED',
      key: 'chaos-a',
      revision,
      value: `v${revision}`,
    });
  return history;
}

describe('watches', () => {
  it('are judged round by round', () => {
    const history = watching(11, 12, 15);
    assert.deepEqual(history.judgeWatch(12, TRUTH), []);
    assert.deepEqual(history.judgeWatch(15, TRUTH), []);
  });

  it('are found out where an event is missing, doubled, or late', () => {
    assert.match(watching(11, 15).judgeWatch(15, TRUTH).join(), /12 chaos-a is missing/);
    assert.match(watching(11, 12, 12, 15).judgeWatch(15, TRUTH).join(), /12 chaos-a came twice/);
    assert.match(watching(12, 11, 15).judgeWatch(15, TRUTH).join(), /ordered: 11 chaos-a after 12/);
    const late = watching(11, 12, 15, 12);
    assert.deepEqual(late.judgeWatch(12, TRUTH), []);
    assert.match(late.judgeWatch(15, TRUTH).join(), /12 chaos-a after/);
  });
});

describe('writes', () => {
  const wrote = (outcome: number | 'refused' | 'unknown', value = 'v12'): string => {
    const history = new History('a');
    const times = { start: 1_000, end: 1_010 };
    history.add({ kind: 'put', key: 'chaos-a', value, expected: 11, outcome, ...times });
    return history.judgeWrites(15, TRUTH).join();
  };

  it('are found out where acknowledged ones are lost or refused ones happened', () => {
    assert.equal(wrote(12), '');
    assert.equal(wrote('unknown'), '');
    assert.equal(wrote('unknown', 'never'), '');
    assert.match(wrote(13), /acknowledged at 13 and is lost/);
    assert.match(wrote('refused'), /was refused and happened/);
  });

  it('cost the longest time without one that succeeded', () => {
    const history = new History('a');
    for (const [end, outcome] of [[1_100, 1] as const, [1_900, 'unknown'] as const, [2_600, 2] as const])
      history.add({ kind: 'put', key: 'chaos-a', value: 'v', expected: 0, outcome, start: end - 50, end });
    const { withoutWriteMs, acknowledged, unknown, slowestMs } = history.cost(1_000);
    assert.deepEqual(
      { withoutWriteMs, acknowledged, unknown, slowestMs },
      { withoutWriteMs: 1_500, acknowledged: 2, unknown: 1, slowestMs: 50 },
    );
  });
});

describe('lists', () => {
  const listed = (at: number, ...revisions: readonly number[]): string =>
    judgeList(
      {
        server: 'm1',
        metadata: { resourceVersion: String(at) },
        items: revisions.map((revision) => ({
          metadata: { name: 'chaos-a', resourceVersion: String(revision) },
          data: { value: `v${revision}` },
        })),
      },
      TRUTH,
    ).join();

  it('hold what there was at their revision', () => {
    assert.equal(listed(13, 12), '');
    assert.equal(listed(15, 15), '');
    assert.match(listed(15, 12), /chaos-a is of 12, is 15/);
    assert.match(listed(13, 15), /chaos-a is of 15, is 12/);
    assert.match(listed(15), /chaos-a of 15 is missing/);
  });
});

describe('leases', () => {
  const at = (seconds: number): string => new Date(seconds * 1000).toISOString();
  interface Held {
    readonly acquired?: number;
    readonly renewed?: number;
    readonly leaseTransitions?: number;
  }
  const held = (
    holderIdentity: string,
    { acquired = 0, renewed = acquired, leaseTransitions = 0 }: Held,
  ): Lease => ({
    holderIdentity,
    leaseDurationSeconds: 15,
    leaseTransitions,
    acquireTime: at(acquired),
    renewTime: at(renewed),
  });
  const judge = (...specs: readonly Lease[]): string =>
    judgeLeases(
      specs.map((spec, revision) => ({ kind: 'lease', name: 'l', revision, spec, seen: 20_000 })),
    ).join();

  it('may go to another once they are over or given up', () => {
    const first = held('a', { renewed: 10 });
    assert.equal(judge(first, held('b', { acquired: 25, leaseTransitions: 1 })), '');
    const free = { ...held('', { renewed: 12 }), leaseDurationSeconds: 1 };
    assert.equal(judge(first, free, held('b', { acquired: 12, leaseTransitions: 1 })), '');
  });

  it('are judged by the right time where a holder has a wrong clock', () => {
    const first = held('a', { renewed: 10 });
    const late = held('b', { acquired: 25 - 3_600, leaseTransitions: 1 });
    assert.equal(judge(first, late), '');
    const early = held('b', { acquired: 20 + 3_600, leaseTransitions: 1 });
    assert.match(judge(first, early), /b took it from a 5000 ms before/);
  });

  it('are found out where two hold one, or a change is counted wrongly', () => {
    const first = held('a', { renewed: 10 });
    assert.match(
      judge(first, held('b', { acquired: 20, leaseTransitions: 1 })),
      /b took it from a 5000 ms before/,
    );
    assert.match(judge(first, held('b', { acquired: 30, leaseTransitions: 2 })), /went up by 2/);
  });
});
