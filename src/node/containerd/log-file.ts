/** containerd's log, which it cannot reopen: bounded by copying and truncating it while open, and searched for the reason of an exit. */
import { readFile } from 'node:fs/promises';
import { rotateLog as rotate } from '#stdx/log-rotation.ts';

const MAX_LOG_BYTES = 10 * 1024 * 1024;
const KEPT_FILES = 2;

export function rotateLog(path: string, maxBytes = MAX_LOG_BYTES): boolean {
  return rotate(path, { maxBytes, keptFiles: KEPT_FILES });
}

/** The last lines with the reason of the exit. */
export async function lastErrors(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const lines = text.trim().split('\n');
  const telling = lines.filter((line) => /level=(fatal|error)|^containerd: /.test(line));
  const last = (telling.length > 0 ? telling : lines).at(-1) ?? '';
  const message = /(?:msg=|error=)"((?:[^"\\]|\\.)*)"/.exec(last)?.[1];
  return (message ?? last).replaceAll('\\"', '"').replace(/^containerd: /, '');
}
