import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { FakeClock } from './testing/fake-clock.ts';
import { keepFiles, type KeptFiles } from './kept-files.ts';

describe('files that must stay where they are', () => {
  let base: string;
  let clock: FakeClock;
  let watched: KeptFiles;
  let lost: Promise<string>;
  const file = (name: string): string => join(base, 'dir', name);

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-kept-'));
    mkdirSync(join(base, 'dir'));
    for (const name of ['a', 'b']) writeFileSync(file(name), '');
    clock = new FakeClock();
    const { promise, resolve } = Promise.withResolvers<string>();
    lost = promise;
    watched = keepFiles({ paths: [file('a'), file('b')], clock, onLost: resolve });
  });
  afterEach(() => {
    watched.close();
    rmSync(base, { recursive: true, force: true });
  });

  const ways: readonly { readonly how: string; readonly lose: () => void; readonly says: string }[] = [
    { how: 'one of them is removed', lose: () => rmSync(file('b')), says: 'b' },
    {
      how: 'their directory is removed',
      lose: () => rmSync(join(base, 'dir'), { recursive: true }),
      says: 'a',
    },
    {
      how: 'their directory is moved',
      lose: () => renameSync(join(base, 'dir'), join(base, 'elsewhere')),
      says: 'a',
    },
    {
      how: 'another stands in its place',
      says: 'a',
      lose: () => {
        writeFileSync(file('new'), '');
        renameSync(file('new'), file('a'));
      },
    },
    {
      how: 'a file stands where the directory was',
      lose: () => {
        rmSync(join(base, 'dir'), { recursive: true });
        writeFileSync(join(base, 'dir'), '');
      },
      says: 'a',
    },
  ];
  for (const { how, lose, says } of ways) {
    it(`reports when ${how}`, async () => {
      lose();
      await clock.advance(2_000);
      assert.equal(await lost, file(says));
    });
  }

  it('ignores changes of contents', async () => {
    writeFileSync(file('a'), 'more');
    await clock.advance(2_000);
    // The check is finished when the next one is scheduled.
    while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
    rmSync(file('a'));
    await clock.advance(2_000);
    assert.equal(await lost, file('a'));
  });
});
