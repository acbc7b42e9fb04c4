/** Each property of watches by a history that has it, and by hand-made ones that lack it and nothing else of what they are about. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  PREFIX,
  Truth,
  type SeenObject,
  type StreamEntry,
  type StreamRecord,
  type TrueChange,
} from './history.ts';
import { judgeStream, WATCH_JUDGES } from './watch-judges.ts';

function object(name: string, revision: number, labelled = true): SeenObject {
  return { key: PREFIX + name, revision, value: `${name}${revision}`, labelled };
}

/** a: created at 2 and updated at 4, loses its label at 6, deleted at 8; b: created at 3, deleted at 5; c and d at once at 7. */
const changes: readonly TrueChange[] = [
  change(2, undefined, object('a', 2)),
  change(3, undefined, object('b', 3)),
  change(4, object('a', 2), object('a', 4)),
  change(5, object('b', 3), undefined),
  change(6, object('a', 4), object('a', 6, false)),
  change(7, undefined, object('c', 7)),
  change(7, undefined, object('d', 7)),
  change(8, object('a', 6, false), undefined),
];
const truth = new Truth(changes, 8);

function change(
  revision: number,
  previous: SeenObject | undefined,
  current: SeenObject | undefined,
): TrueChange {
  return { key: (current ?? previous)!.key, revision, current, previous };
}

function event(type: 'ADDED' | 'MODIFIED' | 'DELETED', seen: SeenObject): StreamEntry {
  return { kind: 'event', type, object: seen };
}
/** As DELETED shows it: the last state, of the revision that ended it. */
function gone(last: SeenObject, revision: number): StreamEntry {
  return event('DELETED', { ...last, revision });
}
const bookmark = (revision: number): StreamEntry => ({ kind: 'bookmark', revision });

const a2 = event('ADDED', object('a', 2));
const b3 = event('ADDED', object('b', 3));
const a4 = event('MODIFIED', object('a', 4));
const b5 = gone(object('b', 3), 5);
const a6 = event('MODIFIED', object('a', 6, false));
const a6left = gone(object('a', 4), 6);
const c7 = event('ADDED', object('c', 7));
const d7 = event('ADDED', object('d', 7));
const a8 = gone(object('a', 6, false), 8);
const whole = [a2, b3, a4, b5, a6, c7, d7, a8];
const labelled = [a2, b3, a4, b5, a6left, c7, d7];

function stream(entries: readonly StreamEntry[], more: Partial<StreamRecord> = {}): StreamRecord {
  return {
    name: 'stream',
    server: 'api1',
    prefix: PREFIX,
    labelled: false,
    after: 1,
    entries,
    upTo: 8,
    ...more,
  };
}

const breaching: Readonly<Record<keyof typeof WATCH_JUDGES, readonly StreamRecord[]>> = {
  ordered: [stream([a2, b3, b5, a4, a6, c7, d7, a8])],
  unique: [stream([a2, b3, a4, a4, b5, a6, c7, d7, a8]), stream([b3, a4], { after: 3, upTo: 4 })],
  atomic: [stream([a2, b3, a4, b5, a6, c7, a8, d7]), stream([a2, b3, a4, b5, a6, c7, bookmark(7), d7, a8])],
  reliable: [
    stream([a2, b3, b5, a6, c7, d7, a8]),
    stream(whole.slice(0, -1)),
    stream([...whole, event('ADDED', object('e', 9))]),
    stream([event('ADDED', { ...object('a', 2), value: 'other' }), ...whole.slice(1)]),
  ],
  resumable: [stream(whole.slice(1)), stream([b5, a6, c7, d7, a8], { after: 3 }), stream([], { after: 5 })],
  bookmarkable: [
    stream([a2, b3, bookmark(4), a4, b5, a6, c7, d7, a8]),
    stream([a2, bookmark(3)], { upTo: undefined }),
    stream([...whole, bookmark(8), bookmark(7)]),
    stream([...whole, bookmark(9)]),
  ],
  filter: [
    stream([...labelled, a8], { labelled: true }),
    stream([a2, event('ADDED', { ...object('b', 3), key: '/registry/secrets/default/b' }), a4], {
      upTo: undefined,
    }),
  ],
  previous: [
    stream([...whole.slice(0, -1), gone(object('a', 4), 8)]),
    stream(
      labelled.map((one) => (one === a6left ? gone(object('a', 6, false), 6) : one)),
      { labelled: true },
    ),
  ],
  created: [
    stream([a2, b3, event('ADDED', object('a', 4)), b5, a6, c7, d7, a8]),
    stream([event('MODIFIED', object('a', 2)), ...whole.slice(1)]),
    stream(
      labelled.map((one) => (one === a6left ? a6 : one)),
      { labelled: true },
    ),
  ],
};

describe('streams in which everything holds', () => {
  const sound: Readonly<Record<string, StreamRecord>> = {
    'everything, with bookmarks': stream([
      a2,
      b3,
      bookmark(3),
      a4,
      b5,
      a6,
      c7,
      d7,
      bookmark(7),
      a8,
      bookmark(8),
    ]),
    'what carries a label': stream(labelled, { labelled: true }),
    'what follows a revision': stream([b5, a6, c7, d7, a8], { after: 4 }),
    'what was cut off': stream([a2, b3, a4], { upTo: undefined }),
    nothing: stream([], { after: 8 }),
  };
  for (const [name, one] of Object.entries(sound))
    test(name, () => assert.deepEqual(judgeStream(one, truth), []));
});

describe('a stream that is not', () => {
  for (const [property, judge] of Object.entries(WATCH_JUDGES))
    test(property, () => {
      assert.notEqual(breaching[property]!.length, 0);
      for (const one of breaching[property]!)
        assert.notDeepEqual(judge(one, truth), [], JSON.stringify(one.entries));
    });
});
