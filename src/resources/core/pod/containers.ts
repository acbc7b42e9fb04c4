/** Containers of all three kinds: ports, environment, mounts, resources, probes, hooks. After upstream's core validation of Container. */
import { isGiven } from '#machinery/given-empty.ts';
import {
  validateDNS1123Subdomain,
  validateHTTPHeaderName,
  validateRelaxedEnvVarName,
} from '#machinery/names.ts';
import type {
  Container,
  ContainerPort,
  ContainerResizePolicy,
  ContainerRestartRule,
  EnvFromSource,
  EnvVar,
  EphemeralContainer,
  Lifecycle,
  LifecycleHandler,
  Probe,
  ResourceRequirements,
  Volume,
  VolumeDevice,
  VolumeMount,
} from '#api/types.ts';
import {
  checkConfigMapKey,
  checkDnsLabel,
  checkEnum,
  checkNonNegative,
  checkObjectName,
  checkOptionalEnum,
  checkPortName,
  checkPortNumber,
  checkPortNumberOrName,
  own,
  PROTOCOLS,
} from '../../checks.ts';
import {
  checkContainerResourceName,
  checkQuantity,
  compareQuantities,
  hugePagesProblem,
  isHugePages,
  isOvercommitAllowed,
  parseResourceQuantity,
} from '../../resource-list.ts';
import type { Errors, Path } from '../../field-path.ts';
import { checkFieldRef, checkResourceFieldRef, ENV_FIELD_PATHS } from './downward.ts';
import { checkSecurityContext } from './security.ts';
import { checkNoBacksteps, checkRelativePath } from './volumes.ts';

/** Properties of the pod that container checks need. */
interface PodFacts {
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly claimNames: ReadonlySet<string>;
  readonly gracePeriodSeconds: number | undefined;
  readonly restartPolicy: string | undefined;
  readonly hostUsers: boolean;
}

type AnyContainer = Container | EphemeralContainer;

export function checkContainers(
  containers: readonly Container[] | undefined,
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  if (!containers || containers.length === 0) {
    errors.required(path);
    return;
  }
  const names = new Set<string>();
  for (let i = 0; i < containers.length; i++) {
    const container = containers[i]!,
      at = path.index(i);
    checkCommon(container, at, errors, pod);
    if (names.has(container.name)) errors.duplicate(at.child('name'), container.name);
    names.add(container.name);
    if (container.lifecycle) checkLifecycle(container.lifecycle, at.child('lifecycle'), errors, pod);
    checkProbes(container, at, errors, pod);
    checkRestartPolicy(container, at, errors);
  }
  checkHostPorts(containers, path, errors);
}

export function checkInitContainers(
  init: readonly Container[] | undefined,
  regular: readonly Container[] | undefined,
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  if (!init) return;
  const names = new Set((regular ?? []).map((container) => container.name));
  init.forEach((container, i) => {
    const at = path.index(i);
    checkCommon(container, at, errors, pod);
    if (container.restartPolicy !== undefined) checkRestartPolicy(container, at, errors);
    else if (container.restartPolicyRules?.length)
      errors.required(at.child('restartPolicy'), RULES_NEED_POLICY);
    if (names.has(container.name)) errors.duplicate(at.child('name'), container.name);
    else if (container.name) names.add(container.name);
    checkHostPorts([container], path, errors);
    if (container.restartPolicy === 'Always') {
      if (container.lifecycle) checkLifecycle(container.lifecycle, at.child('lifecycle'), errors, pod);
      checkProbes(container, at, errors, pod);
      return;
    }
    for (const field of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
      if (container[field])
        errors.forbidden(at.child(field), 'may not be set for init containers without restartPolicy=Always');
    }
    container.resizePolicy?.forEach(({ restartPolicy }, j) => {
      if (restartPolicy === 'RestartContainer')
        errors.invalid(
          at.child('resizePolicy').index(j).child('restartPolicy'),
          restartPolicy,
          "must not be set to 'RestartContainer' for non-sidecar initContainers",
        );
    });
  });
}

