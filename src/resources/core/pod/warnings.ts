/** Warnings that come with the answer to writes of pods and templates: what is deprecated, or has no effect. After upstream's pkg/api/pod warnings. */
import type { Container, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Volume } from '#api/types.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import { addressWarnings } from '../../address-warnings.ts';
import { own } from '../../checks.ts';
import { fractionalBytesWarnings } from '../claim-spec.ts';

const DEPRECATED_NODE_LABELS: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  'beta.kubernetes.io/os': 'deprecated since v1.14; use "kubernetes.io/os" instead',
  'failure-domain.beta.kubernetes.io/region': 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  'failure-domain.beta.kubernetes.io/zone': 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  'beta.kubernetes.io/instance-type': 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
};

const DEPRECATED_VOLUMES: readonly (readonly [type: keyof Volume, warning: string])[] = [
  ['photonPersistentDisk', 'deprecated in v1.11, non-functional in v1.16+'],
  ['gitRepo', 'deprecated in v1.11, and disabled by default in v1.33+'],
  ['scaleIO', 'deprecated in v1.16, non-functional in v1.22+'],
  ['flocker', 'deprecated in v1.22, non-functional in v1.25+'],
  ['storageos', 'deprecated in v1.22, non-functional in v1.25+'],
  ['quobyte', 'deprecated in v1.22, non-functional in v1.25+'],
  ['glusterfs', 'deprecated in v1.25, non-functional in v1.26+'],
  ['cephfs', 'deprecated in v1.28, non-functional in v1.31+'],
  ['rbd', 'deprecated in v1.28, non-functional in v1.31+'],
];

/** Of new pods only: updates are too many, and made by programs. */
export function podWarnings(pod: Pod, previous: Pod | undefined): string[] {
  if (previous) return [];
  return [...nameWarnings(pod, "the Pod's hostname"), ...specWarnings(pod.spec, 'spec', pod.metadata?.annotations)];
}

interface WorkloadTemplate {
  readonly template: PodTemplateSpec | undefined;
  readonly path: string;
  /** Its name becomes part of its pods' names and hostnames. */
  readonly namesPods?: boolean;
}

/** Of what makes pods: when it is new, and when its desired state changed. */
export function workloadWarnings(object: KubeObject, previous: KubeObject | undefined, { template, path, namesPods = false }: WorkloadTemplate): string[] {
  if (previous) return object.metadata?.generation === previous.metadata?.generation ? [] : templateWarnings(template, path);
  return [...(namesPods ? nameWarnings(object, 'Pod names and hostnames') : []), ...templateWarnings(template, path)];
}

function nameWarnings({ metadata }: KubeObject, usedIn: string): string[] {
  const problems = validateDNS1123Label(metadata?.name ?? '');
  return problems.length === 0 ? [] : [`metadata.name: this is used in ${usedIn}, which can result in surprising behavior; a DNS label is recommended: [${problems.join(' ')}]`];
}

/** Paths begin with the field that holds the template: 'spec.template'. */
export function templateWarnings(template: PodTemplateSpec | undefined, path: string): string[] {
  return specWarnings(template?.spec, `${path}.spec`, template?.metadata?.annotations);
}

function specWarnings(spec: PodSpec | undefined, path: string, annotations: Record<string, string> | undefined): string[] {
  if (!spec) return [];
  const warnings: string[] = [];
  warnings.push(...nodeLabelWarnings(spec.nodeSelector, `${path}.nodeSelector`));
  spec.volumes?.forEach((volume, i) => warnings.push(...volumeSourceWarnings(volume, `${path}.volumes[${i}]`)));
  warnAffinity(spec, path, warnings);
  warnHostAliases(spec, path, warnings);
  if (spec.terminationGracePeriodSeconds !== undefined && spec.terminationGracePeriodSeconds < 0) warnings.push(`${path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`);
  for (const field of ['initContainers', 'containers'] as const) spec[field]?.forEach((container, i) => warnContainer(container, `${path}.${field}[${i}]`, warnings));
  warnings.push(...byteWarnings(spec.overhead, `${path}.overhead`));
  warnPorts(spec, path, warnings);
  for (const key in annotations) {
    if (key.startsWith('container.apparmor.security.beta.kubernetes.io/')) warnings.push(`metadata.annotations[${key}]: deprecated since v1.30; use the "appArmorProfile" field instead`);
    else if (key.startsWith('container.seccomp.security.alpha.kubernetes.io/') || key === 'seccomp.security.alpha.kubernetes.io/pod') warnings.push(`metadata.annotations[${key}]: non-functional in v1.27+; use the "seccompProfile" field instead`);
  }
  return warnings;
}

const MATCHES_NOTHING = 'a null labelSelector results in matching no pod';

export function nodeLabelWarnings(selector: Readonly<Record<string, string>> | undefined, path: string): string[] {
  return Object.keys(selector ?? {}).flatMap((key) => {
    const why = own(DEPRECATED_NODE_LABELS, key);
    return why === undefined ? [] : [`${path}[${key}]: ${why}`];
  });
}

