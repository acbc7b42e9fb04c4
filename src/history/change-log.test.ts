/** The change log: what is recorded is read back; a slow, full or damaged disk costs entries that are named, and never a write. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import type { Change } from './change.ts';
import { ChangeLog, type ChangeLogSettings, type LogHandle } from './change-log.ts';
import { findLogEnd, listLogFiles } from './log-files.ts';
import { readHistory, type History, type HistoryQuery } from './read-history.ts';
import { RecordingStore, resumeLog } from './recording-store.ts';

const BY = { user: { name: 'alice' }, manager: 'kubectl', subresource: '' };
const key = (name: string): string => `/registry/configmaps/default/${name}`;
const bytes = (text: string): Buffer => Buffer.from(`{"data":"${text}"}`);

function methodsOf(file: FileHandle): LogHandle {
  return {
    write: file.write.bind(file),
    datasync: file.datasync.bind(file),
    truncate: file.truncate.bind(file),
    close: file.close.bind(file),
  };
}

describe('the change log', () => {
  let dir = '';
  let files: FileHandle[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-history-'));
  });
  afterEach(async () => {
    for (const file of files) await file.close();
    files = [];
    rmSync(dir, { recursive: true, force: true });
  });
  const opened = async (path: string): Promise<FileHandle> => {
    const file = await open(path, 'wx');
    files.push(file);
    return file;
  };

  const logWith = (
    more: Partial<ChangeLogSettings> & { openFile?: (path: string) => Promise<LogHandle> } = {},
  ): ChangeLog => {
    const { openFile, ...settings } = more;
    return new ChangeLog(
      { dir, maxFileBytes: 1024 * 1024, maxFiles: 10, maxAgeMs: 86_400_000, ...settings },
      { clock: realClock, log: silentLogger, openFile: openFile ?? opened },
    );
  };
  const recording = (store: Store, changes: ChangeLog): RecordingStore =>
    new RecordingStore(store, { changes, nowMs: () => realClock.now() });
  const read = (query: Partial<HistoryQuery> = {}, store?: Store): Promise<History> =>
    readHistory(
      { dirs: [dir], store, reveal: async ({ value }) => value },
      { prefix: '/registry/configmaps/', values: true, ...query },
    );
  const brief = ({ changes }: History): string[] =>
    changes.map(
      ({ operation, key: at, user, revision }) => `${revision} ${operation} ${at.slice(-1)} ${user}`,
    );
  const change = (revision: number, size = 10): Change => ({
    key: key('a'),
    revision,
    createRevision: 1,
    previousRevision: revision - 1,
    operation: 'update',
    timeMs: realClock.now(),
    user: 'alice',
    value: Buffer.alloc(size, 'x'),
  });

  test('has every write with its user and the value as it is stored, and of a delete the last state', async () => {
    const changes = logWith();
    const store = recording(createMemoryStore(), changes);
    const { modRevision } = await store.put(key('a'), bytes('1'), { expected: 0, by: BY });
    await store.put(key('a'), bytes('2'), { expected: modRevision, by: { ...BY, impersonator: 'root' } });
    await store.put('/registry/masterleases/1.2.3.4', bytes('no object'));
    await store.delete(key('a'), { by: BY });
    await changes.close(store.revision);
    const history = await read();
    assert.deepEqual(brief(history), ['1 create a alice', '2 update a alice', '4 delete a alice']);
    assert.deepEqual(
      history.changes.map(({ value, previousRevision, impersonator }) => [
        value?.toString(),
        previousRevision,
        impersonator,
      ]),
      [
        ['{"data":"1"}', 0, undefined],
        ['{"data":"2"}', 1, 'root'],
        ['{"data":"2"}', 2, undefined],
      ],
    );
    assert.deepEqual(findLogEnd(dir)?.isClean, true);
  });

  test('is asked by time, by revision and by key; the state before comes with it', async () => {
    const changes = logWith();
    for (const [i, timeMs] of [10_000, 20_000, 30_000].entries())
      changes.record({ ...change(i + 1), timeMs });
    await changes.close(3);
    const history = await read({ sinceMs: 15_000, untilMs: 25_000 });
    assert.deepEqual(
      [brief(history), history.before.map(({ revision }) => revision)],
      [['2 update a alice'], [1]],
    );
    assert.deepEqual(brief(await read({ afterRevision: 1, untilRevision: 2 })), ['2 update a alice']);
    assert.deepEqual(brief(await read({ matches: (at) => at.endsWith('/b') })), []);
  });

  test('is rotated by size, and keeps so many files', async () => {
    const changes = logWith({ maxFileBytes: 300, maxFiles: 3 });
    for (let i = 1; i <= 8; i++) {
      changes.record({
        ...change(i),
        value: Buffer.from(Array.from({ length: 200 }, () => Math.random() * 256)),
      });
      await changes.flush();
    }
    await changes.close(8);
    assert.equal(listLogFiles(dir).length, 3);
    assert.deepEqual(brief(await read()).at(-1), '8 update a alice');
  });

  test('on a full disk loses changes, names the gap once there is room, and no write fails', async () => {
    let isFull = false;
    const openFile = async (path: string): Promise<LogHandle> => {
      const file = await opened(path);
      const { write, ...rest } = methodsOf(file);
      // Half a frame, as the kernel writes it.
      const full = async (bytes: Buffer, at: number, length: number, position: number): Promise<never> => {
        await file.write(bytes, at, Math.floor(length / 2), position);
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      };
      return {
        ...rest,
        write: ((...args: Parameters<typeof full>) => (isFull ? full(...args) : write(...args))) as never,
      };
    };
    const changes = logWith({ openFile });
    const store = recording(createMemoryStore(), changes);
    await store.put(key('a'), bytes('1'), { by: BY });
    await changes.flush();
    isFull = true;
    await store.put(key('b'), bytes('2'), { by: BY });
    await store.put(key('c'), bytes('3'), { by: BY });
    await changes.flush();
    isFull = false;
    await store.put(key('d'), bytes('4'), { by: BY });
    await changes.flush();
    assert.match(changes.metrics(), /dropped_changes_total 2\n/);
    await changes.close(store.revision);
    const history = await read();
    assert.deepEqual(brief(history), ['1 create a alice', '4 create d alice']);
    const [{ fromRevision, toRevision, count, reason } = assert.fail()] = history.gaps;
    assert.deepEqual([fromRevision, toRevision, count], [2, 3, 2]);
    assert.match(reason, /ENOSPC/);
  });

  test('on a slow disk drops what does not fit, without waiting', async () => {
    const gate = Promise.withResolvers<void>();
    const openFile = async (path: string): Promise<LogHandle> => {
      await gate.promise;
      return opened(path);
    };
    const changes = logWith({ openFile, maxFileBytes: 2 ** 30 });
    // 32 MiB wait at most.
    for (let i = 1; i <= 50; i++) changes.record(change(i, 1024 * 1024));
    gate.resolve();
    await changes.close(50);
    const { changes: kept, gaps } = await read();
    assert.ok(kept.length > 20 && kept.length < 35, `${kept.length} are kept`);
    assert.deepEqual([gaps[0]?.count, gaps[0]?.reason], [50 - kept.length, 'the disk was too slow']);
  });

  test('a file that is torn or damaged costs its own frames', async () => {
    const first = logWith();
    first.record(change(1));
    await first.close(1);
    const [{ path } = assert.fail()] = listLogFiles(dir);
    appendFileSync(path, readFileSync(path).subarray(0, 60));
    assert.deepEqual(brief(await read()), ['1 update a alice']);
    const damaged = readFileSync(path);
    damaged[50]! ^= 1;
    writeFileSync(path, damaged);
    const history = await read();
    assert.deepEqual(brief(history), []);
    assert.match(history.gaps[0]?.reason ?? '', /is damaged/);
  });

  describe('after a server that was killed', () => {
    test('takes what is missing from the store, and names what is compacted', async () => {
      const store = createMemoryStore({ autoCompact: false });
      const first = logWith();
      const writing = recording(store, first);
      await writing.put(key('a'), bytes('1'), { by: BY });
      await first.flush();
      // Never flushed: killed.
      await writing.put(key('b'), bytes('2'), { by: BY });
      const second = logWith();
      await resumeLog({ store, changes: second, log: silentLogger });
      await second.flush();
      assert.deepEqual(brief(await read()), ['1 create a alice', '2 create b undefined']);
      // Killed again, and the store forgets.
      await store.put(key('c'), bytes('3'));
      await store.put(key('d'), bytes('4'));
      await store.compact(3);
      const third = logWith();
      await resumeLog({ store, changes: third, log: silentLogger });
      await third.close(store.revision);
      const history = await read();
      assert.deepEqual(brief(history).at(-1), '4 create d undefined');
      assert.deepEqual(
        history.gaps.map(({ fromRevision, toRevision }) => [fromRevision, toRevision]),
        [[3, 3]],
      );
    });

    test('an older store than the log is a gap', async () => {
      const first = logWith();
      first.record(change(70));
      await first.flush();
      const second = logWith();
      await resumeLog({ store: createMemoryStore(), changes: second, log: silentLogger });
      await second.flush();
      const { gaps } = await read();
      assert.match(gaps[0]?.reason ?? '', /older one than the log/);
    });
  });

  test('what the log has not is read from the store, whose users nobody knows', async () => {
    const store = createMemoryStore();
    await store.put(key('a'), bytes('1'));
    const changes = logWith();
    const writing = recording(store, changes);
    await changes.begin(store.revision);
    await writing.put(key('b'), bytes('2'), { by: BY });
    await changes.flush();
    const history = await read({}, store);
    assert.deepEqual(brief(history), ['1 create a undefined', '2 create b alice']);
    assert.ok(history.changes.every(({ timeMs }) => timeMs !== undefined));
    assert.equal(history.from?.revision, 1);
    await changes.close(store.revision);
  });
});
