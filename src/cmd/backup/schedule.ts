/**
 * Scheduled backups of an API server. Each server wakes at its own moment; a Lease lets one at a time look for the newest backup, and make one where it is due.
 *
 *   asleep ─► lease held ─► newest is young ─► asleep (an interval, less its age)
 *                └─► worker process: backup, drill ─► old ones pruned ─► conditions ─► asleep          failed: asleep a minute, two, four, … up to the interval
 */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { shortCluster } from '#backup/format.ts';
import { DEFAULT_RETENTION } from '#backup/retention.ts';
import { encodeSnapshot, errorFrame, frame, takeSnapshot } from '#backup/snapshot.ts';
import { listBackups, pruneBackups, type BackupNote } from '#backup/stored-backups.ts';
import type { BackupTarget } from '#backup/targets/target.ts';
import { namespaces } from '#api/refs.ts';
import type { Client } from '#client/client.ts';
import { MEMORY_ENV, NODE_FLAGS } from '#deploy/daemon.ts';
import type { KubeObject } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { realRandom } from '#stdx/random.ts';
import type { Store } from '#storage/store.ts';
import type { FileRoot } from './files.ts';
import { backupElector } from './one-at-a-time.ts';
import { BackupStatus, type Condition } from './status.ts';
import { openTarget, type TargetFlags } from './target.ts';
import { ageText } from './words.ts';
import type { WorkerMessage, WorkerTask } from './worker.ts';

export interface BackupSchedule {
  readonly intervalMs: number;
  readonly target: TargetFlags & { readonly location: string };
  readonly roots: readonly FileRoot[];
  readonly recipientsFile: string | undefined;
  readonly pkiDir: string | undefined;
}

export interface ScheduleContext {
  /** As the API server sees it. */
  readonly store: Store;
  /** May do everything. */
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** Before the first look, for tests. */
  readonly firstMs?: number | undefined;
  /** The program of the worker process, for tests. */
  readonly worker?: string | undefined;
}

export interface Backups {
  metrics(): string;
  /** Ends a backup that is being made; nothing is left of it. */
  stop(): Promise<void>;
}

/** A server that has just started has better things to do. */
const FIRST_MS = 60_000;
/** Of the interval: servers wake within it one after another. */
const SPREAD = 0.1;
const RETRY_MS = 60_000;
/** In intervals: a backup is late when the newest is older. */
const LATE = 2;
/** A backup and its drill may take so long. */
const WORKER_MS = 60 * 60_000;
const TRIES = 3;
const WORKER = join(import.meta.dirname, 'worker-main.ts');
/** A heap that no backup needs, however large: what is beyond it is a fault, which ends this process instead of the machine's memory. */
const WORKER_FLAGS = [...NODE_FLAGS, '--max-old-space-size=192'];

export function startBackups(schedule: BackupSchedule, context: ScheduleContext): Backups {
  return new Scheduler(schedule, context);
}

class Scheduler implements Backups {
  readonly #schedule: BackupSchedule;
  readonly #context: ScheduleContext;
  readonly #status: BackupStatus;
  readonly #stopping = new AbortController();
  readonly #running: Promise<unknown>;
  /** When (monotonic) the newest backup was made, as far as is known; at first the start. */
  #newestAtMs: number;
  #newestName: string | undefined;
  #kubeSystem: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } };
  #failures = 0;

  constructor(schedule: BackupSchedule, context: ScheduleContext) {
    this.#schedule = schedule;
    this.#context = context;
    this.#newestAtMs = context.clock.monotonic();
    this.#status = new BackupStatus(context.api, { ...context, kubeSystem: () => this.#kubeSystem });
    this.#running = Promise.all([this.#run(), this.#watchLateness()]);
  }

  metrics(): string {
    return this.#status.metrics();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the API server is stopping'));
    await this.#running;
    await this.#status.stop();
  }

