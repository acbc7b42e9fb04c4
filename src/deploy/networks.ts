/**
 * Address ranges of clusters with real pods on this machine: clusters must not share any, nor use the machine's own. Claims are stored in a machine-wide
 * directory, so that a stopped cluster keeps its ranges. One process claims at a time.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  cidrsOverlap,
  formatCIDR,
  formatIP,
  ipFamily,
  parseCIDR,
  type CIDRBlock,
  type IPAddress,
  type IPFamily,
} from '#machinery/ip.ts';
import { assert } from '#stdx/assert.ts';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { areRanges, describeDiskError, UserError, writeFileAtomic } from './data-dir.ts';

const CLAIMS = '/var/lib/capstan/networks';
/** Another process claims within milliseconds. */
const LOCK_WAIT_MS = 10_000;
/** Minimum age of a claim before it is deleted when its data directory is gone (rm -r). */
const FORGOTTEN_MS = 3_600_000;
const FIRST_POD_OCTET = 244;
const CANDIDATES = 100;

/** Each one range, or one of each family with a comma between. */
export interface ClusterNetworks {
  readonly podCIDR: string;
  readonly serviceCIDR: string;
}

/** Upstream's customary ranges; used with simulated nodes. */
export const DEFAULT_NETWORKS = networksAt(0, ['IPv4']);

/** Of default ranges, none of whose Services they have: wider ones around them, so that a cluster may grow. Shares for 32,768 and 65,536 nodes. */
const WIDE_POD_CIDRS: Readonly<Record<string, string>> = {
  '10.244.0.0/16': '10.128.0.0/9',
  'fd00:10:244::/56': 'fd00:10:244::/48',
};
const SHARE_BITS = { IPv4: 24, IPv6: 64 } as const;

/**
 * Addresses for the pods of this many simulated nodes, each with a share of 256 (IPv6: a /64): the ranges they have, or wider ones around them.
 * Throws a UserError where a range that the user chose is too small.
 */
export function simulatedPodCIDR({
  nodes,
  podCIDR,
}: {
  readonly nodes: number;
  readonly podCIDR: string;
}): string {
  return podCIDR
    .split(',')
    .map((range) => {
      const shares = 2 ** (SHARE_BITS[ipFamily(range)] - blockOf(range).prefixLength);
      if (nodes <= shares) return range;
      const wide = WIDE_POD_CIDRS[range];
      if (wide !== undefined) return wide;
      throw new UserError(
        `The range ${range} of pods has room for ${shares} nodes, a /${SHARE_BITS[ipFamily(range)]} each; --nodes is ${nodes}.`,
      );
    })
    .join();
}

/** What those of a cluster that has grown became. */
export function widePodCIDR(podCIDR: string): string {
  return podCIDR
    .split(',')
    .map((range) => WIDE_POD_CIDRS[range] ?? range)
    .join();
}

/** The user's ranges, and for those not given the first default ones that do not overlap with them, of the same families. */
export function completeNetworks(wanted: Partial<ClusterNetworks>): ClusterNetworks | undefined {
  return freeNetworks(wanted, []);
}

interface Claim extends ClusterNetworks {
  readonly id: string;
  readonly dataDir: string;
}

interface ClaimOptions {
  /** The cluster's. */
  readonly id: string;
  /** Its data directory. */
  readonly dataDir: string;
  /** The user's. Default: free ones, of the same families as what is given. */
  readonly wanted?: Partial<ClusterNetworks>;
  /** Directory of the claims. Default: one for the machine. */
  readonly claimsDir?: string;
  /** Ranges that are in use without a claim. Default: the machine's routes. */
  readonly routed?: readonly string[];
}

/**
 * Claims ranges for a cluster, idempotently: the user's, else the first free ones. UserError when those are in use, none is free, or the claims cannot be
 * read or written.
 */
export async function claimNetworks(options: ClaimOptions): Promise<ClusterNetworks> {
  const { claimsDir = CLAIMS } = options;
  const lock = await lockClaims(claimsDir);
  try {
    return claimLocked({ ...options, claimsDir });
  } finally {
    lock.release();
  }
}

