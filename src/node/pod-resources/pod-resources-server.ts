/** Serves the PodResources API on pod-resources/kubelet.sock: devices of device plugins and of claims. No CPUs or memory: none are assigned to containers. */
import type { Container, Pod } from '#api/types.ts';
import { longRunningContainers } from '#component-helpers/containers.ts';
import type { Clock } from '#stdx/clock.ts';
import type { DeviceGrant } from '../devices/checkpoint.ts';
import type { DeviceManager } from '../devices/device-manager.ts';
import type { PluginDevice } from '../devices/protocol.ts';
import type { ClaimManager } from '../dra/claim-manager.ts';
import { GrpcError, serveUnixSocket, type UnixServer } from '#grpc/server.ts';
import { podResourcesMethods } from './protocol.ts';

interface PodResourcesOptions {
  readonly socketPath: string;
  readonly clock: Clock;
  /** Those that have not ended. */
  readonly pods: () => readonly Pod[];
  readonly devices: Pick<DeviceManager, 'grants' | 'devices'>;
  readonly claims: Pick<ClaimManager, 'claimDevices'>;
}

/** Upstream's limit. */
const CALLS_PER_SECOND = 100;
const BURST = 10;

/** Rejects when it cannot listen. */
export function servePodResources(options: PodResourcesOptions): Promise<UnixServer> {
  const take = callLimit(options.clock);
  const limited = (answer: (request: object) => object) => (request: object) => {
    if (take()) return answer(request);
    throw new GrpcError('RESOURCE_EXHAUSTED', 'rejected by rate limit');
  };
  return serveUnixSocket({
    socketPath: options.socketPath,
    methods: podResourcesMethods,
    answers: {
      List: limited(() => ({ podResources: options.pods().map((pod) => podResources(pod, options)) })),
      Get: limited((request) => {
        const { podName, podNamespace } = request as {
          readonly podName: string;
          readonly podNamespace: string;
        };
        const pod = options
          .pods()
          .find(({ metadata }) => metadata?.name === podName && metadata.namespace === podNamespace);
        if (!pod) throw new Error(`pod ${podName} in namespace ${podNamespace} not found`);
        return { podResources: podResources(pod, options) };
      }),
      GetAllocatableResources: limited(() => ({
        devices: [...options.devices.devices].flatMap(([resourceName, devices]) =>
          devices.map((device) => ({
            resourceName,
            deviceIds: [device.ID],
            ...topology(nodesOf(device)),
          })),
        ),
      })),
    },
  });
}

function podResources(pod: Pod, options: PodResourcesOptions): object {
  return {
    name: pod.metadata?.name ?? '',
    namespace: pod.metadata?.namespace ?? '',
    containers: longRunningContainers(pod.spec).map((container) =>
      containerResources(pod, container, options),
    ),
  };
}

function containerResources(
  pod: Pod,
  container: Container,
  { devices, claims }: PodResourcesOptions,
): object {
  const own = devices.grants.filter(
    (one) => one.podUID === pod.metadata?.uid && one.container === container.name,
  );
  return {
    name: container.name,
    devices: own.flatMap(containerDevices),
    dynamicResources: claims.claimDevices(pod, container).map(({ claim, devices: found }) => ({
      claimName: claim.name,
      claimNamespace: claim.namespace,
      claimResources: found.map(({ driver, device }) => ({
        driverName: driver,
        poolName: device.poolName,
        deviceName: device.deviceName,
        cdiDevices: device.cdiDeviceIds.map((name) => ({ name })),
      })),
    })),
  };
}

/** As upstream, one entry for each NUMA node. */
function containerDevices({ resource, devices }: DeviceGrant): object[] {
  return Object.entries(devices).map(([node, deviceIds]) => ({
    resourceName: resource,
    deviceIds,
    ...topology(Number(node) < 0 ? [] : [Number(node)]),
  }));
}

function nodesOf({ topology: of }: PluginDevice): readonly number[] {
  return of?.nodes.map(({ ID }) => ID) ?? [];
}

function topology(nodes: readonly number[]): object {
  return nodes.length === 0 ? {} : { topology: { nodes: nodes.map((ID) => ({ ID })) } };
}

/** A bucket of tokens. */
function callLimit(clock: Clock): () => boolean {
  let tokens = BURST;
  let atMs = clock.monotonic();
  return () => {
    const nowMs = clock.monotonic();
    tokens = Math.min(BURST, tokens + ((nowMs - atMs) * CALLS_PER_SECOND) / 1000);
    atMs = nowMs;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
}
