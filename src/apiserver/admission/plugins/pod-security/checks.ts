/**
 * The Pod Security Standards: one function for each control and version, with upstream's messages (k8s.io/pod-security-admission/policy).
 * Each returns undefined for a compliant pod. Pure. At the end: the controls of each level at each version of Kubernetes.
 */
import type { Container, PodSpec, ObjectMeta, SecurityContext } from '#api/types.ts';

export interface Violation {
  readonly reason: string;
  readonly detail: string;
}
export interface PodToCheck {
  readonly metadata: ObjectMeta;
  readonly spec: PodSpec;
}
type Check = (pod: PodToCheck) => Violation | undefined;

function containersOf({ spec }: PodToCheck): Container[] {
  return [...(spec.initContainers ?? []), ...(spec.containers ?? []), ...(spec.ephemeralContainers ?? [])];
}

/** Names of containers for which the test holds. */
function containersWhere(
  pod: PodToCheck,
  test: (security: SecurityContext, container: Container) => boolean,
): string[] {
  return containersOf(pod)
    .filter((container) => test(container.securityContext ?? {}, container))
    .map((container) => container.name);
}

const quoteAll = (names: readonly string[]): string => names.map((name) => JSON.stringify(name)).join(', ');
const plural = (one: string, many: string, count: number): string => (count === 1 ? one : many);
const named = (names: readonly string[]): string =>
  `${plural('container', 'containers', names.length)} ${quoteAll(names)}`;
const isWindows = ({ spec }: PodToCheck): boolean => spec.os?.name === 'windows';
/** Root in a user namespace has no privileges outside it. */
const hasUserNamespace = ({ spec }: PodToCheck): boolean => spec.hostUsers === false;
const unless =
  (excused: (pod: PodToCheck) => boolean, check: Check): Check =>
  (pod) =>
    excused(pod) ? undefined : check(pod);

/** 'pod', 'container "a"' or both: who sets something, joined as upstream joins them. */
function setters(pod: boolean, containers: readonly string[]): string {
  return [...(pod ? ['pod'] : []), ...(containers.length > 0 ? [named(containers)] : [])].join(' and ');
}

function fromContainers(reason: string, names: readonly string[], rest: string): Violation | undefined {
  return names.length === 0 ? undefined : { reason, detail: `${named(names)} ${rest}` };
}

const privileged: Check = (pod) =>
  fromContainers(
    'privileged',
    containersWhere(pod, (security) => security.privileged === true),
    'must not set securityContext.privileged=true',
  );

const hostNamespaces: Check = ({ spec }) => {
  const used = [
    ...(spec.hostNetwork ? ['hostNetwork=true'] : []),
    ...(spec.hostPID ? ['hostPID=true'] : []),
    ...(spec.hostIPC ? ['hostIPC=true'] : []),
  ];
  return used.length === 0 ? undefined : { reason: 'host namespaces', detail: used.join(', ') };
};

const hostPathVolumes: Check = ({ spec }) => {
  const names = (spec.volumes ?? []).filter((volume) => volume.hostPath).map((volume) => volume.name);
  return names.length === 0
    ? undefined
    : {
        reason: 'hostPath volumes',
        detail: `${plural('volume', 'volumes', names.length)} ${quoteAll(names)}`,
      };
};

const hostPorts: Check = (pod) => {
  const names = containersWhere(
    pod,
    (_, container) => container.ports?.some((port) => port.hostPort) ?? false,
  );
  if (names.length === 0) return undefined;
  const ports = [
    ...new Set(
      containersOf(pod).flatMap((container) =>
        (container.ports ?? []).flatMap((port) => (port.hostPort ? [String(port.hostPort)] : [])),
      ),
    ),
  ].toSorted();
  return {
    reason: 'hostPort',
    detail: `${named(names)} ${plural('uses', 'use', names.length)} ${plural('hostPort', 'hostPorts', ports.length)} ${ports.join(', ')}`,
  };
};