function claimLocked({
  id,
  dataDir,
  wanted = {},
  claimsDir,
  routed,
}: ClaimOptions & { readonly claimsDir: string }): ClusterNetworks {
  const claims = readClaims(claimsDir);
  const own = claims.find((claim) => claim.id === id);
  if (own) return { podCIDR: own.podCIDR, serviceCIDR: own.serviceCIDR };
  const used = [...(routed?.map(blockOf) ?? routedRanges())].map((block) => ({
    block,
    user: "one of this machine's routes",
  }));
  const remembered = claims.filter((claim) => !isForgotten(claim, claimsDir));
  refuseTaken(wanted, [...remembered.flatMap(takenBy), ...used]);
  // Ranges of seemingly deleted clusters come last: their disk may only be unmounted.
  const candidate =
    freeNetworks(wanted, [...claims.flatMap(takenBy), ...used]) ??
    freeNetworks(wanted, [...remembered.flatMap(takenBy), ...used]);
  if (!candidate) {
    throw new UserError(
      `No address range is free for the cluster's pods: all of ${networksAt(0, familiesOf(wanted)).podCIDR} … ${networksAt(CANDIDATES - 1, familiesOf(wanted)).podCIDR} are in use (claims in ${claimsDir}); delete a cluster that is not needed, or give --pod-network-cidr and --service-cidr.`,
    );
  }
  writeFileAtomic(
    join(claimsDir, `${id}.json`),
    JSON.stringify({ id, dataDir, ...candidate } satisfies Claim),
  );
  return candidate;
}

interface Taken {
  readonly block: CIDRBlock;
  /** For messages. */
  readonly user: string;
}

function takenBy({ podCIDR, serviceCIDR, dataDir }: Claim): Taken[] {
  return blocksOf({ podCIDR, serviceCIDR }).map((block) => ({ block, user: `the cluster in ${dataDir}` }));
}

function blocksOf({ podCIDR, serviceCIDR }: ClusterNetworks): CIDRBlock[] {
  return `${podCIDR},${serviceCIDR}`.split(',').map(blockOf);
}

function refuseTaken(wanted: Partial<ClusterNetworks>, taken: readonly Taken[]): void {
  const flags = { '--pod-network-cidr': wanted.podCIDR, '--service-cidr': wanted.serviceCIDR };
  for (const [flag, ranges] of Object.entries(flags))
    for (const range of ranges?.split(',') ?? []) {
      const other = taken.find(({ block }) => cidrsOverlap(block, blockOf(range)));
      if (other)
        throw new UserError(
          `${flag} has ${range}, which overlaps with ${formatCIDR(other.block)} of ${other.user}: choose another range, or leave ${flag} out and a free one is chosen.`,
        );
    }
}

function freeNetworks(
  wanted: Partial<ClusterNetworks>,
  taken: readonly Taken[],
): ClusterNetworks | undefined {
  const families = familiesOf(wanted);
  for (let index = 0; index < CANDIDATES; index++) {
    const candidate = { ...networksAt(index, families), ...wanted };
    const blocks = blocksOf(candidate);
    const isFree = blocks.every(
      (block, at) =>
        !taken.some((other) => cidrsOverlap(block, other.block)) &&
        !blocks.slice(0, at).some((other) => cidrsOverlap(block, other)),
    );
    if (isFree) return candidate;
  }
  return undefined;
}

/** In the user's order. */
function familiesOf({ podCIDR, serviceCIDR }: Partial<ClusterNetworks>): readonly IPFamily[] {
  return (podCIDR ?? serviceCIDR)?.split(',').map(ipFamily) ?? ['IPv4'];
}

/** IDs of the clusters that claimed ranges for this data directory. Unreadable claims are skipped. */
export function listClaimants(dataDir: string, claimsDir = CLAIMS): string[] {
  return allClaims(claimsDir)
    .filter((claim) => claim.dataDir === dataDir)
    .map(({ id }) => id);
}

/** The data directory of this cluster, if it claimed ranges. */
export function claimedBy(id: string, claimsDir = CLAIMS): string | undefined {
  return allClaims(claimsDir).find((claim) => claim.id === id)?.dataDir;
}

function allClaims(claimsDir: string): Claim[] {
  const names = existsSync(claimsDir) ? readdirSync(claimsDir).filter((name) => name.endsWith('.json')) : [];
  return names.flatMap((name) => {
    try {
      return [readClaim(join(claimsDir, name))];
    } catch {
      return [];
    }
  });
}

export function releaseNetworks(id: string, claimsDir = CLAIMS): void {
  rmSync(join(claimsDir, `${id}.json`), { force: true });
}

