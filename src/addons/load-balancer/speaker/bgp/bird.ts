/**
 * BIRD 2 as a supervised process: started with its first configuration, told of each other one through its control socket, which keeps sessions up. It dies with the
 * thread that started it, so nobody is led to a node whose rules nobody keeps, but where the peer was asked for a graceful restart.
 *
 *   stopped ─configure─► running ──another configuration──► `configure` ──refused──► BirdError, the old one goes on
 *                          │
 *                          '──died──► started again after RESTART_MS
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { replaceFile } from '#stdx/atomic-file.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

interface BirdOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Its own: configuration and control socket. */
  readonly dir: string;
}

class BirdError extends Error {
  override readonly name = 'BirdError';
}

const PROGRAMS = ['/usr/sbin/bird', '/usr/local/sbin/bird'];
const START_TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const ANSWER_TIMEOUT_MS = 5_000;
const RESTART_MS = 1_000;
const STOP_TIMEOUT_MS = 3_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** The last line of an answer: a code and a space. The first digit 8 or 9: an error. */
const LAST_LINE = /^(\d{4}) (.*)$/m;

export class Bird {
  readonly #options: BirdOptions;
  #process: ChildProcess | undefined;
  #config: string | undefined;
  #turn: Promise<void> = Promise.resolve();
  #isStopped = false;
  #said = '';

  constructor(options: BirdOptions) {
    this.#options = options;
  }

  /** One at a time. Rejects with a BirdError; what ran, runs on. */
  configure(config: string): Promise<void> {
    const result = this.#turn.then(() => this.#configure(config));
    this.#turn = result.catch(() => {});
    return result;
  }

  /** State of each BGP session by its protocol's name: 'Established', 'Active', … Empty while it does not run. */
  async sessions(): Promise<ReadonlyMap<string, string>> {
    if (!this.#isRunning()) return new Map();
    const answer = await this.#ask('show protocols');
    const rows = answer.split('\n').map((line) =>
      line
        .replace(/^\d{4}-/, '')
        .trim()
        .split(/\s+/),
    );
    return new Map(
      rows.flatMap(([name = '', kind, _table, _state, since, ...rest]) =>
        // 'since' is a time of day, after a while two words: a day and a time.
        kind === 'BGP'
          ? [
              [
                name,
                (/^\d{4}-/.test(since ?? '') && /^\d/.test(rest[0] ?? '') ? rest[1] : rest[0]) ?? '',
              ] as const,
            ]
          : [],
      ),
    );
  }

  /** Peers are told that it ends. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#turn;
    const child = this.#process;
    if (!child || !this.#isRunning()) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = this.#options.clock.after(STOP_TIMEOUT_MS, () => child.kill('SIGKILL'));
    await ended;
    timer.cancel();
    rmSync(this.#options.dir, { recursive: true, force: true });
  }

  async #configure(config: string): Promise<void> {
    if (this.#isStopped || (config === this.#config && this.#isRunning())) return;
    mkdirSync(this.#options.dir, { recursive: true, mode: 0o700 });
    replaceFile(this.#path('bird.conf'), config);
    try {
      if (this.#isRunning()) await this.#ask('configure');
      else await this.#start();
    } catch (error) {
      if (this.#config !== undefined) replaceFile(this.#path('bird.conf'), this.#config);
      throw error;
    }
    this.#config = config;
  }

  async #start(): Promise<void> {
    const program = PROGRAMS.find((path) => existsSync(path));
    if (program === undefined)
      throw new BirdError('bird is not installed: apt-get install --no-install-recommends bird2');
    rmSync(this.#path('bird.ctl'), { force: true });
    this.#said = '';
    // -R: peers that were asked for a graceful restart keep what an earlier run announced until this one has announced it again.
    const words = [
      '--pdeathsig',
      'KILL',
      program,
      '-f',
      '-R',
      '-c',
      this.#path('bird.conf'),
      '-s',
      this.#path('bird.ctl'),
    ];
    const child = spawn('setpriv', words, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    child.on('error', (error) => this.#hear(errorMessage(error)));
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#hear(text));
    child.once('exit', () => this.#died(child));
    const untilMs = this.#options.clock.monotonic() + START_TIMEOUT_MS;
    for (;;) {
      await this.#options.clock.sleep(POLL_MS);
      if (!this.#isRunning()) throw new BirdError(`bird refuses the configuration: ${lastLine(this.#said)}`);
      const answered = await this.#ask('show status').then(
        () => true,
        () => false,
      );
      if (answered) return;
      if (this.#options.clock.monotonic() > untilMs)
        throw new BirdError(`bird does not answer after ${START_TIMEOUT_MS / 1_000} s`);
    }
  }

  #hear(text: string): void {
    this.#said = `${this.#said}${text}`.slice(-2_000);
    for (const line of text.split('\n'))
      if (line.trim() !== '') this.#options.log.debug('bird', { line: line.trim() });
  }

  #died(child: ChildProcess): void {
    if (this.#process !== child) return;
    this.#process = undefined;
    const config = this.#config;
    if (this.#isStopped || config === undefined) return;
    this.#options.log.warn('bird ended: starting it again', { said: lastLine(this.#said) });
    this.#options.clock.after(RESTART_MS, () => {
      if (this.#isStopped || this.#process) return;
      this.configure(this.#config ?? config).catch((error: unknown) => {
        this.#options.log.error('error starting bird again', { error: errorMessage(error) });
      });
    });
  }

  #isRunning(): boolean {
    const child = this.#process;
    return (
      child !== undefined && child.exitCode === null && child.signalCode === null && child.pid !== undefined
    );
  }

  /** Rejects with a BirdError where it says no. */
  #ask(command: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const socket = connect(this.#path('bird.ctl')).setEncoding('utf8');
    let text = '';
    let isGreeted = false;
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => reject(new BirdError(`bird did not answer "${command}"`)));
    socket.on('error', reject).on('close', () => reject(new BirdError(`bird ended at "${command}"`)));
    socket.on('data', (data: string) => {
      text += data;
      const last = LAST_LINE.exec(text);
      if (text.length > MAX_ANSWER_BYTES) reject(new BirdError(`the answer to "${command}" is too long`));
      if (!last || !text.endsWith('\n')) return;
      if (!isGreeted) {
        isGreeted = true;
        text = '';
        socket.write(`${command}\n`);
      } else if (/^[89]/.test(last[1]!)) reject(new BirdError(`bird refuses "${command}": ${last[2]}`));
      else resolve(text);
    });
    return promise.finally(() => socket.destroy());
  }

  #path(name: string): string {
    return join(this.#options.dir, name);
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