const hostProbesAndHostLifecycle: Check = (pod) => {
  const hosts = new Set<string>();
  const names = containersWhere(pod, (_, container) => {
    const actions = [
      container.livenessProbe,
      container.readinessProbe,
      container.startupProbe,
      container.lifecycle?.postStart,
      container.lifecycle?.preStop,
    ];
    const found = actions
      .flatMap((action) => [action?.httpGet?.host, action?.tcpSocket?.host])
      .filter((host): host is string => !!host);
    found.forEach((host) => hosts.add(host));
    return found.length > 0;
  });
  return names.length === 0
    ? undefined
    : {
        reason: 'probe or lifecycle host',
        detail: `${named(names)} ${plural('uses', 'use', names.length)} probe or lifecycle ${plural('host', 'hosts', hosts.size)} ${quoteAll([...hosts].toSorted())}`,
      };
};

const BASELINE_CAPABILITIES: ReadonlySet<string> = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
]);

function addedCapabilities(pod: PodToCheck, allowed: ReadonlySet<string>): string | undefined {
  const extra = new Set<string>();
  const names = containersWhere(pod, (security) => {
    const found = (security.capabilities?.add ?? []).filter((capability) => !allowed.has(capability));
    found.forEach((capability) => extra.add(capability));
    return found.length > 0;
  });
  return names.length === 0
    ? undefined
    : `${named(names)} must not include ${quoteAll([...extra].toSorted())} in securityContext.capabilities.add`;
}

const capabilitiesBaseline: Check = (pod) => {
  const detail = addedCapabilities(pod, BASELINE_CAPABILITIES);
  return detail === undefined ? undefined : { reason: 'non-default capabilities', detail };
};

const capabilitiesRestricted: Check = (pod) => {
  const keeping = containersWhere(pod, (security) => !security.capabilities?.drop?.includes('ALL'));
  const added = addedCapabilities(pod, new Set(['NET_BIND_SERVICE']));
  const details = [
    ...(keeping.length > 0 ? [`${named(keeping)} must set securityContext.capabilities.drop=["ALL"]`] : []),
    ...(added === undefined ? [] : [added]),
  ];
  return details.length === 0
    ? undefined
    : { reason: 'unrestricted capabilities', detail: details.join('; ') };
};

const APP_ARMOR_PREFIX = 'container.apparmor.security.beta.kubernetes.io/';

const appArmorProfile: Check = (pod) => {
  const allowed = (type: string | undefined): boolean =>
    type === undefined || type === 'RuntimeDefault' || type === 'Localhost';
  const podType = pod.spec.securityContext?.appArmorProfile?.type;
  const names = containersWhere(pod, (security) => !allowed(security.appArmorProfile?.type));
  const types = [
    ...new Set(
      [
        podType,
        ...containersOf(pod).map((container) => container.securityContext?.appArmorProfile?.type),
      ].filter((type): type is string => type !== undefined && !allowed(type)),
    ),
  ].toSorted();
  const annotations = Object.entries(pod.metadata.annotations ?? {}).filter(
    ([key, value]) =>
      key.startsWith(APP_ARMOR_PREFIX) &&
      value !== '' &&
      value !== 'runtime/default' &&
      !value.startsWith('localhost/'),
  );
  const details = [
    ...(types.length > 0
      ? [`${setters(!allowed(podType), names)} must not set AppArmor profile type to ${quoteAll(types)}`]
      : []),
    ...(annotations.length > 0
      ? [
          `${plural('annotation', 'annotations', annotations.length)} ${annotations
            .map(([key, value]) => `${JSON.stringify(key)}=${JSON.stringify(value)}`)
            .toSorted()
            .join(', ')}`,
        ]
      : []),
  ];
  return details.length === 0
    ? undefined
    : {
        reason: plural(
          'forbidden AppArmor profile',
          'forbidden AppArmor profiles',
          types.length + annotations.length,
        ),
        detail: details.join('; '),
      };
};

const procMount: Check = (pod) => {
  const values = new Set<string>();
  const names = containersWhere(pod, ({ procMount: value }) => {
    if (value === undefined || value === '' || value === 'Default') return false;
    values.add(value);
    return true;
  });
  return fromContainers(
    'procMount',
    names,
    `must not set securityContext.procMount to ${quoteAll([...values].toSorted())}`,
  );
};

