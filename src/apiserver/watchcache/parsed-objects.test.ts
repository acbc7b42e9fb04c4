import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CacheEntry } from './entry.ts';
import { ParsedObjects } from './parsed-objects.ts';

test('no more parsed objects are kept than the bound says, however long it goes on', () => {
  const parsed = new ParsedObjects(10_000);
  const entries: CacheEntry[] = [];
  for (let i = 1; i <= 5000; i++) {
    const object = {
      kind: 'Thing',
      apiVersion: 'v1',
      metadata: { name: `t${i}`, uid: '', resourceVersion: '' },
    };
    const entry = new CacheEntry(`/registry/things/t${i}`, {
      revision: i,
      value: Buffer.from(JSON.stringify(object)),
    });
    // The writer's object comes before anybody reads the bytes, which then grow by the resourceVersion.
    parsed.keep(entry, object);
    assert.ok(entry.bytes.length > 0);
    entries.push(entry);
  }
  const kept = entries.filter((entry) => entry.parsed !== undefined).length;
  assert.ok(kept > 100 && kept < 200, `${kept} of about 160 are kept`);
  assert.equal(parsed.of(entries[0]!).metadata?.name, 't1');
});
