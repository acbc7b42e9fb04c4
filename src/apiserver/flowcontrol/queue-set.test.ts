import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { seededRandom } from '#stdx/random.ts';
import type { Queuing } from './configuration.ts';
import {
  FlowStats,
  QueueSet,
  Ticket,
  type Arrival,
  type FlowShare,
  type RejectReason,
  type Work,
} from './queue-set.ts';
import { dealHand, flowHash } from './shuffle-sharding.ts';

const QUEUING: Queuing = { queues: 64, handSize: 6, queueLengthLimit: 50 };

function makeSet({
  clock,
  limit,
  queuing = QUEUING,
}: {
  readonly clock: FakeClock;
  readonly limit: number;
  readonly queuing?: Queuing | undefined;
}): QueueSet {
  const set = new QueueSet({ clock, exempt: false, queuing });
  set.configure({ queuing, limit });
  return set;
}

interface Shape extends Partial<Work>, Partial<FlowShare> {
  readonly queuing?: Queuing;
  readonly maxWaitMs?: number;
  readonly onAbort?: (callback: () => void) => void;
}

function arrivalOf(
  name: string,
  {
    queuing = QUEUING,
    seats = 1,
    finalSeats = 0,
    extraMs = 0,
    maxWaitMs = 15_000,
    onAbort = () => {},
    ...flow
  }: Shape = {},
): Arrival {
  return {
    flow: {
      hand: dealHand(flowHash('schema', name), queuing),
      stats: new FlowStats('schema'),
      distinguisher: name,
      ...flow,
    },
    work: { seats, finalSeats, extraMs },
    maxWaitMs,
    isWatch: false,
    subject: { request: { onAbort } },
  };
}

test('a modest flow is served at once while another floods the level', async () => {
  const clock = new FakeClock();
  const set = makeSet({ clock, limit: 4 });
  const served = { flood: 0, modest: 0 };
  const waits: number[] = [];
  let refused = 0;
  const send = (flow: 'flood' | 'modest'): void => {
    const atMs = clock.monotonic();
    void Promise.resolve(set.start(arrivalOf(flow))).then((outcome) => {
      if (typeof outcome === 'string') {
        assert.equal(flow, 'flood', 'only the flood is refused');
        refused++;
        return;
      }
      if (flow === 'modest') waits.push(clock.monotonic() - atMs);
      clock.after(10, () => {
        served[flow]++;
        outcome.finish();
      });
    });
  };
  // 4 seats of 10 ms serve 400 requests a second; the flood brings 2000, the modest flow 50.
  for (let ms = 0; ms < 4000; ms++) {
    send('flood');
    send('flood');
    if (ms % 20 === 0) send('modest');
    await clock.advance(1);
  }
  await clock.advance(1000);
  assert.equal(waits.length, 200, 'every request of the modest flow was served');
  assert.ok(
    Math.max(...waits) <= 20,
    `the modest flow waits no longer than two others take: ${Math.max(...waits)} ms`,
  );
  assert.equal(served.modest, 200);
  assert.ok(served.flood > 1300, `the flood gets the rest: ${served.flood}`);
  assert.ok(refused > 5000, `what the flood brings beyond its queues is refused: ${refused}`);
});

test('two flows that both flood share evenly, however many requests each brings', async () => {
  const clock = new FakeClock();
  const set = makeSet({ clock, limit: 4 });
  const served: Record<string, number> = { a: 0, b: 0 };
  const send = (flow: string): void => {
    void Promise.resolve(
      set.start(arrivalOf(flow, { hand: [flow === 'a' ? 1 : 2], maxWaitMs: 600_000 })),
    ).then((outcome) => {
      if (typeof outcome !== 'string')
        clock.after(10, () => {
          served[flow]!++;
          outcome.finish();
        });
    });
  };
  for (let ms = 0; ms < 2000; ms++) {
    for (let i = 0; i < 5; i++) send('a');
    if (ms % 2 === 0) send('b');
    await clock.advance(1);
  }
  const ratio = served['a']! / served['b']!;
  assert.ok(ratio > 0.9 && ratio < 1.15, `${JSON.stringify(served)}`);
});

test('a wide request is not starved by narrow ones, and seats for what follows the answer are held', async () => {
  const clock = new FakeClock();
  const set = makeSet({ clock, limit: 4 });
  const narrow = [1, 2, 3].map((i) => set.start(arrivalOf(`n${i}`)) as Ticket);
  const wide = set.start(arrivalOf('wide', { seats: 4 }));
  assert.ok(wide instanceof Promise, 'the wide one waits');
  // One that came at the same time would end earlier, and go first.
  await clock.advance(50);
  const late = set.start(arrivalOf('late'));
  assert.ok(late instanceof Promise, 'nobody overtakes it, though a seat is free');
  await clock.advance(5);
  narrow.forEach((ticket) => ticket.finish());
  const begun = (await wide) as Ticket;
  assert.equal(set.seatsInUse, 4);
  begun.finish();
  const last = (await late) as Ticket;
  last.finish();
  assert.equal(set.idle, true);

  const telling = set.start(arrivalOf('w', { finalSeats: 3, extraMs: 50 })) as Ticket;
  assert.equal(set.seatsInUse, 3);
  telling.finish();
  telling.finish();
  assert.deepEqual([set.seatsInUse, set.executing], [3, 0], 'held after the answer');
  const next = set.start(arrivalOf('x', { seats: 2 }));
  assert.ok(next instanceof Promise);
  await clock.advance(49);
  assert.equal(set.waiting, 1);
  await clock.advance(1);
  assert.ok((await next) instanceof Ticket);
});

