/** Warnings for writes of pods and templates: deprecated fields, or settings without effect. After upstream's pkg/api/pod warnings. */
import type {
  Container,
  NodeSelectorTerm,
  Pod,
  PodAffinity,
  PodSpec,
  PodTemplateSpec,
  Volume,
} from '#api/types.ts';
import { validateDNS1123Label, validateLabelValue } from '#machinery/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import { addressWarnings } from '../../address-warnings.ts';
import { own } from '../../checks.ts';
import { semanticEqual } from '../../strategy.ts';
import { claimSpecWarnings, fractionalBytesWarnings } from '../claim-spec.ts';
import {
  APPARMOR_CONTAINER,
  APPARMOR_INSTEAD,
  readAppArmorProfile,
  SECCOMP_CONTAINER,
  SECCOMP_POD,
} from './annotations.ts';
import { warnOverlappingPaths } from './overlapping-paths.ts';
import { warnPorts } from './port-warnings.ts';
import { eachContainer } from './visit.ts';

const DEPRECATED_NODE_LABELS: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  'beta.kubernetes.io/os': 'deprecated since v1.14; use "kubernetes.io/os" instead',
  'failure-domain.beta.kubernetes.io/region':
    'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  'failure-domain.beta.kubernetes.io/zone':
    'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  'beta.kubernetes.io/instance-type':
    'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
};

const DEPRECATED_ANNOTATIONS: Readonly<Record<string, string>> = {
  'scheduler.alpha.kubernetes.io/critical-pod':
    'non-functional in v1.16+; use the "priorityClassName" field instead',
  'security.alpha.kubernetes.io/sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'security.alpha.kubernetes.io/unsafe-sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
};

const DEPRECATED_VOLUMES: Readonly<Record<string, string>> = {
  photonPersistentDisk: 'deprecated in v1.11, non-functional in v1.16+',
  gitRepo: 'deprecated in v1.11, and disabled by default in v1.33+',
  scaleIO: 'deprecated in v1.16, non-functional in v1.22+',
  flocker: 'deprecated in v1.22, non-functional in v1.25+',
  storageos: 'deprecated in v1.22, non-functional in v1.25+',
  quobyte: 'deprecated in v1.22, non-functional in v1.25+',
  glusterfs: 'deprecated in v1.25, non-functional in v1.26+',
  cephfs: 'deprecated in v1.28, non-functional in v1.31+',
  rbd: 'deprecated in v1.28, non-functional in v1.31+',
};

/** Only for new pods: updates are frequent, and made by programs. */
export function podWarnings(pod: Pod, previous: Pod | undefined): string[] {
  if (previous) return [];
  const warnings = nameWarnings(pod, "the Pod's hostname");
  warnSpec({ spec: pod.spec, meta: pod.metadata, prefix: '', isTemplate: false }, warnings);
  return warnings;
}

interface WorkloadTemplate {
  readonly template: PodTemplateSpec | undefined;
  readonly path: string;
  /** Its name becomes part of the names and hostnames of its pods. */
  readonly namesPods?: boolean;
}

/** For workloads: when they are created, and when their spec changed. */
export function workloadWarnings(
  object: KubeObject,
  previous: KubeObject | undefined,
  { template, path, namesPods = false }: WorkloadTemplate,
): string[] {
  if (previous)
    return object.metadata?.generation === previous.metadata?.generation
      ? []
      : templateWarnings(template, path);
  return [
    ...(namesPods ? nameWarnings(object, 'Pod names and hostnames') : []),
    ...templateWarnings(template, path),
  ];
}

function nameWarnings({ metadata }: KubeObject, usedIn: string): string[] {
  const problems = validateDNS1123Label(metadata?.name ?? '');
  return problems.length === 0
    ? []
    : [
        `metadata.name: this is used in ${usedIn}, which can result in surprising behavior; a DNS label is recommended: [${problems.join(' ')}]`,
      ];
}

/** Paths begin with the template's field: 'spec.template'. */
function templateWarnings(template: PodTemplateSpec | undefined, path: string): string[] {
  const warnings: string[] = [];
  warnSpec(
    { spec: template?.spec, meta: template?.metadata, prefix: `${path}.`, isTemplate: true },
    warnings,
  );
  return warnings;
}

interface Warned {
  readonly spec: PodSpec | undefined;
  readonly meta: { readonly annotations?: Record<string, string> } | undefined;
  /** '' or 'spec.template.' */
  readonly prefix: string;
  readonly isTemplate: boolean;
}

