/** Check TimeSync: something keeps the clock right, and it agrees with an API server's. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { warning, failure, type Check } from '../check.ts';

const CLIENTS = ['chronyd', 'ntpd', 'systemd-timesyn', 'openntpd', 'ptp4l', 'phc2sys'];
/** systemd-timesyncd touches it when it has set the clock. */
const SYNCHRONIZED = 'run/systemd/timesync/synchronized';
const TOLERATED_MS = 2_000;

interface TimeSyncOptions {
  readonly root?: string;
  readonly nowMs: number;
  /** The clock of an API server, and whose; undefined: none was asked. HTTP's dates are whole seconds. */
  readonly server?: { readonly address: string; dateMs(): Promise<number | undefined> } | undefined;
}

export function timeSync({ root = '/', nowMs, server }: TimeSyncOptions): Check {
  return {
    name: 'TimeSync',
    async run() {
      const client = runningClient(root);
      const serverMs = await server?.dateMs();
      const apart = serverMs === undefined ? 0 : Math.abs(nowMs - serverMs);
      const evidence = [
        client === undefined ? 'no NTP client runs' : `${client} runs`,
        ...(serverMs === undefined ? [] : [`${Math.round(apart / 1_000)} s from ${server?.address}`]),
      ].join(', ');
      if (apart > TOLERATED_MS + 1_000)
        return {
          evidence,
          ...failure(
            `the clock of this machine is ${Math.round(apart / 1_000)} s from that of the API server at ${server?.address}`,
            'set both by NTP: timedatectl set-ntp true',
          ),
        };
      if (client !== undefined) return { evidence };
      return {
        evidence,
        ...warning(
          'nothing keeps the clock of this machine right: certificates and elections depend on it',
          'timedatectl set-ntp true, or apt-get install chrony; a virtual machine may get its time from its host',
        ),
      };
    },
  };
}

function runningClient(root: string): string | undefined {
  if (existsSync(join(root, SYNCHRONIZED))) return 'systemd-timesyncd';
  for (const pid of readdirSync(join(root, 'proc')).filter((name) => /^\d+$/.test(name))) {
    const name = commandOf(join(root, 'proc', pid, 'comm'));
    if (CLIENTS.includes(name)) return name;
  }
  return undefined;
}

/** Empty for a process that has ended. */
function commandOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
