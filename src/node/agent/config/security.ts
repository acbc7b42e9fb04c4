/** Converts security contexts of pods and containers to CRI. Pure; after upstream's securitycontext and kuberuntime/security_context. */
import { join } from 'node:path';
import type { Container, Pod, SeccompProfile, SecurityContext } from '#api/types.ts';
import type {
  CriInput,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  NamespaceOption,
  SecurityProfile,
} from '../../cri/types.ts';
import { ConfigError } from './downward.ts';

const MASKED_PATHS: readonly string[] = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** The container's security context merged over its pod's. */
function effectiveSecurity(pod: Pod, container: Container): SecurityContext {
  const { runAsUser, runAsGroup, runAsNonRoot, seccompProfile, appArmorProfile, seLinuxOptions } =
    pod.spec?.securityContext ?? {};
  const inherited: SecurityContext = {
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
    ...(runAsNonRoot === undefined ? {} : { runAsNonRoot }),
    ...(seccompProfile ? { seccompProfile } : {}),
    ...(appArmorProfile ? { appArmorProfile } : {}),
    ...(seLinuxOptions ? { seLinuxOptions } : {}),
  };
  return { ...inherited, ...container.securityContext };
}

interface SecurityOptions {
  readonly pod: Pod;
  readonly container: Container;
  /** Directory of Localhost seccomp profiles. */
  readonly seccompDir: string;
  /** A container without a profile has the runtime's. */
  readonly seccompDefault?: boolean | undefined;
  /** Of an ephemeral container with a target container. */
  readonly targetId?: string | undefined;
  /** The image's user; absent: root. */
  readonly imageUser?: ImageUser | undefined;
}

/** Neither uid nor username: root. */
export interface ImageUser {
  readonly uid: number | undefined;
  readonly username: string;
}

export function containerSecurity({
  pod,
  container,
  seccompDir,
  seccompDefault = false,
  targetId,
  imageUser = { uid: undefined, username: '' },
}: SecurityOptions): CriInput<LinuxContainerSecurityContext> {
  const security = effectiveSecurity(pod, container);
  const privileged = security.privileged ?? false;
  const unmasked = privileged || security.procMount === 'Unmasked';
  return {
    privileged,
    capabilities: {
      addCapabilities: security.capabilities?.add ?? [],
      dropCapabilities: security.capabilities?.drop ?? [],
    },
    namespaceOptions:
      targetId === undefined ? podNamespaces(pod) : { ...podNamespaces(pod), pid: 'TARGET', targetId },
    ...userAndGroup(security, imageUser),
    readonlyRootfs: security.readOnlyRootFilesystem ?? false,
    supplementalGroups: supplementalGroups(pod),
    supplementalGroupsPolicy:
      pod.spec?.securityContext?.supplementalGroupsPolicy === 'Strict' ? 'Strict' : 'Merge',
    noNewPrivs: !(security.allowPrivilegeEscalation ?? true),
    maskedPaths: unmasked ? [] : MASKED_PATHS,
    readonlyPaths: unmasked ? [] : READONLY_PATHS,
    ...seccompOf(
      privileged
        ? undefined
        : (security.seccompProfile ?? (seccompDefault ? { type: 'RuntimeDefault' } : undefined)),
      seccompDir,
    ),
    ...(security.appArmorProfile
      ? {
          apparmor: {
            profileType: profileType(security.appArmorProfile.type),
            localhostRef: security.appArmorProfile.localhostProfile ?? '',
          },
        }
      : {}),
    ...(security.seLinuxOptions ? { selinuxOptions: { ...security.seLinuxOptions } } : {}),
  };
}

