/** A machine for tests of init and its kin: a network namespace with an address of its own, and a directory that everything of it lies below. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { endSupervised } from '#cmd/machine/supervise.ts';
import { runCommand, type CommandResult } from './cluster.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const RUN_TIMEOUT_MS = 240_000;

export interface InitMachine {
  readonly address: string;
  readonly paths: MachinePaths;
  /** `capstan WORDS`, with --rootfs where the command has it. */
  capstan(words: readonly string[]): Promise<CommandResult>;
  /** The same, killed by SIGKILL as soon as it prints this. True: it was killed. */
  killedAt(text: string, words: readonly string[]): Promise<boolean>;
  /** Any program in the machine's network. */
  run(words: readonly string[]): Promise<CommandResult>;
  /** Pids of processes in its network whose command line has all of these words. */
  pids(...words: readonly string[]): number[];
  close(): Promise<void>;
}

/** Why there can be none; undefined: there can. */
export function machineObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  try {
    execFileSync('ip', ['netns', 'list'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'ip netns does not work here';
  }
}

export function createMachine(name: string, { address }: { readonly address: string }): InitMachine {
  const namespace = `capstan-${process.pid}-${name}`;
  const ip = (...words: string[]): void => void execFileSync('ip', words, { stdio: 'pipe' });
  ip('netns', 'add', namespace);
  ip('-n', namespace, 'link', 'set', 'lo', 'up');
  ip('-n', namespace, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0-peer');
  ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
  for (const device of ['eth0', 'eth0-peer']) ip('-n', namespace, 'link', 'set', device, 'up');
  ip('-n', namespace, 'route', 'add', 'default', 'dev', 'eth0');
  const rootfs = mkdtempSync(join(tmpdir(), `capstan-${name}-`));
  const paths = machinePaths({ rootfs });
  const inside = (words: readonly string[]): string[] => ['ip', 'netns', 'exec', namespace, ...words];
  const command = (words: readonly string[]): string[] =>
    inside([process.execPath, '--disable-warning=ExperimentalWarning', MAIN, ...words, `--rootfs=${rootfs}`]);
  return {
    address,
    paths,
    capstan: (words) => runCommand(command(words), { timeoutMs: RUN_TIMEOUT_MS }),
    run: (words) => runCommand(inside(words), { timeoutMs: RUN_TIMEOUT_MS }),
    killedAt: (text, words) => killedAt(command(words), text),
    pids: (...words) => pidsIn(namespace).filter((pid) => hasWords(pid, words)),
    async close() {
      await endSupervised(paths).catch(() => {});
      for (const pid of pidsIn(namespace)) process.kill(pid, 'SIGKILL');
      ip('netns', 'del', namespace);
      rmSync(rootfs, { recursive: true, force: true });
    },
  };
}

function killedAt([file = '', ...words]: readonly string[], text: string): Promise<boolean> {
  const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    printed += part;
    // 'ip netns exec' has become the program by then.
    if (printed.includes(text)) child.kill('SIGKILL');
  });
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (_, signal) => done(signal === 'SIGKILL'));
  });
}

function pidsIn(namespace: string): number[] {
  return execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

function hasWords(pid: number, words: readonly string[]): boolean {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return words.every((word) => line.includes(word));
  } catch {
    return false; // ended in the meantime
  }
}
