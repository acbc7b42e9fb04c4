/**
 * Speed of the stores on this machine, beside what bare lmdb-js does on the same disk in the same run (the ceiling).
 * `node bench/storage.ts [--dir DIR] [--seconds N]`: DIR must be on the disk in question, not a tmpfs.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { open } from 'lmdb';
import { openLmdbStore } from '#storage/drivers/lmdb.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';

const VALUE = Buffer.alloc(1000, 'x');
const LIST_VALUE = Buffer.alloc(600, 'y');
const WRITERS = [1, 16, 256];
const KEYS = 10_000;

const { values: args } = parseArgs({
  options: { dir: { type: 'string', default: '.' }, seconds: { type: 'string', default: '3' } },
});
const runMs = Number(args.seconds) * 1000;

interface Row {
  what: string;
  'per second': number;
  'JS thread': string;
}
const rows: Row[] = [];

/** Runs `work` in `workers` loops for the time given; the share of the JS thread is that of this thread's CPU time. */
async function measure(
  what: string,
  { workers, work }: { workers: number; work: (n: number) => Promise<unknown> },
): Promise<void> {
  const start = performance.now();
  const cpu = process.threadCpuUsage();
  let count = 0;
  await Promise.all(
    Array.from({ length: workers }, async () => {
      while (performance.now() - start < runMs) await work(count++);
    }),
  );
  const elapsedMs = performance.now() - start;
  const used = process.threadCpuUsage(cpu);
  rows.push({
    what,
    'per second': Math.round((count / elapsedMs) * 1000),
    'JS thread': `${Math.round((used.user + used.system) / 10 / elapsedMs)} %`,
  });
}

const keyOf = (n: number): string => `/registry/configmaps/default/name-${String(n % KEYS).padStart(6, '0')}`;

async function bareLmdb(dir: string): Promise<void> {
  const root = open({
    path: join(dir, 'bare.mdb'),
    noSubdir: true,
    overlappingSync: false,
    encoding: 'binary',
    mapSize: 2 ** 28,
  });
  for (const workers of WRITERS)
    await measure(`bare lmdb put, ${workers} writers`, { workers, work: (n) => root.put(keyOf(n), VALUE) });
  await root.close();
}

async function store(name: string, subject: Store): Promise<void> {
  for (const workers of WRITERS)
    await measure(`${name} put, ${workers} writers`, { workers, work: (n) => subject.put(keyOf(n), VALUE) });
  const stop = subject.watch({ prefix: '/registry/', afterRevision: subject.revision, onEvents: () => {} });
  await measure(`${name} put, 16 writers, watched`, {
    workers: 16,
    work: (n) => subject.put(keyOf(n), VALUE),
  });
  stop.stop();
  await measure(`${name} get`, { workers: 1, work: (n) => subject.get(keyOf(n * 7919)) });
  for (let n = 0; n < 500; n++) await subject.put(`/list/${n}`, LIST_VALUE);
  await measure(`${name} list of 500 × 600 B`, {
    workers: 1,
    work: async () => {
      await subject.list('/list/');
      await new Promise((resolve) => setImmediate(resolve));
    },
  });
}

const dir = mkdtempSync(join(args.dir, 'bench-storage-'));
try {
  await bareLmdb(dir);
  const started = performance.now();
  const lmdb = await openLmdbStore({ dir: join(dir, 'store') });
  const openMs = performance.now() - started;
  await store('lmdb', lmdb);
  const { revision } = lmdb;
  await lmdb.close();
  const sizeBytes = statSync(join(dir, 'store', 'store.mdb')).size;
  const restarted = performance.now();
  await (await openLmdbStore({ dir: join(dir, 'store') })).close();
  const reopenMs = performance.now() - restarted;
  await store('memory', createMemoryStore());
  console.table(rows);
  console.log(
    `file after ${revision} revisions: ${(sizeBytes / 2 ** 20).toFixed(1)} MiB; open new ${openMs.toFixed(1)} ms, checked and opened again in ${reopenMs.toFixed(1)} ms`,
  );
} finally {
  rmSync(dir, { recursive: true, force: true });
}
