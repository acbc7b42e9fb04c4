import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { realClock } from './clock.ts';
import { silentLogger } from './log.ts';
import { watchTableDeletions } from './nftables-events.ts';

const canUseNft = process.getuid?.() === 0 && spawnSync('nft', ['list', 'tables']).status === 0;

test('reports a deleted table', { skip: canUseNft ? false : 'needs root and nft' }, async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = watchTableDeletions({ clock: realClock, log: silentLogger, onDeleted: resolve });
  const table = `capstan-test-${process.pid}`;
  let reported = false;
  void promise.then(() => (reported = true));
  try {
    for (let tries = 0; tries < 100 && !reported; tries += 1) {
      spawnSync('nft', ['add', 'table', 'inet', table]);
      spawnSync('nft', ['delete', 'table', 'inet', table]);
      await new Promise((again) => setTimeout(again, 100));
    }
    assert.ok(reported);
  } finally {
    events.close();
  }
});
