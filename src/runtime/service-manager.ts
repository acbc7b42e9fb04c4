/**
 * Notifies the service manager (sd_notify(3)) that the program is ready, stopping, and alive. No-op
 * without a service manager.
 */
import { openUnixSender } from '#stdx/datagram-socket.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

export interface ServiceManager {
  ready(): void;
  stopping(): void;
  /** One line that `systemctl status` shows. */
  status(text: string): void;
  alive(): void;
}

const NONE: ServiceManager = { ready() {}, stopping() {}, status() {}, alive() {} };
const MAX_STATUS = 1_000;

export async function connectServiceManager(log: Logger, env = process.env): Promise<ServiceManager> {
  const path = env['NOTIFY_SOCKET'];
  if (!path) return NONE;
  try {
    const socket = await openUnixSender(path);
    const send = (text: string): void => {
      try {
        socket.send(Buffer.from(text));
      } catch (error) {
        log.warn('service manager not notified', { error: errorMessage(error) });
      }
    };
    return {
      ready: () => send('READY=1\nSTATUS=Ready'),
      stopping: () => send('STOPPING=1\nSTATUS=Stopping containers and components'),
      status: (text) => send(`STATUS=${text.replaceAll(/\s+/g, ' ').slice(0, MAX_STATUS)}`),
      alive: () => send('WATCHDOG=1'),
    };
  } catch (error) {
    log.warn('service manager not reachable', { path, error: errorMessage(error) });
    return NONE;
  }
}

/** The watchdog interval in ms; undefined: the watchdog is off. */
export function watchdogMs(env = process.env): number | undefined {
  if (env['WATCHDOG_PID'] !== undefined && Number(env['WATCHDOG_PID']) !== process.pid) return undefined;
  const microseconds = Number(env['WATCHDOG_USEC']);
  return microseconds > 0 ? microseconds / 1000 : undefined;
}
