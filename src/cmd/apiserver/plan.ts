/** Listening and advertised addresses and the store of an API server: flags over the data directory's settings. */
import { mkdirSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import type { StorageDriver } from '#storage/drivers/index.ts';
import {
  DATA_FORMAT,
  describeDiskError,
  newClusterId,
  UserError,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import { DEFAULT_NETWORKS } from '#deploy/networks.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import { readFlags } from '../flags/define.ts';
import { SERVER_FLAGS, type ApiServerFlags } from './flags.ts';
import {
  advertiseAddress,
  isLoopback,
  machineAddresses,
  requireAddress,
  requireAdvertisable,
  requireSubjectNames,
} from './addresses.ts';
import { parseRanges } from '../flags/ranges.ts';

export interface Plan {
  readonly bindAddress: string;
  readonly port: number;
  readonly serviceCIDR: string;
  readonly advertiseAddress: string;
  readonly extraSANs: readonly string[];
  readonly driver: StorageDriver | 'etcd';
  readonly storeDir: string | undefined;
}

export function planFrom(
  givenFlags: ApiServerFlags,
  {
    dir,
    stored,
    hostAddress,
  }: {
    readonly dir: DataDir | undefined;
    readonly stored: ClusterSettings | undefined;
    readonly hostAddress: string | undefined;
  },
): Plan {
  const flags = readFlags(SERVER_FLAGS, givenFlags);
  const bindAddress = flags.bindAddress ?? stored?.bindAddress ?? (dir ? '127.0.0.1' : '0.0.0.0');
  const givenRanges = flags.serviceClusterIpRange ?? stored?.serviceCIDR ?? DEFAULT_NETWORKS.serviceCIDR;
  requireAddress('--bind-address', bindAddress);
  const given = flags.advertiseAddress ?? stored?.advertiseAddress;
  if (given !== undefined) requireAdvertisable('--advertise-address', given);
  const extraSANs = flags.apiserverCertExtraSans ?? stored?.certExtraSANs ?? [];
  requireSubjectNames('--apiserver-cert-extra-sans', extraSANs);
  const ranges = parseServiceRanges(givenRanges);
  const serviceCIDR = ranges.join();
  // A cluster of one family may get the second one.
  const known = stored && parseServiceRanges(stored.serviceCIDR).join();
  if (stored && serviceCIDR !== known && ranges[0] !== known)
    throw new UserError(
      `--service-cluster-ip-range is ${serviceCIDR}, but the cluster in ${dir?.path} has ${stored.serviceCIDR}: that cannot be changed.`,
    );
  const driver = givenFlags.etcdServers ? 'etcd' : flags.storage;
  const storeDir = driver === 'memory' || driver === 'etcd' ? undefined : (flags.storageDir ?? dir?.store);
  if (driver !== 'memory' && driver !== 'etcd' && storeDir === undefined)
    throw new UserError(
      `--storage ${driver} needs --data-dir DIR or --storage-dir DIR to keep its files in; --storage memory keeps nothing.`,
    );
  if (storeDir !== undefined) makeDir(storeDir);
  const advertised =
    advertiseAddress({ bindAddress, given, hostAddress, machine: machineAddresses() }) ?? '127.0.0.1';
  requireFamily(advertised, ranges);
  return {
    bindAddress,
    port: flags.securePort ?? stored?.httpsPort ?? 6443,
    serviceCIDR,
    driver,
    storeDir,
    advertiseAddress: advertised,
    extraSANs,
  };
}

/** Throws a UserError. */
function parseServiceRanges(text: string): readonly string[] {
  const ranges = parseRanges('--service-cluster-ip-range', text);
  const wrong = ranges.find((range) => !isServiceCIDR(range));
  if (wrong !== undefined)
    throw new UserError(
      `--service-cluster-ip-range is "${text}"; the prefix of ${wrong} should have 8 to 30 bits, of an IPv6 range 64 to 126.`,
    );
  return ranges;
}

/** The Service kubernetes, whose endpoint this is, has an address of the first range. */
function requireFamily(advertised: string, [first = '']: readonly string[]): void {
  if (isLoopback(advertised) || isIPv6(advertised) === first.includes(':')) return;
  throw new UserError(
    `The API server's address for pods is ${advertised}; it should be of the family of the first range of --service-cluster-ip-range, ${first}: give one with --advertise-address.`,
  );
}

function makeDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw describeDiskError(path, error);
  }
}

/** Of a directory that `up` has not made: it has no nodes until some are started. */
function newSettings({ bindAddress, port, serviceCIDR }: Plan): ClusterSettings {
  return {
    format: DATA_FORMAT,
    id: newClusterId(),
    httpsPort: port,
    bindAddress,
    runtime: 'simulated',
    nodes: 0,
    podCIDR: DEFAULT_NETWORKS.podCIDR,
    serviceCIDR,
  };
}

/** Settings of a new directory, or its own; ephemeral is cleared once it has had a store. */
export function settingsAfter(plan: Plan, stored: ClusterSettings | undefined): ClusterSettings {
  const { keepsNothing = stored === undefined, ...known } = stored ?? newSettings(plan);
  const settings = { ...known, serviceCIDR: plan.serviceCIDR };
  return keepsNothing && plan.driver === 'memory' ? { ...settings, keepsNothing } : settings;
}

export function serverUrl({
  bindAddress,
  port,
}: {
  readonly bindAddress: string;
  readonly port: number;
}): string {
  const address = bindAddress === '0.0.0.0' ? '127.0.0.1' : bindAddress === '::' ? '::1' : bindAddress;
  return `https://${formatHostPort(address, port)}`;
}
