/** Mounts and unmounts with the machine's tools, and reads the mount table. */
import { execFile } from 'node:child_process';
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { mountsBelow } from '../../containerd/teardown.ts';

const execute = promisify(execFile);
/** A server that does not answer holds mount(8) for minutes: upstream's time for a pod's volumes. */
const TIMEOUT_MS = 123_000;

/** Throws with the output of mount(8). */
export async function mount(words: readonly string[]): Promise<void> {
  await runTool('mount', words);
}

/** Lazily, so that a busy mount never keeps a pod from ending. */
export async function unmount(path: string): Promise<void> {
  await runTool('umount', ['-l', path]);
}

async function runTool(tool: string, words: readonly string[]): Promise<void> {
  try {
    await execute(tool, [...words], { timeout: TIMEOUT_MS, killSignal: 'SIGKILL' });
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    throw new Error(`${tool} ${words.join(' ')}: ${stderr.trim() || message}`, { cause: error });
  }
}

/** Deepest first. */
export async function unmountBelow(dir: string): Promise<void> {
  for (const point of await mountsBelow([dir])) await unmount(point);
}

/** Another file system than its parent's. A bind mount of the same one is not seen: mountsBelow in containerd/teardown.ts sees it. */
export async function isOwnFileSystem(path: string): Promise<boolean> {
  const [own, parent] = await Promise.all([
    lstat(path).catch(() => undefined),
    lstat(dirname(path)).catch(() => undefined),
  ]);
  return own !== undefined && own.dev !== parent?.dev;
}
