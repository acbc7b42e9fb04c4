import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '#stdx/random.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';
import { keyModel, type KeyOperation, type KeyResult } from './register.ts';

function op(startMs: number, endMs: number, result: KeyResult): KeyOperation {
  return { what: result.kind, startMs, endMs, result };
}
const wrote = (replaced: number, revision: number): KeyResult => ({ kind: 'wrote', replaced, revision });
const read = (revision: number): KeyResult => ({ kind: 'read', revision });
const verdict = (...history: readonly KeyOperation[]): string => checkLinearizable(history, keyModel).kind;

describe('histories that are linearizable', () => {
  it('one after the other', () => {
    const history = [op(0, 1, wrote(0, 5)), op(2, 3, read(5)), op(4, 5, wrote(5, 0)), op(6, 7, read(0))];
    assert.equal(verdict(...history), 'linearizable');
    assert.equal(verdict(), 'linearizable');
  });

  it('a read during a write sees the state before it or after it', () => {
    for (const seen of [5, 6])
      assert.equal(
        verdict(op(0, 1, wrote(0, 5)), op(2, 9, wrote(5, 6)), op(3, 4, read(seen))),
        'linearizable',
      );
  });

  it('refusals fit the state at some moment of theirs', () => {
    const history = [
      op(0, 1, { kind: 'absent' }),
      op(2, 3, wrote(0, 5)),
      op(4, 5, { kind: 'exists' }),
      op(4, 9, { kind: 'conflict', expected: 5 }),
      op(6, 7, wrote(5, 6)),
    ];
    assert.equal(verdict(...history), 'linearizable');
  });

  it('a write without an answer happens late, or never', () => {
    const lost: KeyOperation = { ...op(0, Infinity, wrote(0, 5)), optional: true };
    assert.equal(verdict(lost, op(10, 11, read(0)), op(90, 91, read(5))), 'linearizable');
    assert.equal(verdict(lost, op(10, 11, read(0)), op(90, 91, read(0))), 'linearizable');
  });
});

describe('histories that are not linearizable', () => {
  it('a stale read', () => {
    assert.equal(
      verdict(op(0, 1, wrote(0, 5)), op(2, 3, wrote(5, 6)), op(4, 5, read(5))),
      'not-linearizable',
    );
  });

  it('two reads that go back in time, though a write is under way all along', () => {
    const history = [op(0, 1, wrote(0, 5)), op(2, 99, wrote(5, 6)), op(3, 4, read(6)), op(5, 6, read(5))];
    assert.equal(verdict(...history), 'not-linearizable');
  });

  it('a lost update: two replaced the same revision', () => {
    const history = [op(0, 1, wrote(0, 5)), op(2, 9, wrote(5, 6)), op(2, 9, wrote(5, 7))];
    assert.equal(verdict(...history), 'not-linearizable');
  });

  it('a split: each half reads its own writes only', () => {
    const history = [
      op(0, 1, wrote(0, 5)),
      op(2, 3, wrote(5, 6)),
      op(2, 3, wrote(5, 7)),
      op(4, 5, read(6)),
      op(4, 5, read(7)),
    ];
    assert.equal(verdict(...history), 'not-linearizable');
  });

  it('an acknowledged create that is gone, a refusal for what was not there', () => {
    assert.equal(verdict(op(0, 1, wrote(0, 5)), op(2, 3, read(0))), 'not-linearizable');
    assert.equal(verdict(op(0, 1, { kind: 'exists' }), op(2, 3, wrote(0, 5))), 'not-linearizable');
    const conflict: KeyResult = { kind: 'conflict', expected: 5 };
    assert.equal(verdict(op(0, 1, wrote(0, 5)), op(2, 3, conflict)), 'not-linearizable');
  });

  it('a write without an answer that was seen, and then was not', () => {
    const lost: KeyOperation = { ...op(0, Infinity, wrote(0, 5)), optional: true };
    assert.equal(verdict(lost, op(10, 11, read(5)), op(20, 21, read(0))), 'not-linearizable');
  });

  it('are reported with what could be ordered and what could not', () => {
    const result = checkLinearizable(
      [op(0, 1, wrote(0, 5)), op(2, 3, wrote(5, 6)), op(4, 5, read(5))],
      keyModel,
    );
    assert.ok(result.kind === 'not-linearizable');
    assert.deepEqual(
      result.order.map(({ startMs }) => startMs),
      [0, 2],
    );
    assert.deepEqual(
      result.left.map(({ startMs }) => startMs),
      [4],
    );
  });
});

describe('the search', () => {
  /** Writes of distinct values to a register and one read of a value that nobody wrote: every order must be tried. */
  const hard = Array.from({ length: 24 }, (_, value) => ({ startMs: 0, endMs: 100, value }));
  interface Put extends Operation {
    readonly value: number;
  }
  const register = {
    initial: -1,
    keyOf: String,
    step: (_: number, { value }: Put): number | undefined => (value < 0 ? undefined : value),
  };

  it('is bounded: beyond the maximum it says that it does not know', () => {
    const history = [...hard, { startMs: 0, endMs: 100, value: -2 }];
    assert.deepEqual(checkLinearizable(history, register, { maxStates: 5_000 }), {
      kind: 'undecided',
      states: 5_000,
    });
  });

  it('looks at no state twice: concurrent reads do not multiply it', () => {
    const reads = Array.from({ length: 16 }, () => op(0, 100, read(0)));
    const history = [...reads, op(200, 201, read(9))];
    assert.equal(checkLinearizable(history, keyModel, { maxStates: 2 ** 17 }).kind, 'not-linearizable');
  });

  it('agrees with trying every order, on random histories', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const history = randomHistory(seededRandom(seed));
      assert.equal(
        verdict(...history) === 'linearizable',
        someOrder(history, 0),
        `seed ${seed}: ${JSON.stringify(history)}`,
      );
    }
  });
});

function randomHistory(random: () => number): KeyOperation[] {
  const upTo = (max: number): number => Math.floor(random() * max);
  return Array.from({ length: 6 }, () => {
    const startMs = upTo(12);
    const results = [wrote(upTo(3), upTo(3)), read(upTo(3)), read(upTo(3)), { kind: 'absent' } as const];
    return op(startMs, startMs + 1 + upTo(8), results[upTo(results.length)]!);
  });
}

/** The definition itself: some order that keeps what ended before another started, and is legal. */
function someOrder(left: readonly KeyOperation[], state: number): boolean {
  if (left.length === 0) return true;
  return left.some((one, index) => {
    const others = left.toSpliced(index, 1);
    if (others.some(({ endMs }) => endMs < one.startMs)) return false;
    const next = keyModel.step(state, one);
    return next !== undefined && someOrder(others, next);
  });
}
