/** The pod spec as a whole, of pods and templates. After upstream's ValidatePodSpec; the parts are in the other files of this directory. */
import { isGiven } from '#machinery/given-empty.ts';
import { validateDNS1123Subdomain, validateDNS1123SubdomainWithUnderscore } from '#machinery/names.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import type { Pod, PodDNSConfig, PodResourceClaim, PodSpec, PodTemplateSpec } from '#api/types.ts';
import {
  between,
  checkAnnotations,
  checkDnsLabel,
  checkDnsSubdomain,
  checkEnum,
  checkIP,
  checkLabels,
  checkQualifiedName,
  MAX_INT32,
  own,
} from '../../checks.ts';
import {
  checkContainerResourceName,
  checkPodResourceName,
  compareQuantities,
  isHugePages,
  parseResourceQuantity,
} from '../../resource-list.ts';
import { type Errors, METADATA, type Path, SPEC } from '../../field-path.ts';
import { checkPodAnnotations, checkProfileAnnotations } from './annotations.ts';
import {
  checkContainers,
  checkEphemeralContainers,
  checkImagePadding,
  checkInitContainers,
  checkResources,
} from './containers.ts';
import { aggregateContainers } from '#component-helpers/pod-resources.ts';
import { checkAffinity, checkTolerations, checkTopologySpread } from './scheduling.ts';
import { checkHostProcess, checkOS, checkPodSecurityContext } from './security.ts';
import { checkVolumes } from './volumes.ts';

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'];
const DNS_POLICIES = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'];
const PREEMPTION_POLICIES = ['PreemptLowerPriority', 'Never'];

interface PodSpecContext {
  /** Metadata of the pod; undefined for a template. */
  readonly meta: ObjectMeta | undefined;
}

const EMPTY_SPEC: PodSpec = { containers: [] };

function checkPodSpec(
  given: PodSpec | undefined,
  path: Path,
  errors: Errors,
  { meta }: PodSpecContext,
): void {
  const spec = given ?? EMPTY_SPEC;
  const gracePeriodSeconds = spec.terminationGracePeriodSeconds;
  if (gracePeriodSeconds === undefined) errors.required(path.child('terminationGracePeriodSeconds'));
  const volumes = checkVolumes(spec.volumes, path.child('volumes'), errors, meta);
  const claimNames = checkResourceClaims(spec.resourceClaims, path.child('resourceClaims'), errors);
  const pod = {
    volumes,
    claimNames,
    gracePeriodSeconds,
    restartPolicy: spec.restartPolicy,
    hostUsers: spec.hostUsers !== false,
  };
  checkContainers(spec.containers, path.child('containers'), errors, pod);
  checkInitContainers(spec.initContainers, spec.containers, path.child('initContainers'), errors, pod);
  if (spec.ephemeralContainers)
    checkEphemeralContainers(
      spec.ephemeralContainers,
      [...(spec.containers ?? []), ...(spec.initContainers ?? [])],
      path.child('ephemeralContainers'),
      errors,
      pod,
    );
  if (spec.resources) checkPodResources(spec, path.child('resources'), errors, claimNames);
  if (spec.hostNetwork) checkHostNetworkPorts(spec, path, errors, meta !== undefined);
  checkEnum(spec.restartPolicy, RESTART_POLICIES, path, 'restartPolicy', errors);
  checkEnum(spec.dnsPolicy, DNS_POLICIES, path, 'dnsPolicy', errors);
  if (spec.nodeSelector) checkLabels(spec.nodeSelector, path.child('nodeSelector'), errors);
  if (spec.securityContext)
    checkPodSecurityContext(spec.securityContext, spec, path.child('securityContext'), errors);
  if (spec.shareProcessNamespace && spec.hostPID)
    errors.invalid(
      path.child('securityContext').child('shareProcessNamespace'),
      true,
      'ShareProcessNamespace and HostPID cannot both be enabled',
    );
  if (spec.affinity) checkAffinity(spec.affinity, path.child('affinity'), errors);
  checkDNSConfig(spec.dnsConfig, spec.dnsPolicy, path.child('dnsConfig'), errors);
  spec.readinessGates?.forEach((gate, i) =>
    checkQualifiedName(
      gate.conditionType,
      path.child('readinessGates').index(i).child('conditionType'),
      errors,
    ),
  );
  if (spec.schedulingGates) checkSchedulingGates(spec.schedulingGates, path.child('schedulingGates'), errors);
  if (spec.schedulingGroup) checkSchedulingGroup(spec.schedulingGroup, path.child('schedulingGroup'), errors);
  if (spec.topologySpreadConstraints)
    checkTopologySpread(spec.topologySpreadConstraints, path.child('topologySpreadConstraints'), errors);
  checkHostProcess(spec, path, errors);
  if (spec.hostUsers === false) checkUserNamespace(spec, path, errors);
  checkNames(spec, path, errors);
  const deadline = spec.activeDeadlineSeconds;
  if (deadline !== undefined && (deadline < 1 || deadline > MAX_INT32))
    errors.invalid(path.child('activeDeadlineSeconds'), deadline, between(1, MAX_INT32));
  if (spec.tolerations) checkTolerations(spec.tolerations, path.child('tolerations'), errors);
  spec.hostAliases?.forEach((alias, i) => {
    checkIP(alias.ip, path.child('hostAliases').index(i).child('ip'), errors);
    alias.hostnames?.forEach((name, j) =>
      errors.invalidEach(
        path.child('hostAliases').index(i).child('hostnames').index(j),
        name,
        validateDNS1123Subdomain(name),
      ),
    );
  });
  if (spec.preemptionPolicy !== undefined)
    checkEnum(spec.preemptionPolicy, PREEMPTION_POLICIES, path, 'preemptionPolicy', errors);
  if (spec.overhead)
    checkResources({ limits: spec.overhead }, path.child('overhead'), errors, {
      claimNames,
      checkName: checkContainerResourceName,
    });
  if (spec.os) checkOS(spec, path, errors);
  checkEnvFiles(spec, path, errors);
}

