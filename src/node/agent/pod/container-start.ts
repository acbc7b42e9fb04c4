/** Starts one container: image, configuration, create, start, postStart. Every failure becomes a StartFailure with the reason of the pod's status. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, EphemeralContainer, Pod, Secret, Service } from '#api/types.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../../cri/client.ts';
import { isCriError } from '../../cri/errors.ts';
import type { CriInput, Device, Image, Mount, PodSandboxConfig } from '../../cri/types.ts';
import type { ContainerAllocation } from '../../devices/protocol.ts';
import { containerConfig } from '../config/container.ts';
import type { Cgroups } from '../cgroups.ts';
import { hostNetworkHostsFile, hostsFile, podHostname, type DnsOptions } from '../config/dns.ts';
import { ConfigError, type DownwardContext } from '../config/downward.ts';
import { containerEnvironment, type ContainerEnvironment } from '../config/environment.ts';
import { expand } from '../config/expand.ts';
import { linuxResources } from '../config/resources.ts';
import { verifyNonRoot } from '../config/security.ts';
import { runtimeErrorText } from '../cri-text.ts';
import { ImageFailure, type ImagePuller } from '../image-puller.ts';
import type { ReferencedObjects } from '../referenced-objects.ts';
import { latestContainer, type PodRuntime } from '../runtime-view.ts';
import { VolumeError } from '../volumes/errors.ts';
import { listImageVolumes } from '../volumes/image-volumes.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';
import { bindSubPath, readVolumeFile } from '../volumes/sub-path.ts';
import { linkContainerLog } from './container-log-links.ts';
import { runHook } from './hooks.ts';
import { readRound } from './restart-all.ts';
import { formatFieldPath, podLogDirectory } from './pod-text.ts';
import { findContainer } from './restart-policy.ts';

export class StartFailure extends Error {
  override readonly name = 'StartFailure';
  readonly reason: string;
  readonly retryAtMs: number | undefined;
  /** The container is running and must be stopped again. */
  readonly startedId: string | undefined;
  constructor(
    reason: string,
    message: string,
    options: { readonly retryAtMs?: number; readonly startedId?: string } = {},
  ) {
    super(message);
    this.reason = reason;
    this.retryAtMs = options.retryAtMs;
    this.startedId = options.startedId;
  }
}

export interface ContainerStartDependencies {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly images: ImagePuller;
  readonly objects: ReferencedObjects;
  readonly volumes: PodVolumes;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  readonly nodeName: string;
  readonly hostIPs: readonly string[];
  readonly machineMemoryBytes: number;
  readonly logsDir: string;
  readonly seccompDir: string;
  readonly seccompDefault: boolean;
  /** Absent: no links are made. */
  readonly containerLogsDir?: string | undefined;
  /** Devices of a container, and what plugins add with them. Rejects when a plugin refuses. */
  prepareDevices(pod: Pod, container: Container): Promise<ContainerAllocation | undefined>;
  dns(): Promise<DnsOptions>;
  services(): readonly Service[];
  allocatable(): Readonly<Record<string, string>>;
  /** The runtime's state is about to change: the PLEG lists more often for a while. */
  expectChange(): void;
}

