/**
 * A backup or a restore in a process of its own, which ends itself by SIGKILL at a step. Prints the name of each step that it comes to, a line each.
 *
 *   node faults-main.ts '{"command":"create","flags":{…},"killAt":3}'        killAt counts steps from 0; -1: none
 */
import { writeSync } from 'node:fs';
import { createBackup, type CreateFlags } from '../create.ts';
import { restoreCluster } from '../restore-cluster.ts';
import type { RestoreFlags } from '../restore-steps.ts';

export interface Fault {
  readonly command: 'create' | 'restore';
  readonly flags: CreateFlags & RestoreFlags;
  readonly killAt: number;
}

const { command, flags, killAt } = JSON.parse(process.argv[2]!) as Fault;
const quiet = (): void => {};
let count = 0;

function before(step: string): void {
  writeSync(1, `${step}\n`);
  if (count++ === killAt) process.kill(process.pid, 'SIGKILL');
}

if (command === 'create') await createBackup({ ...flags, before }, quiet);
else await restoreCluster(flags, { say: quiet, before });
