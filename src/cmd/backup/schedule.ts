/**
 * Scheduled backups of an API server. Each server wakes at its own moment; a Lease lets one at a time look for the newest backup, and make one where it is due.
 *
 *   asleep ─► lease held ─► newest is young ─► asleep (an interval, less its age)
 *                └─► worker process: backup, drill ─► old ones pruned ─► conditions ─► asleep          failed: asleep a minute, two, four, … up to the interval
 */
import { fork, type ChildProcess } from 'node:child_process';
import { hostname } from 'node:os';
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
import { createLeaderElector } from '#client/leader-election.ts';
import type { KubeObject } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { realRandom } from '#stdx/random.ts';
import type { Store } from '#storage/store.ts';
import type { FileRoot } from './files.ts';
import { BackupStatus, type Condition } from './status.ts';
import { openTarget, type TargetFlags } from './target.ts';
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
/** A backup and its drill may take so long. */
const WORKER_MS = 60 * 60_000;
const TRIES = 3;
const WORKER_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=8'];
const LEASE = { namespace: 'kube-system', name: 'capstan-backup' };

export function startBackups(schedule: BackupSchedule, context: ScheduleContext): Backups {
  return new Scheduler(schedule, context);
}

class Scheduler implements Backups {
  readonly #schedule: BackupSchedule;
  readonly #context: ScheduleContext;
  readonly #status: BackupStatus;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  readonly #startedMs: number;
  #kubeSystem: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } };
  #failures = 0;

  constructor(schedule: BackupSchedule, context: ScheduleContext) {
    this.#schedule = schedule;
    this.#context = context;
    this.#startedMs = context.clock.now();
    this.#status = new BackupStatus(context.api, { ...context, kubeSystem: () => this.#kubeSystem });
    this.#running = this.#run();
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
    const { clock, api, log, firstMs } = this.#context;
    const { signal } = this.#stopping;
    const identity = `${hostname()}_${process.pid}_${Math.floor(realRandom() * 1e9)}`;
    const elector = createLeaderElector({ api, clock, log, identity, lease: LEASE });
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
    const { api, clock, log } = this.#context;
    const kubeSystem = await api.get(namespaces, { name: 'kube-system' });
    this.#kubeSystem = { ...kubeSystem, apiVersion: 'v1', kind: 'Namespace' };
    const target = await openTarget(flags, flags.location);
    const cluster = shortCluster(kubeSystem.metadata.uid);
    const [newest] = await listBackups(target, cluster);
    this.#status.saw(newest?.note);
    // The clock may have been set back since: one from the future is no reason to wait.
    const ageMs = newest ? clock.now() - newest.timeMs : Infinity;
    if (ageMs >= 0 && ageMs < intervalMs * (1 - SPREAD)) return intervalMs - ageMs;
    const { name, note } = await this.#make(signal);
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

  async #prune(target: BackupTarget, cluster: string): Promise<void> {
    const { clock, log } = this.#context;
    const { removed, problems } = await pruneBackups(target, {
      cluster,
      nowMs: clock.now(),
      policy: DEFAULT_RETENTION,
    });
    if (removed.length > 0) log.info('old backups removed', { count: removed.length });
    if (problems.length > 0) log.warn('old backups could not be removed', { problem: problems[0] });
  }

  async #make(signal: AbortSignal): Promise<{ readonly name: string; readonly note: BackupNote }> {
    const { recipientsFile, pkiDir, target, roots } = this.#schedule;
    const { recipientsFor } = await import('./keys.ts');
    const recipients = await recipientsFor({ recipientsFile }, pkiDir);
    for (let attempt = 1; ; attempt++) {
      const result = await runWorker({ target, roots, recipients }, { store: this.#context.store, signal });
      if (result.type === 'drilled') return result;
      const { code, message } =
        result.type === 'failed' ? result : { code: undefined, message: 'the drill did not end' };
      if (code !== 'compacted' || attempt === TRIES) throw new Error(message);
    }
  }

  async #reportFailure(error: unknown): Promise<void> {
    const { clock, log } = this.#context;
    const message = errorMessage(error);
    this.#status.failed();
    log.error('error making a backup', { error: message });
    const isLate = clock.now() - this.#startedMs > 2 * this.#schedule.intervalMs;
    const conditions: Condition[] = [
      { type: 'BackupSucceeded', status: 'False', reason: 'BackupFailed', message },
    ];
    if (isLate && this.#failures > 0)
      conditions.push({
        type: 'BackupOnTime',
        status: 'False',
        reason: 'BackupLate',
        message: `no backup could be made at its time; ${this.#failures + 1} tries failed: ${message}`,
      });
    await this.#status
      .report(conditions, undefined)
      .catch((problem: unknown) =>
        log.warn('the status of backups could not be written', { error: errorMessage(problem) }),
      );
  }
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
  { store, signal }: { readonly store: Store; readonly signal: AbortSignal },
): Promise<WorkerMessage> {
  const child = fork(join(import.meta.dirname, 'worker.ts'), {
    execArgv: WORKER_FLAGS,
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
