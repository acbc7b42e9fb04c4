/** hostPath volumes: checks the path, and creates it for the types that do. */
import { lstat, mkdir, open, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import type { HostPathVolumeSource } from '#api/types.ts';
import { VolumeError } from './errors.ts';

const CHECKS: Readonly<Record<string, { readonly is: (stats: Stats) => boolean; readonly what: string }>> = {
  Directory: { is: (stats) => stats.isDirectory(), what: 'a directory' },
  DirectoryOrCreate: { is: (stats) => stats.isDirectory(), what: 'a directory' },
  File: { is: (stats) => stats.isFile(), what: 'a file' },
  FileOrCreate: { is: (stats) => stats.isFile(), what: 'a file' },
  Socket: { is: (stats) => stats.isSocket(), what: 'a socket file' },
  CharDevice: { is: (stats) => stats.isCharacterDevice(), what: 'a character device' },
  BlockDevice: { is: (stats) => stats.isBlockDevice(), what: 'a block device' },
};

/** Throws VolumeError with upstream's text. */
export async function prepareHostPath({ path, type = '' }: HostPathVolumeSource): Promise<string> {
  if (path.split('/').includes('..')) throw new VolumeError(`hostPath ${path} must not contain '..'`);
  if (type === '') {
    // Any existing file; a directory is created when there is none.
    if (!(await lstat(path).catch(() => undefined))) await mkdir(path, { recursive: true, mode: 0o755 });
    return path;
  }
  const check = CHECKS[type];
  if (!check) throw new VolumeError(`${type} is an invalid volume type`);
  const present = await stat(path).catch(() => undefined);
  if (!present && type === 'DirectoryOrCreate') await mkdir(path, { recursive: true, mode: 0o755 });
  else if (!present && type === 'FileOrCreate') await (await open(path, 'a', 0o644)).close();
  else if (!present || !check.is(present))
    throw new VolumeError(`hostPath type check failed: ${path} is not ${check.what}`);
  return path;
}
