/** Which addresses a Service is to have, from what it has, what it asks for and what pools there are. Claims them one after the other; what it has and fits, stays. */
import type { IPAddress, Namespace, Service } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { formatIP, ipFamily, parseIP, type IPFamily } from '#machinery/ip.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { annotatedWish } from './api.ts';
import {
  claimAddress,
  claimProblem,
  holderOf,
  holdersOf,
  sharingProblem,
  type Claim,
} from './address-holders.ts';
import { addressesOf, inPriority, poolHas, poolTakes, type AddressPool } from './pools.ts';

interface AllocateOptions {
  readonly api: Client;
  readonly pools: readonly AddressPool[];
  readonly namespace: Namespace | undefined;
  /** As far as the cache knows; the API server has the last word. */
  readonly addressOf: (address: string) => Stored<IPAddress> | undefined;
  /** Those that the Service holds. */
  readonly held: readonly string[];
}

export interface Allocation {
  readonly addresses: readonly string[];
  /** Names of their pools. */
  readonly pools: readonly string[];
  /** Held, but not wanted any more. */
  readonly surplus: readonly string[];
}

/** A request that nothing but a change of the Service, of pools or of other Services can fulfil; its message ends an event. */
export class AllocationError extends Error {
  override readonly name = 'AllocationError';
}

/** Chooses all first and claims then: what cannot be had whole, nothing is claimed for. Rejects with another error where somebody was faster: it is tried again. */
export async function allocate(service: Stored<Service>, options: AllocateOptions): Promise<Allocation> {
  const claim = { key: objectKey(service), holder: holderOf(service) };
  const chosen = choose(service, { ...options, claim });
  for (const one of chosen) {
    const problem = await claimUnlessHeld(options, { ...one, claim });
    if (problem !== undefined) throw new Error(`${one.address} was claimed in the meantime: ${problem}`);
  }
  const addresses = chosen.map(({ address }) => address);
  return {
    addresses,
    pools: chosen.map(({ pool }) => pool),
    surplus: options.held.filter((one) => !addresses.includes(one)),
  };
}

interface Chosen {
  readonly address: string;
  readonly pool: string;
}

interface Choosing extends AllocateOptions {
  readonly claim: Claim;
}

function choose(service: Stored<Service>, options: Choosing): Chosen[] {
  const families = familiesOf(service);
  const wishes = requestedAddresses(service, families);
  const usable = usablePools(service, options);
  const chosen: Chosen[] = [];
  let failure: AllocationError | undefined;
  for (const family of families) {
    const wish = wishes.get(family);
    if (wishes.size > 0 && wish === undefined && !isRequired(service)) continue;
    try {
      chosen.push(
        wish === undefined
          ? anyAddress(service, { ...options, family, usable })
          : exactAddress(service, { ...options, wish }),
      );
    } catch (error) {
      if (!(error instanceof AllocationError)) throw error;
      failure ??= error;
    }
  }
  if (failure && (isRequired(service) || chosen.length === 0)) throw failure;
  return chosen;
}

/** Writes only where the Service's entry is another than before. */
async function claimUnlessHeld(
  { api, addressOf }: AllocateOptions,
  { address, pool, claim }: Chosen & { readonly claim: Claim },
): Promise<string | undefined> {
  const known = addressOf(address);
  const holders = known ? holdersOf(known) : {};
  const isSame = JSON.stringify(holders[claim.key]) === JSON.stringify(claim.holder);
  if (isSame && sharingProblem(holders, claim) === undefined) return undefined;
  return claimAddress(api, { ...claim, address, pool });
}

function familiesOf({ spec }: Service): readonly IPFamily[] {
  return (spec?.ipFamilies ?? ['IPv4']) as IPFamily[];
}

/** Each family, as SingleStack and RequireDualStack have it. */
function isRequired({ spec }: Service): boolean {
  return spec?.ipFamilyPolicy !== 'PreferDualStack';
}

