/** What the types of an inventory's fields leave open: names, addresses, labels, taints, and fields of kubeadm's configuration that the fleet itself sets. */
import { isIP } from 'node:net';
import type { Taint } from '#api/types.ts';
import { ConfigError } from '#machinery/config/read.ts';
import { validateLabelValue, validateQualifiedName } from '#machinery/names.ts';
import { isDnsName } from '../config/endpoint.ts';
import type { ConfigDocuments } from '../config/read.ts';
import { listProblems } from '../config/validate.ts';
import type { MachineRole } from '../machine/record.ts';
import type { MachineSection, NodeSection } from './inventory-sections.ts';

const MAXIMUM_MACHINES = 5000;
const MAXIMUM_HOST_KEYS = 20;
export const ROLES: readonly MachineRole[] = ['control-plane', 'witness', 'worker'];
const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];
/** A host name, an IPv4 or IPv6 address, or an alias of ssh_config. Never an option of ssh. */
const ADDRESS = /^[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,252}$/;
const USER = /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;
/** As in a .pub file, with or without its comment: one line. */
const HOST_KEY = /^[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{16,8192}={0,3}( [^\r\n]{0,256})?$/;

/** Throws a ConfigError for the first problem. */
export function checkMachines(
  machines: readonly MachineSection[],
  groups: Readonly<Record<string, NodeSection>>,
): void {
  if (machines.length === 0) throw new ConfigError('machines: Required value: at least one machine');
  if (machines.length > MAXIMUM_MACHINES)
    throw new ConfigError(
      `machines: Too many: ${machines.length}: must have at most ${MAXIMUM_MACHINES} items`,
    );
  for (const [name, group] of Object.entries(groups)) {
    const at = `groups.${name}`;
    if (!isDnsName(name) || ROLES.includes(name as MachineRole))
      throw invalid(at, name, "must be a lowercase RFC 1123 subdomain and no role's name");
    checkNode(group, at);
  }
  machines.forEach((machine, index) => checkMachine(machine, { at: `machines[${index}]`, groups }));
  checkNames(machines, groups);
  if (!machines.some(({ role }) => role === 'control-plane'))
    throw new ConfigError('machines: Required value: at least one machine of role "control-plane"');
}

function checkMachine(
  machine: MachineSection,
  { at, groups }: { readonly at: string; readonly groups: Readonly<Record<string, NodeSection>> },
): void {
  const { name, address, advertiseAddress, role, group } = machine;
  require(name, `${at}.name`);
  if (!isDnsName(name)) throw invalid(`${at}.name`, name, 'must be a lowercase RFC 1123 subdomain');
  require(address, `${at}.address`);
  if (!ADDRESS.test(address)) throw invalid(`${at}.address`, address, 'must be a host name or an IP address');
  if (advertiseAddress !== undefined && isIP(advertiseAddress) === 0)
    throw invalid(`${at}.advertiseAddress`, advertiseAddress, 'must be an IP address');
  require(role, `${at}.role`);
  if (!ROLES.includes(role as MachineRole)) throw unsupported(`${at}.role`, role, ROLES);
  if (group !== undefined && groups[group] === undefined)
    throw invalid(`${at}.group`, group, 'must be one of groups');
  checkNode(machine, at);
  if (role === 'witness' && [machine.zone, machine.labels, machine.taints].some((one) => one !== undefined))
    throw new ConfigError(`${at}: Forbidden: a witness has no Node, and so no zone, labels or taints`);
}

/** --limit takes names of machines and groups alike. */
function checkNames(
  machines: readonly MachineSection[],
  groups: Readonly<Record<string, NodeSection>>,
): void {
  const names = new Set<string>();
  const addresses = new Map<string, string>();
  for (const [index, { name = '', address = '', ssh }] of machines.entries()) {
    const at = `machines[${index}]`;
    if (names.has(name)) throw new ConfigError(`${at}.name: Duplicate value: ${JSON.stringify(name)}`);
    if (groups[name] !== undefined || ROLES.includes(name as MachineRole))
      throw invalid(`${at}.name`, name, 'must not be the name of a group or a role too');
    const endpoint = `${address} ${ssh?.port ?? ''}`;
    const other = addresses.get(endpoint);
    if (other !== undefined)
      throw new ConfigError(
        `${at}.address: Duplicate value: ${JSON.stringify(address)}: it is that of ${other}`,
      );
    names.add(name);
    addresses.set(endpoint, name);
  }
}

function checkNode({ zone, labels = {}, taints = [], ssh }: NodeSection, at: string): void {
  checkSsh(ssh, `${at}.ssh`);
  if (zone !== undefined) {
    const [problem] = validateLabelValue(zone);
    if (problem !== undefined || zone === '')
      throw invalid(`${at}.zone`, zone, problem ?? 'must not be empty');
  }
  for (const [key, value] of Object.entries(labels)) {
    const [problem] = [...validateQualifiedName(key), ...validateLabelValue(value)];
    if (problem !== undefined) throw invalid(`${at}.labels.${key}`, value, problem);
  }
  const seen = new Set<string>();
  taints.forEach((taint, index) => checkTaint(taint, { at: `${at}.taints[${index}]`, seen }));
}

function checkTaint(
  { key, value = '', effect }: Taint,
  { at, seen }: { readonly at: string; readonly seen: Set<string> },
): void {
  require(key, `${at}.key`);
  const [problem] = [...validateQualifiedName(key), ...validateLabelValue(value)];
  if (problem !== undefined) throw invalid(at, `${key}=${value}`, problem);
  require(effect, `${at}.effect`);
  if (!EFFECTS.includes(effect)) throw unsupported(`${at}.effect`, effect, EFFECTS);
  const id = `${key}:${effect}`;
  if (seen.has(id)) throw new ConfigError(`${at}: Duplicate value: ${JSON.stringify(id)}`);
  seen.add(id);
}

export function checkSsh(ssh: NodeSection['ssh'] = {}, at: string): void {
  const { user, port, identityFile, hostKeys = [] } = ssh;
  if (user !== undefined && !USER.test(user)) throw invalid(`${at}.user`, user, 'must be the name of a user');
  if (port !== undefined && (port < 1 || port > 65_535))
    throw invalid(`${at}.port`, port, 'must be between 1 and 65535, inclusive');
  if (identityFile === '') throw new ConfigError(`${at}.identityFile: Required value`);
  if (hostKeys.length > MAXIMUM_HOST_KEYS)
    throw new ConfigError(
      `${at}.hostKeys: Too many: ${hostKeys.length}: must have at most ${MAXIMUM_HOST_KEYS} items`,
    );
  hostKeys.forEach((key, index) => {
    if (!HOST_KEY.test(key))
      throw invalid(`${at}.hostKeys[${index}]`, key.slice(0, 64), 'must be like "ssh-ed25519 AAAA…"');
  });
}

/** Set for each machine: in the file they would be the same for all, or secrets. */
const OWN_FIELDS: readonly (readonly [kind: 'init' | 'join', path: string])[] = [
  ['init', 'bootstrapTokens'],
  ['init', 'certificateKey'],
  ['init', 'dryRun'],
  ['init', 'nodeRegistration.name'],
  ['init', 'nodeRegistration.taints'],
  ['init', 'localAPIEndpoint.advertiseAddress'],
  ['join', 'controlPlane'],
  ['join', 'discovery'],
  ['join', 'dryRun'],
  ['join', 'nodeRegistration.name'],
  ['join', 'nodeRegistration.taints'],
];

/** Throws a ConfigError. */
export function checkConfigs(configs: Omit<ConfigDocuments, 'warnings'>): void {
  for (const [kind, path] of OWN_FIELDS)
    if (valueAt(configs[kind], path.split('.')) !== undefined)
      throw new ConfigError(`${kind}.${path}: Forbidden: the fleet sets it for each machine`);
  const [problem] = listProblems({ ...configs, warnings: [] });
  if (problem !== undefined) throw new ConfigError(problem);
}

function valueAt(value: unknown, [name, ...rest]: readonly string[]): unknown {
  if (name === undefined) return value;
  return typeof value === 'object' && value !== null
    ? valueAt((value as Record<string, unknown>)[name], rest)
    : undefined;
}

function require(value: string | undefined, path: string): asserts value is string {
  if (!value) throw new ConfigError(`${path}: Required value`);
}

function invalid(path: string, value: unknown, should: string): ConfigError {
  return new ConfigError(`${path}: Invalid value: ${JSON.stringify(value)}: ${should}`);
}

function unsupported(path: string, value: string, supported: readonly string[]): ConfigError {
  return new ConfigError(
    `${path}: Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((one) => JSON.stringify(one)).join(', ')}`,
  );
}
