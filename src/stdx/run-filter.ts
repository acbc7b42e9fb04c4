/** Runs a program that reads its standard input to the end and answers on its standard output, within bounds of time and length. */
import { spawn } from 'node:child_process';

interface FilterOptions {
  readonly args: readonly string[];
  readonly input: string;
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
  /** Beside this process's. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Of standard error, for the message; the rest is dropped. */
const MAX_COMPLAINT_BYTES = 4096;

/** Its output. Rejects, with what it wrote to standard error, when it fails, takes too long or writes too much; it is ended then, with what it started. */
export function runFilter(
  program: string,
  { args, input, timeoutMs, maxOutputBytes, env = {} }: FilterOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    // A group of its own: what it starts ends with it.
    const child = spawn(program, args, { stdio: 'pipe', detached: true, env: { ...process.env, ...env } });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    let killedFor: string | undefined;
    const kill = (why: string): void => {
      killedFor ??= why;
      if (child.pid !== undefined)
        try {
          process.kill(-child.pid, 'SIGKILL');
        } catch {
          // It has ended already.
        }
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => kill(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
    child.stdout.on('data', (data: Buffer) => {
      outputBytes += data.length;
      if (outputBytes > maxOutputBytes) kill(`it wrote more than ${maxOutputBytes} bytes`);
      else output.push(data);
    });
    child.stderr.on('data', (data: Buffer) => {
      complaint = `${complaint}${data.toString()}`.slice(0, MAX_COMPLAINT_BYTES);
    });
    // It may answer without reading.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (killedFor === undefined && code === 0) return resolve(Buffer.concat(output).toString());
      const end = killedFor ?? (code === null ? `signal: ${signal}` : `exit status ${code}`);
      reject(new Error(complaint === '' ? end : `${end}: ${complaint.trim()}`));
    });
  });
}
