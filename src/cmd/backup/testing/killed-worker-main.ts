/**
 * The worker of scheduled backups, the first of which is killed at the first step that KILL_AT names, the second one at the second, and so on.
 * KILLS_FILE: where that is written down, a line a worker.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { serveParent } from '../worker.ts';

const file = process.env['KILLS_FILE']!;
const killed = readFileSync(file, 'utf8').split('\n').length - 1;
const killAt = process.env['KILL_AT']!.split(' ')[killed];

serveParent((step) => {
  if (step !== killAt) return;
  appendFileSync(file, `${step}\n`);
  process.kill(process.pid, 'SIGKILL');
});
