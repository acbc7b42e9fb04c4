/** YAML bodies off the API server's thread: what is read is the same, what costs too much is refused, and the next body is read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseYamlBody } from '#machinery/yaml.ts';
import { readYaml } from './yaml-reader.ts';

const block = `a:\n${'- {x: yes, y: 0777, y: 1}\n'.repeat(1000)}`;

test('a long body is read as a short one is, each time anew', async () => {
  const read = await readYaml(block);
  assert.deepEqual(read(), parseYamlBody(block));
  assert.notEqual(read().value, read().value);
  const json = JSON.stringify({ a: 'b'.repeat(20_000) });
  const again = await readYaml(json);
  assert.deepEqual([again(), again()], [parseYamlBody(json), parseYamlBody(json)]);
});

test('what is no YAML is 400 in the same words', async () => {
  const broken = `${block}b: *none`;
  const read = await readYaml(broken);
  assert.throws(read, { code: 400, message: /unknown anchor 'none' referenced$/ });
});

test('what takes too long is 413, and the next body is read', async () => {
  const endless = `${'%\n'.repeat(1_400_000)}---\na: 1`;
  await assert.rejects(readYaml(endless), { code: 413 });
  assert.deepEqual((await readYaml(block))(), parseYamlBody(block));
});

test('more bodies than may wait are 429, the others are read', async () => {
  const all = await Promise.allSettled(Array.from({ length: 30 }, () => readYaml(block)));
  const refused = all.filter((one) => one.status === 'rejected');
  assert.equal(refused.length, 13);
  for (const { reason } of refused) assert.equal((reason as { code: number }).code, 429);
});