/** Environment files must be in volumes that are private to the pod. */
function checkEnvFiles(spec: PodSpec, path: Path, errors: Errors): void {
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    spec[field]?.forEach((container, i) =>
      container.env?.forEach(({ valueFrom }, j) => {
        const ref = valueFrom?.fileKeyRef;
        if (!ref) return;
        const at = path
          .child(field)
          .index(i)
          .child('env')
          .index(j)
          .child('valueFrom')
          .child('fileKeyRef')
          .child('volumeName');
        const volume = spec.volumes?.findLast(({ name }) => name === ref.volumeName);
        if (!volume) errors.notFound(at, ref.volumeName ?? '');
        else if (!volume.emptyDir)
          errors.invalid(at, ref.volumeName, 'referenced volume must be of type emptyDir');
      }),
    );
  }
}

function checkNames(spec: PodSpec, path: Path, errors: Errors): void {
  if (spec.serviceAccountName) checkDnsSubdomain(spec.serviceAccountName, path, 'serviceAccountName', errors);
  if (spec.nodeName) checkDnsSubdomain(spec.nodeName, path, 'nodeName', errors);
  if (spec.hostname) checkDnsLabel(spec.hostname, path, 'hostname', errors);
  if (spec.subdomain) checkDnsLabel(spec.subdomain, path, 'subdomain', errors);
  if (spec.priorityClassName) checkDnsSubdomain(spec.priorityClassName, path, 'priorityClassName', errors);
  if (spec.runtimeClassName !== undefined)
    checkDnsSubdomain(spec.runtimeClassName, path, 'runtimeClassName', errors);
  if (spec.hostnameOverride === undefined) return;
  const at = path.child('hostnameOverride');
  if (spec.setHostnameAsFQDN) errors.forbidden(at, 'may not be specified when setHostnameAsFQDN is true');
  if (spec.hostNetwork) errors.forbidden(at, 'may not be specified when hostNetwork is true');
  if (spec.hostnameOverride.length > 64) errors.tooLong(at, 64);
  checkDnsSubdomain(spec.hostnameOverride, path, 'hostnameOverride', errors);
}