const NOT_FOR_EPHEMERAL = [
  'ports',
  'resources',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
  'lifecycle',
  'resizePolicy',
  'restartPolicy',
  'restartPolicyRules',
] as const;

export function checkEphemeralContainers(
  ephemeral: readonly EphemeralContainer[] | undefined,
  others: readonly Container[],
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  if (!ephemeral || ephemeral.length === 0) return;
  const otherNames = new Set(others.map((container) => container.name));
  const names = new Set(otherNames);
  ephemeral.forEach((container, i) => {
    const at = path.index(i);
    checkCommon(container, at, errors, pod);
    checkImagePadding(container.image, at, errors);
    if (names.has(container.name)) errors.duplicate(at.child('name'), container.name);
    names.add(container.name);
    const target = container.targetContainerName;
    if (target && !otherNames.has(target)) errors.notFound(at.child('targetContainerName'), target);
    for (const field of NOT_FOR_EPHEMERAL)
      if (isForbidden(container, field))
        errors.forbidden(at.child(field), 'cannot be set for an Ephemeral Container');
    container.volumeMounts?.forEach((mount, j) => {
      if (mount.subPath)
        errors.forbidden(
          at.child('volumeMounts').index(j).child('subPath'),
          'cannot be set for an Ephemeral Container',
        );
      if (mount.subPathExpr)
        errors.forbidden(
          at.child('volumeMounts').index(j).child('subPathExpr'),
          'cannot be set for an Ephemeral Container',
        );
    });
  });
}

/** For resources, which every container has, empty counts as absent. */
function isForbidden(container: EphemeralContainer, field: (typeof NOT_FOR_EPHEMERAL)[number]): boolean {
  if (field !== 'resources') return isGiven(container, field);
  const { resources } = container;
  return isGiven(resources, 'limits') || isGiven(resources, 'requests') || isGiven(resources, 'claims');
}

/** Image names of pods must not have surrounding spaces; those of templates may, for compatibility. */
export function checkImagePadding(image: string | undefined, path: Path, errors: Errors): void {
  if (image !== undefined && image.trim() !== image)
    errors.invalid(path.child('image'), image, 'must not have leading or trailing whitespace');
}

const MESSAGE_POLICIES = ['File', 'FallbackToLogsOnError'];
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'];

function checkCommon(container: AnyContainer, path: Path, errors: Errors, pod: PodFacts): void {
  if (!container.name) errors.required(path.child('name'));
  else checkDnsLabel(container.name, path, 'name', errors);
  if (!container.image) errors.required(path.child('image'));
  checkEnum(container.terminationMessagePolicy, MESSAGE_POLICIES, path, 'terminationMessagePolicy', errors);
  if (container.ports) checkPorts(container.ports, path.child('ports'), errors);
  if (container.env) checkEnv(container.env, path.child('env'), errors);
  if (container.envFrom) checkEnvFrom(container.envFrom, path.child('envFrom'), errors);
  if (container.volumeMounts)
    checkMounts(container.volumeMounts, container, path.child('volumeMounts'), errors, pod);
  if (container.volumeDevices)
    checkDevices(container.volumeDevices, container.volumeMounts, path.child('volumeDevices'), errors, pod);
  checkEnum(container.imagePullPolicy, PULL_POLICIES, path, 'imagePullPolicy', errors);
  if (container.resources)
    checkResources(container.resources, path.child('resources'), errors, {
      claimNames: pod.claimNames,
      checkName: checkContainerResourceName,
    });
  if (container.resizePolicy)
    checkResizePolicy(container.resizePolicy, path.child('resizePolicy'), errors, pod.restartPolicy);
  if (container.securityContext)
    checkSecurityContext(container.securityContext, path.child('securityContext'), errors, pod.hostUsers);
}

