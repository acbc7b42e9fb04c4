/** Validates updates of a pod's status. After upstream's ValidatePodStatusUpdate. */
import type {
  Container,
  ContainerStatus,
  Pod,
  PodExtendedResourceClaimStatus,
  PodResourceClaimStatus,
  PodSpec,
  PodStatus,
} from '#api/types.ts';
import { validateDNS1123Subdomain, validateUnixId } from '#machinery/names.ts';
import {
  checkDnsLabel,
  checkDnsSubdomain,
  checkImmutable,
  checkIP,
  checkQualifiedName,
  isDualStack,
  own,
} from '../../checks.ts';
import { type Errors, METADATA, type Path, STATUS } from '../../field-path.ts';
import { checkPodAnnotationUpdates } from './annotations.ts';

const SYSTEM_CONDITIONS = ['PodScheduled', 'Ready', 'Initialized'];
const STATUS_LISTS = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'] as const;

export function checkPodStatusUpdate(next: Pod, previous: Pod, errors: Errors): void {
  const { status = {} } = next,
    { status: stored = {}, spec = { containers: [] } } = previous;
  checkPodAnnotationUpdates(
    next.metadata?.annotations,
    previous.metadata?.annotations,
    METADATA.child('annotations'),
    errors,
  );
  status.conditions?.forEach(({ type, observedGeneration }, i) => {
    const at = STATUS.child('conditions').index(i);
    checkGeneration(observedGeneration, at, errors);
    if (!SYSTEM_CONDITIONS.includes(type)) checkQualifiedName(type ?? '', at.child('Type'), errors);
  });
  checkNomination(status, { stored, nodeName: spec.nodeName }, errors);
  checkGeneration(status.observedGeneration, STATUS, errors);
  checkImmutable(status.qosClass, stored.qosClass, STATUS.child('qosClass'), errors);
  checkStates(status, stored, spec, errors);
  checkClaimStatuses(status.resourceClaimStatuses, spec, errors);
  if (status.extendedResourceClaimStatus)
    checkExtendedClaim(
      status.extendedResourceClaimStatus,
      spec,
      STATUS.child('extendedResourceClaimStatus'),
      errors,
    );
  checkAddresses(status, stored, errors);
  for (const field of STATUS_LISTS)
    status[field]?.forEach((container, i) =>
      checkUser(container, spec.os?.name, STATUS.child(field).index(i), errors),
    );
  status.containerStatuses?.forEach((container, i) =>
    checkHealth(container, spec.containers, STATUS.child('containerStatuses').index(i), errors),
  );
  status.initContainerStatuses?.forEach((container, i) =>
    checkHealth(container, spec.initContainers, STATUS.child('initContainerStatuses').index(i), errors),
  );
  status.ephemeralContainerStatuses?.forEach((container, i) => {
    if (container.allocatedResourcesStatus?.length)
      errors.forbidden(
        STATUS.child('ephemeralContainerStatuses').index(i).child('allocatedResourcesStatus'),
        'must not be specified in container status',
      );
  });
}

function checkGeneration(generation: number | undefined, path: Path, errors: Errors): void {
  if (generation !== undefined && generation < 0)
    errors.invalid(path.child('observedGeneration'), generation, 'must be a non-negative integer');
}

function checkNomination(
  { nominatedNodeName }: PodStatus,
  { stored, nodeName }: { readonly stored: PodStatus; readonly nodeName: string | undefined },
  errors: Errors,
): void {
  if (!nominatedNodeName || nominatedNodeName === stored.nominatedNodeName) return;
  const path = STATUS.child('nominatedNodeName');
  errors.invalidEach(path, nominatedNodeName, validateDNS1123Subdomain(nominatedNodeName));
  if (nodeName) errors.forbidden(path, 'may not be set on pods that are already bound to a node');
}