function checkResourceClaims(
  claims: readonly PodResourceClaim[] | undefined,
  path: Path,
  errors: Errors,
): ReadonlySet<string> {
  const names = new Set<string>();
  claims?.forEach((claim, i) => {
    const at = path.index(i),
      { resourceClaimName, resourceClaimTemplateName } = claim;
    if (!claim.name) errors.required(at.child('name'));
    else if (names.has(claim.name)) errors.duplicate(at.child('name'), claim.name);
    else checkDnsLabel(claim.name, at, 'name', errors);
    if (claim.name) names.add(claim.name);
    if (resourceClaimName !== undefined && resourceClaimTemplateName !== undefined)
      errors.invalid(
        at,
        claim,
        'at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified',
      );
    if (resourceClaimName === undefined && resourceClaimTemplateName === undefined)
      errors.invalid(at, claim, 'must specify one of: `resourceClaimName`, `resourceClaimTemplateName`');
    if (resourceClaimName !== undefined)
      checkDnsSubdomain(resourceClaimName, at, 'resourceClaimName', errors);
    if (resourceClaimTemplateName !== undefined)
      checkDnsSubdomain(resourceClaimTemplateName, at, 'resourceClaimTemplateName', errors);
  });
  return names;
}

function checkPodResources(spec: PodSpec, path: Path, errors: Errors, claimNames: ReadonlySet<string>): void {
  if (spec.os?.name === 'windows') {
    errors.forbidden(path, 'may not be set for a windows pod');
    return;
  }
  const { requests = {}, limits = {} } = spec.resources!;
  if (isGiven(spec.resources, 'claims'))
    errors.forbidden(path.child('claims'), 'claims may not be set for Resources at pod-level');
  checkResources(spec.resources!, path, errors, { claimNames, checkName: checkPodResourceName });
  for (const [name, total] of aggregateContainers({ spec }, 'requests')) {
    const asked = own(requests, name);
    if (asked !== undefined && total.compare(parseResourceQuantity(asked)) > 0)
      errors.invalid(
        path.child('requests').key(name),
        parseResourceQuantity(asked).toString(),
        `must be greater than or equal to aggregate container requests of ${total.toString()}`,
      );
  }
  for (const [name, total] of aggregateContainers({ spec }, 'limits')) {
    const most = isHugePages(name) ? own(limits, name) : undefined;
    if (most !== undefined && total.compare(parseResourceQuantity(most)) > 0)
      errors.invalid(
        path.child('limits').key(name),
        parseResourceQuantity(most).toString(),
        `must be greater than or equal to aggregate container limits of ${total.toString()}`,
      );
  }
  spec.containers?.forEach((container, i) => {
    for (const [name, limit] of Object.entries(container.resources?.limits ?? {})) {
      const most = own(limits, name);
      if (most !== undefined && compareQuantities(limit, most) > 0) {
        errors.invalid(
          path.child('containers').index(i).key(name).child('limits'),
          parseResourceQuantity(limit).toString(),
          `must be less than or equal to pod limits of ${parseResourceQuantity(most).toString()}`,
        );
      }
    }
  });
}

/** With hostNetwork a container's port is the host port; templates may omit it, because it is defaulted when the pod is created. */
function checkHostNetworkPorts(spec: PodSpec, path: Path, errors: Errors, isPod: boolean): void {
  spec.containers?.forEach((container, i) =>
    container.ports?.forEach((port, j) => {
      const hostPort = port.hostPort ?? 0;
      if ((isPod || hostPort !== 0) && hostPort !== port.containerPort) {
        errors.invalid(
          path.child('containers').index(i).child('ports').index(j).child('hostPort'),
          hostPort,
          'must match `containerPort` when `hostNetwork` is true',
        );
      }
    }),
  );
}

function checkUserNamespace(spec: PodSpec, path: Path, errors: Errors): void {
  const why = 'when `hostUsers` is false';
  if (spec.hostNetwork) errors.forbidden(path.child('hostNetwork'), why);
  if (spec.hostPID) errors.forbidden(path.child('HostPID'), why);
  if (spec.hostIPC) errors.forbidden(path.child('HostIPC'), why);
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    spec[field]?.forEach((container, i) => {
      if (container.volumeDevices?.length)
        errors.forbidden(path.child(field).index(i).child('volumeDevices'), why);
    });
  }
}

const NAMESERVERS_MAX = 3;
const SEARCHES_MAX = 32;
const SEARCH_LIST_MAX = 2048;