function requestedAddresses(service: Service, families: readonly IPFamily[]): ReadonlyMap<IPFamily, string> {
  const texts = (annotatedWish(service, 'addresses') ?? service.spec?.loadBalancerIP ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);
  const wishes = new Map<IPFamily, string>();
  for (const text of texts) {
    const parsed = parseIP(text);
    if (!parsed) throw new AllocationError(`${JSON.stringify(text)} is not an IP address`);
    const address = formatIP(parsed);
    const family = ipFamily(address);
    if (!families.includes(family))
      throw new AllocationError(
        `${address} is of family ${family}, and the Service is ${families.join(' and ')}`,
      );
    if (wishes.has(family)) throw new AllocationError(`more than one ${family} address is asked for`);
    wishes.set(family, address);
  }
  return wishes;
}

function usablePools(service: Service, { pools, namespace }: AllocateOptions): readonly AddressPool[] {
  if (pools.length === 0)
    throw new AllocationError(
      'no IPAddressPool (network.capstan.dev/v1alpha1) says which addresses there are to give',
    );
  const name = annotatedWish(service, 'pool');
  const named = name === undefined ? pools : pools.filter((pool) => pool.name === name);
  if (name !== undefined && named.length === 0)
    throw new AllocationError(`there is no IPAddressPool ${JSON.stringify(name)}`);
  const taking = named.filter((pool) => poolTakes(pool, { service, namespace }));
  if (taking.length === 0)
    throw new AllocationError(
      `no IPAddressPool takes it: ${named.map((pool) => pool.name).join(', ')} ${named.length === 1 ? 'is' : 'are'} for other namespaces or Services`,
    );
  return inPriority(taking);
}

interface ChoosingAny extends Choosing {
  readonly family: IPFamily;
  readonly usable: readonly AddressPool[];
}

function anyAddress(service: Stored<Service>, choosing: ChoosingAny): Chosen {
  const { family, usable } = choosing;
  for (const one of candidates(choosing, annotatedWish(service, 'pool') !== undefined)) return one;
  const named = usable.map(({ name }) => name).join(', ');
  throw new AllocationError(
    usable.some(({ ranges }) => ranges.some((range) => range.family === family))
      ? `no ${family} address is free in ${named}`
      : `IPAddressPool ${named} has no ${family} addresses`,
  );
}

/** What it has; then what it may share; then what is free. Of pools that give addresses to those who do not ask for them. */
function* candidates(
  { family, usable, held, addressOf, claim }: ChoosingAny,
  isNamed: boolean,
): Generator<Chosen> {
  const isPossible = (address: string): boolean => {
    const known = addressOf(address);
    return known !== undefined && sharingProblem(holdersOf(known), claim) === undefined;
  };
  for (const address of held) {
    const pool = ipFamily(address) === family && usable.find((one) => poolHas(one, address));
    if (pool && isPossible(address)) yield { address, pool: pool.name };
  }
  const automatic = usable.filter(({ source }) => isNamed || source.spec.autoAssign !== false);
  for (const wantsShared of claim.holder.sharing === undefined ? [false] : [true, false])
    for (const pool of automatic)
      for (const address of addressesOf(pool, family))
        if (wantsShared ? isPossible(address) : !addressOf(address)) yield { address, pool: pool.name };
}

function exactAddress(
  service: Stored<Service>,
  { wish, pools, namespace, addressOf, claim }: Choosing & { readonly wish: string },
): Chosen {
  const name = annotatedWish(service, 'pool');
  const pool = pools.find((one) => poolHas(one, wish) && (name === undefined || one.name === name));
  if (!pool)
    throw new AllocationError(
      `${wish} is in no IPAddressPool${name === undefined ? '' : ` ${JSON.stringify(name)}`}`,
    );
  if (!poolTakes(pool, { service, namespace }))
    throw new AllocationError(
      `${wish} is of IPAddressPool ${pool.name}, which is for other namespaces or Services`,
    );
  const known = addressOf(wish);
  const problem = known && claimProblem(known, claim);
  if (problem !== undefined) throw new AllocationError(`${wish} cannot be had: ${problem}`);
  return { address: wish, pool: pool.name };
}