/** A terminated container stays so, unless it may be restarted. */
function checkStates(status: PodStatus, stored: PodStatus, spec: PodSpec, errors: Errors): void {
  if (![...(spec.initContainers ?? []), ...(spec.containers ?? [])].some(restartsAll)) {
    checkTransitions(status.containerStatuses, stored.containerStatuses, {
      path: STATUS.child('containerStatuses'),
      errors,
      restarts: (old) => restarts(old, spec.containers, spec),
    });
    checkTransitions(status.initContainerStatuses, stored.initContainerStatuses, {
      path: STATUS.child('initContainerStatuses'),
      errors,
      restarts: (old) => restarts(old, spec.initContainers, spec),
    });
  }
  checkTransitions(status.ephemeralContainerStatuses, stored.ephemeralContainerStatuses, {
    path: STATUS.child('ephemeralContainerStatuses'),
    errors,
    restarts: () => false,
  });
}

interface Transitions {
  readonly path: Path;
  readonly errors: Errors;
  readonly restarts: (old: ContainerStatus) => boolean;
}

function checkTransitions(
  next: readonly ContainerStatus[] | undefined,
  stored: readonly ContainerStatus[] | undefined,
  { path, errors, restarts: may }: Transitions,
): void {
  stored?.forEach((old, i) => {
    if (!old.state?.terminated) return;
    const now = next?.find(({ name }) => name === old.name);
    if (now && !now.state?.terminated && !may(old))
      errors.forbidden(path.index(i).child('state'), 'may not be transitioned to non-terminated state');
  });
}

function restartsAll({ restartPolicyRules }: Container): boolean {
  return restartPolicyRules?.some(({ action }) => action === 'RestartAllContainers') ?? false;
}

/** The container's restart policy overrides the pod's, and its restart rules override that. */
function restarts(
  { name, state }: ContainerStatus,
  containers: readonly Container[] | undefined,
  { restartPolicy: ofPod }: PodSpec,
): boolean {
  const container = containers?.find((candidate) => candidate.name === name),
    exitCode = state?.terminated?.exitCode ?? 0;
  if (!container) return false;
  const hasRule =
    container.restartPolicy !== undefined &&
    (container.restartPolicyRules ?? []).some(
      ({ exitCodes }) =>
        exitCodes && (exitCodes.values ?? []).includes(exitCode) === (exitCodes.operator === 'In'),
    );
  if (hasRule) return true;
  const policy = container.restartPolicy ?? ofPod;
  return policy === 'OnFailure' ? exitCode !== 0 : policy !== 'Never';
}

function checkClaimStatuses(
  claims: readonly PodResourceClaimStatus[] | undefined,
  spec: PodSpec,
  errors: Errors,
): void {
  const names = new Set<string>();
  claims?.forEach((claim, i) => {
    const at = STATUS.child('resourceClaimStatuses').index(i);
    if (!spec.resourceClaims?.some(({ name }) => name === claim.name))
      errors.invalid(
        at.child('name'),
        claim.name,
        'must match the name of an entry in `spec.resourceClaims`',
      );
    if (names.has(claim.name)) errors.duplicate(at.child('name'), claim.name);
    names.add(claim.name);
    if (claim.resourceClaimName !== undefined)
      checkDnsSubdomain(claim.resourceClaimName, at, 'resourceClaimName', errors);
  });
}

/** For the claim of extended resources that containers request by name. */
function checkExtendedClaim(
  { requestMappings = [], resourceClaimName }: Partial<PodExtendedResourceClaimStatus>,
  spec: PodSpec,
  path: Path,
  errors: Errors,
): void {
  const at = path.child('requestMappings'),
    seen = new Set<string>();
  if (!requestMappings?.length) errors.required(at, 'at least one request mapping is required');
  requestMappings?.forEach((mapping, i) => {
    const { containerName, resourceName, requestName } = mapping,
      key = JSON.stringify([containerName, resourceName, requestName]);
    const container = [...(spec.containers ?? []), ...(spec.initContainers ?? [])].find(
      ({ name }) => name === containerName,
    );
    if (!container)
      errors.invalid(
        at.index(i).child('containerName'),
        containerName,
        'must match the name of an entry in spec.initContainers.name or spec.containers.name',
      );
    else if (own(container.resources?.requests, resourceName) === undefined)
      errors.invalid(
        at.index(i).child('resourceName'),
        resourceName,
        'must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests',
      );
    checkDnsLabel(requestName ?? '', path, 'requestName', errors);
    if (seen.has(key))
      for (const field of ['containerName', 'resourceName', 'requestName'] as const)
        errors.duplicate(at.index(i).child(field), mapping[field]);
    seen.add(key);
  });
  if (!resourceClaimName) errors.required(path.child('resourceClaimName'));
  else checkDnsSubdomain(resourceClaimName, path, 'resourceClaimName', errors);
}

