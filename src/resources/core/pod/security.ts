/** Security contexts of pods and containers. After upstream's core validation of SecurityContext and PodSecurityContext. */
import { validateDNS1123Subdomain, validateUnixId } from '#machinery/names.ts';
import type {
  AppArmorProfile,
  PodSecurityContext,
  PodSpec,
  SeccompProfile,
  SecurityContext,
  WindowsSecurityContextOptions,
} from '#api/types.ts';
import { checkOptionalEnum } from '../../checks.ts';
import type { Errors, Path } from '../../field-path.ts';
import { checkRelativePath } from './volumes.ts';

function checkId(id: number | undefined, path: Path, field: string, errors: Errors): void {
  if (id === undefined) return;
  const problems = validateUnixId(id);
  if (problems.length > 0) errors.invalidEach(path.child(field), id, problems);
}

const PROC_MOUNTS = ['Default', 'Unmasked'];

export function checkSecurityContext(
  context: SecurityContext,
  path: Path,
  errors: Errors,
  hostUsers: boolean,
): void {
  checkId(context.runAsUser, path, 'runAsUser', errors);
  checkId(context.runAsGroup, path, 'runAsGroup', errors);
  checkOptionalEnum(context.procMount, PROC_MOUNTS, path, 'procMount', errors);
  if (hostUsers && context.procMount === 'Unmasked')
    errors.invalid(path.child('procMount'), context.procMount, '`hostUsers` must be false to use `Unmasked`');
  if (context.seccompProfile) checkSeccomp(context.seccompProfile, path.child('seccompProfile'), errors);
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged)
      errors.invalid(
        path,
        context,
        'cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
      );
    if (context.capabilities?.add?.includes('CAP_SYS_ADMIN'))
      errors.invalid(
        path,
        context,
        'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
      );
  }
  if (context.windowsOptions)
    checkWindowsOptions(context.windowsOptions, path.child('windowsOptions'), errors);
  if (context.appArmorProfile) checkAppArmor(context.appArmorProfile, path.child('appArmorProfile'), errors);
}

const PROFILE_TYPES = ['Localhost', 'RuntimeDefault', 'Unconfined'];

function checkSeccomp(profile: SeccompProfile, path: Path, errors: Errors): void {
  if (!profile.type) errors.required(path.child('type'), 'type is required when seccompProfile is set');
  else if (!PROFILE_TYPES.includes(profile.type))
    errors.notSupported(path.child('type'), profile.type, PROFILE_TYPES);
  const local = profile.localhostProfile;
  if (profile.type !== 'Localhost') {
    if (local !== undefined)
      errors.invalid(
        path.child('localhostProfile'),
        profile,
        'can only be set when seccomp type is Localhost',
      );
  } else if (local === undefined)
    errors.required(path.child('localhostProfile'), 'must be set when seccomp type is Localhost');
  else checkRelativePath(local, path.child('localhostProfile'), errors);
}

const PROFILE_PATH_MAX = 4095;

function checkAppArmor(profile: AppArmorProfile, path: Path, errors: Errors): void {
  const at = path.child('localhostProfile'),
    local = profile.localhostProfile;
  if (!profile.type) errors.required(path.child('type'), 'type is required when appArmorProfile is set');
  else if (!PROFILE_TYPES.includes(profile.type))
    errors.notSupported(path.child('type'), profile.type, PROFILE_TYPES);
  else if (profile.type !== 'Localhost') {
    if (local !== undefined) errors.invalid(at, local, 'can only be set when AppArmor type is Localhost');
  } else if (local === undefined || local === '')
    errors.required(at, 'must be set when AppArmor type is Localhost');
  else {
    if (local.trim() !== local) errors.invalid(at, local, 'must not be padded with whitespace');
    if (local.length > PROFILE_PATH_MAX) errors.tooLong(at, PROFILE_PATH_MAX);
  }
}

const SYSCTL_NAME = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const SYSCTL_RULE =
  'must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$';

/** MountOption belongs to the feature SELinuxMount, which is disabled. */
const SELINUX_CHANGE_POLICIES = ['Recursive'];