export function nodeSelectorWarnings(terms: readonly NodeSelectorTerm[] | undefined, path: string): string[] {
  return (terms ?? []).flatMap((term, i) => termWarnings(term, `${path}[${i}]`));
}

function termWarnings(term: NodeSelectorTerm | undefined, path: string): string[] {
  return nodeKeyWarnings(term?.matchExpressions ?? [], `${path}.matchExpressions`);
}

/** Of requirements that nodes' labels are to meet. */
export function nodeKeyWarnings(requirements: readonly { readonly key: string }[], path: string): string[] {
  return requirements.flatMap(({ key }, i) => {
    const why = own(DEPRECATED_NODE_LABELS, key);
    return why === undefined ? [] : [`${path}[${i}].key: ${key} is ${why}`];
  });
}

/** Of pods' volumes, and of persistent ones. */
export function volumeSourceWarnings(source: object, path: string): string[] {
  return DEPRECATED_VOLUMES.flatMap(([type, warning]) => ((source as Record<string, unknown>)[type] ? [`${path}.${type}: ${warning}`] : []));
}

function warnAffinity(spec: PodSpec, path: string, warnings: string[]): void {
  const { nodeAffinity } = spec.affinity ?? {};
  warnings.push(...nodeSelectorWarnings(nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms, `${path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`));
  nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution?.forEach(({ preference }, i) => warnings.push(...termWarnings(preference, `${path}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${i}].preference`)));
  for (const side of ['podAffinity', 'podAntiAffinity'] as const) {
    const affinity = spec.affinity?.[side], at = `${path}.affinity.${side}`;
    affinity?.requiredDuringSchedulingIgnoredDuringExecution?.forEach(({ labelSelector }, i) => { if (!labelSelector) warnings.push(`${at}.requiredDuringSchedulingIgnoredDuringExecution[${i}].labelSelector: ${MATCHES_NOTHING}`); });
    affinity?.preferredDuringSchedulingIgnoredDuringExecution?.forEach(({ podAffinityTerm }, i) => { if (!podAffinityTerm?.labelSelector) warnings.push(`${at}.preferredDuringSchedulingIgnoredDuringExecution[${i}].podAffinityTerm.labelSelector: ${MATCHES_NOTHING}`); });
  }
  spec.topologySpreadConstraints?.forEach(({ topologyKey, labelSelector }, i) => {
    const why = own(DEPRECATED_NODE_LABELS, topologyKey);
    if (why !== undefined) warnings.push(`${path}.topologySpreadConstraints[${i}].topologyKey: ${topologyKey} is ${why}`);
    if (!labelSelector) warnings.push(`${path}.topologySpreadConstraints[${i}].labelSelector: ${MATCHES_NOTHING}`);
  });
}

function warnHostAliases(spec: PodSpec, path: string, warnings: string[]): void {
  const seen = new Set<string>();
  spec.hostAliases?.forEach(({ ip }, i) => {
    if (seen.has(ip)) warnings.push(`${path}.hostAliases[${i}].ip: duplicate ip ${JSON.stringify(ip)}`);
    seen.add(ip);
    warnings.push(...addressWarnings(ip ?? '', `${path}.hostAliases[${i}].ip`));
  });
  spec.dnsConfig?.nameservers?.forEach((ip, i) => warnings.push(...addressWarnings(ip, `${path}.dnsConfig.nameservers[${i}]`)));
  const secrets = new Set<string>();
  spec.imagePullSecrets?.forEach(({ name = '' }, i) => {
    if (name === '') warnings.push(`${path}.imagePullSecrets[${i}].name: invalid empty name ${JSON.stringify(name)}`);
    else if (secrets.has(name)) warnings.push(`${path}.imagePullSecrets[${i}].name: duplicate name ${JSON.stringify(name)}`);
    secrets.add(name);
  });
}

function byteWarnings(amounts: Readonly<Record<string, string>> | undefined, path: string): string[] {
  if (!amounts) return [];
  return ['memory', 'ephemeral-storage'].flatMap((name) => fractionalBytesWarnings(own(amounts, name), `${path}[${name}]`));
}

function warnContainer(container: Container, path: string, warnings: string[]): void {
  for (const field of ['requests', 'limits'] as const) warnings.push(...byteWarnings(container.resources?.[field], `${path}.resources.${field}`));
  const names = new Map<string, number>();
  container.env?.forEach(({ name }, i) => {
    const first = names.get(name);
    if (first !== undefined) warnings.push(`${path}.env[${i}]: hides previous definition of ${JSON.stringify(name)}, which may be dropped when using apply`);
    names.set(name, i);
  });
}

function warnPorts(spec: PodSpec, path: string, warnings: string[]): void {
  const seen = new Map<string, string>();
  spec.containers?.forEach((container, i) => container.ports?.forEach((port, j) => {
    const at = `${path}.containers[${i}].ports[${j}]`, key = `${port.containerPort}/${port.protocol ?? 'TCP'}/${port.hostPort ?? 0}/${port.hostIP ?? ''}`;
    const other = seen.get(key);
    if (other !== undefined) warnings.push(`${at}: duplicate port definition with ${other}`);
    seen.set(key, at);
  }));
}
