import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePprof, type CallNode } from './pprof.ts';

const call = (
  functionName: string,
  line: number,
  {
    values,
    children = [],
  }: { readonly values?: readonly number[]; readonly children?: readonly CallNode[] } = {},
): CallNode => ({ functionName, url: 'a.js', line, values, children });

test('stacks refer to locations, leaf first; functions and strings are deduplicated', () => {
  const root = call('(root)', 0, {
    children: [
      call('f', 1, { values: [2, 300], children: [call('', 5, { values: [1, 7] })] }),
      call('f', 9, { values: [1, 1] }),
    ],
  });
  const bytes = encodePprof({
    types: [
      { type: 'samples', unit: 'count' },
      { type: 'cpu', unit: 'nanoseconds' },
    ],
    root,
    startMs: 0,
    durationMs: 0,
    period: { type: 'cpu', unit: 'nanoseconds', value: 1000 },
  });
  const texts = ['', 'samples', 'count', 'cpu', 'nanoseconds', 'f', 'a.js', '(anonymous)'];
  assert.equal(bytes.subarray(0, 12).toString('hex'), '0a04080110020a0408031004', 'types');
  assert.ok(bytes.includes(Buffer.from('12080a0101' + '120302ac02', 'hex')), 'two samples of 300 in f');
  const at = texts.map((text) =>
    bytes.lastIndexOf(Buffer.concat([Buffer.from([0x32, text.length]), Buffer.from(text)])),
  );
  assert.deepEqual(
    at,
    at.toSorted((left, right) => left - right),
    'texts in the order of their numbers',
  );
  assert.ok(at.every((position) => position >= 0));
  assert.ok(
    bytes.includes(Buffer.from('12080a020201' + '12020107', 'hex')),
    'the anonymous call under f, leaf first',
  );
  assert.equal(bytes.toString('latin1').split('a.js').length, 2);
});
