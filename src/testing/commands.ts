/** A foreign command line tool in a test's hands: what it printed when it succeeds, what it complained of when it fails. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { runCommand, type CommandResult, type RunOptions } from './cluster.ts';

export interface Tool {
  /** Whatever comes of it. A line is split at its blanks. */
  run(line: string | readonly string[], options?: RunOptions): Promise<CommandResult>;
  /** What it printed; it must succeed. */
  ok(line: string | readonly string[], options?: RunOptions): Promise<string>;
  /** Its complaint; it must fail. */
  refused(line: string | readonly string[], options?: RunOptions): Promise<string>;
}

export function tool(binary: string, { env }: { readonly env: Readonly<Record<string, string>> }): Tool {
  const wordsOf = (line: string | readonly string[]): readonly string[] =>
    typeof line === 'string' ? line.split(' ') : line;
  const run = (line: string | readonly string[], options: RunOptions = {}): Promise<CommandResult> =>
    runCommand([binary, ...wordsOf(line)], {
      timeoutMs: 60_000,
      ...options,
      env: { ...env, ...options.env },
    });
  const shown = (line: string | readonly string[], { stdout, stderr }: CommandResult): string =>
    `${binary} ${wordsOf(line).join(' ')}\n${stdout}${stderr}`;
  return {
    run,
    async ok(line, options) {
      const result = await run(line, options);
      assert.equal(result.code, 0, shown(line, result));
      return result.stdout;
    },
    async refused(line, options) {
      const result = await run(line, options);
      assert.notEqual(result.code, 0, shown(line, result));
      return result.stderr;
    },
  };
}

interface Following {
  /** On its standard output so far. */
  said(): string;
  /** Ends it, if it has not ended by itself. */
  end(): Promise<void>;
}

/** A command that goes on until it is asked to end. */
export function follow(
  [binary = '', ...words]: readonly string[],
  { env }: { readonly env: Readonly<Record<string, string>> },
): Following {
  const child = spawn(binary, words, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'close');
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return {
    said: () => said,
    async end() {
      child.kill();
      await ended;
    },
  };
}
