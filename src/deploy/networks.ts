/**
 * Address ranges for a cluster that runs real pods on this machine: two clusters side by side must not share any, nor take what the machine already uses.
 * Claims are remembered in a machine-wide directory, so that a stopped cluster keeps its ranges.
 */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CLAIMS = '/var/lib/capstan/networks';
const FIRST_POD_OCTET = 244;

export interface ClusterNetworks { readonly podCIDR: string; readonly serviceCIDR: string }

/** Upstream's customary ranges; used where no real network is touched. */
export const DEFAULT_NETWORKS: ClusterNetworks = { podCIDR: '10.244.0.0/16', serviceCIDR: '10.96.0.0/16' };

interface Claim extends ClusterNetworks { readonly id: string; readonly dataDir: string }

/** Claims the first free pair of ranges for cluster `id`, idempotently. */
export function claimNetworks(id: string, path: string): ClusterNetworks {
  mkdirSync(CLAIMS, { recursive: true });
  const claims = readClaims();
  const own = claims.find((claim) => claim.id === id);
  if (own) return { podCIDR: own.podCIDR, serviceCIDR: own.serviceCIDR };
  const routed = routedRanges();
  for (let index = 0; index < 100; index += 1) {
    const candidate = networksAt(index);
    const ranges = [candidate.podCIDR, candidate.serviceCIDR].map(parseRange);
    const taken = [...claims.flatMap((claim) => [claim.podCIDR, claim.serviceCIDR]).map(parseRange), ...routed];
    if (ranges.some((range) => taken.some((other) => overlaps(range, other)))) continue;
    writeFileSync(join(CLAIMS, `${id}.json`), JSON.stringify({ id, dataDir: path, ...candidate } satisfies Claim));
    return candidate;
  }
  throw new Error(`no free address range for pods: all of ${networksAt(0).podCIDR} … ${networksAt(99).podCIDR} are in use (claims in ${CLAIMS})`);
}

export function releaseNetworks(id: string): void {
  rmSync(join(CLAIMS, `${id}.json`), { force: true });
}

function networksAt(index: number): ClusterNetworks {
  return { podCIDR: `10.${FIRST_POD_OCTET - index}.0.0/16`, serviceCIDR: `10.${96 - (index % 90)}.${index >= 90 ? 128 : 0}.0/${index >= 90 ? 17 : 16}` };
}

function readClaims(): Claim[] {
  return readdirSync(CLAIMS).filter((name) => name.endsWith('.json')).flatMap((name) => {
    try {
      return [JSON.parse(readFileSync(join(CLAIMS, name), 'utf8')) as Claim];
    } catch {
      return [];
    }
  });
}

interface Range { readonly base: number; readonly bits: number }

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
  return text.split('\n').slice(1).flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const destination = hexAddress(fields[1]);
    const mask = hexAddress(fields[7]);
    return destination === undefined || mask === undefined || mask === 0 ? [] : [{ base: destination, bits: mask.toString(2).replaceAll('0', '').length }];
  });
}

/** Little-endian hex as in /proc/net/route. */
function hexAddress(text: string | undefined): number | undefined {
  if (!text || !/^[0-9A-F]{8}$/i.test(text)) return undefined;
  return [6, 4, 2, 0].reduce((sum, at) => sum * 256 + Number.parseInt(text.slice(at, at + 2), 16), 0);
}
