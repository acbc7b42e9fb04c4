/** What a container gets by the node's plugins: devices of device plugins, and those of its ResourceClaims. */
import type { Container, Pod } from '#api/types.ts';
import { resolveCdiDevices } from '../devices/cdi.ts';
import { mergeAllocations, type DeviceManager } from '../devices/device-manager.ts';
import type { ContainerAllocation } from '../devices/protocol.ts';
import type { ClaimManager } from '../dra/claim-manager.ts';

interface ContainerDevicesOptions {
  readonly devices: Pick<DeviceManager, 'prepareContainer'>;
  readonly claims: Pick<ClaimManager, 'cdiDevices'>;
  /** 'containerd://1.7.1' */
  readonly runtimeVersion: string;
}

/** undefined: nothing. Rejects when a plugin refuses, or a device's name cannot be resolved. */
export async function prepareContainerDevices(
  pod: Pod,
  { container, devices, claims, runtimeVersion }: ContainerDevicesOptions & { readonly container: Container },
): Promise<ContainerAllocation | undefined> {
  const granted = await devices.prepareContainer(pod, container);
  const names = [
    ...(granted?.cdiDevices ?? []).map(({ name }) => name),
    ...(await claims.cdiDevices(pod, container)),
  ];
  if (names.length === 0) return granted;
  const own = granted ? [{ ...granted, cdiDevices: [] }] : [];
  return resolvesCdi(runtimeVersion)
    ? { ...mergeAllocations(own), cdiDevices: [...new Set(names)].map((name) => ({ name })) }
    : mergeAllocations([...own, ...(await resolveCdiDevices([...new Set(names)]))]);
}

/** containerd resolves names from 2.0 on without being configured to. */
function resolvesCdi(runtimeVersion: string): boolean {
  return !/^containerd:\/\/[01]\./.test(runtimeVersion);
}