/** Allocates nothing for the common case without warnings. */
function warnSpec({ spec, meta, prefix, isTemplate }: Warned, warnings: string[]): void {
  if (!spec) return;
  const path = `${prefix}spec`,
    annotations = meta?.annotations;
  if (spec.nodeSelector) warnings.push(...nodeLabelWarnings(spec.nodeSelector, `${path}.nodeSelector`));
  warnNodeAffinity(spec, path, warnings);
  warnTopologySpread(spec, path, warnings);
  for (const key in annotations)
    if (Object.hasOwn(DEPRECATED_ANNOTATIONS, key))
      warnings.push(`${prefix}metadata.annotations[${key}]: ${DEPRECATED_ANNOTATIONS[key]}`);
  if (spec.volumes) warnVolumes(spec.volumes, path, warnings);
  warnRepeated(spec, path, warnings);
  if (spec.overhead) warnBytes(spec.overhead, `${path}.overhead`, warnings);
  if (annotations && !spec.securityContext?.seccompProfile && annotations[SECCOMP_POD] !== undefined)
    warnings.push(`${prefix}metadata.annotations[${SECCOMP_POD}]: ${SECCOMP_INSTEAD}`);
  eachContainer(spec, path, (container, at) => {
    if (annotations) warnProfiles(container, { spec, annotations, prefix, isTemplate }, warnings);
    warnContainer(container, at, warnings);
  });
  warnPorts(spec, path, warnings);
  if (spec.terminationGracePeriodSeconds !== undefined && spec.terminationGracePeriodSeconds < 0)
    warnings.push(
      `${path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`,
    );
  warnPodAffinity(spec.affinity?.podAffinity, `${path}.affinity.podAffinity`, warnings);
  warnPodAffinity(spec.affinity?.podAntiAffinity, `${path}.affinity.podAntiAffinity`, warnings);
  spec.dnsConfig?.nameservers?.forEach((ip, i) =>
    warnings.push(...addressWarnings(ip, `${path}.dnsConfig.nameservers[${i}]`)),
  );
  spec.hostAliases?.forEach(({ ip }, i) =>
    warnings.push(...addressWarnings(ip ?? '', `${path}.hostAliases[${i}].ip`)),
  );
}

export function nodeLabelWarnings(
  selector: Readonly<Record<string, string>> | undefined,
  path: string,
): string[] {
  return Object.keys(selector ?? {}).flatMap((key) => {
    const why = own(DEPRECATED_NODE_LABELS, key);
    return why === undefined ? [] : [`${path}[${key}]: ${why}`];
  });
}

export function nodeSelectorWarnings(terms: readonly NodeSelectorTerm[] | undefined, path: string): string[] {
  return (terms ?? []).flatMap((term, i) =>
    nodeKeyWarnings(term?.matchExpressions ?? [], `${path}[${i}].matchExpressions`),
  );
}

/** For requirements on node labels. */
export function nodeKeyWarnings(requirements: readonly { readonly key: string }[], path: string): string[] {
  return requirements.flatMap(({ key }, i) => {
    const why = own(DEPRECATED_NODE_LABELS, key);
    return why === undefined ? [] : [`${path}[${i}].key: ${key} is ${why}`];
  });
}

/** For volumes of pods and for persistent volumes. */
function volumeSourceWarnings(source: object, path: string): string[] {
  return Object.keys(source).flatMap((type) => {
    const why = own(DEPRECATED_VOLUMES, type);
    return why === undefined
      ? []
      : [`${path}.${type === 'storageos' && path.includes('volumes[') ? 'storageOS' : type}: ${why}`];
  });
}

function warnVolumes(volumes: readonly Volume[], path: string, warnings: string[]): void {
  volumes.forEach((volume, i) => {
    warnings.push(...volumeSourceWarnings(volume, `${path}.volumes[${i}]`));
    if (volume.ephemeral?.volumeClaimTemplate)
      warnings.push(
        ...claimSpecWarnings(
          volume.ephemeral.volumeClaimTemplate.spec,
          `${path}.volumes[${i}].ephemeral.volumeClaimTemplate.spec`,
        ),
      );
  });
  warnOverlappingPaths(volumes, warnings);
}

/** Preferred terms may have values that no label can have; required terms may not. */
function warnNodeAffinity(spec: PodSpec, path: string, warnings: string[]): void {
  const nodeAffinity = spec.affinity?.nodeAffinity;
  if (!nodeAffinity) return;
  const required = 'requiredDuringSchedulingIgnoredDuringExecution',
    preferred = 'preferredDuringSchedulingIgnoredDuringExecution',
    at = `${path}.affinity.nodeAffinity`;
  warnings.push(
    ...nodeSelectorWarnings(nodeAffinity[required]?.nodeSelectorTerms, `${at}.${required}.nodeSelectorTerms`),
  );
  nodeAffinity[preferred]?.forEach(({ preference }, i) => {
    const expressions = preference?.matchExpressions ?? [],
      where = `${at}.${preferred}[${i}].preference.matchExpressions`;
    expressions.forEach((expression, j) => {
      warnings.push(
        ...nodeKeyWarnings([expression], where).map((warning) =>
          warning.replace(`${where}[0]`, `${where}[${j}]`),
        ),
      );
      expression.values?.forEach((value, k) =>
        warnings.push(
          ...validateLabelValue(value).map(
            (problem) => `${where}[${j}].values[${k}]: ${value} is invalid, ${problem}`,
          ),
        ),
      );
    });
  });
}

