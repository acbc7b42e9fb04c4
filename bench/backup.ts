/**
 * How long backup, verify, drill and restore of many objects take, and how much memory: node bench/backup.ts [--objects 100000] [--bytes 3000] [--dir DIR].
 * Each step runs in a process of its own; the store of the source is the embedded one, off. Then an API server runs on it, and makes a scheduled backup with its drill while
 * clients read and write: their p99 before and meanwhile. Prints JSON lines. Memory is anonymous memory (smaps), at its peak: what the page cache holds of a mapped store may be
 * dropped at any time.
 */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { configMaps } from '#api/refs.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { freePort } from './shared.ts';
import { makeDataDir } from '../src/cmd/backup/testing/data-dir.ts';

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '100000' },
    bytes: { type: 'string', default: '3000' },
    dir: { type: 'string' },
    step: { type: 'string' },
  },
});
const dir = values.dir ?? mkdtempSync(join(tmpdir(), 'capstan-bench-backup-'));
const dataDir = join(dir, 'cluster');
const STEPS = ['create', 'verify', 'drill', 'restore'] as const;
const quiet = (): void => {};

async function fill(): Promise<void> {
  makeDataDir(dataDir);
  const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
  const put = (key: string, object: object): Promise<unknown> =>
    store.put(key, Buffer.from(JSON.stringify(object)));
  const uid = '11111111-2222-4333-8444-555555555555';
  await put('/registry/namespaces/kube-system', {
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: { name: 'kube-system', uid },
  });
  for (let at = 0; at < Number(values.objects); at += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => {
        const name = `m${at + i}`;
        return put(`/registry/configmaps/default/${name}`, {
          kind: 'ConfigMap',
          apiVersion: 'v1',
          metadata: { name, namespace: 'default', uid: `${uid}${at + i}` },
          data: { text: wordsOf(at + i, Number(values.bytes)) },
        });
      }),
    );
  await store.close();
}

/** Compresses as manifests do, some 4:1. */
function wordsOf(seed: number, bytes: number): string {
  let text = '';
  for (let state = seed + 1; text.length < bytes;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += `field-${(state >>> 20).toString(36)}: value `;
  }
  return text.slice(0, bytes);
}

async function run(step: (typeof STEPS)[number]): Promise<void> {
  if (step === 'create') {
    const { createBackup } = await import('#cmd/backup/create.ts');
    await createBackup({ dataDir, drill: false }, quiet);
  } else if (step === 'verify') {
    const { verifyBackup } = await import('#cmd/backup/inspect.ts');
    await verifyBackup({ dataDir, name: 'latest' }, quiet);
  } else if (step === 'drill') {
    const [{ runDrill }, { DirectoryTarget }, { identitiesFor }] = await Promise.all([
      import('#cmd/backup/drill.ts'),
      import('#backup/targets/directory.ts'),
      import('#cmd/backup/keys.ts'),
    ]);
    const name = readdirSync(join(dataDir, 'backups')).find((file) => file.endsWith('.age'))!;
    const target = new DirectoryTarget(join(dataDir, 'backups'));
    const result = await runDrill({ target, name, identities: identitiesFor({}, join(dataDir, 'pki')) });
    if (!result.passed) throw new Error(result.problem);
  } else {
    const { restoreCluster } = await import('#cmd/backup/restore-cluster.ts');
    const flags = {
      dataDir: join(dir, 'restored'),
      name: 'latest',
      location: join(dataDir, 'backups'),
      identityFile: join(dataDir, 'pki/backup-identity.txt'),
    };
    await restoreCluster(flags, { say: quiet });
  }
}

const SAMPLE_MS = 20;
const IDLE_MS = 15_000;
/** Requests a second, of which one in ten writes. */
const RATE = 200;

/** Of processes that may have ended. */
function anonymousMiB(pids: readonly number[]): number {
  let kiB = 0;
  for (const pid of pids)
    try {
      kiB += Number(/^Anonymous: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended.
    }
  return Math.round(kiB / 1024);
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  } catch {
    return [];
  }
}

