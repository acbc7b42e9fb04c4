/**
 * The figures of backups: node bench/backup.ts [--objects 100000] [--bytes 3000] [--dir DIR]. Backup, verify, drill and restore of a cluster with many objects that is off, each in a process
 * of its own; restore of an empty and of that cluster until kubectl is answered; then an API server runs on it, and makes a scheduled backup with its drill while clients read and
 * write: their p99 before and meanwhile. Prints JSON lines. Memory is anonymous memory at its peak: what the page cache holds of a mapped store may be dropped at any time.
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
import { NODE_FLAGS } from '#deploy/daemon.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import { freePort } from './shared.ts';

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
const backups = join(dataDir, 'backups');
const PROGRAM = join(import.meta.dirname, '../capstan');

/** A cluster as `up` makes it, which has been stopped. */
async function makeCluster(): Promise<void> {
  const port = String(await freePort());
  await capstan([
    'up',
    '--detach',
    '--no-install',
    '--runtime',
    'simulated',
    '--nodes',
    '0',
    '--https-port',
    port,
  ]);
  await capstan(['down']);
}

async function fill(): Promise<void> {
  const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
  const put = (key: string, object: object): Promise<unknown> =>
    store.put(key, Buffer.from(JSON.stringify(object)));
  const uid = '11111111-2222-4333-8444-555555555555';
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

/** In this process, which is made for it. */
async function drill(): Promise<void> {
  const [{ runDrill }, { DirectoryTarget }, { identitiesFor }] = await Promise.all([
    import('#cmd/backup/drill.ts'),
    import('#backup/targets/directory.ts'),
    import('#cmd/backup/keys.ts'),
  ]);
  const target = new DirectoryTarget(backups);
  const result = await runDrill({
    target,
    name: newest(),
    identities: identitiesFor({}, join(dataDir, 'pki')),
  });
  if (!result.passed) throw new Error(result.problem);
}

function newest(): string {
  return readdirSync(backups).findLast((file) => file.endsWith('.age'))!;
}

const SAMPLE_MS = 20;
const IDLE_MS = 15_000;
/** Requests a second, of which one in ten writes. */
const RATE = 200;

/** Of processes that may have ended. Not from smaps, whose every reading walks all pages of the store. */
function anonymousMiB(pids: readonly number[]): number {
  let kiB = 0;
  for (const pid of pids)
    try {
      kiB += Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
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

/** Runs a command of the cluster; resolves to its peak memory in MiB. */
async function capstan(words: readonly string[], directory = dataDir): Promise<number> {
  return peakOf(
    spawn(PROGRAM, [...words, '--data-dir', directory], { stdio: ['ignore', 'ignore', 'inherit'] }),
  );
}

async function peakOf(child: ChildProcess): Promise<number> {
  const ended = once(child, 'close') as Promise<[number]>;
  const peakMiB = await peakDuring(() => anonymousMiB([child.pid!]), ended);
  const [code] = await ended;
  if (code !== 0) throw new Error(`${child.spawnargs.join(' ')} ended with ${code}`);
  return peakMiB;
}

async function measure(step: string, run: () => Promise<number>): Promise<void> {
  const startedMs = performance.now();
  const peakMiB = await run();
  print({ step, seconds: Math.round((performance.now() - startedMs) / 100) / 10, peakMiB });
}

/** Into a new directory, until kubectl has its answer. */
async function restore(name: string): Promise<number> {
  const restored = join(dir, name);
  const key = join(dataDir, 'pki/backup-identity.txt');
  const words = ['backup', 'restore', 'latest', '--location', backups, '--identity-file', key, '--start'];
  const peakMiB = await capstan(words, restored);
  const tools = foreignTools(35);
  if ('missing' in tools) throw new Error(tools.missing);
  const config = join(restored, 'admin.kubeconfig');
  await peakOf(
    spawn(tools.kubectl, ['--kubeconfig', config, 'get', 'namespace', 'kube-system'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    }),
  );
  return peakMiB;
}

async function measureOff(): Promise<void> {
  await makeCluster();
  await capstan(['backup', 'create', '--no-drill']);
  await measure('restore of an empty cluster, to kubectl get', () => restore('small'));
  await capstan(['down'], join(dir, 'small'));
  await fill();
  await measure('create', () => capstan(['backup', 'create', '--no-drill']));
  await measure('verify', () => capstan(['backup', 'verify', newest()]));
  const step = [...NODE_FLAGS, import.meta.filename, '--dir', dir, '--step', 'drill'];
  await measure('drill', () =>
    peakOf(spawn(process.execPath, step, { stdio: ['ignore', 'ignore', 'inherit'] })),
  );
  await measure('restore, to kubectl get', () => restore('restored'));
  await capstan(['down'], join(dir, 'restored'));
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
    execArgv: [...NODE_FLAGS],
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

if (values.step === 'drill') await drill();
else {
  await measureOff();
  await measureServed();
  const MiB = (path: string): number => Math.round(statSync(path).size / 1024 ** 2);
  print({
    objects: Number(values.objects),
    storeMiB: MiB(join(dataDir, 'store/store.mdb')),
    backupMiB: MiB(join(backups, newest())),
  });
  if (values.dir === undefined) rmSync(dir, { recursive: true, force: true });
}
