/** Which service of a machine does not come up, for messages of commands that wait for it. */
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { machineStatus } from './supervise.ts';

/** A sentence without its full stop; undefined where none has failed. */
export async function failedService(paths: MachinePaths): Promise<string | undefined> {
  const children = await machineStatus(paths);
  if (children === undefined) return 'The supervisor of this machine does not run (see: capstan supervise)';
  const failed = children.find(({ state, restarts }) => state === 'waiting' || restarts > 0);
  return (
    failed &&
    `The service ${failed.name} ended (${failed.lastEnd ?? 'unknown'}), its last words are in ${failed.log}`
  );
}
