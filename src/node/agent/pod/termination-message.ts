/** A container's termination message: its termination log, or the end of its output when it failed without one. */
import { open } from 'node:fs/promises';
import { ANNOTATIONS } from '../labels.ts';
import type { RuntimeContainer } from '../runtime-view.ts';
import { tailOfLog } from '../server/log-file.ts';

const MAX_BYTES = 4096;
const MAX_LOG_LINES = 80;
const MAX_LOG_BYTES = 2048;

export async function terminationMessage(container: RuntimeContainer): Promise<string> {
  const path = container.annotations[ANNOTATIONS.terminationMessagePath] ?? '';
  const mount = container.mounts.find(({ containerPath }) => containerPath === path);
  const text = mount ? await readStart(mount.hostPath) : '';
  if (
    text !== '' ||
    container.annotations[ANNOTATIONS.terminationMessagePolicy] !== 'FallbackToLogsOnError' ||
    container.exitCode === 0
  )
    return text;
  return tailOfLog(container.logPath, { lines: MAX_LOG_LINES, bytes: MAX_LOG_BYTES }).catch(() => '');
}

async function readStart(path: string): Promise<string> {
  const file = await open(path).catch(() => undefined);
  if (!file) return '';
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
    return buffer.subarray(0, bytesRead).toString();
  } catch {
    return '';
  } finally {
    await file.close();
  }
}
