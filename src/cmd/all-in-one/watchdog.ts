/**
 * The watchdog's thread: notifies the service manager while the event loops of all other threads respond. It has its own event loop, so a blocked one is
 * noticed, logged, and after WatchdogSec the program is killed and restarted; containers keep running meanwhile.
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
