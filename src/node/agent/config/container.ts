/** Builds a container's CRI configuration from its spec and its prepared volumes, environment and devices. Pure. */
import type { Container, Pod } from '#api/types.ts';
import type {
  ContainerConfig,
  CriInput,
  Device,
  LinuxContainerResources,
  Mount,
  Signal,
} from '../../cri/types.ts';
import type { ContainerAllocation } from '../../devices/protocol.ts';
import { ANNOTATIONS, LABELS } from '../labels.ts';
import { containerHash } from '../pod/restart-policy.ts';
import { expand } from './expand.ts';
import { containerSecurity, type ImageUser } from './security.ts';
import type { EnvironmentVariable } from './service-environment.ts';

interface ContainerOptions {
  readonly pod: Pod;
  readonly container: Container;
  readonly restartCount: number;
  /** See pod/restart-all.ts. */
  readonly round?: number | undefined;
  /** The image's reference in the runtime. */
  readonly imageRef: string;
  readonly environment: readonly EnvironmentVariable[];
  readonly mounts: readonly CriInput<Mount>[];
  /** Of volumes of mode Block. */
  readonly devices?: readonly CriInput<Device>[] | undefined;
  /** What plugins of the node add. */
  readonly plugged?: Pick<ContainerAllocation, 'annotations' | 'cdiDevices'> | undefined;
  readonly resources: CriInput<LinuxContainerResources>;
  readonly seccompDir: string;
  readonly seccompDefault?: boolean | undefined;
  /** ID of the target container of an ephemeral container. */
  readonly targetId?: string | undefined;
  readonly imageUser?: ImageUser;
}

/** Relative to the sandbox's log directory. */
function containerLogPath(name: string, restartCount: number): string {
  return `${name}/${restartCount}.log`;
}

export function containerConfig(options: ContainerOptions): CriInput<ContainerConfig> {
  const { pod, container, restartCount, environment } = options;
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const values = new Map(environment.map((variable) => [variable.name, variable.value]));
  const expanded = (texts: readonly string[] = []): string[] =>
    texts.map((text) => expand(text, (variable) => values.get(variable)));
  return {
    metadata: { name: container.name, attempt: restartCount },
    image: { image: options.imageRef, userSpecifiedImage: container.image ?? '' },
    command: expanded(container.command),
    args: expanded(container.args),
    workingDir: container.workingDir ?? '',
    envs: environment.map(({ name: key, value }) => ({ key, value: Buffer.from(value) })),
    mounts: options.mounts,
    ...(options.devices?.length ? { devices: options.devices } : {}),
    ...(options.plugged?.cdiDevices.length ? { cdiDevices: options.plugged.cdiDevices } : {}),
    labels: {
      [LABELS.containerName]: container.name,
      [LABELS.podName]: name,
      [LABELS.podNamespace]: namespace,
      [LABELS.podUID]: uid,
    },
    annotations: {
      ...options.plugged?.annotations,
      [ANNOTATIONS.hash]: containerHash(container),
      [ANNOTATIONS.restartCount]: String(restartCount),
      ...(options.round ? { [ANNOTATIONS.round]: String(options.round) } : {}),
      [ANNOTATIONS.terminationMessagePath]: container.terminationMessagePath ?? '/dev/termination-log',
      [ANNOTATIONS.terminationMessagePolicy]: container.terminationMessagePolicy ?? 'File',
      [ANNOTATIONS.podTerminationGracePeriod]: String(pod.spec?.terminationGracePeriodSeconds ?? 30),
    },
    logPath: containerLogPath(container.name, restartCount),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: options.resources,
      securityContext: containerSecurity({
        pod,
        container,
        seccompDir: options.seccompDir,
        seccompDefault: options.seccompDefault,
        targetId: options.targetId,
        imageUser: options.imageUser,
      }),
    },
    ...(container.lifecycle?.stopSignal ? { stopSignal: container.lifecycle.stopSignal as Signal } : {}),
  };
}
