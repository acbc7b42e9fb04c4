/** Mounting and unmounting through the machine's own tools, and reading what is mounted. */
import { execFile } from 'node:child_process';
import { lstat, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Throws with what mount(8) said. */
export async function mount(words: readonly string[]): Promise<void> {
  await runTool('mount', words);
}

/** Lazily, so that a user of it never keeps a pod from ending. */
export async function unmount(path: string): Promise<void> {
  await runTool('umount', ['-l', path]);
}

async function runTool(tool: string, words: readonly string[]): Promise<void> {
  try {
    await execute(tool, [...words]);
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    throw new Error(`${tool} ${words.join(' ')}: ${stderr.trim() || message}`, { cause: error });
  }
}

/** Mount points at or below a directory, the last mounted first. */
export async function mountsBelow(dir: string): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  const points = text.split('\n').flatMap((line) => {
    const point = line.split(' ')[4];
    return point === undefined ? [] : [point.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))];
  });
  return points.filter((point) => point === dir || point.startsWith(`${dir}/`)).reverse();
}

export async function unmountBelow(dir: string): Promise<void> {
  for (const point of await mountsBelow(dir)) await unmount(point);
}

/** Another file system than its parent's. A bind mount of the same one is not seen: mountsBelow sees it. */
export async function isOwnFileSystem(path: string): Promise<boolean> {
  const [own, parent] = await Promise.all([lstat(path).catch(() => undefined), lstat(dirname(path)).catch(() => undefined)]);
  return own !== undefined && own.dev !== parent?.dev;
}
