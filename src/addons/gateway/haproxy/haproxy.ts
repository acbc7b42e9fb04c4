/**
 * HAProxy as a supervised process in master-worker mode. A change of endpoints goes through the runtime API; everything else is checked first and then reloaded: the new worker gets the
 * listening sockets of the old one, which finishes its connections.
 *
 *   stopped ─apply─► running ──structure changed──► haproxy -c ──ok──► SIGUSR2, new worker answers ─► running
 *                       │                               '──refused──► HaproxyError, the old configuration runs on
 *                       '──master died──► started again after RESTART_MS
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { replaceFile } from '#stdx/atomic-file.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { GatewayModel } from '../model.ts';
import { renderConfig, type RenderedConfig, type Slot } from './render.ts';

interface HaproxyOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Its own: configuration, certificates, sockets. */
  readonly dir: string;
  readonly listenOn: readonly string[];
}

class HaproxyError extends Error {
  override readonly name = 'HaproxyError';
}

const PROGRAMS = ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy', '/usr/bin/haproxy'];
const START_TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const COMMAND_TIMEOUT_MS = 2_000;
const RESTART_MS = 1_000;
const STOP_TIMEOUT_MS = 3_000;
const KEEPS_FILES = new Set(['haproxy.cfg', 'worker.sock', 'check.cfg']);

/** Undefined: it is not installed. */
export function findHaproxy(): string | undefined {
  return PROGRAMS.find((path) => existsSync(path));
}

export class Haproxy {
  readonly #options: HaproxyOptions;
  readonly #program: string;
  #master: ChildProcess | undefined;
  #current: RenderedConfig | undefined;
  #turn: Promise<void> = Promise.resolve();
  #isStopped = false;
  /** What it last complained of. */
  #alert = '';
  /** For metrics and tests. */
  reloads = 0;

  constructor(options: HaproxyOptions) {
    const program = findHaproxy();
    if (program === undefined)
      throw new HaproxyError('haproxy is not installed: apt-get install --no-install-recommends haproxy');
    this.#program = program;
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  }

  /** One at a time. Rejects with a HaproxyError that says what HAProxy refused; what ran, runs on. */
  apply(model: GatewayModel): Promise<void> {
    const result = this.#turn.then(() => this.#apply(model));
    this.#turn = result.catch(() => {});
    return result;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#turn;
    const master = this.#master;
    if (!master || master.exitCode !== null || master.signalCode !== null) return;
    const ended = once(master, 'exit');
    master.kill('SIGTERM');
    const timer = this.#options.clock.after(STOP_TIMEOUT_MS, () => master.kill('SIGKILL'));
    await ended;
    timer.cancel();
  }

  async #apply(model: GatewayModel): Promise<void> {
    if (this.#isStopped) return;
    const before = this.#current;
    const next = renderConfig(model, {
      dir: this.#options.dir,
      listenOn: this.#options.listenOn,
      slotsBefore: new Map([...(before?.slots ?? [])].map(([id, slots]) => [id, slots.length])),
    });
    if (before && next.structure === before.structure && this.#master) {
      await this.#fillSlots(before, next);
      replaceFile(this.#path('haproxy.cfg'), next.config);
      this.#current = next;
      return;
    }
    for (const [name, text] of next.files) replaceFile(this.#path(name), text);
    replaceFile(this.#path('check.cfg'), next.config);
    await this.#check();
    replaceFile(this.#path('haproxy.cfg'), next.config);
    if (this.#master) await this.#reload();
    else await this.#start();
    this.#current = next;
    this.#removeOthers(next);
  }

  async #check(): Promise<void> {
    const child = spawn(this.#program, ['-c', '-q', '-f', this.#path('check.cfg')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (said += data.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    if (code === 0) return;
    const alerts = said.split('\n').filter((line) => line.includes('[ALERT]'));
    throw new HaproxyError(`haproxy refuses the configuration: ${alertText(alerts[0] ?? said.trim())}`);
  }

  async #start(): Promise<void> {
    rmSync(this.#path('worker.sock'), { force: true });
    const child = spawn(this.#program, ['-W', '-f', this.#path('haproxy.cfg')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#master = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => {
        for (const line of data.toString().split('\n')) this.#said(line.trim());
      });
    child.once('exit', (code, signal) => this.#died(child, code ?? signal));
    await this.#answers(undefined);
  }

  #said(line: string): void {
    if (line === '') return;
    if (line.includes('[ALERT]')) this.#alert = alertText(line);
    this.#options.log.debug('haproxy', { line });
  }

  #died(child: ChildProcess, how: number | string | null): void {
    if (this.#master !== child) return;
    this.#master = undefined;
    if (this.#isStopped) return;
    this.#options.log.error('haproxy ended: starting it again', { how: String(how) });
    this.#options.clock.after(RESTART_MS, () => {
      this.#turn = this.#turn.then(async () => {
        if (this.#isStopped || this.#master || !this.#current) return;
        await this.#start().catch((error: unknown) =>
          this.#options.log.error('error starting haproxy', { error: errorMessage(error) }),
        );
      });
    });
  }

  async #reload(): Promise<void> {
    const pid = await this.#workerPid();
    this.#master?.kill('SIGUSR2');
    this.reloads += 1;
    await this.#answers(pid);
  }