/** CRI accepts a group only together with a user: the image's user when the pod does not set one. */
function userAndGroup(
  { runAsUser, runAsGroup }: SecurityContext,
  imageUser: ImageUser,
): CriInput<Pick<LinuxContainerSecurityContext, 'runAsUser' | 'runAsGroup' | 'runAsUsername'>> {
  if (runAsGroup === undefined) return runAsUser === undefined ? {} : { runAsUser: { value: runAsUser } };
  const group = { runAsGroup: { value: runAsGroup } };
  if (runAsUser !== undefined) return { runAsUser: { value: runAsUser }, ...group };
  return imageUser.uid === undefined && imageUser.username !== ''
    ? { runAsUsername: imageUser.username, ...group }
    : { runAsUser: { value: imageUser.uid ?? 0 }, ...group };
}

export function sandboxSecurity(pod: Pod): CriInput<LinuxSandboxSecurityContext> {
  const { runAsUser, runAsGroup, seLinuxOptions } = pod.spec?.securityContext ?? {};
  return {
    namespaceOptions: podNamespaces(pod),
    // The runtime uses the sandbox configuration passed with each container, so an ephemeral container counts too.
    privileged: [
      ...(pod.spec?.containers ?? []),
      ...(pod.spec?.initContainers ?? []),
      ...(pod.spec?.ephemeralContainers ?? []),
    ].some(({ securityContext }) => securityContext?.privileged),
    supplementalGroups: supplementalGroups(pod),
    seccomp: { profileType: 'RuntimeDefault' },
    // CRI accepts a group only together with a user.
    ...(runAsUser === undefined
      ? {}
      : {
          runAsUser: { value: runAsUser },
          ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
        }),
    ...(seLinuxOptions ? { selinuxOptions: { ...seLinuxOptions } } : {}),
  };
}

function podNamespaces({ spec }: Pod): CriInput<NamespaceOption> {
  return {
    network: spec?.hostNetwork ? 'NODE' : 'POD',
    ipc: spec?.hostIPC ? 'NODE' : 'POD',
    pid: spec?.hostPID ? 'NODE' : spec?.shareProcessNamespace ? 'POD' : 'CONTAINER',
  };
}

function supplementalGroups({ spec }: Pod): number[] {
  const { supplementalGroups: groups = [], fsGroup } = spec?.securityContext ?? {};
  return [...groups, ...(fsGroup === undefined ? [] : [fsGroup])];
}

function seccompOf(profile: SeccompProfile | undefined, dir: string): { seccomp: CriInput<SecurityProfile> } {
  if (!profile) return { seccomp: { profileType: 'Unconfined' } };
  if (profile.type === 'Localhost')
    return { seccomp: { profileType: 'Localhost', localhostRef: join(dir, profile.localhostProfile ?? '') } };
  return { seccomp: { profileType: profileType(profile.type) } };
}

function profileType(type: string): SecurityProfile['profileType'] {
  return type === 'Localhost' ? 'Localhost' : type === 'RuntimeDefault' ? 'RuntimeDefault' : 'Unconfined';
}

/** Throws ConfigError when runAsNonRoot is violated; user is the image's user, '' when it sets none. */
export function verifyNonRoot({
  pod,
  container,
  imageUser,
}: {
  readonly pod: Pod;
  readonly container: Container;
  readonly imageUser: ImageUser;
}): void {
  const { runAsNonRoot, runAsUser } = effectiveSecurity(pod, container);
  if (!runAsNonRoot) return;
  const where = `(pod: "${pod.metadata?.name ?? ''}_${pod.metadata?.namespace ?? ''}(${pod.metadata?.uid ?? ''})", container: ${container.name})`;
  if (runAsUser !== undefined) {
    if (runAsUser === 0) throw new ConfigError(`container's runAsUser breaks non-root policy ${where}`);
    return;
  }
  if (imageUser.uid === undefined && imageUser.username !== '')
    throw new ConfigError(
      `container has runAsNonRoot and image has non-numeric user (${imageUser.username}), cannot verify user is non-root ${where}`,
    );
  if ((imageUser.uid ?? 0) === 0)
    throw new ConfigError(`container has runAsNonRoot and image will run as root ${where}`);
}