interface StartRequest {
  readonly pod: Pod;
  readonly name: string;
  readonly runtime: PodRuntime;
  readonly sandboxId: string;
  readonly sandboxConfig: CriInput<PodSandboxConfig>;
  readonly podIPs: readonly string[];
  readonly volumes: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

const CONFIG_RETRY_MS = 5_000;
const CREATE_RETRY_MS = 5_000;
const PROPAGATION = {
  None: 'PROPAGATION_PRIVATE',
  HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER',
  Bidirectional: 'PROPAGATION_BIDIRECTIONAL',
} as const;

/** Throws StartFailure, or the abort reason of the signal. */
export async function startContainer(
  dependencies: ContainerStartDependencies,
  request: StartRequest,
): Promise<void> {
  const { cri, clock, events } = dependencies;
  const { pod, name, runtime, signal } = request;
  const container = findContainer(pod, name);
  if (!container) return;
  const fieldPath = formatFieldPath(pod, name);
  const fail = (
    reason: string,
    error: unknown,
    more: { readonly retryAtMs?: number; readonly startedId?: string } = {},
  ): StartFailure => {
    const message = isCriError(error) ? runtimeErrorText(error) : errorMessage(error);
    events.event(pod, {
      type: 'Warning',
      reason: 'Failed',
      message:
        reason.startsWith('Err') || reason.startsWith('Image') ? `Error: ${reason}` : `Error: ${message}`,
      fieldPath,
    });
    return new StartFailure(reason, message, more);
  };
  const image = await imageFor(dependencies, request, container).catch((error: unknown) => {
    if (!(error instanceof ImageFailure)) throw error;
    throw fail(error.reason, error, { retryAtMs: error.retryAtMs });
  });
  const images = await mountImages(dependencies, request, container).catch((error: unknown) => {
    if (error instanceof ImageFailure) throw fail(error.reason, error, { retryAtMs: error.retryAtMs });
    throw signal.aborted
      ? error
      : fail('CreateContainerConfigError', error, { retryAtMs: clock.now() + CONFIG_RETRY_MS });
  });
  signal.throwIfAborted();
  const restartCount = nextRestartCount(pod, runtime, name);
  const config = await prepareConfig(
    dependencies,
    { ...request, volumes: new Map([...request.volumes, ...images]) },
    { container, image, restartCount },
  ).catch((error: unknown) => {
    throw fail('CreateContainerConfigError', error, { retryAtMs: clock.now() + CONFIG_RETRY_MS });
  });
  signal.throwIfAborted();
  dependencies.expectChange();
  const { containerId } = await cri
    .createContainer({ podSandboxId: request.sandboxId, config, sandboxConfig: request.sandboxConfig })
    .catch((error: unknown) => {
      throw fail('CreateContainerError', error, { retryAtMs: clock.now() + CREATE_RETRY_MS });
    });
  events.event(pod, { type: 'Normal', reason: 'Created', message: 'Container created', fieldPath });
  await cri.startContainer({ containerId }).catch((error: unknown) => {
    throw fail('RunContainerError', error, { retryAtMs: clock.now() + CREATE_RETRY_MS });
  });
  await linkContainerLog(dependencies, { pod, name, containerId, restartCount }).catch((error: unknown) =>
    dependencies.log.warn('error linking a container log', { container: name, error: errorMessage(error) }),
  );
  events.event(pod, { type: 'Normal', reason: 'Started', message: 'Container started', fieldPath });
  const postStart = container.lifecycle?.postStart;
  if (!postStart) return;
  await runHook(postStart, {
    cri,
    clock,
    container,
    containerId,
    podIP: request.podIPs[0] ?? '',
    signal,
  }).catch((error: unknown) => {
    events.event(pod, {
      type: 'Warning',
      reason: 'FailedPostStartHook',
      message: `PostStartHook failed: ${errorMessage(error)}`,
      fieldPath,
    });
    throw new StartFailure('PostStartHookError', errorMessage(error), { startedId: containerId });
  });
}

/** The image volumes of this container: pulled like its own image, and their mount points. */
async function mountImages(
  dependencies: ContainerStartDependencies,
  request: StartRequest,
  container: Container | EphemeralContainer,
): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const { name, source } of listImageVolumes(request.pod, container)) {
    const { id } = await imageFor(dependencies, request, {
      name: container.name,
      image: source.reference ?? '',
      ...(source.pullPolicy ? { imagePullPolicy: source.pullPolicy } : {}),
    });
    paths.set(name, await dependencies.volumes.mountImage(request.pod, { volume: name, image: id }));
  }
  return paths;
}

async function imageFor(
  { images, objects }: ContainerStartDependencies,
  { pod, sandboxConfig, signal, name }: StartRequest,
  container: Container | EphemeralContainer,
): Promise<Image> {
  const found = await Promise.all(
    (pod.spec?.imagePullSecrets ?? []).map(async (reference) =>
      objects.secret(pod.metadata?.namespace ?? '', reference.name ?? '').catch(() => undefined),
    ),
  );
  const secrets = found.filter((secret): secret is Secret => secret !== undefined);
  return images.ensure({
    pod,
    container,
    secrets,
    sandbox: sandboxConfig,
    signal,
    fieldPath: formatFieldPath(pod, name),
  });
}

/** The restart count: one more than the previous run; the API's value counts when the runtime has no record. */
function nextRestartCount(pod: Pod, runtime: PodRuntime, name: string): number {
  const latest = latestContainer(runtime, name);
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const known = [...containerStatuses, ...initContainerStatuses].find((status) => status.name === name);
  const ran = known?.containerID !== undefined || known?.lastState?.terminated !== undefined;
  return Math.max(latest ? latest.restartCount + 1 : 0, ran && !latest ? (known?.restartCount ?? 0) + 1 : 0);
}

