/** What a machine is, as itself says: its record, its architecture, its addresses and the package that was copied to it. One script, no program of ours needed. */
import { isJsonObject } from '#machinery/json.ts';
import type { MachineRole } from '../machine/record.ts';
import { RemoteError } from './ssh.ts';

export interface MachineLook {
  /** 'x86_64' */
  readonly architecture: string;
  readonly addresses: readonly string[];
  /** Digest of the package that is current. */
  readonly package?: string | undefined;
  /** Whether the inventory's capstan.path is there. */
  readonly hasLauncher: boolean;
  /** Absent: in no cluster. */
  readonly record?: FoundRecord | undefined;
}

export interface FoundRecord {
  readonly role: MachineRole;
  readonly nodeName?: string | undefined;
  readonly clusterID?: string | undefined;
  /** HOST and port of its API server, of a control plane. */
  readonly advertiseAddress?: string | undefined;
  readonly bindPort?: number | undefined;
  readonly command: 'init' | 'join';
  /** Its init or join came to its end. */
  readonly finished: boolean;
}

export const PACKAGES_DIR = '/usr/local/lib/capstan';
/** The last phase of each that records itself. */
const LAST_PHASE = { init: 'show-join-command', join: 'show-result' };

export function lookScript(launcher: string): string {
  return [
    'uname -m',
    'hostname -I 2>/dev/null || echo',
    `basename "$(readlink ${PACKAGES_DIR}/current 2>/dev/null)"`,
    `if [ -x ${launcher} ]; then echo yes; else echo no; fi`,
    'if [ -e /var/lib/capstan/machine.json ]; then cat /var/lib/capstan/machine.json; fi',
  ].join('\n');
}

/** Throws a RemoteError for a damaged record. */
export function parseLook(output: string): MachineLook {
  const [architecture = '', addresses = '', current = '', launcher, ...record] = output.split('\n');
  const text = record.join('\n').trim();
  return {
    architecture,
    addresses: addresses.split(' ').filter(Boolean),
    package: current || undefined,
    hasLauncher: launcher === 'yes',
    record: text === '' ? undefined : parseRecord(text),
  };
}

function parseRecord(text: string): FoundRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RemoteError('its /var/lib/capstan/machine.json is damaged', { cause: error });
  }
  if (!isJsonObject(value)) throw new RemoteError('its /var/lib/capstan/machine.json holds no object');
  const { role, nodeName, clusterID, advertiseAddress, bindPort, phases } = value as {
    role?: MachineRole;
    nodeName?: string;
    clusterID?: string;
    advertiseAddress?: string;
    bindPort?: number;
    phases?: Partial<Record<'init' | 'join', readonly string[]>>;
  };
  if (role === undefined) return undefined;
  const command = phases?.init !== undefined || (role === 'control-plane' && !phases?.join) ? 'init' : 'join';
  return {
    role,
    nodeName,
    clusterID,
    advertiseAddress,
    bindPort,
    command,
    finished: phases?.[command]?.includes(LAST_PHASE[command]) ?? false,
  };
}
