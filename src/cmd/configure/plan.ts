/** `capstan config plan`: what a changed configuration would change of a running cluster, and what it cannot. */
import { serviceCIDRs } from '#client/refs.ts';
import type { DefaultedCluster } from '#deploy/config/defaults.ts';
import type { ClusterConfiguration, KubeletConfiguration } from '#deploy/config/types.ts';
import { requireValid } from '#deploy/config/validate.ts';
import type { ServiceCIDR } from '#api/types.ts';
import { UserError } from '#deploy/data-dir.ts';
import { cidrContains, parseCIDR, parseIP } from '#machinery/ip.ts';
import { planConfiguration } from '#upgrade/configuration/cluster.ts';
import { withoutFile } from '#upgrade/configuration/encryption-change.ts';
import { planKubelet } from '#upgrade/configuration/kubelet.ts';
import { rangesOverlap } from '#upgrade/configuration/networking.ts';
import { planServiceCIDRs } from '#upgrade/configuration/service-cidrs.ts';
import type { ObservedMachine } from '#upgrade/observe.ts';
import { observeMachines } from '#upgrade/observe.ts';
import { componentCommand } from '../components.ts';
import { connectCluster, type ClusterConnection, type ConnectFlags } from '../doctor/connect.ts';
import { parseWords } from '../flags/words.ts';
import {
  defaultedKubelet,
  readGiven,
  storedConfiguration,
  type GivenConfiguration,
  type SharedConfiguration,
} from './documents.ts';
import {
  plannedEncryption,
  refusedEncryptionFlags,
  withEncryptionFlags,
  type PlannedEncryption,
} from './encryption.ts';

type Print = (line: string) => void;

export interface ChangePlan {
  readonly changes: readonly string[];
  /** Each with what to do instead. */
  readonly refused: readonly string[];
  readonly warnings: readonly string[];
  readonly before: SharedConfiguration;
  /** Without what stays. */
  readonly wanted: SharedConfiguration;
  /** Undefined: the keys of encryption stay. */
  readonly encryption?: PlannedEncryption | undefined;
  /** Those that are to be created. */
  readonly serviceCIDRs: readonly ServiceCIDR[];
  /** In the order in which they are changed. */
  readonly machines: readonly ObservedMachine[];
}

/** Its exit code: 0 nothing would change, 1 something cannot be, 2 something would. */
export async function runConfigPlan(
  flags: ConnectFlags & { readonly config: string; readonly json?: boolean },
  print: Print,
): Promise<number> {
  const cluster = connectCluster(flags);
  try {
    const plan = await planOf(cluster, flags.config);
    const { changes, refused, warnings } = plan;
    if (flags.json) print(JSON.stringify({ changes, refused, warnings }, undefined, 2));
    else for (const line of renderChanges(plan)) print(line);
    return refused.length > 0 ? 1 : changes.length > 0 ? 2 : 0;
  } finally {
    await cluster.close();
  }
}

export function renderChanges({ changes, refused, warnings, machines }: ChangePlan): string[] {
  if (changes.length === 0 && refused.length === 0) return ['The cluster is as the file says.'];
  const names = machines.map(({ name }) => name).join(', ');
  return [
    ...changes,
    ...warnings.map((line) => `warning  ${line}`),
    ...refused.map((line) => `refused  ${line}`),
    ...(refused.length === 0 && names !== '' ? [`Machines, one after the other: ${names}`] : []),
  ];
}