interface Prepared {
  readonly container: Container | EphemeralContainer;
  readonly image: Image;
  readonly restartCount: number;
}

async function prepareConfig(
  dependencies: ContainerStartDependencies,
  request: StartRequest,
  { container, image, restartCount }: Prepared,
) {
  const { pod, podIPs, runtime } = request;
  const imageUser = { uid: image.uid?.value, username: image.username };
  verifyNonRoot({ pod, container, imageUser });
  const context: DownwardContext = {
    pod,
    podIPs,
    hostIPs: dependencies.hostIPs,
    nodeName: dependencies.nodeName,
    allocatable: dependencies.allocatable(),
  };
  const environment = await containerEnvironment({
    container,
    context,
    objects: dependencies.objects,
    services: dependencies.services(),
    volumeFile: async ({ volumeName, path }) => {
      const volumePath = request.volumes.get(volumeName);
      if (volumePath === undefined)
        throw new ConfigError(
          `cannot find the volume ${JSON.stringify(volumeName)} referenced by FileKeyRef`,
        );
      return readVolumeFile({ volumePath, path });
    },
  });
  sayInvalidKeys(dependencies, pod, environment);
  await mkdir(join(podLogDirectory(dependencies.logsDir, pod), container.name), {
    recursive: true,
    mode: 0o755,
  });
  const plugged = await dependencies.prepareDevices(pod, container as Container);
  const mounts = [
    ...(plugged?.mounts ?? []).map(pluggedMount),
    ...(await volumeMounts(dependencies, request, { container, environment })),
    ...(await hostsMount(dependencies, request, container)),
    await terminationLogMount(dependencies, request, { container, restartCount }),
  ];
  const target =
    'targetContainerName' in container && container.targetContainerName
      ? latestContainer(runtime, container.targetContainerName)
      : undefined;
  return containerConfig({
    pod,
    container,
    restartCount,
    round: readRound(pod, runtime),
    imageRef: image.id || container.image || '',
    environment: [
      ...Object.entries(plugged?.envs ?? {}).map(([key, value]) => ({ name: key, value })),
      ...environment.variables,
    ],
    mounts,
    devices: [...(plugged?.devices ?? []), ...volumeDevices(request, container)],
    plugged,
    seccompDir: dependencies.seccompDir,
    seccompDefault: dependencies.seccompDefault,
    targetId: target?.id,
    imageUser,
    resources: linuxResources({
      spec: pod.spec ?? { containers: [] },
      container,
      machineMemoryBytes: dependencies.machineMemoryBytes,
      cgroupVersion: dependencies.cgroups.version,
      controlsSwap: dependencies.cgroups.controlsSwap(dependencies.cgroupRoot),
    }),
  });
}

function pluggedMount({
  containerPath,
  hostPath,
  readOnly,
}: ContainerAllocation['mounts'][number]): CriInput<Mount> {
  return { containerPath, hostPath, readonly: readOnly, propagation: 'PROPAGATION_PRIVATE' };
}

function sayInvalidKeys(
  { events }: ContainerStartDependencies,
  pod: Pod,
  { invalid }: ContainerEnvironment,
): void {
  for (const { kind, name, keys } of invalid) {
    events.event(pod, {
      type: 'Warning',
      reason: 'InvalidEnvironmentVariableNames',
      message: `Keys [${keys.join(', ')}] from the EnvFrom ${kind.toLowerCase()} ${name} were skipped since they are considered invalid environment variable names.`,
    });
  }
}

