import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { divideSeats, SeatDemand } from './borrowing.ts';

test('seats are divided in proportion to demand, within bounds', () => {
  assert.deepEqual(
    divideSeats(100, [
      { lower: 0, upper: 100, target: 10 },
      { lower: 0, upper: 100, target: 30 },
    ])?.seats.map(Math.round),
    [25, 75],
  );
  assert.deepEqual(
    divideSeats(100, [
      { lower: 50, upper: 100, target: 50 },
      { lower: 0, upper: 20, target: 30 },
    ])?.seats.map(Math.round),
    [80, 20],
  );
  assert.equal(
    divideSeats(10, [{ lower: 20, upper: 30, target: 20 }]),
    undefined,
    'more is promised than there is',
  );
  assert.equal(
    divideSeats(100, [{ lower: 20, upper: 30, target: 20 }]),
    undefined,
    'less may be taken than there is',
  );
});

test('a division holds all bounds and gives away exactly what there is', () => {
  const claim = fc.record({
    lower: fc.integer({ min: 0, max: 50 }),
    more: fc.integer({ min: 0, max: 200 }),
    target: fc.integer({ min: 0, max: 100 }),
  });
  fc.assert(
    fc.property(
      fc.array(claim, { minLength: 1, maxLength: 10 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (shapes, part) => {
        const claims = shapes.map(({ lower, more, target }) => ({
          lower,
          upper: lower + more,
          target: Math.max(lower, target),
        }));
        const least = claims.reduce((sum, { lower }) => sum + lower, 0),
          most = claims.reduce((sum, { upper }) => sum + upper, 0);
        const total = least + (most - least) * part;
        const allocation = divideSeats(total, claims);
        assert.ok(allocation);
        allocation.seats.forEach((seats, i) =>
          assert.ok(seats >= claims[i]!.lower - 1e-6 && seats <= claims[i]!.upper + 1e-6),
        );
        assert.ok(
          Math.abs(allocation.seats.reduce((sum, seats) => sum + seats, 0) - total) <
            1e-3 * Math.max(1, total),
        );
      },
    ),
  );
});

test('demand: peak, average and deviation of a period; a peak fades slowly', () => {
  const demand = new SeatDemand(0);
  demand.add(10, 0);
  demand.add(-10, 5000);
  demand.endPeriod(10_000);
  assert.deepEqual([demand.highWatermark, demand.average, demand.deviation, demand.smoothed], [10, 5, 5, 10]);
  demand.endPeriod(20_000);
  assert.equal(demand.highWatermark, 0);
  assert.ok(demand.smoothed > 9 && demand.smoothed < 10);
});
