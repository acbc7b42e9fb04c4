/**
 * The file of `capstan fleet`: the machines of a cluster, how each is reached, and the cluster's configuration and addons. Read strictly: an unknown field is
 * refused with its path. It is the only place that says what should be; what is, machines and cluster are asked.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Taint } from '#api/types.ts';
import { ConfigError, configKind, decodeConfig, parseConfig } from '#machinery/config/read.ts';
import { flag, integer, listOf, mapOf, opaque, struct, text } from '#machinery/config/schema.ts';
import { errorMessage } from '#stdx/log.ts';
import { CLUSTER, INIT, JOIN } from '../config/kinds.ts';
import { KUBELET } from '../config/kubelet.ts';
import { readConfigFile } from '../config/read.ts';
import type {
  ClusterConfiguration,
  InitConfiguration,
  JoinConfiguration,
  KubeletConfiguration,
} from '../config/types.ts';
import { UserError } from '../data-dir.ts';
import type { MachineRole } from '../machine/record.ts';
import { ADDON_SECTIONS, readAddons, type Addon, type AddonSection } from '../addons/addon-files.ts';
import { checkConfigs, checkMachines, checkSsh } from './inventory-checks.ts';
import type { MachineSection, NodeSection, SshSection } from './inventory-sections.ts';

/** How ssh reaches a machine. Undefined fields are as ssh_config says. */
interface SshSettings {
  readonly user?: string | undefined;
  readonly port?: number | undefined;
  /** An absolute path. */
  readonly identityFile?: string | undefined;
  /** 'ssh-ed25519 AAAA…': only these are accepted, whatever known_hosts has. Empty: known_hosts decides. */
  readonly hostKeys: readonly string[];
}

export interface FleetMachine {
  readonly name: string;
  /** What ssh connects to: a name, an IP address, or an alias of ssh_config. */
  readonly address: string;
  /** What other machines reach it by. Undefined: `address` where the machine has it, else that of its default route. */
  readonly advertiseAddress?: string | undefined;
  readonly role: MachineRole;
  readonly group?: string | undefined;
  /** With its zone. */
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: they are left alone, and a control plane begins with its usual one. */
  readonly taints?: readonly Taint[] | undefined;
  readonly ssh: SshSettings;
}

interface FleetConfig {
  readonly cluster: ClusterConfiguration;
  readonly init: InitConfiguration;
  readonly join: JoinConfiguration;
  readonly kubelet?: KubeletConfiguration | undefined;
  readonly etcd: { readonly binary?: string; readonly fetch?: boolean };
  readonly runtime: 'cri' | 'simulated';
}

export interface Fleet {
  readonly machines: readonly FleetMachine[];
  readonly config: FleetConfig;
  /** Undefined: the file has no such section, and what addons the cluster has stay. */
  readonly addons?: readonly Addon[] | undefined;
  /** Of machines that the file no longer has. */
  readonly ssh: SshSettings;
  /** The launcher that machines have already. Undefined: this program is copied to them. */
  readonly launcher?: string | undefined;
  readonly warnings: readonly string[];
}

interface FleetFile {
  readonly ssh?: SshSection;
  readonly capstan?: { readonly path?: string };
  readonly etcd?: { readonly binary?: string; readonly fetch?: boolean };
  readonly runtime?: string;
  readonly groups?: Readonly<Record<string, NodeSection>>;
  readonly machines?: readonly MachineSection[];
  readonly config?: string;
  readonly cluster?: unknown;
  readonly init?: unknown;
  readonly join?: unknown;
  readonly kubelet?: unknown;
  readonly addons?: readonly AddonSection[];
}

const ZONE_LABEL = 'topology.kubernetes.io/zone';

const ssh = struct('SSH', { user: text, port: integer, identityFile: text, hostKeys: listOf(text) });
const node = {
  zone: text,
  labels: mapOf(text),
  taints: listOf(struct('Taint', { key: text, value: text, effect: text })),
  ssh,
};
const FLEET = configKind(
  { group: 'fleet.capstan.dev', versions: ['v1alpha1'], kind: 'Fleet' },
  {
    metadata: struct('ObjectMeta', { name: text }),
    ssh,
    capstan: struct('Capstan', { path: text }),
    etcd: struct('Etcd', { binary: text, fetch: flag }),
    runtime: text,
    groups: mapOf(struct('Group', node)),
    machines: listOf(
      struct('Machine', {
        name: text,
        address: text,
        advertiseAddress: text,
        role: text,
        group: text,
        ...node,
      }),
    ),
    config: text,
    cluster: opaque,
    init: opaque,
    join: opaque,
    kubelet: opaque,
    addons: ADDON_SECTIONS,
  },
);

