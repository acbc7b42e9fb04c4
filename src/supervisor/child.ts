/**
 * One process of a machine: started, checked by its health endpoint, restarted with backoff when it ends, stopped when it is no longer needed.
 *
 *   stopped ──start──► starting ──healthy──► running ──ends, or unhealthy too long──► waiting (backoff) ──► starting
 *      ▲                   '─────────────────────'──── stop: SIGTERM, then SIGKILL after the grace ────► stopping ──► stopped
 *
 * supervisor.ts decides which processes there are.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { Backoff, pollDelayMs } from '#stdx/backoff.ts';
import { MEMORY_ENV } from '#deploy/daemon.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Program } from './programs.ts';
import { probe } from './probe.ts';

type ChildState = 'stopped' | 'starting' | 'running' | 'waiting' | 'stopping';

export interface ChildStatus {
  readonly name: string;
  readonly services: readonly string[];
  readonly state: ChildState;
  readonly pid?: number | undefined;
  readonly restarts: number;
  /** Of the last end, in a clause: 'exit code 1'. */
  readonly lastEnd?: string | undefined;
  /** RFC 3339. */
  readonly startedAt?: string | undefined;
  readonly unhealthy?: string | undefined;
  readonly log: string;
}

interface ChildOptions {
  readonly program: Program;
  readonly logFile: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called at each change of the status. */
  changed(): void;
}

const RESTART = { initialMs: 500, maximumMs: 30_000, jitter: 0.2 };
/** A process that ran for so long is started again at once. */
const STABLE_MS = 60_000;
const PROBE_EVERY_MS = 5_000;
const FIRST_PROBES = { minimumMs: 50, maximumMs: PROBE_EVERY_MS };
/** Of a process that was healthy before. */
const UNHEALTHY_LIMIT_MS = 60_000;
/** Timeout of the first healthy response, unless the probe has a longer one: a large store is read, a log is replayed. */
const START_LIMIT_SECONDS = 300;
const STOP_GRACE_MS = 40_000;

