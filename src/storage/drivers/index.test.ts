import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore, STORAGE_DRIVERS } from './index.ts';

test('every driver in the list opens', async () => {
  for (const driver of STORAGE_DRIVERS) {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-driver-'));
    try {
      const store = await openStore({ driver, dir });
      assert.equal((await store.put('/a', Buffer.from('1'))).modRevision, 1);
      await store.close();
    } finally {
      rmSync(dir, { recursive: true });
    }
  }
});

test('rejects an unknown driver by name', async () => {
  assert.throws(
    () => openStore({ driver: 'toString' as never }),
    /no storage driver "toString"; there are lmdb, memory/,
  );
  await assert.rejects(openStore({ driver: 'lmdb' }), /needs a dir/);
});
