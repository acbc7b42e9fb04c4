/** fsGroup: gives the files of a volume to a group. After upstream's volume.SetVolumeOwnership. Symbolic links are not followed. */
import { chmod, lchown, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const READ_WRITE = 0o660;
const EXECUTE = 0o110;
const SET_GROUP_ID = 0o2000;

/** onRootMismatch: nothing is changed when the directory itself is right already. The volume's root is changed last, so that a crash is noticed. */
export async function setOwnership(
  dir: string,
  { group, onRootMismatch }: { readonly group: number; readonly onRootMismatch: boolean },
): Promise<void> {
  if (onRootMismatch && (await isRight(dir, group))) return;
  for (const name of await readdir(dir)) await setBelow(join(dir, name), group);
  await setOne(dir, group);
}

async function isRight(dir: string, group: number): Promise<boolean> {
  const { gid, mode } = await lstat(dir);
  const wanted = READ_WRITE | EXECUTE | SET_GROUP_ID;
  return gid === group && (mode & wanted) === wanted;
}

async function setBelow(path: string, group: number): Promise<void> {
  if ((await lstat(path)).isDirectory())
    for (const name of await readdir(path)) await setBelow(join(path, name), group);
  await setOne(path, group);
}

async function setOne(path: string, group: number): Promise<void> {
  const stats = await lstat(path);
  await lchown(path, stats.uid, group);
  if (stats.isSymbolicLink()) return;
  const more = stats.isDirectory() ? EXECUTE | SET_GROUP_ID : 0;
  await chmod(path, (stats.mode & 0o7777) | READ_WRITE | more);
}