function checkDNSConfig(
  config: PodDNSConfig | undefined,
  policy: string | undefined,
  path: Path,
  errors: Errors,
): void {
  if (policy === 'None' && !config) {
    errors.required(path, 'must provide `dnsConfig` when `dnsPolicy` is None');
    return;
  }
  if (!config) return;
  const { nameservers = [], searches = [], options = [] } = config;
  if (policy === 'None' && nameservers.length === 0) {
    errors.required(
      path.child('nameservers'),
      'must provide at least one DNS nameserver when `dnsPolicy` is None',
    );
    return;
  }
  if (nameservers.length > NAMESERVERS_MAX)
    errors.invalid(
      path.child('nameservers'),
      nameservers,
      `must not have more than ${NAMESERVERS_MAX} nameservers`,
    );
  nameservers.forEach((server, i) => checkIP(server, path.child('nameservers').index(i), errors));
  if (searches.length > SEARCHES_MAX)
    errors.invalid(path.child('searches'), searches, `must not have more than ${SEARCHES_MAX} search paths`);
  if (searches.join(' ').length > SEARCH_LIST_MAX)
    errors.invalid(
      path.child('searches'),
      searches,
      `must not have more than ${SEARCH_LIST_MAX} characters (including spaces) in the search list`,
    );
  searches.forEach((search, i) => {
    if (search === '.') return;
    const name = search.endsWith('.') ? search.slice(0, -1) : search;
    errors.invalidEach(path.child('searches').index(i), name, validateDNS1123SubdomainWithUnderscore(name));
  });
  options.forEach((option, i) => {
    if (!option.name) errors.required(path.child('options').index(i), 'must not be empty');
  });
}

/** A one-of set with one possible member. */
function checkSchedulingGroup(
  { podGroupName }: NonNullable<PodSpec['schedulingGroup']>,
  path: Path,
  errors: Errors,
): void {
  const at = path.child('podGroupName');
  if (podGroupName === undefined) errors.invalid(at, null, 'must specify one of: `podGroupName`');
  else errors.invalidEach(at, podGroupName, validateDNS1123Subdomain(podGroupName));
}

function checkSchedulingGates(
  gates: NonNullable<PodSpec['schedulingGates']>,
  path: Path,
  errors: Errors,
): void {
  const names = new Set<string>();
  gates.forEach((gate, i) => {
    checkQualifiedName(gate.name, path.index(i), errors);
    if (names.has(gate.name)) errors.duplicate(path.index(i), gate.name);
    names.add(gate.name);
  });
}

/** Rules for pods but not for templates. */
export function checkPod(pod: Pod, errors: Errors): void {
  const spec = pod.spec ?? EMPTY_SPEC;
  checkPodAnnotations(pod.metadata?.annotations, spec, METADATA.child('annotations'), errors);
  checkPodSpec(spec, SPEC, errors, { meta: pod.metadata ?? {} });
  if (!spec.serviceAccountName) {
    spec.volumes?.forEach((volume, i) =>
      volume.projected?.sources?.forEach((source, j) => {
        if (source.serviceAccountToken)
          errors.forbidden(
            SPEC.child('volumes')
              .index(i)
              .child('projected')
              .child('sources')
              .index(j)
              .child('serviceAccountToken'),
            'must not be specified when serviceAccountName is not set',
          );
      }),
    );
  }
  for (const field of ['containers', 'initContainers'] as const)
    spec[field]?.forEach((container, i) =>
      checkImagePadding(container.image, SPEC.child(field).index(i), errors),
    );
}

export function checkPodTemplate(template: PodTemplateSpec | undefined, path: Path, errors: Errors): void {
  const { metadata, spec = EMPTY_SPEC } = template ?? {};
  checkLabels(metadata?.labels, path.child('labels'), errors);
  checkAnnotations(metadata?.annotations, path.child('annotations'), errors);
  checkPodAnnotations(metadata?.annotations, spec, path.child('annotations'), errors);
  checkPodSpec(spec, path.child('spec'), errors, { meta: undefined });
  checkProfileAnnotations(metadata?.annotations, spec, path.child('spec'), errors);
  if (spec.ephemeralContainers?.length)
    errors.forbidden(
      path.child('spec').child('ephemeralContainers'),
      'ephemeral containers not allowed in pod template',
    );
}
