/** The log of the main thread, and the messages to `up` over IPC. */
import type { DaemonMessage } from '#deploy/daemon.ts';
import { createLogger } from '#stdx/log.ts';

export const log = createLogger({ format: 'json' }).with({ thread: 'main' });

/** In the log, and by `up`. */
export function warn(message: string): void {
  log.warn(message);
  send({ type: 'warning', message });
}

/** Does nothing once the parent has disconnected. */
export function send(message: DaemonMessage): void {
  if (process.connected) process.send?.(message, () => {});
}
