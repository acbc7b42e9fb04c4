/** Keeps containerd's log bounded. containerd cannot reopen its log, so it is copied and cut while open; lines written meanwhile may be lost. */
import { copyFile, open, readFile, rename, stat } from 'node:fs/promises';

export const MAX_LOG_BYTES = 10 * 1024 * 1024;
const KEPT_FILES = 2;

export async function rotateLog(path: string, maxBytes = MAX_LOG_BYTES): Promise<boolean> {
  const size = await stat(path).then(
    (info) => info.size,
    () => 0,
  );
  if (size <= maxBytes) return false;
  for (let number = KEPT_FILES; number > 1; number -= 1)
    await rename(`${path}.${number - 1}`, `${path}.${number}`).catch(() => {});
  await copyFile(path, `${path}.1`);
  const file = await open(path, 'r+');
  await file.truncate(0).finally(() => file.close());
  return true;
}

/** The last lines that tell why it ended. */
export async function lastErrors(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const lines = text.trim().split('\n');
  const telling = lines.filter((line) => /level=(fatal|error)|^containerd: /.test(line));
  const last = (telling.length > 0 ? telling : lines).at(-1) ?? '';
  const message = /(?:msg=|error=)"((?:[^"\\]|\\.)*)"/.exec(last)?.[1];
  return (message ?? last).replaceAll('\\"', '"').replace(/^containerd: /, '');
}
