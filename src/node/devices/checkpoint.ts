/**
 * What survives a restart of the agent: which devices containers have, and which resources were registered. Upstream's file and JSON
 * (kubelet_internal_checkpoint). Its checksum, a hash of Go's memory, is neither computed nor checked: the file is replaced as a whole, and one that cannot be read is refused.
 */
import { readFile } from 'node:fs/promises';
import { replaceFile } from '#stdx/atomic-file.ts';
import { containerAllocation, type ContainerAllocation } from './protocol.ts';

export const CHECKPOINT_NAME = 'kubelet_internal_checkpoint';

/** Devices of one resource that a container has. */
export interface DeviceGrant {
  readonly podUID: string;
  readonly container: string;
  readonly resource: string;
  /** By NUMA node; -1: of none. */
  readonly devices: Readonly<Record<string, readonly string[]>>;
  readonly allocation: ContainerAllocation;
}

interface Checkpoint {
  readonly grants: readonly DeviceGrant[];
  /** Healthy devices by resource. */
  readonly registered: Readonly<Record<string, readonly string[]>>;
}

interface CheckpointFile {
  readonly Data: {
    readonly PodDeviceEntries:
      | readonly {
          readonly PodUID: string;
          readonly ContainerName: string;
          readonly ResourceName: string;
          readonly DeviceIDs: Readonly<Record<string, readonly string[]>>;
          /** In base64. */
          readonly AllocResp: string;
        }[]
      | null;
    readonly RegisteredDevices: Readonly<Record<string, readonly string[]>> | null;
  };
  readonly Checksum: number;
}

/** undefined: there is none. Rejects when it is damaged. */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const { Data } = JSON.parse(text) as CheckpointFile;
  return {
    grants: (Data.PodDeviceEntries ?? []).map((entry) => ({
      podUID: entry.PodUID,
      container: entry.ContainerName,
      resource: entry.ResourceName,
      devices: entry.DeviceIDs,
      allocation: containerAllocation.decode(Buffer.from(entry.AllocResp, 'base64')) as ContainerAllocation,
    })),
    registered: Data.RegisteredDevices ?? {},
  };
}

export function writeCheckpoint(path: string, { grants, registered }: Checkpoint): void {
  const file: CheckpointFile = {
    Data: {
      PodDeviceEntries: grants.map(({ podUID, container, resource, devices, allocation }) => ({
        PodUID: podUID,
        ContainerName: container,
        ResourceName: resource,
        DeviceIDs: devices,
        AllocResp: containerAllocation.encode(allocation).toString('base64'),
      })),
      RegisteredDevices: registered,
    },
    Checksum: 0,
  };
  replaceFile(path, JSON.stringify(file));
}

export function deviceIds({ devices }: Pick<DeviceGrant, 'devices'>): string[] {
  return [...new Set(Object.values(devices).flat())].sort();
}