function checkPorts(ports: readonly ContainerPort[], path: Path, errors: Errors): void {
  const names = new Set<string>();
  for (let i = 0; i < ports.length; i++) {
    const port = ports[i]!,
      at = path.index(i);
    if (port.name) {
      const before = errors.list.length;
      checkPortName(port.name, at, 'name', errors);
      if (errors.list.length === before && names.has(port.name))
        errors.duplicate(at.child('name'), port.name);
      names.add(port.name);
    }
    if (!port.containerPort) errors.required(at.child('containerPort'));
    else checkPortNumber(port.containerPort, at, 'containerPort', errors);
    if (port.hostPort) checkPortNumber(port.hostPort, at, 'hostPort', errors);
    checkEnum(port.protocol, PROTOCOLS, at, 'protocol', errors);
  }
}

function checkHostPorts(containers: readonly Container[], path: Path, errors: Errors): void {
  let taken: Set<string> | undefined;
  containers.forEach((container, i) =>
    container.ports?.forEach((port, j) => {
      if (!port.hostPort) return;
      const key = `${port.protocol ?? ''}/${port.hostIP ?? ''}/${port.hostPort}`;
      taken ??= new Set();
      if (taken.has(key)) errors.duplicate(path.index(i).child('ports').index(j).child('hostPort'), key);
      taken.add(key);
    }),
  );
}

function checkEnv(variables: readonly EnvVar[], path: Path, errors: Errors): void {
  for (let i = 0; i < variables.length; i++) {
    const variable = variables[i]!;
    if (!variable.name) errors.required(path.index(i).child('name'));
    else {
      const problems = validateRelaxedEnvVarName(variable.name);
      if (problems.length > 0) errors.invalidEach(path.index(i).child('name'), variable.name, problems);
    }
    if (variable.valueFrom) checkEnvSource(variable, path.index(i).child('valueFrom'), errors);
  }
}

function checkKeyRef(ref: { name?: string; key: string }, path: Path, errors: Errors): void {
  errors.invalidEach(path.child('name'), ref.name ?? '', validateDNS1123Subdomain(ref.name ?? ''));
  if (!ref.key) errors.required(path.child('key'));
  else checkConfigMapKey(ref.key, path.child('key'), errors);
}

function checkEnvSource(variable: EnvVar, path: Path, errors: Errors): void {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = variable.valueFrom!;
  if (fieldRef) checkFieldRef(fieldRef, ENV_FIELD_PATHS, path.child('fieldRef'), errors);
  if (resourceFieldRef)
    checkResourceFieldRef(resourceFieldRef, path.child('resourceFieldRef'), errors, { inVolume: false });
  if (configMapKeyRef) checkKeyRef(configMapKeyRef, path.child('configMapKeyRef'), errors);
  if (secretKeyRef) checkKeyRef(secretKeyRef, path.child('secretKeyRef'), errors);
  if (fileKeyRef) checkFileKeyRef(fileKeyRef, path.child('fileKeyRef'), errors);
  const sources = [fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef].filter(
    (source) => source != null,
  ).length;
  if (sources === 0)
    errors.invalid(
      path,
      '',
      'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`',
    );
  else if (variable.value) errors.invalid(path, '', 'may not be specified when `value` is not empty');
  else if (sources > 1) errors.invalid(path, '', 'may not have more than one field specified at a time');
}

function checkFileKeyRef(
  ref: NonNullable<NonNullable<EnvVar['valueFrom']>['fileKeyRef']>,
  path: Path,
  errors: Errors,
): void {
  if (!ref.key) errors.required(path.child('key'));
  else errors.invalidEach(path.child('key'), ref.key, validateRelaxedEnvVarName(ref.key));
  if (!ref.volumeName) errors.required(path.child('volumeName'));
  else checkDnsLabel(ref.volumeName, path, 'volumeName', errors);
  if (!ref.path) errors.required(path.child('path'));
  else checkNoBacksteps(ref.path, path.child('path'), errors);
}