/** The peak of what `read` says until `run` has ended. */
async function peakDuring(read: () => number, run: Promise<unknown>): Promise<number> {
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, read())), SAMPLE_MS);
  await run;
  clearInterval(timer);
  return peak;
}

async function measureStep(step: string): Promise<void> {
  const child = spawn(process.execPath, [import.meta.filename, '--dir', dir, '--step', step], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const peakMiB = await peakDuring(() => anonymousMiB([child.pid!]), once(child, 'close'));
  print({ ...(JSON.parse(text) as object), peakMiB });
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** At an even rate, whatever the answers take, so that a standstill is seen by all that it delays. Resolves to latencies, sorted. */
async function load(client: Client, isOver: () => boolean): Promise<number[]> {
  const latencies: number[] = [];
  const flying: Promise<void>[] = [];
  const startedMs = performance.now();
  for (let at = 0; !isOver(); at++) {
    const dueMs = startedMs + (at * 1000) / RATE;
    const leftMs = dueMs - performance.now();
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
    flying.push(request(client, at).then(() => void latencies.push(performance.now() - dueMs)));
  }
  await Promise.all(flying);
  return latencies.toSorted((a, b) => a - b);
}

async function request(client: Client, at: number): Promise<void> {
  const name = `m${(at * 7919) % Number(values.objects)}`;
  if (at % 10 > 0) await client.get(configMaps, { name, namespace: 'default' });
  else
    await client.patch(
      configMaps,
      { name, namespace: 'default' },
      { type: 'merge', patch: { data: { at: `${at}` } } },
    );
}

function p99(sorted: readonly number[]): number {
  return Math.round((sorted[Math.floor(sorted.length * 0.99)] ?? 0) * 10) / 10;
}

async function measureServed(): Promise<void> {
  const port = await freePort();
  const server: ChildProcess = fork(join(import.meta.dirname, 'backup-server.ts'), {
    env: { ...process.env, BENCH_DIR: dir, BENCH_PORT: String(port) },
  });
  const [ready] = (await once(server, 'message')) as [{ cert: string; key: string; ca: string }];
  const client = createClient(
    createHttpsTransport({
      server: `https://127.0.0.1:${port}`,
      cert: ready.cert,
      key: ready.key,
      ca: ready.ca,
    }),
    { userAgent: 'bench' },
  );
  const warmMs = performance.now();
  await load(client, () => performance.now() - warmMs > IDLE_MS / 3);
  const idleMs = performance.now();
  const idle = load(client, () => performance.now() - idleMs > IDLE_MS);
  const idleMiB = await peakDuring(() => anonymousMiB([server.pid!]), idle);
  let isMade = false;
  server.send('backup');
  const made = once(server, 'message').then(([message]) => {
    isMade = true;
    return message as { seconds: number };
  });
  const during = load(client, () => isMade);
  const pids = (): number[] => [server.pid!, ...childrenOf(server.pid!)];
  const peakMiB = await peakDuring(() => anonymousMiB(pids()), made);
  print({
    step: 'scheduled, with its drill',
    seconds: Math.round((await made).seconds * 10) / 10,
    beyondServerMiB: peakMiB - idleMiB,
    idleP99Ms: p99(await idle),
    p99Ms: p99(await during),
  });
  await client.close();
  server.disconnect();
}

if (values.step !== undefined) {
  const startedMs = performance.now();
  await run(values.step as (typeof STEPS)[number]);
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  print({ step: values.step, seconds });
} else {
  await fill();
  for (const step of STEPS) await measureStep(step);
  await measureServed();
  const backups = join(dataDir, 'backups');
  const [name = ''] = readdirSync(backups).filter((file) => file.endsWith('.age'));
  const MiB = (path: string): number => Math.round(statSync(path).size / 1024 ** 2);
  print({
    objects: Number(values.objects),
    storeMiB: MiB(join(dataDir, 'store/store.mdb')),
    backupMiB: MiB(join(backups, name)),
  });
  if (values.dir === undefined) rmSync(dir, { recursive: true, force: true });
}
