/**
 * Runs scripts on machines by OpenSSH's own client, so that ssh_config holds (keys, ProxyJump, what is done with unknown host keys). It asks nothing
 * (BatchMode), and one connection for each machine is shared by all its commands (ControlMaster).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { FleetMachine } from './inventory.ts';

/** What is reached of a machine of the inventory. */
export type SshTarget = Pick<FleetMachine, 'name' | 'address' | 'ssh'>;

interface SshOptions {
  /** In place of ~/.ssh/config. */
  readonly configFile?: string | undefined;
  /** Ends every client that runs. */
  readonly signal?: AbortSignal | undefined;
}

interface RunOptions {
  /** Secrets go this way and never on a command line. */
  readonly stdin?: string | Readable | undefined;
  readonly timeoutMs?: number | undefined;
  /** Each line of standard output, as it comes. */
  readonly onLine?: ((line: string) => void) | undefined;
}

/** A machine that is not reached, or a script that fails: a sentence without its full stop. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError';
}

const CONNECT_SECONDS = 10;
const COMMAND_TIMEOUT_MS = 60_000;
/** An idle shared connection of a run that was killed ends after this. */
const PERSIST_SECONDS = 60;
/** Of standard output; a longer one ends the command. */
const MAXIMUM_OUTPUT = 8 * 2 ** 20;
/** Of standard error the end is kept. */
const MAXIMUM_ERRORS = 16_384;
/** Less than Linux allows for one argument. */
const MAXIMUM_SCRIPT = 100_000;
/** ssh's own exit code. */
const SSH_FAILED = 255;
const NO_ROOT = 77;