function checkEnvFrom(sources: readonly EnvFromSource[], path: Path, errors: Errors): void {
  sources.forEach((source, i) => {
    const at = path.index(i);
    if (source.prefix)
      errors.invalidEach(at.child('prefix'), source.prefix, validateRelaxedEnvVarName(source.prefix));
    if (source.configMapRef)
      checkObjectName(source.configMapRef.name, at.child('configMapRef'), 'name', errors);
    if (source.secretRef) checkObjectName(source.secretRef.name, at.child('secretRef'), 'name', errors);
    if (!source.configMapRef && !source.secretRef)
      errors.invalid(path, '', 'must specify one of: `configMapRef` or `secretRef`');
    else if (source.configMapRef && source.secretRef)
      errors.invalid(path, '', 'may not have more than one field specified at a time');
  });
}

const PROPAGATIONS = ['Bidirectional', 'HostToContainer', 'None'];
const RECURSIVE_READ_ONLY = ['Disabled', 'Enabled', 'IfPossible'];

function checkMounts(
  mounts: readonly VolumeMount[],
  container: AnyContainer,
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  const paths = new Set<string>();
  const devices = container.volumeDevices ?? [];
  for (let i = 0; i < mounts.length; i++) {
    const mount = mounts[i]!;
    const at = path.index(i);
    if (!mount.name) errors.required(at.child('name'));
    const volume = pod.volumes.get(mount.name);
    if (!volume) errors.notFound(at.child('name'), mount.name ?? '');
    if (!mount.mountPath) errors.required(at.child('mountPath'));
    if (paths.has(mount.mountPath)) errors.invalid(at.child('mountPath'), mount.mountPath, 'must be unique');
    paths.add(mount.mountPath);
    for (const device of devices) {
      if (device.name === mount.name)
        errors.invalid(at.child('name'), mount.name, 'must not already exist in volumeDevices');
      if (device.devicePath === mount.mountPath)
        errors.invalid(
          at.child('mountPath'),
          mount.mountPath,
          'must not already exist as a path in volumeDevices',
        );
    }
    if (mount.subPath) checkRelativePath(mount.subPath, path.child('subPath'), errors);
    if (mount.subPathExpr) {
      if (mount.subPath)
        errors.invalid(
          at.child('subPathExpr'),
          mount.subPathExpr,
          'subPathExpr and subPath are mutually exclusive',
        );
      checkRelativePath(mount.subPathExpr, path.child('subPathExpr'), errors);
    }
    if (mount.mountPropagation !== undefined) {
      checkOptionalEnum(mount.mountPropagation, PROPAGATIONS, path, 'mountPropagation', errors);
      if (mount.mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
        errors.forbidden(
          path.child('mountPropagation'),
          'Bidirectional mount propagation is available only to privileged containers',
        );
      }
    }
    if (mount.recursiveReadOnly !== undefined)
      checkRecursiveReadOnly(mount, path.child('recursiveReadOnly'), errors);
  }
}

function checkRecursiveReadOnly(mount: VolumeMount, path: Path, errors: Errors): void {
  if (mount.recursiveReadOnly === 'Disabled') return;
  if (!RECURSIVE_READ_ONLY.includes(mount.recursiveReadOnly!)) {
    errors.notSupported(path, mount.recursiveReadOnly, RECURSIVE_READ_ONLY);
    return;
  }
  if (!mount.readOnly) errors.forbidden(path, 'may only be specified when readOnly is true');
  if (mount.mountPropagation !== undefined && mount.mountPropagation !== 'None')
    errors.forbidden(path, 'may only be specified when mountPropagation is None or not specified');
}

