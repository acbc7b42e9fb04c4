/** Static pods that run before the node's pod range is known: waits for manifests and for the range at once. Knows neither containers nor the API. */
import { readdir, stat } from 'node:fs/promises';
import type { Clock } from '#stdx/clock.ts';

interface EarlyPodsOptions {
  /** A directory of manifests, or one file. */
  readonly path: string;
  readonly clock: Clock;
  /** Called once, when there is a manifest and the range is not known. Its result is stopped when the range is known, or will not be. */
  start(): Promise<{ stop(): Promise<void> }>;
}

const LOOK_EVERY_MS = 500;

/** As `ranges`. Where there is no manifest until then, nothing is started. */
export async function withEarlyPods<T>(
  ranges: Promise<T>,
  { path, clock, start }: EarlyPodsOptions,
): Promise<T> {
  const settled = new AbortController();
  const done = (): void => settled.abort();
  ranges.then(done, done);
  while (!settled.signal.aborted && !(await hasManifests(path)))
    await clock.sleep(LOOK_EVERY_MS, settled.signal).catch(() => {});
  if (settled.signal.aborted) return ranges;
  const early = await start();
  try {
    return await ranges;
  } finally {
    await early.stop();
  }
}

/** What cannot be read has none yet: the node agent says why. */
async function hasManifests(path: string): Promise<boolean> {
  try {
    if (!(await stat(path)).isDirectory()) return true;
    return (await readdir(path)).some((name) => !name.startsWith('.'));
  } catch {
    return false;
  }
}