export function checkPodSecurityContext(
  context: PodSecurityContext,
  spec: PodSpec,
  path: Path,
  errors: Errors,
): void {
  checkId(context.fsGroup, path, 'fsGroup', errors);
  checkId(context.runAsUser, path, 'runAsUser', errors);
  checkId(context.runAsGroup, path, 'runAsGroup', errors);
  context.supplementalGroups?.forEach((id, i) =>
    errors.invalidEach(path.child('supplementalGroups').index(i), id, validateUnixId(id)),
  );
  if (context.sysctls) checkSysctls(context.sysctls, spec, path.child('sysctls'), errors);
  checkOptionalEnum(
    context.fsGroupChangePolicy,
    ['Always', 'OnRootMismatch'],
    path,
    'fsGroupChangePolicy',
    errors,
  );
  if (context.seccompProfile) checkSeccomp(context.seccompProfile, path.child('seccompProfile'), errors);
  if (context.windowsOptions)
    checkWindowsOptions(context.windowsOptions, path.child('windowsOptions'), errors);
  if (context.appArmorProfile) checkAppArmor(context.appArmorProfile, path.child('appArmorProfile'), errors);
  checkOptionalEnum(
    context.supplementalGroupsPolicy,
    ['Merge', 'Strict'],
    path,
    'supplementalGroupsPolicy',
    errors,
  );
  checkOptionalEnum(
    context.seLinuxChangePolicy,
    SELINUX_CHANGE_POLICIES,
    path,
    'seLinuxChangePolicy',
    errors,
  );
}

function checkSysctls(
  sysctls: NonNullable<PodSecurityContext['sysctls']>,
  spec: PodSpec,
  path: Path,
  errors: Errors,
): void {
  const names = new Set<string>();
  sysctls.forEach(({ name }, i) => {
    const at = path.index(i).child('name');
    if (!name) errors.required(at);
    else if (name.length > 253 || !SYSCTL_NAME.test(name)) errors.invalid(at, name, SYSCTL_RULE);
    else if (names.has(name)) errors.duplicate(at, name);
    names.add(name);
    const dotted =
      name?.includes('/') && name.indexOf('/') < (name.indexOf('.') + 1 || Infinity)
        ? name.replaceAll('.', ' ').replaceAll('/', '.')
        : (name ?? '');
    if (spec.hostNetwork && dotted.startsWith('net.'))
      errors.invalid(at, name, "may not be specified when 'hostNetwork' is true");
    if (spec.hostIPC && /^(kernel\.(sem|shm|msg)|fs\.mqueue\.)/.test(dotted))
      errors.invalid(at, name, "may not be specified when 'hostIPC' is true");
  });
}

const CREDENTIAL_SPEC_MAX_KIB = 64;
const NETBIOS = /^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$/;
const DNS_DOMAIN =
  /^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/;

function checkWindowsOptions(options: WindowsSecurityContextOptions, path: Path, errors: Errors): void {
  const { gmsaCredentialSpecName: specName, gmsaCredentialSpec: spec, runAsUserName } = options;
  if (specName !== undefined)
    errors.invalidEach(path.child('gmsaCredentialSpecName'), specName, validateDNS1123Subdomain(specName));
  if (spec === '')
    errors.invalid(path.child('gmsaCredentialSpec'), spec, 'gmsaCredentialSpec cannot be an empty string');
  else if (spec !== undefined && spec.length > CREDENTIAL_SPEC_MAX_KIB * 1024)
    errors.invalid(
      path.child('gmsaCredentialSpec'),
      spec,
      `gmsaCredentialSpec size must be under ${CREDENTIAL_SPEC_MAX_KIB} KiB`,
    );
  if (runAsUserName === undefined) return;
  for (const problem of userNameProblems(runAsUserName))
    errors.invalid(path.child('runAsUserName'), runAsUserName, `runAsUserName${problem}`);
}