/** Throws a UserError that names the file and the field. */
export function readFleetFile(path: string): Fleet {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${errorMessage(error)}.`, error);
  }
  try {
    return parseFleet(content, dirname(resolve(path)));
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(`${path}: ${error.message}.`, error);
    throw error;
  }
}

/** dir: what paths in the file are relative to. Throws a ConfigError, or a UserError of a file that it names. */
export function parseFleet(content: string, dir: string): Fleet {
  const { value, problems } = parseConfig(content);
  const file = decodeConfig<FleetFile>(value, [FLEET], problems);
  const { machines = [], groups = {} } = file;
  checkSsh(file.ssh, 'ssh');
  checkMachines(machines, groups);
  if (file.runtime !== undefined && !['cri', 'simulated'].includes(file.runtime))
    throw new ConfigError(
      `runtime: Unsupported value: ${JSON.stringify(file.runtime)}: supported values: "cri", "simulated"`,
    );
  const { warnings, ...config } = configOf(file, dir);
  checkConfigs(config);
  return {
    machines: machines.map((machine) => machineOf(machine, { file, dir })),
    config: {
      cluster: config.cluster ?? {},
      init: config.init ?? {},
      join: config.join ?? {},
      kubelet: config.kubelet,
      etcd: file.etcd ?? {},
      runtime: file.runtime === 'simulated' ? 'simulated' : 'cri',
    },
    addons: file.addons && readAddons(file.addons, dir),
    ssh: sshOf([file.ssh], dir),
    launcher: file.capstan?.path,
    warnings,
  };
}

function machineOf(
  { name = '', address = '', advertiseAddress, role, group, ...own }: MachineSection,
  { file, dir }: { readonly file: FleetFile; readonly dir: string },
): FleetMachine {
  const shared: NodeSection = (group === undefined ? undefined : file.groups?.[group]) ?? {};
  const zone = own.zone ?? shared.zone;
  return {
    name,
    address,
    advertiseAddress,
    role: role as MachineRole,
    group,
    labels: { ...shared.labels, ...own.labels, ...(zone === undefined ? {} : { [ZONE_LABEL]: zone }) },
    taints: own.taints ?? shared.taints,
    ssh: sshOf([file.ssh, shared.ssh, own.ssh], dir),
  };
}

/** Later ones go first. */
function sshOf(sections: readonly (SshSection | undefined)[], dir: string): SshSettings {
  const { user, port, identityFile, hostKeys = [] } = Object.assign({}, ...sections) as SshSection;
  return {
    user,
    port,
    identityFile: identityFile && resolve(dir, identityFile.replace(/^~(?=\/)/, homedir())),
    hostKeys,
  };
}

interface Configs {
  readonly cluster?: ClusterConfiguration | undefined;
  readonly init?: InitConfiguration | undefined;
  readonly join?: JoinConfiguration | undefined;
  readonly kubelet?: KubeletConfiguration | undefined;
}

/** kubeadm's configuration: of a file of its own, or embedded by kind. */
function configOf(file: FleetFile, dir: string): Configs & { readonly warnings: readonly string[] } {
  const ofFile = file.config === undefined ? { warnings: [] } : readConfigFile(resolve(dir, file.config));
  const { reset: _, addons, ...known } = ofFile as ReturnType<typeof readConfigFile>;
  if (addons)
    throw new ConfigError(
      `config: ${addons.kind} in ${file.config}: Forbidden: list them as addons of this file`,
    );
  const embedded = Object.entries({ cluster: CLUSTER, init: INIT, join: JOIN, kubelet: KUBELET }).flatMap(
    ([name, kind]) => {
      const section = file[name as keyof Configs];
      if (section === undefined) return [];
      if (known[name as keyof Configs] !== undefined)
        throw new ConfigError(`${name}: ${kind.kind} is in ${file.config} already: give it once`);
      return [[name, embeddedConfig(section, { name, kind })] as const];
    },
  );
  return { ...known, ...(Object.fromEntries(embedded) as Configs) };
}

function embeddedConfig(
  section: unknown,
  { name, kind }: { readonly name: string; readonly kind: typeof CLUSTER },
): unknown {
  try {
    return decodeConfig(section, [kind]);
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(`${name}: ${error.message}`, { cause: error });
    throw error;
  }
}