const SELINUX_TYPES = ['', 'container_t', 'container_init_t', 'container_kvm_t'];

const seLinuxOptions =
  (allowedTypes: ReadonlySet<string>): Check =>
  (pod) => {
    const types = new Set<string>();
    let user = false;
    let role = false;
    const isBad = (options: { type?: string; user?: string; role?: string } | undefined): boolean => {
      if (!options) return false;
      const badType = !allowedTypes.has(options.type ?? '');
      if (badType) types.add(options.type ?? '');
      user ||= !!options.user;
      role ||= !!options.role;
      return badType || !!options.user || !!options.role;
    };
    const podBad = isBad(pod.spec.securityContext?.seLinuxOptions);
    const names = containersWhere(pod, (security) => isBad(security.seLinuxOptions));
    if (!podBad && names.length === 0) return undefined;
    const data = [
      ...(types.size > 0
        ? [`${plural('type', 'types', types.size)} ${quoteAll([...types].toSorted())}`]
        : []),
      ...(user ? ['user may not be set'] : []),
      ...(role ? ['role may not be set'] : []),
    ];
    return {
      reason: 'seLinuxOptions',
      detail: `${setters(podBad, names)} set forbidden securityContext.seLinuxOptions: ${data.join('; ')}`,
    };
  };

const SECCOMP_POD = 'seccomp.security.alpha.kubernetes.io/pod',
  SECCOMP_CONTAINER = 'container.seccomp.security.alpha.kubernetes.io/';

/** From before there were fields for it. */
const seccompAnnotations: Check = ({ metadata }) => {
  const isAllowed = (value: string): boolean =>
    value === 'runtime/default' || value === 'docker/default' || value.startsWith('localhost/');
  const bad = Object.entries(metadata.annotations ?? {}).filter(
    ([key, value]) => (key === SECCOMP_POD || key.startsWith(SECCOMP_CONTAINER)) && !isAllowed(value),
  );
  const texts = bad.map(([key, value]) => `${key}=${JSON.stringify(value)}`).toSorted();
  return bad.length === 0
    ? undefined
    : {
        reason: 'seccompProfile',
        detail: `forbidden ${plural('annotation', 'annotations', bad.length)} ${texts.join(', ')}`,
      };
};

const seccompProfileBaseline: Check = (pod) => {
  const podBad = pod.spec.securityContext?.seccompProfile?.type === 'Unconfined';
  const names = containersWhere(pod, (security) => security.seccompProfile?.type === 'Unconfined');
  return podBad || names.length > 0
    ? {
        reason: 'seccompProfile',
        detail: `${setters(podBad, names)} must not set securityContext.seccompProfile.type to "Unconfined"`,
      }
    : undefined;
};

