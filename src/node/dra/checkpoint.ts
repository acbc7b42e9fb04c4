/** What survives a restart of the agent: the claims that drivers were asked to prepare, for which pods. Upstream's file and JSON (dra_manager_state). */
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { replaceFile } from '#stdx/atomic-file.ts';
import type { PreparedDevice } from './protocol.ts';

/** A claim that is, or may be, prepared. */
export interface ClaimRecord {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** UIDs. */
  readonly pods: readonly string[];
  /** By driver: all that have devices of it, also those that have not answered yet. */
  readonly drivers: Readonly<Record<string, readonly PreparedDevice[]>>;
}

interface StoredDevice {
  readonly PoolName: string;
  readonly DeviceName: string;
  readonly ShareID: string | null;
  readonly RequestNames: readonly string[] | null;
  readonly CDIDeviceIDs: readonly string[] | null;
}

interface StoredClaims {
  readonly kind: 'DRACheckpoint';
  readonly apiVersion: 'checkpoint.dra.kubelet.k8s.io/v1';
  readonly ClaimInfoStateList:
    | readonly {
        readonly ClaimUID: string;
        readonly ClaimName: string;
        readonly Namespace: string;
        readonly PodUIDs: Readonly<Record<string, object>>;
        readonly DriverState: Readonly<Record<string, { readonly Devices: readonly StoredDevice[] | null }>>;
      }[]
    | null;
}

/** Rejects when it is damaged or of another version. */
export async function readClaims(path: string): Promise<readonly ClaimRecord[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return [];
  const { Data, Checksum } = JSON.parse(text) as { readonly Data: string; readonly Checksum: number };
  if (crc32(Data) !== Checksum)
    throw new Error(`${path} is damaged: its checksum is ${crc32(Data)}, not ${Checksum}`);
  const { kind, apiVersion, ClaimInfoStateList } = JSON.parse(Data) as StoredClaims;
  if (kind !== 'DRACheckpoint' || apiVersion !== 'checkpoint.dra.kubelet.k8s.io/v1')
    throw new Error(
      `${path} is ${apiVersion} ${kind}; it should be checkpoint.dra.kubelet.k8s.io/v1 DRACheckpoint`,
    );
  return (ClaimInfoStateList ?? []).map((stored) => ({
    uid: stored.ClaimUID,
    name: stored.ClaimName,
    namespace: stored.Namespace,
    pods: Object.keys(stored.PodUIDs),
    drivers: Object.fromEntries(
      Object.entries(stored.DriverState).map(([driver, { Devices }]) => [
        driver,
        (Devices ?? []).map(toDevice),
      ]),
    ),
  }));
}

export function writeClaims(path: string, claims: readonly ClaimRecord[]): void {
  const stored: StoredClaims = {
    kind: 'DRACheckpoint',
    apiVersion: 'checkpoint.dra.kubelet.k8s.io/v1',
    ClaimInfoStateList: claims.map(({ uid, name, namespace, pods, drivers }) => ({
      ClaimUID: uid,
      ClaimName: name,
      Namespace: namespace,
      PodUIDs: Object.fromEntries(pods.map((pod) => [pod, {}])),
      DriverState: Object.fromEntries(
        Object.entries(drivers).map(([driver, devices]) => [driver, { Devices: devices.map(fromDevice) }]),
      ),
    })),
  };
  const Data = JSON.stringify(stored);
  replaceFile(path, JSON.stringify({ Data, Checksum: crc32(Data) }));
}

function toDevice(stored: StoredDevice): PreparedDevice {
  return {
    poolName: stored.PoolName,
    deviceName: stored.DeviceName,
    shareId: stored.ShareID ?? '',
    requestNames: stored.RequestNames ?? [],
    cdiDeviceIds: stored.CDIDeviceIDs ?? [],
  };
}

function fromDevice(device: PreparedDevice): StoredDevice {
  return {
    PoolName: device.poolName,
    DeviceName: device.deviceName,
    ShareID: device.shareId || null,
    RequestNames: device.requestNames,
    CDIDeviceIDs: device.cdiDeviceIds,
  };
}
