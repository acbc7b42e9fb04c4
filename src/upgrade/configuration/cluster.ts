/**
 * Day-2 changes of a ClusterConfiguration: which flags and environments of API server, controller manager and scheduler change, which ranges of addresses
 * grow, and what cannot be changed this way. Pure. Top-level fields that the new file leaves out, other than those components, stay as they are.
 */
import type { DefaultedCluster } from '#deploy/config/defaults.ts';
import type { Arg, ClusterConfiguration, HostPathMount } from '#deploy/config/types.ts';
import { differences, isSame } from './differences.ts';
import { refusedNetworking } from './networking.ts';

const COMPONENTS = {
  apiServer: 'apiserver',
  controllerManager: 'controller-manager',
  scheduler: 'scheduler',
} as const;
type Section = keyof typeof COMPONENTS;

interface ConfigurationPlan {
  /** 'apiServer.extraArgs.v: (none) -> 4' */
  readonly changes: readonly string[];
  /** What is refused, each with what to do instead. */
  readonly refused: readonly string[];
  /** What machines get. */
  readonly wanted: DefaultedCluster;
}

/** What to do instead. */
const OTHERWISE: Readonly<Record<string, string>> = {
  etcd: 'members change by capstan join, leave and etcd',
  controlPlaneEndpoint: 'it is in every kubeconfig of the cluster',
  certificatesDir: 'certificates stay where init put them',
  kubernetesVersion: 'capstan upgrade apply',
  clusterName: 'it is in every kubeconfig of the cluster',
};

export function planConfiguration(current: DefaultedCluster, given: ClusterConfiguration): ConfigurationPlan {
  const { apiServer: _, controllerManager: __, scheduler: ___, ...kept } = current;
  const wanted: DefaultedCluster = {
    ...kept,
    ...given,
    networking: { ...kept.networking, ...given.networking },
    etcd: (given.etcd as DefaultedCluster['etcd'] | undefined) ?? kept.etcd,
  };
  const sections = Object.keys(COMPONENTS) as Section[];
  return {
    wanted,
    changes: [
      ...sections.flatMap((section) => sectionChanges(section, { current, wanted })),
      ...differences('networking', { before: current.networking, after: wanted.networking }),
    ],
    refused: [
      ...refusedFields(current, wanted),
      ...refusedNames(current, wanted),
      ...refusedNetworking({ current: current.networking, wanted: wanted.networking }),
    ],
  };
}

interface Pair {
  readonly current: DefaultedCluster;
  readonly wanted: DefaultedCluster;
}

function sectionChanges(section: Section, { current, wanted }: Pair): string[] {
  const lists = [
    { name: 'extraArgs', of: (cluster: DefaultedCluster) => cluster[section]?.extraArgs },
    { name: 'extraEnvs', of: (cluster: DefaultedCluster) => cluster[section]?.extraEnvs },
    { name: 'extraVolumes', of: (cluster: DefaultedCluster) => cluster[section]?.extraVolumes?.map(asArg) },
  ];
  return lists.flatMap(({ name, of }) => {
    const before = valuesOf(of(current));
    const after = valuesOf(of(wanted));
    return [...new Set([...before.keys(), ...after.keys()])]
      .filter((key) => before.get(key) !== after.get(key))
      .map(
        (key) => `${section}.${name}.${key}: ${before.get(key) ?? '(none)'} -> ${after.get(key) ?? '(none)'}`,
      );
  });
}

function asArg({ name, hostPath = '', mountPath = '', readOnly, pathType }: HostPathMount): Arg {
  const words = [
    `${hostPath}:${mountPath}`,
    ...(readOnly ? ['read-only'] : []),
    ...(pathType ? [pathType] : []),
  ];
  return { ...(name === undefined ? {} : { name }), value: words.join(' ') };
}

/** One name may be given several times. */
function valuesOf(list: readonly Arg[] = []): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const { name = '', value = '' } of list)
    values.set(name, values.has(name) ? `${values.get(name)}, ${value}` : value);
  return values;
}

function refusedFields(current: DefaultedCluster, wanted: DefaultedCluster): string[] {
  const names = new Set([...Object.keys(current), ...Object.keys(wanted)] as (keyof DefaultedCluster)[]);
  return [...names]

    .filter(
      (name) =>
        !Object.hasOwn(COMPONENTS, name) && name !== 'networking' && !isSame(current[name], wanted[name]),
    )
    .map((name) => `${name} cannot be changed: ${OTHERWISE[name] ?? 'it is of init only'}`);
}

function refusedNames(current: DefaultedCluster, wanted: DefaultedCluster): string[] {
  return isSame(current.apiServer?.certSANs, wanted.apiServer?.certSANs)
    ? []
    : [
        'apiServer.certSANs cannot be changed: renew the certificate with the names: capstan certs renew apiserver',
      ];
}
