/**
 * Address ranges of clusters with real pods on this machine: clusters must not share any, nor use the machine's own. Claims are stored in a machine-wide
 * directory, so that a stopped cluster keeps its ranges. One process claims at a time.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { describeDiskError, isIPv4Range, UserError, writeFileAtomic } from './data-dir.ts';

const CLAIMS = '/var/lib/capstan/networks';
/** Another process claims within milliseconds. */
const LOCK_WAIT_MS = 10_000;
/** Minimum age of a claim before it is deleted when its data directory is gone (rm -r). */
const FORGOTTEN_MS = 3_600_000;
const FIRST_POD_OCTET = 244;
const CANDIDATES = 100;

interface ClusterNetworks {
  readonly podCIDR: string;
  readonly serviceCIDR: string;
}

/** Upstream's customary ranges; used with simulated nodes. */
export const DEFAULT_NETWORKS: ClusterNetworks = { podCIDR: '10.244.0.0/16', serviceCIDR: '10.96.0.0/16' };

/** Contains DEFAULT_NETWORKS' pods, so that a cluster may grow into it, and none of its services: shares for 32,768 nodes. */
const WIDE_POD_CIDR = '10.128.0.0/9';

/** Addresses for the pods of this many simulated nodes, each with a share of 256: the range they have, or a wider one around it. */
export function simulatedPodCIDR({
  nodes,
  podCIDR,
}: {
  readonly nodes: number;
  readonly podCIDR: string;
}): string {
  const shares = 2 ** (24 - parseRange(podCIDR).bits);
  return nodes > shares && podCIDR === DEFAULT_NETWORKS.podCIDR ? WIDE_POD_CIDR : podCIDR;
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
  /** Directory of the claims. Default: one for the machine. */
  readonly claimsDir?: string;
  /** Ranges that are in use without a claim. Default: the machine's routes. */
  readonly routed?: readonly string[];
}

/** Claims the first free pair of ranges for a cluster, idempotently. UserError when there is none, or the claims cannot be read or written. */
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
  claimsDir,
  routed,
}: ClaimOptions & { readonly claimsDir: string }): ClusterNetworks {
  const claims = readClaims(claimsDir);
  const own = claims.find((claim) => claim.id === id);
  if (own) return { podCIDR: own.podCIDR, serviceCIDR: own.serviceCIDR };
  const used = routed ? routed.map(parseRange) : routedRanges();
  // Ranges of seemingly deleted clusters come last: their disk may only be unmounted.
  const candidate =
    freeNetworks(claims, used) ??
    freeNetworks(
      claims.filter((claim) => !isForgotten(claim, claimsDir)),
      used,
    );
  if (!candidate) {
    throw new UserError(
      `No address range is free for the cluster's pods: all of ${networksAt(0).podCIDR} … ${networksAt(CANDIDATES - 1).podCIDR} are in use (claims in ${claimsDir}); delete a cluster that is not needed.`,
    );
  }
  writeFileAtomic(
    join(claimsDir, `${id}.json`),
    JSON.stringify({ id, dataDir, ...candidate } satisfies Claim),
  );
  return candidate;
}

function freeNetworks(claims: readonly Claim[], used: readonly Range[]): ClusterNetworks | undefined {
  const taken = [...claims.flatMap((claim) => [claim.podCIDR, claim.serviceCIDR]).map(parseRange), ...used];
  const candidates = Array.from({ length: CANDIDATES }, (_, index) => networksAt(index));
  return candidates.find(
    ({ podCIDR, serviceCIDR }) =>
      ![podCIDR, serviceCIDR].map(parseRange).some((range) => taken.some((other) => overlaps(range, other))),
  );
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

function networksAt(index: number): ClusterNetworks {
  return {
    podCIDR: `10.${FIRST_POD_OCTET - index}.0.0/16`,
    serviceCIDR: `10.${96 - (index % 90)}.${index >= 90 ? 128 : 0}.0/${index >= 90 ? 17 : 16}`,
  };
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
  if (!claim?.id || !isIPv4Range(claim.podCIDR) || !isIPv4Range(claim.serviceCIDR)) {
    throw new UserError(
      `${file} is damaged: it should say which address ranges a cluster of this machine uses; remove it if that cluster is gone.`,
    );
  }
  return claim as Claim;
}

function isForgotten({ id, dataDir }: Claim, claimsDir: string): boolean {
  return !existsSync(dataDir) && Date.now() - statSync(join(claimsDir, `${id}.json`)).mtimeMs > FORGOTTEN_MS;
}

interface Range {
  readonly base: number;
  readonly bits: number;
}

function parseRange(cidr: string): Range {
  const [address = '', bits = '32'] = cidr.split('/');
  const base = address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  return { base, bits: Number(bits) };
}

function overlaps(a: Range, b: Range): boolean {
  const size = 2 ** (32 - Math.min(a.bits, b.bits));
  return Math.floor(a.base / size) === Math.floor(b.base / size);
}

/** The machine's IPv4 routes from /proc/net/route, without the default route. */
function routedRanges(): Range[] {
  let text: string;
  try {
    text = readFileSync('/proc/net/route', 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const destination = hexAddress(fields[1]);
      const mask = hexAddress(fields[7]);
      return destination === undefined || mask === undefined || mask === 0
        ? []
        : [{ base: destination, bits: mask.toString(2).replaceAll('0', '').length }];
    });
}

/** Little-endian hex as in /proc/net/route. */
function hexAddress(text: string | undefined): number | undefined {
  if (!text || !/^[0-9A-F]{8}$/i.test(text)) return undefined;
  return [6, 4, 2, 0].reduce((sum, at) => sum * 256 + Number.parseInt(text.slice(at, at + 2), 16), 0);
}