  async #run(): Promise<void> {
    const { clock, firstMs } = this.#context;
    const { signal } = this.#stopping;
    const elector = backupElector(this.#context);
    let waitMs = firstMs ?? FIRST_MS + SPREAD * this.#schedule.intervalMs * realRandom();
    while (!signal.aborted) {
      await clock.sleep(waitMs, signal).catch(() => {});
      await elector.run(signal, async (leading) => {
        waitMs = await this.#turn(leading);
      });
    }
  }

  /** Resolves to how long to sleep. */
  async #turn(signal: AbortSignal): Promise<number> {
    const { intervalMs } = this.#schedule;
    try {
      const waitMs = await this.#backUpIfDue(signal);
      this.#failures = 0;
      return waitMs + SPREAD * intervalMs * realRandom();
    } catch (error) {
      if (signal.aborted) return RETRY_MS;
      await this.#reportFailure(error);
      return backoffMs(this.#failures++, { initialMs: RETRY_MS, maximumMs: intervalMs });
    }
  }

  async #backUpIfDue(signal: AbortSignal): Promise<number> {
    const { intervalMs, target: flags } = this.#schedule;
    const { api, log } = this.#context;
    const kubeSystem = await api.get(namespaces, { name: 'kube-system' });
    this.#kubeSystem = { ...kubeSystem, apiVersion: 'v1', kind: 'Namespace' };
    const target = await openTarget(flags, flags.location);
    const cluster = shortCluster(kubeSystem.metadata.uid);
    const ageMs = await this.#look(target, cluster);
    if (ageMs < intervalMs * (1 - SPREAD)) return intervalMs - ageMs;
    const { name, note } = await this.#make(kubeSystem.metadata.uid, signal);
    this.#see(name, 0);
    log.info('backup made', {
      name,
      location: target.location,
      objects: note.objects,
      bytes: note.bytes,
      drill: note.drill?.passed,
    });
    this.#status.saw(note);
    await this.#status.report(succeeded(name, note), { name, time: note.time });
    await this.#prune(target, cluster);
    return intervalMs;
  }

  /** The age of the newest backup whose drill was held, whoever made it; Infinity where there is none. One that a kill left without is made again. */
  async #look(target: BackupTarget, cluster: string): Promise<number> {
    const newest = (await listBackups(target, cluster)).find(({ note }) => note?.drill);
    this.#status.saw(newest?.note);
    if (!newest) return Infinity;
    const { clock } = this.#context;
    const ageMs = clock.now() - newest.timeMs;
    const isKnown = newest.name === this.#newestName;
    // A clock that was set back makes it one of the future, which is as old as this server has known it. Clocks of servers differ a little.
    if (isKnown) return Math.max(ageMs, clock.monotonic() - this.#newestAtMs);
    if (ageMs < -this.#schedule.intervalMs) return Infinity;
    this.#see(newest.name, Math.max(ageMs, 0));
    return Math.max(ageMs, 0);
  }

  #see(name: string, ageMs: number): void {
    this.#newestName = name;
    this.#newestAtMs = this.#context.clock.monotonic() - ageMs;
  }

  /** Also where no try fails, because one does not end or another server has the lease and does nothing. By monotonic time. */
  async #watchLateness(): Promise<void> {
    const { clock, log } = this.#context;
    const { signal } = this.#stopping;
    for (;;) {
      await clock.sleep(this.#schedule.intervalMs, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        if (this.#isLate && !(await this.#isMadeElsewhere()))
          await this.#status.report([late(`the newest is ${ageText(this.#sinceMs)} old`)], undefined);
      } catch (error) {
        log.warn('lateness of backups could not be reported', { error: errorMessage(error) });
      }
    }
  }

  async #isMadeElsewhere(): Promise<boolean> {
    const { target: flags } = this.#schedule;
    const uid = this.#kubeSystem.metadata?.uid;
    if (uid !== undefined) await this.#look(await openTarget(flags, flags.location), shortCluster(uid));
    return !this.#isLate;
  }

  get #sinceMs(): number {
    return this.#context.clock.monotonic() - this.#newestAtMs;
  }

  get #isLate(): boolean {
    return this.#sinceMs > LATE * this.#schedule.intervalMs;
  }

  async #prune(target: BackupTarget, cluster: string): Promise<void> {
    const { log } = this.#context;
    const { removed, problems } = await pruneBackups(target, {
      cluster,
      policy: DEFAULT_RETENTION,
    });
    if (removed.length > 0) log.info('old backups removed', { count: removed.length });
    if (problems.length > 0) log.warn('old backups could not be removed', { problem: problems[0] });
  }

  async #make(
    cluster: string,
    signal: AbortSignal,
  ): Promise<{ readonly name: string; readonly note: BackupNote }> {
    const { recipientsFile, pkiDir, target, roots } = this.#schedule;
    const { recipientsFor } = await import('./keys.ts');
    const recipients = await recipientsFor({ recipientsFile }, pkiDir);
    for (let attempt = 1; ; attempt++) {
      const ended = this.#status.begin();
      const task = { target, roots, recipients, cluster };
      const result = await runWorker(task, { ...this.#context, signal }).finally(ended);
      if (result.type === 'drilled') return result;
      const { code, message } =
        result.type === 'failed' ? result : { code: undefined, message: 'the drill did not end' };
      if (code !== 'compacted' || attempt === TRIES) throw new Error(message);
    }
  }

  async #reportFailure(error: unknown): Promise<void> {
    const { log } = this.#context;
    const message = errorMessage(error);
    this.#status.failed();
    log.error('error making a backup', { error: message });
    const conditions: Condition[] = [
      { type: 'BackupSucceeded', status: 'False', reason: 'BackupFailed', message },
    ];
    if (this.#isLate) conditions.push(late(`${this.#failures + 1} tries failed: ${message}`));
    await this.#status
      .report(conditions, undefined)
      .catch((problem: unknown) =>
        log.warn('the status of backups could not be written', { error: errorMessage(problem) }),
      );
  }
}

function late(why: string): Condition {
  return {
    type: 'BackupOnTime',
    status: 'False',
    reason: 'BackupLate',
    message: `no backup was made at its time: ${why}`,
  };
}

function succeeded(name: string, { drill }: BackupNote): readonly Condition[] {
  return [
    { type: 'BackupSucceeded', status: 'True', reason: 'BackupMade', message: name },
    { type: 'BackupOnTime', status: 'True', reason: 'BackupMade', message: name },
    drill?.passed
      ? { type: 'BackupProven', status: 'True', reason: 'DrillPassed', message: name }
      : {
          type: 'BackupProven',
          status: 'False',
          reason: 'BackupDrillFailed',
          message: `${name}: ${drill?.problem ?? 'no drill'}`,
        },
  ];
}

/** Rejects where the process ends without a word, or takes too long. */
function runWorker(
  task: WorkerTask,
  {
    store,
    signal,
    worker = WORKER,
  }: Pick<ScheduleContext, 'store' | 'worker'> & { readonly signal: AbortSignal },
): Promise<WorkerMessage> {
  const child = fork(worker, {
    execArgv: WORKER_FLAGS,
    env: { ...process.env, ...MEMORY_ENV },
    stdio: ['pipe', 'ignore', 'inherit', 'ipc'],
    signal,
    killSignal: 'SIGKILL',
    timeout: WORKER_MS,
  });
  return new Promise((resolve, reject) => {
    let last: WorkerMessage | undefined;
    child.on('message', (message) => (last = message as WorkerMessage));
    child.on('error', reject);
    child.on('exit', (code, killedBy) =>
      last ? resolve(last) : reject(new Error(`the process of the backup ended with ${killedBy ?? code}`)),
    );
    child.send(task);
    void feed(child, store);
  });
}

/** A worker that is gone tells why by its end. */
async function feed({ stdin }: ChildProcess, store: Store): Promise<void> {
  stdin!.on('error', () => {});
  try {
    await pipeline(Readable.from(encodeSnapshot(await takeSnapshot(store))), stdin!);
  } catch (error) {
    stdin!.end(frame(errorFrame(error)));
  }
}
