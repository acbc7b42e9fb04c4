/**
 * The watchdog's thread: tells the service manager that the program is alive for as long as the event loops of all its other threads turn. It has a loop
 * of its own, so one that stands still is noticed, logged, and after WatchdogSec the program is ended and started again; containers run on meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { describeStalled, type Heartbeat } from '#runtime/heartbeat.ts';
import { connectServiceManager } from '#runtime/service-manager.ts';
import { createLogger } from '#stdx/log.ts';

export interface WatchdogData {
  readonly heartbeats: readonly Heartbeat[];
  readonly periodMs: number;
}

const { heartbeats, periodMs } = workerData as WatchdogData;
const log = createLogger({ format: 'json' }).with({ thread: 'watchdog' });
const manager = await connectServiceManager(log);
let stalled: string | undefined;

setInterval(() => {
  const before = stalled;
  stalled = describeStalled(heartbeats);
  if (stalled === undefined) manager.alive();
  else {
    manager.status(stalled);
    if (before === undefined) log.error('not alive', { reason: stalled });
  }
  if (stalled === undefined && before !== undefined) log.warn('alive again', { was: before });
}, periodMs);
parentPort?.on('message', () => process.exit(0));