  /** Resolves when another worker than that one answers. */
  async #answers(before: string | undefined): Promise<void> {
    const { clock } = this.#options;
    const deadline = clock.monotonic() + START_TIMEOUT_MS;
    for (;;) {
      const pid = await this.#workerPid().catch(() => undefined);
      if (pid !== undefined && pid !== before) return;
      if (!this.#master) throw new HaproxyError(`haproxy ended when it started: ${this.#alert}`);
      if (clock.monotonic() > deadline)
        throw new HaproxyError(`haproxy did not answer within ${START_TIMEOUT_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #workerPid(): Promise<string> {
    const info = await this.command('show info');
    const pid = /^Pid: (\d+)$/m.exec(info)?.[1];
    if (pid === undefined) throw new HaproxyError('haproxy does not say its process');
    return pid;
  }

  async #fillSlots(before: RenderedConfig, next: RenderedConfig): Promise<void> {
    const commands = [...next.slots].flatMap(([id, slots]) =>
      slots.flatMap((slot, index) =>
        slotCommands(`${id}/s${index}`, { slot, before: before.slots.get(id)![index]! }),
      ),
    );
    // One connection takes a batch; its bound is the buffer of a request.
    for (let at = 0; at < commands.length; at += 100) {
      const answer = await this.command(commands.slice(at, at + 100).join('; '));
      const problem = /^(No such|Invalid|Require|Unknown).*$/m.exec(answer)?.[0];
      if (problem !== undefined) throw new HaproxyError(`haproxy refuses a change of endpoints: ${problem}`);
    }
  }

  /** Of the runtime API; its whole answer. */
  command(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      let answer = '';
      const socket = connect(this.#path('worker.sock'));
      socket.setTimeout(COMMAND_TIMEOUT_MS, () =>
        socket.destroy(new HaproxyError('haproxy does not answer')),
      );
      socket.on('connect', () => socket.write(`${text}\n`));
      socket.on('data', (data) => (answer += data.toString()));
      socket.on('error', reject);
      socket.on('close', () => resolve(answer));
    });
  }

  #removeOthers({ files }: RenderedConfig): void {
    for (const name of readdirSync(this.#options.dir))
      if (!files.has(name) && !KEEPS_FILES.has(name)) rmSync(this.#path(name), { force: true });
  }

  #path(name: string): string {
    return join(this.#options.dir, name);
  }
}

function alertText(line: string): string {
  return line.replace(/^.*\[ALERT\]\s*\(\d+\)\s*:\s*/, '');
}

function slotCommands(
  server: string,
  { slot, before }: { readonly slot: Slot; readonly before: Slot },
): string[] {
  if (slot.address === undefined)
    return before.address === undefined ? [] : [`set server ${server} state maint`];
  const isMoved = slot.address !== before.address || slot.port !== before.port;
  return [
    ...(isMoved ? [`set server ${server} addr ${slot.address} port ${slot.port}`] : []),
    ...(slot.weight === before.weight ? [] : [`set server ${server} weight ${slot.weight}`]),
    ...(before.address === undefined ? [`set server ${server} state ready`] : []),
  ];
}
