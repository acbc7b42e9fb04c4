/** Runs the machine's tools (ip, nft, mount …) and reports a failure in one sentence. */
import { spawn } from 'node:child_process';

interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

interface RunResult {
  /** undefined: the tool is not installed. -1: killed by a signal or by the timeout. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** Never rejects: the caller decides what a failure means. */
export function run(
  command: readonly [tool: string, ...args: string[]],
  options: RunOptions = {},
): Promise<RunResult> {
  const [tool, ...args] = command;
  return new Promise((resolve) => {
    // Debian installs these tools in sbin, which is not on every PATH.
    const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`;
    const child = spawn(tool, args, {
      stdio: 'pipe',
      env: { ...process.env, PATH: path, LC_ALL: 'C', ...options.env },
      timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        if (output[name].length < MAX_OUTPUT_BYTES) output[name] += text;
      });
    }
    child.stdin.on('error', () => {}); // a tool that ends without reading its input
    child.stdin.end(options.input ?? '');
    child.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ ...output, code: error.code === 'ENOENT' ? undefined : -1, stderr: error.message }),
    );
    child.on('close', (code) => resolve({ ...output, code: code ?? -1 }));
  });
}
