/** The files that a cluster needs besides its objects: certificates, keys, encryption configuration, settings. */
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { BackupFile } from '#backup/format.ts';
import { UserError } from '#deploy/data-dir.ts';
import { IDENTITY_FILE } from './keys.ts';

/** A file or a directory on this machine, and its path in the archive. */
export interface FileRoot {
  readonly from: string;
  readonly to: string;
}

/** Far above any PKI: a directory that was named by mistake is refused. */
const MAX_FILES = 1_000;
const MAX_BYTES = 32 * 1024 * 1024;

/** What is absent is left out. The key that opens backups never goes in, nor do links and sockets. Throws a UserError. */
export function collectFiles(roots: readonly FileRoot[]): readonly BackupFile[] {
  const files: BackupFile[] = [];
  let bytes = 0;
  for (const { path, to } of roots.flatMap(({ from, to }) => filesBelow(from, to))) {
    const content = readFileSync(path);
    bytes += content.length;
    if (files.length === MAX_FILES || bytes > MAX_BYTES)
      throw new UserError(
        `${path} is one of more than ${MAX_FILES} files or ${MAX_BYTES} bytes: no directory of keys.`,
      );
    files.push({ path: to, mode: statSync(path).mode & 0o777, content });
  }
  return files;
}

function filesBelow(path: string, to: string): { readonly path: string; readonly to: string }[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory())
    return readdirSync(path)
      .toSorted()
      .flatMap((name) => filesBelow(join(path, name), `${to}/${name}`));
  if (!found?.isFile() || basename(path) === IDENTITY_FILE || basename(path).startsWith('.')) return [];
  return [{ path, to }];
}
