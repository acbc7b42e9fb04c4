/**
 * /var/log/containers: one link a container to its log, with its pod's names in the link's own, as log agents expect it. Links whose log is gone are
 * removed by the garbage collector.
 */
import { mkdir, readdir, readlink, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod } from '#api/types.ts';
import { podLogDirectory } from './pod-text.ts';

interface LogDirectories {
  readonly logsDir: string;
  /** Absent: no links are made. */
  readonly containerLogsDir?: string | undefined;
}

interface StartedContainer {
  readonly pod: Pod;
  readonly name: string;
  readonly containerId: string;
  readonly restartCount: number;
}

/** File names end here on Linux's file systems. */
const MAX_NAME = 255;

/** As upstream: POD_NAMESPACE_CONTAINER-ID.log, shortened before its end if need be. */
export async function linkContainerLog(
  { logsDir, containerLogsDir }: LogDirectories,
  { pod, name, containerId, restartCount }: StartedContainer,
): Promise<void> {
  if (containerLogsDir === undefined) return;
  await mkdir(containerLogsDir, { recursive: true, mode: 0o755 });
  const prefix = `${pod.metadata?.name}_${pod.metadata?.namespace}_${name}`;
  const suffix = `-${containerId}.log`;
  const link = join(containerLogsDir, `${prefix.slice(0, MAX_NAME - suffix.length)}${suffix}`);
  await rm(link, { force: true });
  await symlink(join(podLogDirectory(logsDir, pod), name, `${restartCount}.log`), link);
}

/** Links of others stay, as do files. */
export async function removeDeadLinks({ logsDir, containerLogsDir }: LogDirectories): Promise<void> {
  if (containerLogsDir === undefined) return;
  for (const name of await readdir(containerLogsDir).catch((): string[] => [])) {
    const link = join(containerLogsDir, name);
    const target = await readlink(link).catch(() => '');
    if (!target.startsWith(`${logsDir}/`)) continue;
    if (!(await stat(link).catch(() => undefined))) await rm(link, { force: true });
  }
}