function checkDevices(
  devices: readonly VolumeDevice[],
  mounts: readonly VolumeMount[] | undefined,
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  const names = new Set<string>(),
    paths = new Set<string>();
  devices.forEach((device, i) => {
    const at = path.index(i);
    const volume = pod.volumes.get(device.name);
    if (!device.name) errors.required(at.child('name'));
    if (names.has(device.name)) errors.invalid(at.child('name'), device.name, 'must be unique');
    if (volume && !volume.persistentVolumeClaim && !volume.ephemeral)
      errors.invalid(
        at.child('name'),
        device.name,
        'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
      );
    if (!volume) errors.notFound(at.child('name'), device.name);
    if (!device.devicePath) errors.required(at.child('devicePath'));
    if (paths.has(device.devicePath))
      errors.invalid(at.child('devicePath'), device.devicePath, 'must be unique');
    if (device.devicePath?.split('/').includes('..'))
      errors.invalid(at.child('devicePath'), device.devicePath, "can not contain backsteps ('..')");
    else paths.add(device.devicePath);
    for (const mount of mounts ?? []) {
      if (mount.name === device.name)
        errors.invalid(at.child('name'), device.name, 'must not already exist in volumeMounts');
      if (mount.mountPath === device.devicePath)
        errors.invalid(
          at.child('devicePath'),
          device.devicePath,
          'must not already exist as a path in volumeMounts',
        );
    }
    if (device.name) names.add(device.name);
  });
}

interface ResourceRules {
  readonly claimNames: ReadonlySet<string>;
  readonly checkName: (name: string, path: Path, errors: Errors) => void;
}

export function checkResources(
  resources: ResourceRequirements,
  path: Path,
  errors: Errors,
  rules: ResourceRules,
): void {
  const { limits, requests } = resources;
  let computed = false,
    hugePages = false;
  const look = (name: string, value: string, at: Path): void => {
    rules.checkName(name, at, errors);
    checkQuantity(name, value, at, errors);
    if (isHugePages(name)) {
      hugePages = true;
      const problem = hugePagesProblem(name, value);
      if (problem !== undefined) errors.invalid(at, parseResourceQuantity(value).toString(), problem);
    }
    if (name === 'cpu' || name === 'memory') computed = true;
  };
  if (limits) for (const name in limits) look(name, limits[name]!, path.child('limits').key(name));
  if (requests) {
    for (const name in requests) {
      look(name, requests[name]!, path.child('requests').key(name));
      checkRequestWithinLimit(name, requests[name]!, own(limits, name), path, errors);
    }
  }
  if (hugePages && !computed) errors.forbidden(path, 'HugePages require cpu or memory');
  if (resources.claims) checkClaims(resources.claims, path.child('claims'), errors, rules.claimNames);
}

function checkRequestWithinLimit(
  name: string,
  request: string,
  limit: string | undefined,
  path: Path,
  errors: Errors,
): void {
  const overcommit = isOvercommitAllowed(name);
  if (limit === undefined) {
    if (!overcommit)
      errors.required(path.child('limits'), 'Limit must be set for non overcommitable resources');
    return;
  }
  if (request === limit) return;
  const order = compareQuantities(request, limit);
  if (order === 0 || (order < 0 && overcommit)) return;
  const rule = overcommit ? 'less than or equal' : 'equal';
  errors.invalid(
    path.child('requests'),
    parseResourceQuantity(request).toString(),
    `must be ${rule} to ${name} limit of ${parseResourceQuantity(limit).toString()}`,
  );
}

function checkClaims(
  claims: NonNullable<ResourceRequirements['claims']>,
  path: Path,
  errors: Errors,
  known: ReadonlySet<string>,
): void {
  const names = new Set<string>(),
    requested = new Set<string>();
  const among = known.size === 0 ? ' which is empty' : `: ${[...known].sort().join(', ')}`;
  claims.forEach((claim, i) => {
    const at = path.index(i);
    if (!claim.name) {
      errors.required(at);
      return;
    }
    const key = claim.request ? `${claim.name}/${claim.request}` : claim.name;
    if (claim.request) checkDnsLabel(claim.request, at, 'request', errors);
    const overlaps = names.has(claim.name)
      ? claim.name
      : names.has(key)
        ? key
        : !claim.request && requested.has(claim.name)
          ? claim.name
          : undefined;
    if (overlaps !== undefined) errors.duplicate(at, overlaps);
    names.add(key);
    if (claim.request) requested.add(claim.name);
    if (known.has(claim.name)) return;
    errors.list.push({
      type: 'FieldValueNotFound',
      field: at.toString(),
      badValue: claim.name,
      detail: `must be one of the names in pod.spec.resourceClaims${among}`,
    });
  });
}