async function volumeMounts(
  dependencies: ContainerStartDependencies,
  { pod, volumes }: StartRequest,
  {
    container,
    environment,
  }: { readonly container: Container | EphemeralContainer; readonly environment: ContainerEnvironment },
): Promise<CriInput<Mount>[]> {
  const values = new Map(environment.variables.map(({ name, value }) => [name, value]));
  const mounts: CriInput<Mount>[] = [];
  for (const [index, volumeMount] of (container.volumeMounts ?? []).entries()) {
    const base = volumes.get(volumeMount.name);
    if (base === undefined)
      throw new ConfigError(
        `cannot find volume "${volumeMount.name}" to mount into container "${container.name}"`,
      );
    const readonly = (volumeMount.readOnly ?? false) || isReadOnly(pod, volumeMount.name);
    const subPath = volumeMount.subPathExpr
      ? expandStrictly(volumeMount.subPathExpr, values)
      : (volumeMount.subPath ?? '');
    let hostPath = base;
    if (subPath !== '') {
      hostPath = join(
        dependencies.volumes.podDir(pod.metadata?.uid ?? ''),
        'volume-subpaths',
        volumeMount.name,
        container.name,
        String(index),
      );
      await bindSubPath({ volumePath: base, subPath, target: hostPath, create: !readonly }).catch(
        (error: unknown) => {
          throw new VolumeError(
            `failed to prepare subPath for volumeMount "${volumeMount.name}" of container "${container.name}": ${errorMessage(error)}`,
          );
        },
      );
    }
    if (volumeMount.recursiveReadOnly === 'Enabled')
      throw new ConfigError(
        `volumeMount "${volumeMount.name}": recursiveReadOnly is not supported by this node's container runtime`,
      );
    const propagation =
      PROPAGATION[(volumeMount.mountPropagation ?? 'None') as keyof typeof PROPAGATION] ??
      'PROPAGATION_PRIVATE';
    mounts.push({ hostPath, containerPath: absolute(volumeMount.mountPath), readonly, propagation });
  }
  return mounts;
}

function volumeDevices(
  { pod, volumes }: StartRequest,
  container: Container | EphemeralContainer,
): CriInput<Device>[] {
  return (container.volumeDevices ?? []).map(({ name, devicePath }) => {
    const hostPath = volumes.get(name);
    if (hostPath === undefined)
      throw new ConfigError(`cannot find volume "${name}" to pass into container "${container.name}"`);
    return { containerPath: devicePath, hostPath, permissions: isReadOnly(pod, name) ? 'r' : 'mrw' };
  });
}

/** Projected volumes and image volumes are, and those that the pod asks to be. */
function isReadOnly({ spec }: Pod, name: string): boolean {
  const volume = spec?.volumes?.find((one) => one.name === name);
  if (volume?.persistentVolumeClaim?.readOnly || volume?.nfs?.readOnly) return true;
  return (
    (volume?.configMap ?? volume?.secret ?? volume?.projected ?? volume?.downwardAPI ?? volume?.image) !==
    undefined
  );
}

function absolute(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** In paths a reference to a missing variable is an error. */
function expandStrictly(text: string, values: ReadonlyMap<string, string>): string {
  const path = expand(text, (name) => {
    const value = values.get(name);
    if (value === undefined)
      throw new ConfigError(`missing value for ${JSON.stringify(name)} in subPathExpr`);
    return value;
  });
  if (path.startsWith('/') || path.split('/').includes('..'))
    throw new ConfigError(
      `subPathExpr ${JSON.stringify(text)} leads to ${JSON.stringify(path)}: must be relative and without '..'`,
    );
  return path;
}

async function hostsMount(
  dependencies: ContainerStartDependencies,
  { pod, podIPs }: StartRequest,
  container: Container | EphemeralContainer,
): Promise<CriInput<Mount>[]> {
  if (container.volumeMounts?.some(({ mountPath }) => mountPath === '/etc/hosts')) return [];
  const path = join(dependencies.volumes.podDir(pod.metadata?.uid ?? ''), 'etc-hosts');
  const { clusterDomain } = await dependencies.dns();
  const text = pod.spec?.hostNetwork
    ? hostNetworkHostsFile(pod, await readFile('/etc/hosts', 'utf8').catch(() => '127.0.0.1\tlocalhost\n'))
    : hostsFile(pod, { podIPs, name: podHostname(pod, clusterDomain) });
  await writeFile(path, text, { mode: 0o644 });
  return [{ hostPath: path, containerPath: '/etc/hosts', readonly: false }];
}

async function terminationLogMount(
  dependencies: ContainerStartDependencies,
  { pod }: StartRequest,
  { container, restartCount }: Pick<Prepared, 'container' | 'restartCount'>,
): Promise<CriInput<Mount>> {
  const dir = join(dependencies.volumes.podDir(pod.metadata?.uid ?? ''), 'containers', container.name);
  await mkdir(dir, { recursive: true, mode: 0o750 });
  const path = join(dir, String(restartCount));
  await writeFile(path, '');
  // The container may run as any user, and must be able to write its termination message.
  await chmod(path, 0o666);
  return {
    hostPath: path,
    containerPath: container.terminationMessagePath || '/dev/termination-log',
    readonly: false,
  };
}
