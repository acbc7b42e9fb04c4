/** Runs the program of a custom plugin, or what upstream's own programs do where they are not installed: `log-counter` and `health-checker`. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { errorMessage } from '#stdx/log.ts';
import type { PluginRule } from './config.ts';
import type { PluginResult, RunPlugin } from './plugin-monitor.ts';

/** Rejects where it cannot be found out. */
export type BuiltInPlugin = (args: readonly string[], timeoutMs: number) => Promise<PluginResult>;

/** Bytes of output that are read; the rest is thrown away. */
const MAX_OUTPUT_BYTES = 4_096;

export function createRunPlugin(builtIns: Readonly<Record<string, BuiltInPlugin>>): RunPlugin {
  return (rule, signal) => {
    const builtIn = Object.hasOwn(builtIns, basename(rule.path)) ? builtIns[basename(rule.path)] : undefined;
    return builtIn && !existsSync(rule.path) ? runBuiltIn(builtIn, rule) : runProgram(rule, signal);
  };
}

async function runBuiltIn(builtIn: BuiltInPlugin, { args, timeoutMs }: PluginRule): Promise<PluginResult> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<PluginResult>((resolve) => {
    timer = setTimeout(
      () => resolve({ code: 'unknown', output: `no result within ${timeoutMs} ms` }),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([builtIn(args, timeoutMs), late]);
  } catch (error) {
    return { code: 'unknown', output: errorMessage(error) };
  } finally {
    clearTimeout(timer);
  }
}

function runProgram({ path, args, timeoutMs }: PluginRule, signal: AbortSignal): Promise<PluginResult> {
  return new Promise((resolve) => {
    // A group of its own: what it starts ends with it.
    const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
    let output = '';
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
    };
    const onAbort = (): void => kill('stopping');
    const timer = setTimeout(() => kill(`it did not end within ${timeoutMs} ms`), timeoutMs);
    signal.addEventListener('abort', onAbort, { once: true });
    const end = (result: PluginResult): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve(result);
    };
    child.stdout.on('data', (data: Buffer) => {
      if (output.length < MAX_OUTPUT_BYTES) output = `${output}${data.toString()}`.slice(0, MAX_OUTPUT_BYTES);
    });
    child.once('error', (error) =>
      end({ code: 'unknown', output: `${path} cannot be run: ${errorMessage(error)}` }),
    );
    child.once('close', (code) => end(resultOf(code, { output: output.trim(), killedFor, path })));
  });
}

function resultOf(
  code: number | null,
  {
    output,
    killedFor,
    path,
  }: { readonly output: string; readonly killedFor: string | undefined; readonly path: string },
): PluginResult {
  if (killedFor !== undefined) return { code: 'unknown', output: `${path}: ${killedFor}` };
  if (code === 0 || code === 1) return { code: code === 0 ? 'ok' : 'problem', output };
  return { code: 'unknown', output };
}