function checkAddresses(status: PodStatus, stored: PodStatus, errors: Errors): void {
  checkAddressList(status.podIPs, stored.podIPs, STATUS.child('podIPs'), errors);
  const hostIPs = status.hostIPs,
    first = hostIPs?.[0]?.ip ?? '';
  if (hostIPs?.length && (status.hostIP ?? '') !== first)
    errors.invalid(STATUS.child('hostIPs').index(0).child('ip'), first, 'must be equal to `hostIP`');
  checkAddressList(hostIPs, stored.hostIPs, STATUS.child('hostIPs'), errors);
}

function checkAddressList(
  addresses: readonly { ip?: string }[] | undefined,
  stored: readonly { ip?: string }[] = [],
  path: Path,
  errors: Errors,
): void {
  const kept = stored.map(({ ip }) => ip);
  addresses?.forEach((address, i) => checkIP(address.ip, path.index(i), errors, kept));
  if (!addresses || addresses.length < 2) return;
  if (!isDualStack(addresses.map(({ ip = '' }) => ip)) || addresses.length > 2)
    errors.invalid(path, addresses, 'may specify no more than one IP for each IP family');
}

function checkUser({ user }: ContainerStatus, os: string | undefined, path: Path, errors: Errors): void {
  const linux = user?.linux,
    at = path.child('user').child('linux');
  if (!linux) return;
  if (os === 'windows') {
    errors.forbidden(at, 'cannot be set for a windows pod');
    return;
  }
  errors.invalidEach(at.child('uid'), linux.uid, validateUnixId(linux.uid));
  errors.invalidEach(at.child('gid'), linux.gid, validateUnixId(linux.gid));
  linux.supplementalGroups?.forEach((group, i) =>
    errors.invalidEach(at.child('supplementalGroups').index(i), group, validateUnixId(group)),
  );
}

const HEALTH = ['Healthy', 'Unhealthy', 'Unknown'];
const HEALTH_MESSAGE_MAX_BYTES = 1024;

/** For devices, by the container's request: 'example.com/gpu', or 'claim:name/request'. */
function checkHealth(
  { name, allocatedResourcesStatus }: ContainerStatus,
  containers: readonly Container[] | undefined,
  path: Path,
  errors: Errors,
): void {
  const container = containers?.find((candidate) => candidate.name === name);
  allocatedResourcesStatus?.forEach((allocated, j) => {
    const at = path.child('allocatedResourcesStatus').index(j),
      seen = new Set<string>();
    const problem = container && requestProblem(allocated.name ?? '', container);
    if (problem) errors.invalid(at.child('name'), allocated.name ?? '', problem);
    allocated.resources?.forEach(({ resourceID, health, message }, k) => {
      const of = at.child('resources').index(k);
      if (!HEALTH.includes(health ?? '')) errors.notSupported(of.child('health'), health ?? '', HEALTH);
      if (message === '') errors.required(of.child('message'), 'must be non-empty if specified');
      else if (message !== undefined && Buffer.byteLength(message) > HEALTH_MESSAGE_MAX_BYTES)
        errors.tooLong(of.child('message'), HEALTH_MESSAGE_MAX_BYTES);
      if (seen.has(resourceID ?? '')) errors.duplicate(of.child('resourceID'), resourceID ?? '');
      seen.add(resourceID ?? '');
    });
  });
}

function requestProblem(name: string, { resources }: Container): string | undefined {
  if (!name.startsWith('claim:'))
    return own(resources?.requests, name) === undefined
      ? "must match one of the container's resource requests"
      : undefined;
  const isClaimed = resources?.claims?.some(
    (claim) => name === `claim:${claim.name}${claim.request ? `/${claim.request}` : ''}`,
  );
  return isClaimed
    ? undefined
    : "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
}
