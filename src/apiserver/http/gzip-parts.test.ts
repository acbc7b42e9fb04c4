import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { compressPart, compressGzip, storedPart } from './gzip-parts.ts';

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .tuple(fc.string({ minLength: 1 }), fc.integer({ min: 0, max: 4000 }))
    .map(([text, times]) => Buffer.from(text.repeat(times)).subarray(0, 60_000)),
);

test('parts that were compressed one by one are read as one body', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ plain: bytes, stored: fc.boolean() }), { maxLength: 12 }),
      async (parts) => {
        const made = await Promise.all(
          parts.map(({ plain, stored }) =>
            stored ? Promise.resolve(storedPart(Buffer.from(plain))) : compressPart(Buffer.from(plain)),
          ),
        );
        // gunzip checks length and checksum.
        assert.deepEqual(
          gunzipSync(Buffer.concat(compressGzip(made))),
          Buffer.concat(parts.map(({ plain }) => plain)),
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('one part may stand in several bodies', async () => {
  const part = await compressPart(Buffer.from('item '.repeat(1000)));
  const comma = storedPart(Buffer.from(','));
  assert.equal(
    gunzipSync(Buffer.concat(compressGzip([part, comma, part]))).toString(),
    `${'item '.repeat(1000)},${'item '.repeat(1000)}`,
  );
  assert.equal(gunzipSync(Buffer.concat(compressGzip([comma, part]))).toString(), `,${'item '.repeat(1000)}`);
});
