/** What went over the interfaces of a pod, from its network namespace: the kernel's table of it as a process in the pod sees it. */
import { readFile } from 'node:fs/promises';

export interface InterfaceCounters {
  readonly interface: string;
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly receiveErrors: number;
  readonly receivesDropped: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly sendErrors: number;
  readonly sendsDropped: number;
}

/** Empty: the process has ended. The loopback interface is omitted. */
export async function interfaceCounters(pid: number): Promise<readonly InterfaceCounters[]> {
  return parseInterfaces(await readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => ''));
}

/** text: of /proc/net/dev. */
export function parseInterfaces(text: string): InterfaceCounters[] {
  return Array.from(text.matchAll(/^\s*([^:\s]+):\s*(.*)$/gm), ([, name = '', rest = '']) => {
    const n = rest.trim().split(/\s+/).map(Number);
    return {
      interface: name,
      receivedBytes: n[0] ?? 0,
      receivedPackets: n[1] ?? 0,
      receiveErrors: n[2] ?? 0,
      receivesDropped: n[3] ?? 0,
      sentBytes: n[8] ?? 0,
      sentPackets: n[9] ?? 0,
      sendErrors: n[10] ?? 0,
      sendsDropped: n[11] ?? 0,
    };
  }).filter((one) => one.interface !== 'lo');
}
