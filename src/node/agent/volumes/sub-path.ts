/**
 * Mounts a subpath of a volume, safe against writers of the volume: symbolic links are resolved once and must stay inside, then every step is opened
 * without following links, and the opened file is bind-mounted. After upstream's volume/util/subpath.
 */
import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, realpath, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { mountsBelow } from '../../containerd/teardown.ts';
import { VolumeError } from './errors.ts';
import { mount, unmount } from './mounts.ts';

/** From Linux's asm-generic/fcntl.h; Node does not name it. */
const O_PATH = 0o10000000;

interface SubPathOptions {
  readonly volumePath: string;
  /** Relative; checked by the API server to have no '..'. */
  readonly subPath: string;
  /** The mount point on the machine. */
  readonly target: string;
  /** Missing directories are created only in writable volumes. */
  readonly create: boolean;
}

/** Binds it to target. Throws VolumeError. */
export async function bindSubPath(options: SubPathOptions): Promise<void> {
  const { target } = options;
  const volumePath = await realpath(options.volumePath);
  if (options.subPath.split('/').includes('..'))
    throw new VolumeError(`subPath ${JSON.stringify(options.subPath)} must not contain '..'`);
  const { existing, missing } = await resolveInside(volumePath, {
    path: options.subPath,
    what: `subPath ${JSON.stringify(options.subPath)}`,
  });
  if (missing.length > 0 && !options.create)
    throw new VolumeError(
      `subPath ${JSON.stringify(options.subPath)} does not exist in the volume, which is read-only`,
    );
  const handle = await openSteps(volumePath, { existing, missing });
  try {
    const source = `/proc/${process.pid}/fd/${handle.fd}`;
    await prepareTarget(target, (await stat(source)).isDirectory());
    await mount(['--no-canonicalize', '--bind', source, target]);
  } finally {
    await handle.close();
  }
}

/** Environment files are small; upstream reads lines of at most 64 KiB and values of 32. */
const MAXIMUM_FILE_BYTES = 1024 * 1024;

/** The text of a file in a volume that its pod may write; undefined: it does not exist. Throws VolumeError, also for a special or too large file. */
export async function readVolumeFile({
  volumePath: given,
  path,
}: {
  readonly volumePath: string;
  readonly path: string;
}): Promise<string | undefined> {
  const volumePath = await realpath(given);
  const { existing, missing } = await resolveInside(volumePath, { path, what: JSON.stringify(path) });
  if (missing.length > 0) return undefined;
  const place = await openSteps(volumePath, { existing, missing });
  try {
    if (!(await place.stat()).isFile()) throw new VolumeError(`${JSON.stringify(path)} is no file`);
    const file = await open(`/proc/self/fd/${place.fd}`, constants.O_RDONLY);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAXIMUM_FILE_BYTES + 1), { position: 0 });
      if (bytesRead > MAXIMUM_FILE_BYTES)
        throw new VolumeError(`${JSON.stringify(path)} is larger than ${MAXIMUM_FILE_BYTES} bytes`);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } finally {
    await place.close();
  }
}

/** The deepest existing part, links resolved, and the part to be created below it. */
async function resolveInside(
  volumePath: string,
  { path: given, what }: { readonly path: string; readonly what: string },
): Promise<{ readonly existing: string; readonly missing: readonly string[] }> {
  const parts = given.split('/').filter((part) => part !== '' && part !== '.');
  for (let count = parts.length; count >= 0; count -= 1) {
    const path = join(volumePath, ...parts.slice(0, count));
    if (!(await lstat(path).catch(() => undefined))) continue;
    const real = await realpath(path).catch(() => {
      throw new VolumeError(`${what} is a link that leads nowhere`);
    });
    if (real !== volumePath && !real.startsWith(`${volumePath}/`))
      throw new VolumeError(`${what} leads out of the volume`);
    return { existing: relative(volumePath, real), missing: parts.slice(count) };
  }
  return { existing: '', missing: parts };
}

/** Created directories get the volume's mode, whatever the process' umask, so that all its users may use them. */
async function openSteps(
  volumePath: string,
  { existing, missing }: { readonly existing: string; readonly missing: readonly string[] },
): Promise<FileHandle> {
  let handle = await open(volumePath, O_PATH | constants.O_DIRECTORY);
  const { mode } = await stat(volumePath);
  const steps = [
    ...existing
      .split('/')
      .filter((part) => part !== '')
      .map((part) => ({ part, make: false })),
    ...missing.map((part) => ({ part, make: true })),
  ];
  for (const { part, make } of steps) {
    const path = `/proc/self/fd/${handle.fd}/${part}`;
    try {
      if (make) await mkdir(path, { mode: 0o700 });
      const next = await open(path, O_PATH | constants.O_NOFOLLOW);
      const stats = await next.stat();
      if (stats.isSymbolicLink()) {
        await next.close();
        throw new VolumeError(
          `subPath changed while it was opened: ${JSON.stringify(part)} is a symbolic link now`,
        );
      }
      if (make) await chmod(`/proc/self/fd/${next.fd}`, mode & 0o7777);
      await handle.close();
      handle = next;
    } catch (error) {
      await handle.close().catch(() => {});
      throw error;
    }
  }
  return handle;
}

async function prepareTarget(target: string, directory: boolean): Promise<void> {
  if ((await mountsBelow([target])).includes(target)) await unmount(target);
  await rm(target, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true, mode: 0o750 });
  if (directory) await mkdir(target, { mode: 0o750 });
  else await writeFile(target, '');
}
