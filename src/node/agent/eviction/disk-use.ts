/** What a tree of files takes of its file system. */
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskUse } from './rank.ts';

const BLOCK_BYTES = 512;

/** Below a folder, without the folder itself. Files removed meanwhile count nothing; links are not followed. */
export async function diskUseBelow(folder: string): Promise<DiskUse> {
  let bytes = 0;
  let inodes = 0;
  const entries = await opendir(folder).catch(() => undefined);
  if (!entries) return { bytes, inodes };
  for await (const entry of entries) {
    const path = join(folder, entry.name);
    const facts = await lstat(path).catch(() => undefined);
    const below = entry.isDirectory() ? await diskUseBelow(path) : { bytes: 0, inodes: 0 };
    bytes += (facts?.blocks ?? 0) * BLOCK_BYTES + below.bytes;
    inodes += (facts ? 1 : 0) + below.inodes;
  }
  return { bytes, inodes };
}

export function sumOfUses(uses: readonly DiskUse[]): DiskUse {
  return {
    bytes: uses.reduce((sum, { bytes }) => sum + bytes, 0),
    inodes: uses.reduce((sum, { inodes }) => sum + inodes, 0),
  };
}