async function lockClaims(claimsDir: string): Promise<ProcessLock> {
  const deadline = performance.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      mkdirSync(claimsDir, { recursive: true });
      return acquireProcessLock(join(claimsDir, 'lock'));
    } catch (error) {
      if (!(error instanceof LockedError)) throw describeDiskError(claimsDir, error);
      if (performance.now() > deadline)
        throw new UserError(
          `${claimsDir} is held by process ${error.holder.pid}, which claims an address range and does not end.`,
          error,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function networksAt(index: number, families: readonly IPFamily[]): ClusterNetworks {
  const pods = FIRST_POD_OCTET - index;
  const services = 96 - (index % 90);
  const isSecond = index >= 90;
  const ranges = {
    IPv4: {
      podCIDR: `10.${pods}.0.0/16`,
      serviceCIDR: `10.${services}.${isSecond ? 128 : 0}.0/${isSecond ? 17 : 16}`,
    },
    IPv6: {
      podCIDR: `fd00:10:${pods}::/56`,
      serviceCIDR: `fd00:10:${services}:${isSecond ? '1:' : ''}:/112`,
    },
  };
  const of = (field: keyof ClusterNetworks): string => families.map((family) => ranges[family][field]).join();
  return { podCIDR: of('podCIDR'), serviceCIDR: of('serviceCIDR') };
}

/** One that cannot be read might be of any range, so it stops the claiming. */
function readClaims(claimsDir: string): Claim[] {
  return readdirSync(claimsDir)
    .filter((name) => name.endsWith('.json'))
    .map((name) => readClaim(join(claimsDir, name)));
}

function readClaim(file: string): Claim {
  let claim: Partial<Claim> | null = null;
  try {
    claim = JSON.parse(readFileSync(file, 'utf8')) as Partial<Claim>;
  } catch {
    // Reported below.
  }
  if (!claim?.id || !areRanges(claim.podCIDR) || !areRanges(claim.serviceCIDR)) {
    throw new UserError(
      `${file} is damaged: it should say which address ranges a cluster of this machine uses; remove it if that cluster is gone.`,
    );
  }
  return claim as Claim;
}

function isForgotten({ id, dataDir }: Claim, claimsDir: string): boolean {
  return !existsSync(dataDir) && Date.now() - statSync(join(claimsDir, `${id}.json`)).mtimeMs > FORGOTTEN_MS;
}

/** Of a range that is valid. */
function blockOf(range: string): CIDRBlock {
  const block = parseCIDR(range);
  assert(block !== undefined, `${range} is a range of addresses`);
  return block;
}

/** The machine's routes from /proc/net, without the default routes. */
function routedRanges(): CIDRBlock[] {
  return [
    ...rowsOf('/proc/net/route').slice(1).flatMap(ipv4Route),
    ...rowsOf('/proc/net/ipv6_route').flatMap(ipv6Route),
  ];
}

function rowsOf(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}

/** 'Iface Destination Gateway Flags RefCnt Use Metric Mask …', numbers in hexadecimal. */
function ipv4Route([, destination, , , , , , mask]: readonly string[]): CIDRBlock[] {
  const base = hexAddress(destination);
  const bits = hexAddress(mask)?.toString(2).replaceAll('0', '').length;
  return base === undefined || !bits ? [] : [blockAt({ family: 4, bits: BigInt(base) }, bits)];
}

/** 'destination length …' in hexadecimal. Those for links and groups are not of a cluster's kind. */
function ipv6Route([destination = '', length = '']: readonly string[]): CIDRBlock[] {
  const bits = Number.parseInt(length, 16);
  if (!/^[0-9a-f]{32}$/.test(destination) || !bits || /^(fe8|ff)/.test(destination)) return [];
  return [blockAt({ family: 6, bits: BigInt(`0x${destination}`) }, bits)];
}

function blockAt(address: Pick<IPAddress, 'family' | 'bits'>, bits: number): CIDRBlock {
  return blockOf(`${formatIP(address)}/${bits}`);
}

/** Little-endian hex as in /proc/net/route. */
function hexAddress(text: string | undefined): number | undefined {
  if (!text || !/^[0-9A-F]{8}$/i.test(text)) return undefined;
  return [6, 4, 2, 0].reduce((sum, at) => sum * 256 + Number.parseInt(text.slice(at, at + 2), 16), 0);
}