const seccompProfileRestricted: Check = (pod) => {
  const isGood = (type: string | undefined): boolean => type === 'RuntimeDefault' || type === 'Localhost';
  const podType = pod.spec.securityContext?.seccompProfile?.type;
  const podBad = podType !== undefined && !isGood(podType);
  const names = containersWhere(
    pod,
    (security) => security.seccompProfile?.type !== undefined && !isGood(security.seccompProfile.type),
  );
  if (podBad || names.length > 0) {
    const types = new Set(
      [
        podType,
        ...containersOf(pod).map((container) => container.securityContext?.seccompProfile?.type),
      ].filter((type): type is string => type !== undefined && !isGood(type)),
    );
    return {
      reason: 'seccompProfile',
      detail: `${setters(podBad, names)} must not set securityContext.seccompProfile.type to ${quoteAll([...types].toSorted())}`,
    };
  }
  const unset = isGood(podType)
    ? []
    : containersWhere(pod, (security) => security.seccompProfile?.type === undefined);
  return unset.length === 0
    ? undefined
    : {
        reason: 'seccompProfile',
        detail: `pod or ${named(unset)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
      };
};

const SAFE_SYSCTLS = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
];
const SAFE_SYSCTLS_27 = [...SAFE_SYSCTLS, 'net.ipv4.ip_local_reserved_ports'];
const SAFE_SYSCTLS_29 = [
  ...SAFE_SYSCTLS_27,
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
];
const SAFE_SYSCTLS_32 = [...SAFE_SYSCTLS_29, 'net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem'];

function sysctls(safe: readonly string[]): Check {
  const allowed = new Set(safe);
  return ({ spec }) => {
    const bad = (spec.securityContext?.sysctls ?? [])
      .map((sysctl) => sysctl.name)
      .filter((name) => !allowed.has(name));
    return bad.length === 0 ? undefined : { reason: 'forbidden sysctls', detail: bad.join(', ') };
  };
}

const windowsHostProcess: Check = (pod) => {
  const podBad = pod.spec.securityContext?.windowsOptions?.hostProcess === true;
  const names = containersWhere(pod, (security) => security.windowsOptions?.hostProcess === true);
  return podBad || names.length > 0
    ? {
        reason: 'hostProcess',
        detail: `${setters(podBad, names)} must not set securityContext.windowsOptions.hostProcess=true`,
      }
    : undefined;
};

const allowPrivilegeEscalation: Check = (pod) =>
  fromContainers(
    'allowPrivilegeEscalation != false',
    containersWhere(pod, (security) => security.allowPrivilegeEscalation !== false),
    'must set securityContext.allowPrivilegeEscalation=false',
  );

const RESTRICTED_VOLUMES: ReadonlySet<string> = new Set([
  'configMap',
  'downwardAPI',
  'emptyDir',
  'projected',
  'secret',
  'csi',
  'persistentVolumeClaim',
  'ephemeral',
  'image',
]);

const restrictedVolumes: Check = ({ spec }) => {
  const types = new Set<string>();
  const bad = (spec.volumes ?? [])
    .filter((volume) => {
      const type = Object.keys(volume).find((key) => key !== 'name');
      if (type === undefined || RESTRICTED_VOLUMES.has(type)) return false;
      types.add(type);
      return true;
    })
    .map((volume) => volume.name);
  if (bad.length === 0) return undefined;
  return {
    reason: 'restricted volume types',
    detail: `${plural('volume', 'volumes', bad.length)} ${quoteAll(bad)} ${plural('uses', 'use', bad.length)} restricted volume ${plural('type', 'types', types.size)} ${quoteAll([...types].toSorted())}`,
  };
};

const runAsNonRoot: Check = (pod) => {
  const podValue = pod.spec.securityContext?.runAsNonRoot;
  const explicit = containersWhere(pod, (security) => security.runAsNonRoot === false);
  if (podValue === false || explicit.length > 0)
    return {
      reason: 'runAsNonRoot != true',
      detail: `${setters(podValue === false, explicit)} must not set securityContext.runAsNonRoot=false`,
    };
  const unset =
    podValue === true ? [] : containersWhere(pod, (security) => security.runAsNonRoot === undefined);
  return unset.length === 0
    ? undefined
    : {
        reason: 'runAsNonRoot != true',
        detail: `pod or ${named(unset)} must set securityContext.runAsNonRoot=true`,
      };
};

const runAsUser: Check = (pod) => {
  const podBad = pod.spec.securityContext?.runAsUser === 0;
  const names = containersWhere(pod, (security) => security.runAsUser === 0);
  return podBad || names.length > 0
    ? { reason: 'runAsUser=0', detail: `${setters(podBad, names)} must not set runAsUser=0` }
    : undefined;
};

// ------------------------------------------------------------------------------------------------------ levels and versions

interface Control {
  readonly name: string;
  /** The newest that is not newer than the wanted version holds. */
  readonly versions: readonly { readonly sinceMinor: number; readonly check: Check }[];
  /** The baseline control that this stricter one replaces. */
  readonly replaces?: string;
}

const always = (name: string, check: Check): Control => ({ name, versions: [{ sinceMinor: 0, check }] });

/** In upstream's order: by name within a level. */
const BASELINE: readonly Control[] = [
  always('appArmorProfile', appArmorProfile),
  always('capabilities_baseline', capabilitiesBaseline),
  always('hostNamespaces', hostNamespaces),
  always('hostPathVolumes', hostPathVolumes),
  always('hostPorts', hostPorts),
  { name: 'hostProbesAndHostLifecycle', versions: [{ sinceMinor: 34, check: hostProbesAndHostLifecycle }] },
  always('privileged', privileged),
  {
    name: 'procMount',
    versions: [
      { sinceMinor: 0, check: procMount },
      { sinceMinor: 35, check: unless(hasUserNamespace, procMount) },
    ],
  },
  {
    name: 'seLinuxOptions',
    versions: [
      { sinceMinor: 0, check: seLinuxOptions(new Set(SELINUX_TYPES)) },
      { sinceMinor: 31, check: seLinuxOptions(new Set([...SELINUX_TYPES, 'container_engine_t'])) },
    ],
  },
  {
    name: 'seccompProfile_baseline',
    versions: [
      { sinceMinor: 0, check: seccompAnnotations },
      { sinceMinor: 19, check: seccompProfileBaseline },
    ],
  },
  {
    name: 'sysctls',
    versions: [
      { sinceMinor: 0, check: sysctls(SAFE_SYSCTLS) },
      { sinceMinor: 27, check: sysctls(SAFE_SYSCTLS_27) },
      { sinceMinor: 29, check: sysctls(SAFE_SYSCTLS_29) },
      { sinceMinor: 32, check: sysctls(SAFE_SYSCTLS_32) },
    ],
  },
  always('windowsHostProcess', windowsHostProcess),
];

const RESTRICTED: readonly Control[] = [
  {
    name: 'allowPrivilegeEscalation',
    versions: [
      { sinceMinor: 8, check: allowPrivilegeEscalation },
      { sinceMinor: 25, check: unless(isWindows, allowPrivilegeEscalation) },
    ],
  },
  {
    name: 'capabilities_restricted',
    replaces: 'capabilities_baseline',
    versions: [
      { sinceMinor: 22, check: capabilitiesRestricted },
      { sinceMinor: 25, check: unless(isWindows, capabilitiesRestricted) },
    ],
  },
  { name: 'procMount_restricted', replaces: 'procMount', versions: [{ sinceMinor: 35, check: procMount }] },
  { ...always('restrictedVolumes', restrictedVolumes), replaces: 'hostPathVolumes' },
  {
    name: 'runAsNonRoot',
    versions: [
      { sinceMinor: 0, check: runAsNonRoot },
      { sinceMinor: 35, check: unless(hasUserNamespace, runAsNonRoot) },
    ],
  },
  {
    name: 'runAsUser',
    versions: [
      { sinceMinor: 23, check: runAsUser },
      { sinceMinor: 35, check: unless(hasUserNamespace, runAsUser) },
    ],
  },
  {
    name: 'seccompProfile_restricted',
    replaces: 'seccompProfile_baseline',
    versions: [
      { sinceMinor: 19, check: seccompProfileRestricted },
      { sinceMinor: 25, check: unless(isWindows, seccompProfileRestricted) },
    ],
  },
];

const remembered = new Map<string, readonly Check[]>();

/** Checks of a level as Kubernetes 1.MINOR had them; of the newest for a version that is still to come. */
export function selectChecks(level: 'baseline' | 'restricted', minor: number): readonly Check[] {
  const effective = Math.min(minor, NEWEST_MINOR);
  const key = `${level} ${effective}`;
  let checks = remembered.get(key);
  if (!checks) remembered.set(key, (checks = select(level, effective)));
  return checks;
}

const NEWEST_MINOR = Math.max(
  ...[...BASELINE, ...RESTRICTED].flatMap(({ versions }) => versions.map(({ sinceMinor }) => sinceMinor)),
);

function select(level: 'baseline' | 'restricted', minor: number): readonly Check[] {
  const at = ({ versions }: Control): Check | undefined =>
    versions.findLast(({ sinceMinor }) => sinceMinor <= minor)?.check;
  const restricted = level === 'restricted' ? RESTRICTED.filter(at) : [];
  const replaced = new Set(restricted.map(({ replaces }) => replaces));
  return [...BASELINE.filter(({ name }) => !replaced.has(name)), ...restricted].flatMap(
    (control) => at(control) ?? [],
  );
}