const RESIZABLE = ['cpu', 'memory'];
const RESIZE_POLICIES = ['NotRequired', 'RestartContainer'];

function checkResizePolicy(
  policies: readonly ContainerResizePolicy[],
  path: Path,
  errors: Errors,
  restartPolicy: string | undefined,
): void {
  const names = new Set<string>();
  policies.forEach((policy, i) => {
    if (names.has(policy.resourceName)) errors.duplicate(path.index(i), policy.resourceName);
    names.add(policy.resourceName);
    if (!policy.resourceName) errors.required(path);
    else if (!RESIZABLE.includes(policy.resourceName))
      errors.notSupported(path, policy.resourceName, RESIZABLE);
    if (!policy.restartPolicy) errors.required(path);
    else if (!RESIZE_POLICIES.includes(policy.restartPolicy))
      errors.notSupported(path, policy.restartPolicy, RESIZE_POLICIES);
    if (restartPolicy === 'Never' && policy.restartPolicy !== 'NotRequired')
      errors.invalid(path, policy.restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'");
  });
}

const RULES_NEED_POLICY = 'must specify restartPolicy when restart rules are used';
const RESTART_POLICIES = ['Always', 'Never', 'OnFailure'];

function checkRestartPolicy(container: Container, path: Path, errors: Errors): void {
  const rules = container.restartPolicyRules ?? [];
  if (container.restartPolicy !== undefined)
    checkOptionalEnum(container.restartPolicy, RESTART_POLICIES, path, 'restartPolicy', errors);
  if (rules.length === 0) return;
  if (container.restartPolicy === undefined) errors.required(path.child('restartPolicy'), RULES_NEED_POLICY);
  if (rules.length > 20) errors.tooMany(path.child('restartPolicyRules'), rules.length, 20);
  rules.forEach((rule, i) => checkRestartRule(rule, path.child('restartPolicyRules').index(i), errors));
}

function checkRestartRule(rule: ContainerRestartRule, path: Path, errors: Errors): void {
  const actions = ['Restart', 'RestartAllContainers'];
  if (!actions.includes(rule.action)) errors.notSupported(path.child('action'), rule.action, actions);
  if (!rule.exitCodes) {
    errors.required(path.child('exitCodes'), 'must be specified');
    return;
  }
  const operators = ['In', 'NotIn'];
  if (!operators.includes(rule.exitCodes.operator))
    errors.notSupported(path.child('exitCodes').child('operator'), rule.exitCodes.operator, operators);
  const values = rule.exitCodes.values ?? [];
  if (values.length > 255) errors.tooMany(path.child('exitCodes').child('values'), values.length, 255);
}

function checkProbes(container: Container, path: Path, errors: Errors, pod: PodFacts): void {
  const { livenessProbe, readinessProbe, startupProbe } = container;
  if (livenessProbe) {
    checkProbe(livenessProbe, path.child('livenessProbe'), errors, pod);
    checkSuccessThreshold(livenessProbe, path.child('livenessProbe'), errors);
  }
  if (readinessProbe) {
    checkProbe(readinessProbe, path.child('readinessProbe'), errors, pod);
    const grace = readinessProbe.terminationGracePeriodSeconds;
    if (grace !== undefined)
      errors.invalid(
        path.child('readinessProbe').child('terminationGracePeriodSeconds'),
        grace,
        'must not be set for readinessProbes',
      );
  }
  if (startupProbe) {
    checkProbe(startupProbe, path.child('startupProbe'), errors, pod);
    checkSuccessThreshold(startupProbe, path.child('startupProbe'), errors);
  }
}

function checkSuccessThreshold(probe: Probe, path: Path, errors: Errors): void {
  if (probe.successThreshold !== 1)
    errors.invalid(path.child('successThreshold'), probe.successThreshold ?? 0, 'must be 1');
}

function checkProbe(probe: Probe, path: Path, errors: Errors, pod: PodFacts): void {
  checkHandler(probe, path, errors, pod);
  checkNonNegative(probe.initialDelaySeconds, path, 'initialDelaySeconds', errors);
  checkNonNegative(probe.timeoutSeconds, path, 'timeoutSeconds', errors);
  checkNonNegative(probe.periodSeconds, path, 'periodSeconds', errors);
  checkNonNegative(probe.successThreshold, path, 'successThreshold', errors);
  checkNonNegative(probe.failureThreshold, path, 'failureThreshold', errors);
  const grace = probe.terminationGracePeriodSeconds;
  if (grace !== undefined && grace <= 0)
    errors.invalid(path.child('terminationGracePeriodSeconds'), grace, 'must be greater than 0');
}

const STOP_SIGNAL = /^SIG[A-Z0-9+-]+$/;

function checkLifecycle(lifecycle: Lifecycle, path: Path, errors: Errors, pod: PodFacts): void {
  if (lifecycle.postStart) checkHandler(lifecycle.postStart, path.child('postStart'), errors, pod);
  if (lifecycle.preStop) checkHandler(lifecycle.preStop, path.child('preStop'), errors, pod);
  if (lifecycle.stopSignal !== undefined && !STOP_SIGNAL.test(lifecycle.stopSignal))
    errors.invalid(path.child('stopSignal'), lifecycle.stopSignal, 'must be a signal name, such as SIGTERM');
}

const HANDLERS = ['exec', 'httpGet', 'tcpSocket', 'grpc', 'sleep'] as const;
const SCHEMES = ['HTTP', 'HTTPS'];

function checkHandler(handler: Probe & LifecycleHandler, path: Path, errors: Errors, pod: PodFacts): void {
  let found = 0;
  for (const kind of HANDLERS) {
    if (handler[kind] == null) continue;
    if (++found > 1) errors.forbidden(path.child(kind), 'may not specify more than 1 handler type');
    else checkAction(kind, handler, path.child(kind), errors, pod);
  }
  if (found === 0) errors.required(path, 'must specify a handler type');
}

function checkAction(
  kind: (typeof HANDLERS)[number],
  handler: Probe & LifecycleHandler,
  path: Path,
  errors: Errors,
  pod: PodFacts,
): void {
  switch (kind) {
    case 'exec':
      if (!handler.exec!.command?.length) errors.required(path.child('command'));
      return;
    case 'httpGet': {
      const get = handler.httpGet!;
      if (!get.path) errors.required(path.child('path'));
      checkPortNumberOrName(get.port, path, 'port', errors);
      if (!SCHEMES.includes(get.scheme ?? ''))
        errors.notSupported(path.child('scheme'), get.scheme ?? '', SCHEMES);
      for (const header of get.httpHeaders ?? [])
        errors.invalidEach(path.child('httpHeaders'), header.name, validateHTTPHeaderName(header.name));
      return;
    }
    case 'tcpSocket':
      checkPortNumberOrName(handler.tcpSocket!.port, path, 'port', errors);
      return;
    case 'grpc':
      checkPortNumber(handler.grpc!.port, path, 'port', errors);
      return;
    case 'sleep': {
      const { seconds } = handler.sleep!,
        grace = pod.gracePeriodSeconds;
      if (grace !== undefined && (seconds < 0 || seconds > grace))
        errors.invalid(
          path,
          seconds,
          `must be non-negative and less than terminationGracePeriodSeconds (${grace})`,
        );
    }
  }
}
