/** The log of the main thread, and what `up` is told over IPC. */
import type { DaemonMessage } from '#deploy/daemon.ts';
import { createLogger } from '#stdx/log.ts';

export const log = createLogger({ format: 'json' }).with({ thread: 'main' });

/** In the log, and by `up`. */
export function warn(message: string): void {
  log.warn(message);
  send({ type: 'warning', message });
}

/** Nothing happens when nobody listens any more. */
export function send(message: DaemonMessage): void {
  if (process.connected) process.send?.(message, () => {});
}
