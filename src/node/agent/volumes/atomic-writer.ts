/**
 * Writes a set of files so that readers see the old set or the new one and never a mixture, as upstream's AtomicWriter lays them out:
 *
 *   DIR/..2026_01_02_03_04_05.123456/   the files        DIR/..data → the directory, swapped by rename        DIR/name → ..data/name
 */
import { isoTime } from '#stdx/dates.ts';
import { randomInt } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

export interface VolumeFile {
  readonly data: Buffer;
  readonly mode: number;
  /** Owner; root without it. */
  readonly uid?: number | undefined;
}

interface WriteOptions {
  /** By relative path; 'a/b' makes the directory a. Checked by the API server: no '..', not absolute. */
  readonly files: ReadonlyMap<string, VolumeFile>;
  readonly fsGroup?: number | undefined;
  readonly nowMs: number;
}

const DATA = '..data';

/** True when something changed. Throws for a path that leaves the directory. */
export async function writeAtomically(dir: string, options: WriteOptions): Promise<boolean> {
  for (const path of options.files.keys()) checkPath(path);
  const current = await readlink(join(dir, DATA)).catch(() => undefined);
  if (current !== undefined && (await same(join(dir, current), options))) return false;
  const name = `..${stamp(options.nowMs)}.${randomInt(1e9)}`;
  await writeFiles(join(dir, name), options);
  const link = join(dir, `${DATA}_tmp`);
  await rm(link, { force: true });
  await symlink(name, link);
  await rename(link, join(dir, DATA));
  await linkNames(dir, new Set([...options.files.keys()].map((path) => path.split('/')[0] ?? path)));
  for (const entry of await readdir(dir))
    if (entry.startsWith('..') && entry !== DATA && entry !== name)
      await rm(join(dir, entry), { recursive: true, force: true });
  return true;
}

function checkPath(path: string): void {
  const parts = path.split('/');
  if (path === '' || path.startsWith('/') || parts.includes('..') || (parts[0] ?? '').startsWith('..'))
    throw new Error(`invalid path ${JSON.stringify(path)}: must be relative and inside the volume`);
}

async function writeFiles(dir: string, { files, fsGroup }: WriteOptions): Promise<void> {
  await makeDirectory(dir, fsGroup);
  for (const [path, { data, mode, uid }] of files) {
    const target = join(dir, path);
    const parts = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth += 1)
      await makeDirectory(join(dir, ...parts.slice(0, depth)), fsGroup);
    await writeFile(target, data);
    if (uid !== undefined || fsGroup !== undefined) await chown(target, uid ?? 0, fsGroup ?? 0);
    // After the write and past the umask.
    await chmod(target, effectiveMode(mode, fsGroup));
  }
}

async function makeDirectory(dir: string, fsGroup: number | undefined): Promise<void> {
  await mkdir(dir, { recursive: true });
  if (fsGroup !== undefined) await chown(dir, 0, fsGroup);
  await chmod(dir, fsGroup === undefined ? 0o755 : 0o2775);
}

/** A group that owns the volume may read its files. */
function effectiveMode(mode: number, fsGroup: number | undefined): number {
  return fsGroup === undefined ? mode : mode | 0o440;
}

async function same(dir: string, { files, fsGroup }: WriteOptions): Promise<boolean> {
  const present = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => undefined);
  if (!present || present.filter((entry) => entry.isFile()).length !== files.size) return false;
  for (const [path, { data, mode }] of files) {
    const target = join(dir, path);
    const stat = await lstat(target).catch(() => undefined);
    if (!stat || (stat.mode & 0o7777) !== effectiveMode(mode, fsGroup) || stat.size !== data.length)
      return false;
    if (!(await readFile(target)).equals(data)) return false;
  }
  return true;
}

async function linkNames(dir: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of names) {
    const link = join(dir, name);
    if ((await readlink(link).catch(() => undefined)) !== join(DATA, name)) {
      await rm(link, { recursive: true, force: true });
      await symlink(join(DATA, name), link);
    }
  }
  for (const entry of await readdir(dir))
    if (!entry.startsWith('..') && !names.has(entry))
      await rm(join(dir, entry), { recursive: true, force: true });
}

function stamp(ms: number): string {
  return isoTime(ms).slice(0, 19).replaceAll(/[-T:]/g, '_');
}
