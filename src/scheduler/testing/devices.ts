/** Devices, classes and claims for scheduler tests. */
import type {
  Device,
  DeviceClass,
  DeviceRequest,
  ExactDeviceRequest,
  ResourceClaim,
  ResourceSlice,
} from '#api/generated/types/resource-v1.ts';
import { AllocatedDevices } from '../dra/allocated-devices.ts';
import { allocateDevices, type AllocationInput } from '../dra/allocator.ts';
import { DevicePools, type DeviceNode } from '../dra/device-pools.ts';

export const DRIVER = 'gpu.example.com';

interface SliceOptions extends Partial<Omit<ResourceSlice['spec'], 'pool'>> {
  readonly name?: string;
  readonly pool?: string;
  readonly generation?: number;
  readonly count?: number;
}

export function slice(devices: readonly Device[], options: SliceOptions = {}): ResourceSlice {
  const { name, pool = 'pool', generation = 1, count = 1, ...spec } = options;
  const isPlaced = spec.nodeName ?? spec.nodeSelector ?? spec.allNodes ?? spec.perDeviceNodeSelection;
  return {
    apiVersion: 'resource.k8s.io/v1',
    kind: 'ResourceSlice',
    metadata: { name: name ?? `${pool}-${generation}` },
    spec: {
      driver: DRIVER,
      pool: { name: pool, generation, resourceSliceCount: count },
      devices: [...devices],
      ...(isPlaced ? {} : { nodeName: 'x' }),
      ...spec,
    },
  };
}

export function deviceClass(name: string, spec: DeviceClass['spec'] = {}): DeviceClass {
  return { metadata: { name, creationTimestamp: '2026-01-01T00:00:00Z' }, spec };
}

export function exactly(name: string, more: Partial<ExactDeviceRequest> = {}): DeviceRequest {
  return { name, exactly: { deviceClassName: 'gpus', ...more } };
}

export const cel = (expression: string): { readonly cel: { readonly expression: string } } => ({
  cel: { expression },
});

export function deviceClaim(
  requests: readonly DeviceRequest[],
  more: Omit<NonNullable<ResourceClaim['spec']['devices']>, 'requests'> & { readonly name?: string } = {},
): ResourceClaim {
  const { name = 'c', ...devices } = more;
  return {
    metadata: { name, namespace: 'default', uid: `uid-${name}` },
    spec: { devices: { requests: [...requests], ...devices } },
  };
}

export interface DeviceWorld {
  readonly slices: readonly ResourceSlice[];
  readonly classes?: readonly DeviceClass[];
  /** With allocations. */
  readonly allocated?: readonly ResourceClaim[];
  readonly node?: DeviceNode;
}

export function allocationInput(
  claims: readonly ResourceClaim[],
  { slices, classes = [deviceClass('gpus')], allocated = [], node = { name: 'x', labels: {} } }: DeviceWorld,
): AllocationInput {
  const pools = new DevicePools();
  for (const one of slices) pools.set(one);
  const taken = new AllocatedDevices();
  for (const claim of allocated) taken.set(claim.metadata?.uid ?? '', claim);
  let shares = 0;
  return {
    claims,
    nodeName: node.name,
    pools: pools.of(node),
    taken,
    deviceClass: (name) => classes.find(({ metadata }) => metadata?.name === name),
    newShareID: () => `share-${++shares}`,
  };
}

/** 'request=device' of each claim, 'no' or the error's message. */
export function allocationText(claims: readonly ResourceClaim[], world: DeviceWorld): string {
  try {
    const results = allocateDevices(allocationInput(claims, world));
    if (!results) return 'no';
    return results
      .map(({ devices }) =>
        (devices?.results ?? []).map(({ request, device }) => `${request}=${device}`).join(' '),
      )
      .join(' | ');
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
