/** A running cluster's directory must not be moved or removed: the files that are checked, and the error when they are gone. */
import { join } from 'node:path';
import type { DataDir } from '#deploy/data-dir.ts';

/** The lock's and the store's; both are made once and never replaced while the cluster runs. storeDir: undefined where nothing is stored. */
export function listKeptFiles(dir: DataDir, storeDir: string | undefined): string[] {
  return [`${dir.lock}.guard`, ...(storeDir === undefined ? [] : [join(storeDir, 'store.mdb')])];
}

export function lostSentence(dir: DataDir, path: string): string {
  return `The cluster in ${dir.path} stops, since its files were removed or moved while it ran (${path} is gone): later writes would be lost.`;
}