export async function planOf(
  { api, at, paths }: Pick<ClusterConnection, 'api' | 'at' | 'paths'>,
  file: string,
): Promise<ChangePlan> {
  const given = readGiven(file);
  const before = await storedConfiguration(api);
  const encryption = plannedEncryption(given, { cluster: before.cluster, paths });
  const {
    changes,
    refused,
    wanted: cluster,
  } = planConfiguration(before.cluster, clusterOf(given, before.cluster));
  requireValid({ cluster, warnings: [] });
  const kubelet = given.kubelet && defaultedKubelet(given.kubelet, before);
  const ofKubelet = kubelet ? planKubelet(storedKubelet(before), kubelet) : NOTHING;
  const existing = (await api.list(serviceCIDRs)).items;
  const ranges = planServiceCIDRs(given.serviceCIDRs, {
    existing,
    podSubnet: cluster.networking.podSubnet,
  });
  const wanted = { cluster, kubelet: ofKubelet.changes.length > 0 ? kubelet : undefined };
  await requireFlags(wanted);
  const machines = await observeMachines(api, at);
  const behind = encryption ? await withoutFile(machines, { file: encryption.target, at }) : [];
  return {
    changes: [...changes, ...ofKubelet.changes, ...ranges.changes, ...keyChanges(encryption, behind)],
    refused: [
      ...refused,
      ...ofKubelet.refused,
      ...ranges.refused,
      ...(encryption?.refused ?? []),
      ...refusedEncryptionFlags(before.cluster, cluster),
      ...refusedByOthers({ before, wanted, existing, machines }),
    ],
    warnings: given.warnings,
    before,
    wanted,
    encryption,
    serviceCIDRs: ranges.created,
    machines: inOrder(machines, {
      planes: changes.length > 0,
      nodes: ofKubelet.changes.length > 0 || podsOf(before) !== podsOf(wanted),
    }),
  };
}

/** With the flags that a change of keys needs. */
function clusterOf(
  { cluster, encryption }: GivenConfiguration,
  before: DefaultedCluster,
): ClusterConfiguration {
  const given = cluster ?? before;
  return encryption ? withEncryptionFlags(given, before) : given;
}

/** A run that was killed may have left some behind. */
function keyChanges(encryption: PlannedEncryption | undefined, behind: readonly string[]): readonly string[] {
  if (!encryption || encryption.changes.length > 0) return encryption?.changes ?? [];
  return behind.map((name) => `encryption: the API server of ${name} has not followed to it`);
}

const NOTHING = { changes: [], refused: [] } as const;

function storedKubelet({ kubelet }: SharedConfiguration): KubeletConfiguration {
  if (kubelet) return kubelet;
  throw new UserError(
    'The cluster has no ConfigMap kube-system/kubelet-config, so what its nodes have is not known: write it on a control plane with capstan init phase upload-config kubelet.',
  );
}

/** Where pods get more addresses, workers first: they have to know them before one is given out. */
function inOrder(
  machines: readonly ObservedMachine[],
  { planes, nodes }: { readonly planes: boolean; readonly nodes: boolean },
): readonly ObservedMachine[] {
  const workers = nodes ? machines.filter(({ role }) => role === 'worker') : [];
  return [...workers, ...(planes || nodes ? machines.filter(({ role }) => role === 'control-plane') : [])];
}

function podsOf({ cluster }: SharedConfiguration): string {
  return cluster.networking.podSubnet;
}

interface Others {
  readonly before: SharedConfiguration;
  readonly wanted: SharedConfiguration;
  readonly existing: readonly ServiceCIDR[];
  readonly machines: readonly ObservedMachine[];
}

/** A larger range of pods, beside what the API knows. */
function refusedByOthers({ before, wanted, existing, machines }: Others): string[] {
  const after = podsOf(wanted);
  if (after === podsOf(before)) return [];
  const ranges = after.split(',');
  const cannot = `networking.podSubnet cannot be ${after}:`;
  const ofServices = existing.flatMap(({ metadata, spec }) =>
    (spec?.cidrs ?? [])
      .filter((cidr) => ranges.some((range) => rangesOverlap(range, cidr)))
      .map((cidr) => `${cannot} it overlaps with ${cidr} of ServiceCIDR ${metadata?.name}`),
  );
  const ofMachines = machines
    .filter(({ address }) => ranges.some((range) => isIn(range, address)))
    .map(({ name, address }) => `${cannot} it holds the address of Node ${name}, ${address}`);
  return [...ofServices, ...ofMachines];
}

function isIn(range: string, address: string): boolean {
  const block = parseCIDR(range);
  const ip = parseIP(address);
  return block !== undefined && ip !== undefined && cidrContains(block, ip);
}

/** Names that a component does not have are refused before any machine is changed. */
async function requireFlags({
  cluster: { apiServer, controllerManager, scheduler },
}: SharedConfiguration): Promise<void> {
  const all = { apiserver: apiServer, 'controller-manager': controllerManager, scheduler };
  for (const [command, section] of Object.entries(all)) {
    const words = (section?.extraArgs ?? []).map(({ name = '', value = '' }) => `--${name}=${value}`);
    parseWords(await componentCommand(command).flags(), { command, words });
  }
}
