import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { silentLogger } from '#stdx/log.ts';
import { realClock } from '#stdx/clock.ts';
import { LogRotation } from '../log-rotation.ts';
import { writeLogs, type LogOptions } from './container-logs.ts';
import { LineSplitter, logFiles, parseRecord, tailOfLog } from './log-file.ts';

const ALL: LogOptions = {
  follow: false,
  timestamps: false,
  tailLines: undefined,
  sinceMs: undefined,
  limitBytes: undefined,
  stream: undefined,
};
let dir: string;
let path: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capstan-logs-'));
});
after(() => rm(dir, { recursive: true, force: true }));
let count = 0;
beforeEach(() => {
  path = join(dir, `${(count += 1)}.log`);
});

function record(second: number, text: string, { stream = 'stdout', tag = 'F' } = {}): string {
  return `2026-01-01T00:00:${String(second).padStart(2, '0')}.123456789Z ${stream} ${tag} ${text}\n`;
}

async function read(options: Partial<LogOptions> = {}): Promise<string> {
  const parts: Buffer[] = [];
  await writeLogs(
    { path, isRunning: () => Promise.resolve(false) },
    {
      signal: new AbortController().signal,
      write: (chunk) => {
        parts.push(chunk);
        return Promise.resolve();
      },
    },
    { ...ALL, ...options },
  );
  return Buffer.concat(parts).toString();
}

test('records: streams, tags, empty text, and what is none', () => {
  assert.deepEqual(parseRecord(Buffer.from('t stderr P:x a b ')), {
    time: 't',
    stream: 'stderr',
    partial: true,
    text: Buffer.from('a b '),
  });
  assert.deepEqual(parseRecord(Buffer.from('t stdout F ')), {
    time: 't',
    stream: 'stdout',
    partial: false,
    text: Buffer.from(''),
  });
  for (const bad of ['', 'x', 't other F x', ' stdout F x'])
    assert.equal(parseRecord(Buffer.from(bad)), undefined);
});

test('lines come whole, however the bytes come', () => {
  const splitter = new LineSplitter();
  const lines = [...Buffer.from('ab\n\ncd\ne')].flatMap((byte) => splitter.push(Buffer.from([byte])));
  assert.deepEqual(lines.map(String), ['ab', '', 'cd']);
});

test('partial records are one line, with one time stamp', async () => {
  await writeFile(path, record(1, 'one ', { tag: 'P' }) + record(1, 'line') + record(2, 'two'));
  assert.equal(await read(), 'one line\ntwo\n');
  assert.equal(
    await read({ timestamps: true }),
    '2026-01-01T00:00:01.123456789Z one line\n2026-01-01T00:00:02.123456789Z two\n',
  );
});

test('a tail is what was there when it was asked for', async () => {
  const line = record(1, 'x'.repeat(1000));
  await writeFile(path, line.repeat(200));
  let printed = 0;
  // Written while it is read: the chunks before the last one are handed over early.
  const write = async (chunk: Buffer): Promise<void> => {
    printed += chunk.toString().split('\n').length - 1;
    await appendFile(path, line);
  };
  await writeLogs(
    { path, isRunning: () => Promise.resolve(false) },
    { signal: new AbortController().signal, write },
    { ...ALL, tailLines: 150 },
  );
  assert.equal(printed, 150);
});

test('tail, since, limit, one stream', async () => {
  await writeFile(
    path,
    [1, 2, 3, 4]
      .map((second) => record(second, `line ${second}`, { stream: second === 3 ? 'stderr' : 'stdout' }))
      .join(''),
  );
  assert.equal(await read({ tailLines: 2 }), 'line 3\nline 4\n');
  assert.equal(await read({ tailLines: 0 }), '');
  assert.equal(await read({ tailLines: 99 }), 'line 1\nline 2\nline 3\nline 4\n');
  assert.equal(await read({ sinceMs: Date.parse('2026-01-01T00:00:03Z') }), 'line 3\nline 4\n');
  assert.equal(await read({ limitBytes: 9 }), 'line 1\nli');
  assert.equal(await read({ stream: 'stderr' }), 'line 3\n');
  assert.equal(await tailOfLog(path, { lines: 2, bytes: 2048 }), 'line 3\nline 4\n');
  assert.equal(await tailOfLog(path, { lines: 9, bytes: 10 }), ' 3\nline 4\n');
});