/** One word of the shell, whatever it holds. The only place that quotes. */
export function quote(word: string): string {
  if (word.includes('\0')) throw new RemoteError('a word of a command cannot hold a NUL character');
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export function quoteAll(words: readonly string[]): string {
  return words.map(quote).join(' ');
}

/** Run as root: with `sudo -n` where the user is another one. */
export function asRoot(script: string): string {
  const whole = `if [ "$(id -u)" = 0 ]; then exec sh -c ${quote(script)}; fi; sudo -n true || exit ${NO_ROOT}; exec sudo -n sh -c ${quote(script)}`;
  return `exec sh -c ${quote(whole)}`;
}

export class SshConnections {
  readonly #options: SshOptions;
  /** Mode 0700: sockets of shared connections and host keys. */
  readonly #dir = mkdtempSync(join(tmpdir(), 'capstan-fleet-'));
  readonly #opened = new Map<string, { readonly target: SshTarget; readonly words: readonly string[] }>();

  constructor(options: SshOptions = {}) {
    this.#options = options;
  }

  /** Standard output. Throws a RemoteError. */
  run(target: SshTarget, script: string, options: RunOptions = {}): Promise<string> {
    if (script.length > MAXIMUM_SCRIPT) throw new RemoteError(`a script has ${script.length} characters`);
    const words = [...this.#wordsOf(target), '--', target.address, asRoot(script)];
    return runSsh(words, { ...options, target, signal: this.#options.signal });
  }

  /** Ends the shared connections. */
  async close(): Promise<void> {
    await Promise.all(
      Array.from(this.#opened.values(), ({ target, words }) =>
        runSsh([...words, '-O', 'exit', '--', target.address], { target }).catch(() => {
          // None was open.
        }),
      ),
    );
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #wordsOf(target: SshTarget): readonly string[] {
    const known = this.#opened.get(target.name);
    if (known) return known.words;
    const { user, port, identityFile, hostKeys } = target.ssh;
    const id = String(this.#opened.size);
    const options = [
      'BatchMode=yes',
      `ConnectTimeout=${CONNECT_SECONDS}`,
      'ServerAliveInterval=10',
      'ServerAliveCountMax=3',
      'LogLevel=ERROR',
      'ControlMaster=auto',
      `ControlPath=${join(this.#dir, id)}`,
      `ControlPersist=${PERSIST_SECONDS}`,
      ...(identityFile === undefined ? [] : ['IdentitiesOnly=yes']),
      ...(hostKeys.length === 0 ? [] : this.#hostKeyOptions(target, id)),
    ];
    const words = [
      ...(this.#options.configFile === undefined ? [] : ['-F', this.#options.configFile]),
      ...options.flatMap((option) => ['-o', option]),
      ...(identityFile === undefined ? [] : ['-i', identityFile]),
      ...(port === undefined ? [] : ['-p', String(port)]),
      ...(user === undefined ? [] : ['-l', user]),
      '-T',
    ];
    this.#opened.set(target.name, { target, words });
    return words;
  }

  /** The keys of the inventory, and no others. */
  #hostKeyOptions({ name, ssh }: SshTarget, id: string): string[] {
    const file = join(this.#dir, `${id}.known_hosts`);
    writeFileSync(file, ssh.hostKeys.map((key) => `${name} ${key}\n`).join(''), { mode: 0o600 });
    return [
      `HostKeyAlias=${name}`,
      `UserKnownHostsFile=${file}`,
      'GlobalKnownHostsFile=/dev/null',
      'StrictHostKeyChecking=yes',
    ];
  }
}

interface SshCall extends RunOptions {
  readonly target: SshTarget;
  readonly signal?: AbortSignal | undefined;
}

function runSsh(words: readonly string[], call: SshCall): Promise<string> {
  const { stdin, timeoutMs = COMMAND_TIMEOUT_MS, onLine, target, signal } = call;
  return new Promise((done, reject) => {
    const child = spawn('ssh', words, { stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let ended: string | undefined;
    let rest = '';
    const end = (why: string): void => {
      ended ??= why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => end(`no end within ${timeoutMs / 1000} s`), timeoutMs);
    const onAbort = (): void => end('interrupted');
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.length > MAXIMUM_OUTPUT) return end(`it answers with more than ${MAXIMUM_OUTPUT} bytes`);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine?.(line);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-MAXIMUM_ERRORS);
    });
    feed(child, stdin);
    const finish = (problem: string | undefined): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (problem === undefined) done(stdout);
      else reject(new RemoteError(problem));
    };
    child.once('error', (error: NodeJS.ErrnoException) =>
      finish(error.code === 'ENOENT' ? 'there is no ssh on the PATH: install openssh-client' : error.message),
    );
    // The shared connection holds the pipes of a client that was killed until its command ends on the machine.
    child.once('exit', () => {
      if (ended === undefined) return;
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
      finish(ended);
    });
    child.once('close', (code) =>
      finish(code === 0 ? undefined : (ended ?? problemOf(code, stderr, target))),
    );
  });
}

function feed(child: ChildProcess, stdin: string | Readable | undefined): void {
  // A command that ends early closes its input: its exit code says why.
  child.stdin?.on('error', () => {});
  if (stdin === undefined || typeof stdin === 'string') child.stdin?.end(stdin);
  else stdin.pipe(child.stdin!);
}

function problemOf(code: number | null, stderr: string, { address, ssh: { port } }: SshTarget): string {
  const text = stderr.trim();
  if (code === NO_ROOT) return 'its user is not root and may not run sudo without a password';
  if (code === SSH_FAILED && text.includes('REMOTE HOST IDENTIFICATION HAS CHANGED'))
    return 'its host key is not the one that known_hosts has: find out why before you remove the old one with ssh-keygen -R';
  if (code === SSH_FAILED && /Host key verification failed|No .* host key is known/.test(text))
    return `its host key is not known: compare it, then add it with ssh-keyscan -H ${port === undefined ? '' : `-p ${port} `}${address} >> ~/.ssh/known_hosts, or as hostKeys of the inventory`;
  const sentence = /(?:^|\n)capstan: ([\s\S]*)$/.exec(text)?.[1]?.trim().replace(/\.$/, '');
  return sentence ?? (text.split('\n').at(-1) || `the command failed (exit code ${String(code)})`);
}
