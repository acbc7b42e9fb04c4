import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Truth } from '#storage/testing/watch-oracle.ts';
import type { GetLine, PutLine } from './history.ts';
import { judgeReads } from './reads.ts';

const TRUTH = new Truth([
  { type: 'put', key: 'chaos-a', revision: 11, value: 'v11' },
  { type: 'put', key: 'chaos-b', revision: 12, value: 'v12' },
  { type: 'put', key: 'chaos-a', revision: 13, value: 'v13', previous: { revision: 11 } },
  { type: 'delete', key: 'chaos-b', revision: 14, previous: { revision: 12 } },
]);
const put = (key: string, { outcome, end }: Pick<PutLine, 'outcome' | 'end'>): PutLine => ({
  kind: 'put',
  key,
  value: `v${outcome}`,
  expected: 0,
  start: end - 5,
  end,
  outcome,
});
/** 11 is answered later than 12, which another program wrote. */
const PUTS = [
  put('chaos-a', { outcome: 11, end: 120 }),
  put('chaos-b', { outcome: 12, end: 110 }),
  put('chaos-a', { outcome: 13, end: 200 }),
  put('chaos-a', { outcome: 'unknown', end: 300 }),
];
const judge = (read: Pick<GetLine, 'start' | 'key' | 'revision'>): string =>
  judgeReads(
    { puts: PUTS, gets: [{ kind: 'get', by: 'r', ok: true, end: read.start + 1, ...read }] },
    TRUTH,
  ).join();

describe('reads', () => {
  it('show what was acknowledged before them, and may show more', () => {
    for (const revision of [13, 14, 99]) assert.equal(judge({ start: 201, revision }), '');
    assert.equal(judge({ start: 200, revision: 12 }), '', 'acknowledged in the same moment');
    assert.equal(judge({ start: 50, key: 'chaos-a', revision: 0 }), '', 'not yet written');
    assert.equal(judge({ start: 121, key: 'chaos-a', revision: 13 }), '', 'not yet acknowledged');
    assert.equal(judge({ start: 250, key: 'chaos-b', revision: 0 }), '', 'deleted');
    assert.equal(judge({ start: 250, key: 'chaos-b', revision: 12 }), '', 'whose delete nobody was told of');
    assert.equal(judge({ start: 250, key: 'chaos-c', revision: 0 }), '');
  });

  it('are found out where they lack it', () => {
    assert.match(judge({ start: 121, revision: 11 }), /r read a list at 11 after 12 was acknowledged/);
    assert.match(
      judge({ start: 201, key: 'chaos-a', revision: 11 }),
      /chaos-a at 11 after 13 was acknowledged/,
    );
    assert.match(
      judge({ start: 201, key: 'chaos-a', revision: 0 }),
      /chaos-a at 0 after 13 was acknowledged/,
    );
  });

  it('are found out where they show what never was', () => {
    assert.match(judge({ start: 201, key: 'chaos-a', revision: 15 }), /chaos-a at 15, which never was/);
    assert.match(judge({ start: 250, key: 'chaos-b', revision: 14 }), /chaos-b at 14, which never was/);
  });
});