test('who waits too long, or goes away, is refused and makes room', async () => {
  const clock = new FakeClock();
  const set = makeSet({ clock, limit: 1, queuing: { queues: 1, handSize: 1, queueLengthLimit: 2 } });
  const hand = [0];
  const first = set.start(arrivalOf('a', { hand })) as Ticket;
  let abort = (): void => {};
  const gone = set.start(arrivalOf('b', { hand, onAbort: (callback) => (abort = callback) }));
  const late = set.start(arrivalOf('c', { hand, maxWaitMs: 100 }));
  assert.equal(set.start(arrivalOf('d', { hand })), 'queue-full');
  abort();
  assert.equal(await gone, 'cancelled');
  await clock.advance(100);
  assert.equal(await late, 'time-out');
  assert.deepEqual(set.totals, { dispatched: 1, rejected: 1, timedOut: 1, cancelled: 1 });
  first.finish();
  assert.equal(set.idle, true);
  assert.equal(set.demand.seats, 0);
  assert.equal(clock.pending, 0, 'no timer is left');
});

test('without queues what finds no seat is refused; an uncontended request makes no promise and no timer', () => {
  const clock = new FakeClock();
  const set = new QueueSet({ clock, exempt: false, queuing: undefined });
  set.configure({ queuing: undefined, limit: 1 });
  const ticket = set.start(arrivalOf('a'));
  assert.ok(ticket instanceof Ticket);
  assert.equal(set.start(arrivalOf('b')), 'concurrency-limit');
  ticket.finish();
  assert.ok(set.start(arrivalOf('b')) instanceof Ticket);
  assert.equal(clock.pending, 0);
});

test('hands hold different queues and depend only on the flow', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 10 }),
      fc.string(),
      (queues, handSize, flow) => {
        const hand = dealHand(flowHash('s', flow), { queues, handSize });
        assert.equal(new Set(hand).size, Math.min(queues, handSize));
        assert.ok(hand.every((index) => index >= 0 && index < queues));
        assert.deepEqual(hand, dealHand(flowHash('s', flow), { queues, handSize }));
      },
    ),
  );
});

test('never more seats than the limit, nobody is forgotten, and all seats come back (seeded)', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 2 ** 31 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 6 }),
      async (seed, firstLimit, queues) => {
        const random = seededRandom(seed);
        const queuing: Queuing = { queues, handSize: Math.min(2, queues), queueLengthLimit: 1000 };
        const clock = new FakeClock();
        const set = makeSet({ clock, limit: firstLimit, queuing });
        let limit = firstLimit;
        const outcomes: (Ticket | RejectReason)[] = [];
        const stats = new FlowStats('schema');
        let sent = 0;
        let longestWaitMs = 0;
        for (let step = 0; step < 150; step++) {
          if (random() < 0.6) {
            sent++;
            const atMs = clock.monotonic();
            const finalSeats = random() < 0.2 ? Math.ceil(random() * 4) : 0;
            const seats = Math.ceil(random() * 3);
            const arrival = arrivalOf(`flow${Math.floor(random() * 4)}`, {
              queuing,
              stats,
              seats,
              finalSeats,
              extraMs: finalSeats > 0 ? 5 : 0,
              maxWaitMs: 10_000_000,
            });
            const durationMs = Math.ceil(random() * 30);
            void Promise.resolve(set.start(arrival)).then((outcome) => {
              outcomes.push(outcome);
              longestWaitMs = Math.max(longestWaitMs, clock.monotonic() - atMs);
              if (typeof outcome !== 'string') clock.after(durationMs, () => outcome.finish());
            });
          }
          if (random() < 0.02) {
            const wanted = Math.ceil(random() * 8);
            // A lower limit holds for what begins from now on.
            if (wanted >= limit || set.idle) set.configure({ queuing, limit: (limit = wanted) });
          }
          assert.ok(set.seatsInUse <= limit, `seed ${seed}: ${set.seatsInUse} seats of ${limit}`);
          await clock.advance(Math.floor(random() * 6));
          assert.ok(set.seatsInUse <= limit, `seed ${seed}: ${set.seatsInUse} seats of ${limit}`);
        }
        // All work together takes at most this long on one seat at a time.
        await clock.advance(150 * 50);
        assert.equal(outcomes.length, sent, `seed ${seed}: everybody had an answer`);
        assert.ok(outcomes.every((outcome) => typeof outcome !== 'string'));
        assert.ok(longestWaitMs < 150 * 50);
        set.configure({ queuing, limit });
        assert.deepEqual(
          [
            set.seatsInUse,
            set.executing,
            set.waiting,
            set.demand.seats,
            stats.executing,
            stats.waiting,
            stats.executingSeats,
            stats.waitingSeats,
          ],
          [0, 0, 0, 0, 0, 0, 0, 0],
          `seed ${seed}`,
        );
      },
    ),
    { numRuns: 40 },
  );
});