export class Child {
  readonly #options: ChildOptions;
  readonly #backoff = new Backoff(RESTART);
  #program: Program;
  #state: ChildState = 'stopped';
  #process: ChildProcess | undefined;
  #timer: Timer | undefined;
  #restarts = 0;
  #startedMs = 0;
  #healthyMs = 0;
  #lastEnd: string | undefined;
  #unhealthy: string | undefined;
  #settled = Promise.withResolvers<void>();
  #ended = Promise.resolve();

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#program = options.program;
  }

  get program(): Program {
    return this.#program;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  status(): ChildStatus {
    const { name, services } = this.#program;
    return {
      name,
      services,
      state: this.#state,
      pid: this.pid,
      restarts: this.#restarts,
      lastEnd: this.#lastEnd,
      startedAt: this.#process ? formatTime(this.#startedMs) : undefined,
      unhealthy: this.#unhealthy,
      log: this.#options.logFile,
    };
  }

  /** Resolves at the first healthy response, or after a failure: later services are not delayed for ever. */
  start(): Promise<void> {
    if (this.#state === 'stopped') {
      this.#settled = Promise.withResolvers<void>();
      this.#spawn();
    }
    return this.#settled.promise;
  }

  /** Services added to its group, if the process can start them; false: restart it. */
  take(program: Program): boolean {
    const added = program.addedTo(this.#program);
    if (added === undefined || this.#process?.connected !== true) return false;
    this.#program = program;
    if (added.length > 0) this.#process.send({ type: 'add', words: added });
    this.#options.changed();
    return true;
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#settled.resolve();
    const running = this.#process;
    if (!running) return this.#become('stopped');
    this.#become('stopping');
    running.kill('SIGTERM');
    const { clock, log } = this.#options;
    const late = clock.after(STOP_GRACE_MS, () => {
      log.warn('service not stopped in time, killing it', { service: this.#program.name, pid: running.pid });
      running.kill('SIGKILL');
    });
    await this.#ended;
    late.cancel();
    this.#become('stopped');
  }

  #become(state: ChildState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.changed();
  }

  #spawn(): void {
    const { clock, log, logFile } = this.#options;
    const { command, env, name } = this.#program;
    const [file, ...words] = command;
    this.#startedMs = clock.now();
    this.#healthyMs = 0;
    this.#unhealthy = undefined;
    let child: ChildProcess;
    try {
      mkdirSync(dirname(logFile), { recursive: true, mode: 0o755 });
      const output = openSync(logFile, 'a', 0o600);
      try {
        child = spawn(file, words, {
          stdio: ['ignore', output, output, 'ipc'],
          cwd: '/',
          env: { ...MEMORY_ENV, ...process.env, NOTIFY_SOCKET: undefined, WATCHDOG_USEC: undefined, ...env },
          // A terminal's interrupt is for the supervisor, which stops its children in order.
          detached: true,
        });
      } finally {
        closeSync(output);
      }
    } catch (error) {
      return this.#end(`cannot be started: ${errorMessage(error)}`);
    }
    this.#process = child;
    const ended = Promise.withResolvers<void>();
    this.#ended = ended.promise;
    const onEnd = (why: string): void => {
      if (this.#process !== child) return;
      this.#process = undefined;
      ended.resolve();
      this.#end(why);
    };
    child.on('error', (error) => onEnd(`cannot be started: ${error.message}`));
    child.on('exit', (code, signal) => onEnd(signal ?? `exit code ${code}`));
    log.info('service started', { service: name, pid: child.pid });
    this.#become('starting');
    this.#options.changed();
    this.#watch(FIRST_PROBES.minimumMs);
  }

  #end(why: string): void {
    this.#timer?.cancel();
    this.#lastEnd = why;
    this.#settled.resolve();
    if (this.#state === 'stopping') return;
    const { clock, log } = this.#options;
    if (clock.now() - this.#startedMs >= STABLE_MS) this.#backoff.reset();
    const delayMs = Math.round(this.#backoff.nextMs());
    log.error('service ended', { service: this.#program.name, why, restartInMs: delayMs });
    this.#restarts += 1;
    this.#timer = clock.after(delayMs, () => this.#spawn());
    this.#become('waiting');
    this.#options.changed();
  }

  #watch(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    const child = this.#process;
    const problem = await probe(this.#program.health);
    if (this.#process !== child || !child || this.#state === 'stopping') return;
    const { clock } = this.#options;
    const now = clock.monotonic();
    if (problem === undefined) {
      this.#healthyMs = now;
      if (this.#unhealthy !== undefined) this.#options.changed();
      this.#unhealthy = undefined;
      this.#become('running');
      this.#settled.resolve();
    } else if (this.#state === 'running') this.#missed(problem, now - this.#healthyMs);
    else if (clock.now() - this.#startedMs > this.#startLimitMs()) this.#giveUp(problem);
    const isStarting = this.#state === 'starting';
    const startingMs = clock.now() - this.#startedMs;
    this.#watch(isStarting ? pollDelayMs(startingMs, FIRST_PROBES) : PROBE_EVERY_MS);
  }

  #startLimitMs(): number {
    const given = this.#program.health.map(({ startSeconds = 0 }) => startSeconds);
    return Math.max(START_LIMIT_SECONDS, ...given) * 1000;
  }

  #missed(problem: string, forMs: number): void {
    if (this.#unhealthy !== problem) {
      this.#unhealthy = problem;
      this.#options.changed();
    }
    if (forMs > UNHEALTHY_LIMIT_MS) this.#giveUp(problem);
  }

  /** Ends it by SIGKILL: an unresponsive process may ignore SIGTERM too. */
  #giveUp(problem: string): void {
    const { log } = this.#options;
    // It takes a moment to end, and is looked at meanwhile.
    if (this.#process?.killed) return;
    log.error('service is not healthy, killing it', { service: this.#program.name, problem });
    this.#process?.kill('SIGKILL');
  }
}