function userNameProblems(name: string): string[] {
  if (name === '') return [' cannot be an empty string'];
  if (/[\x00-\x1f\x7f]/.test(name)) return [' cannot contain control characters'];
  const parts = name.split('\\');
  if (parts.length > 2) return [' cannot contain more than one backslash'];
  const domain = parts.length === 2 ? parts[0]! : undefined;
  const user = parts.at(-1)!;
  const problems: string[] = [];
  if (domain !== undefined && domain.length >= 256)
    problems.push("'s Domain length must be under 256 characters");
  if (domain !== undefined && !NETBIOS.test(domain) && !DNS_DOMAIN.test(domain))
    problems.push("'s Domain doesn't match the NetBios nor the DNS format");
  if (user === '') problems.push("'s User cannot be empty");
  else if (user.length > 104) problems.push("'s User length must not be longer than 104 characters");
  if (/^[. ]+$/.test(user)) problems.push("'s User cannot contain only periods or spaces");
  if (/["/\\:;|=,+*?<>@[\]]/.test(user))
    problems.push('\'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]');
  return problems;
}

/** Windows pods must not set Linux-only fields, and vice versa. */
export function checkOS(spec: PodSpec, path: Path, errors: Errors): void {
  const name = spec.os?.name;
  if (!name) {
    errors.required(path.child('os').child('name'));
    return;
  }
  if (name !== 'linux' && name !== 'windows') {
    errors.notSupported(path.child('os'), name, ['linux', 'windows']);
    return;
  }
  const contexts: { context: PodSecurityContext | SecurityContext | undefined; at: Path }[] = [
    { context: spec.securityContext, at: path },
  ];
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    spec[field]?.forEach((container, i) =>
      contexts.push({ context: container.securityContext, at: path.child(field).index(i) }),
    );
  }
  if (name === 'linux') {
    for (const { context, at } of contexts)
      if (context?.windowsOptions)
        errors.forbidden(
          at.child('securityContext').child('windowsOptions'),
          'windows options cannot be set for a linux pod',
        );
    return;
  }
  for (const field of ['hostUsers', 'hostPID', 'hostIPC', 'shareProcessNamespace'] as const) {
    if (field === 'hostPID' || field === 'hostIPC' ? spec[field] : spec[field] !== undefined)
      errors.forbidden(path.child(field), 'cannot be set for a windows pod');
  }
  contexts.forEach(({ context, at }, i) => {
    for (const field of i === 0 ? LINUX_POD_FIELDS : LINUX_CONTAINER_FIELDS) {
      if ((context as Record<string, unknown> | undefined)?.[field] !== undefined)
        errors.forbidden(at.child('securityContext').child(field), 'cannot be set for a windows pod');
    }
  });
}

const LINUX_POD_FIELDS = [
  'appArmorProfile',
  'seLinuxOptions',
  'seccompProfile',
  'fsGroup',
  'fsGroupChangePolicy',
  'sysctls',
  'runAsUser',
  'runAsGroup',
  'supplementalGroups',
  'supplementalGroupsPolicy',
  'seLinuxChangePolicy',
];
const LINUX_CONTAINER_FIELDS = [
  'appArmorProfile',
  'seLinuxOptions',
  'seccompProfile',
  'capabilities',
  'readOnlyRootFilesystem',
  'privileged',
  'allowPrivilegeEscalation',
  'procMount',
  'runAsUser',
  'runAsGroup',
];

/** HostProcess containers of Windows: all or none, and with hostNetwork. */
export function checkHostProcess(spec: PodSpec, path: Path, errors: Errors): void {
  const ofPod = spec.securityContext?.windowsOptions?.hostProcess;
  let containers = 0,
    hostProcess = 0;
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    const list = spec[field];
    if (!list) continue;
    for (let i = 0; i < list.length; i++) {
      const own = list[i]!.securityContext?.windowsOptions?.hostProcess;
      containers++;
      if (ofPod !== undefined && own !== undefined && ofPod !== own) {
        errors.invalid(
          path.child(field).index(i).child('securityContext').child('windowsOptions').child('hostProcess'),
          own,
          `pod hostProcess value must be identical if both are specified, was ${ofPod}`,
        );
      }
      if (own ?? ofPod) hostProcess++;
    }
  }
  if (hostProcess === 0) return;
  if (hostProcess !== containers)
    errors.invalid(
      path,
      '',
      'If pod contains any hostProcess containers then all containers must be HostProcess containers',
    );
  if (!spec.hostNetwork)
    errors.invalid(
      path.child('hostNetwork'),
      false,
      'hostNetwork must be true if pod contains any hostProcess containers',
    );
}