test('long logs are read in pieces', async () => {
  const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index} ${'x'.repeat(20)}`);
  await writeFile(path, lines.map((line) => record(1, line)).join(''));
  assert.equal(await read(), `${lines.join('\n')}\n`);
  assert.equal(await read({ tailLines: 5_000 }), `${lines.slice(-5_000).join('\n')}\n`);
});

test('rotated files come first', async () => {
  await writeFile(`${path}.20260101-000000`, record(1, 'a') + record(1, 'b'));
  await writeFile(`${path}.20260101-000100`, record(2, 'c'));
  await writeFile(path, record(3, 'd'));
  assert.equal(await read(), 'a\nb\nc\nd\n');
  assert.equal(await read({ tailLines: 3 }), 'b\nc\nd\n');
});

test('following: what is added, over a rotation, until the container ends', async () => {
  await writeFile(path, record(1, 'a'));
  let running = true;
  let text = '';
  const seen = new Map<string, () => void>();
  const until = (part: string): Promise<void> =>
    new Promise((resolve) => {
      if (text.includes(part)) resolve();
      else seen.set(part, resolve);
    });
  const done = writeLogs(
    { path, isRunning: () => Promise.resolve(running) },
    {
      signal: new AbortController().signal,
      write(chunk) {
        text += chunk.toString();
        for (const [part, resolve] of seen) if (text.includes(part)) resolve();
        return Promise.resolve();
      },
    },
    { ...ALL, follow: true },
  );
  await until('a\n');
  await appendFile(path, record(2, 'b'));
  await until('b\n');
  await appendFile(path, record(3, 'c'));
  await rename(path, `${path}.20260101-000000`);
  await writeFile(path, record(4, 'd'));
  await until('d\n');
  await appendFile(path, record(5, 'e'));
  running = false;
  await done;
  assert.equal(text, 'a\nb\nc\nd\ne\n');
});

test('nothing is left out when files are rotated faster than they are read, whether following or not', async () => {
  for (const follow of [true, false]) {
    const own = `${path}-${follow}`;
    await writeFile(own, record(0, 'line 0'));
    let round = 0;
    let running = true;
    const texts: string[] = [];
    // Each time something is handed over, the log is rotated three times: the reader always has an old file.
    const write = async (chunk: Buffer): Promise<void> => {
      texts.push(chunk.toString());
      for (let step = 0; step < 3 && round < 12; step += 1) {
        await rename(own, `${own}.20260101-0000${String(round).padStart(2, '0')}`);
        round += 1;
        await writeFile(own, record(round, `line ${round} ${'x'.repeat(70_000)}`));
      }
      running = round < 12;
    };
    await writeLogs(
      { path: own, isRunning: () => Promise.resolve(running) },
      { signal: new AbortController().signal, write },
      { ...ALL, follow },
    );
    const seen = texts
      .join('')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => Number(line.split(' ')[1]));
    assert.deepEqual(
      seen,
      Array.from({ length: follow ? 13 : 1 }, (_, index) => index),
    );
  }
});

test('following ends when the reader goes', async () => {
  await writeFile(path, record(1, 'a'));
  const stop = new AbortController();
  const done = writeLogs(
    { path, isRunning: () => Promise.resolve(true) },
    {
      signal: stop.signal,
      write: () => {
        stop.abort();
        return Promise.resolve();
      },
    },
    { ...ALL, follow: true },
  );
  await done;
});

test('rotation keeps five files', async () => {
  let clockMs = Date.parse('2026-01-01T00:00:00Z');
  const rotation = new LogRotation({
    cri: {
      listContainers: () => Promise.resolve({ containers: [{ id: 'x' } as never] }),
      containerStatus: () => Promise.resolve({ status: { logPath: path } as never, info: {} }),
      reopenContainerLog: async () => {
        await writeFile(path, '');
        return {};
      },
    },
    clock: { ...realClock, now: () => clockMs },
    log: silentLogger,
    maximumBytes: 10,
  });
  for (let round = 0; round < 8; round += 1) {
    await appendFile(path, record(round, `round ${round}`));
    await rotation.rotate();
    clockMs += 1_000;
  }
  assert.deepEqual(
    (await logFiles(path)).map((file) => file.slice(path.length)),
    ['.20260101-000004', '.20260101-000005', '.20260101-000006', '.20260101-000007', ''],
  );
  await rotation.rotate();
  assert.equal((await logFiles(path)).length, 5);
});