const MATCHES_NOTHING = 'a null labelSelector results in matching no pod';

function warnTopologySpread(spec: PodSpec, path: string, warnings: string[]): void {
  spec.topologySpreadConstraints?.forEach(({ topologyKey, labelSelector }, i) => {
    const why = own(DEPRECATED_NODE_LABELS, topologyKey);
    if (why !== undefined)
      warnings.push(`${path}.topologySpreadConstraints[${i}].topologyKey: ${topologyKey} is ${why}`);
    if (!labelSelector)
      warnings.push(`${path}.topologySpreadConstraints[${i}].labelSelector: ${MATCHES_NOTHING}`);
  });
}

function warnPodAffinity(affinity: PodAffinity | undefined, path: string, warnings: string[]): void {
  affinity?.requiredDuringSchedulingIgnoredDuringExecution?.forEach(({ labelSelector }, i) => {
    if (!labelSelector)
      warnings.push(
        `${path}.requiredDuringSchedulingIgnoredDuringExecution[${i}].labelSelector: ${MATCHES_NOTHING}`,
      );
  });
  affinity?.preferredDuringSchedulingIgnoredDuringExecution?.forEach(({ podAffinityTerm }, i) => {
    if (!podAffinityTerm?.labelSelector)
      warnings.push(
        `${path}.preferredDuringSchedulingIgnoredDuringExecution[${i}].podAffinityTerm.labelSelector: ${MATCHES_NOTHING}`,
      );
  });
}

function warnRepeated(spec: PodSpec, path: string, warnings: string[]): void {
  const addresses = new Set<string>(),
    secrets = new Set<string>();
  spec.hostAliases?.forEach(({ ip }, i) => {
    if (addresses.has(ip)) warnings.push(`${path}.hostAliases[${i}].ip: duplicate ip ${JSON.stringify(ip)}`);
    addresses.add(ip);
  });
  spec.imagePullSecrets?.forEach(({ name = '' }, i) => {
    if (secrets.has(name))
      warnings.push(`${path}.imagePullSecrets[${i}].name: duplicate name ${JSON.stringify(name)}`);
    secrets.add(name);
  });
  spec.imagePullSecrets?.forEach(({ name = '' }, i) => {
    if (name === '') warnings.push(`${path}.imagePullSecrets[${i}].name: invalid empty name ""`);
  });
}

function warnBytes(amounts: Readonly<Record<string, string>>, path: string, warnings: string[]): void {
  for (const name of ['memory', 'ephemeral-storage'])
    if (Object.hasOwn(amounts, name))
      warnings.push(...fractionalBytesWarnings(amounts[name], `${path}[${name}]`));
}

const SECCOMP_INSTEAD = 'non-functional in v1.27+; use the "seccompProfile" field instead';

/** Deprecated annotations whose field is not set. AppArmor annotations of pods are converted to fields on create, which warns then. */
function warnProfiles(
  { name, securityContext }: Container,
  {
    spec,
    annotations,
    prefix,
    isTemplate,
  }: {
    readonly spec: PodSpec;
    readonly annotations: Record<string, string>;
    readonly prefix: string;
    readonly isTemplate: boolean;
  },
  warnings: string[],
): void {
  const seccomp = SECCOMP_CONTAINER + name,
    appArmor = APPARMOR_CONTAINER + name;
  if (!securityContext?.seccompProfile && own(annotations, seccomp) !== undefined)
    warnings.push(`${prefix}metadata.annotations[${seccomp}]: ${SECCOMP_INSTEAD}`);
  const named = own(annotations, appArmor);
  if (!isTemplate || securityContext?.appArmorProfile || named === undefined) return;
  const ofPod = spec.securityContext?.appArmorProfile;
  if (!ofPod || !semanticEqual(ofPod, readAppArmorProfile(named)))
    warnings.push(`${prefix}metadata.annotations[${appArmor}]: ${APPARMOR_INSTEAD}`);
}

function warnContainer({ resources, env }: Container, at: () => string, warnings: string[]): void {
  for (const field of ['limits', 'requests'] as const)
    if (resources?.[field]) warnBytes(resources[field], `${at()}.resources.${field}`, warnings);
  if (!env || env.length < 2) return;
  const names = new Set<string>();
  env.forEach(({ name, value = '', valueFrom }, i) => {
    // A later value may refer to an earlier one: A=x, A=$(A)y.
    const reference = `$(${name})`;
    if (names.has(name) && (valueFrom || value === reference || !value.includes(reference)))
      warnings.push(
        `${at()}.env[${i}]: hides previous definition of ${JSON.stringify(name)}, which may be dropped when using apply`,
      );
    names.add(name);
  });
}
