/**
 * Who has an address: an IPAddress of the API names each, so the API server lets nobody create it twice: neither two controllers, nor pools that overlap, nor the ranges of cluster
 * addresses. An annotation names the Services that have the address; more than one only where they agree to share it. Changes are conditional on the version that was read.
 */
import type { IPAddress, Service } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { ipAddresses } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { annotatedWish, HOLDERS, ipAddressPools, POOL } from './api.ts';

/** By 'namespace/name' of the Service. */
type Holders = Readonly<Record<string, Holder>>;

interface Holder {
  readonly uid: string;
  /** Of the annotation; absent: it does not share. */
  readonly sharing?: string | undefined;
  /** 'TCP/80' each. */
  readonly ports: readonly string[];
  /** 'Cluster', or 'Local' with the selector: Services that share an address are announced from the same node. */
  readonly policy: string;
}

const ATTEMPTS = 5;

export function holderOf(service: Stored<Service>): Holder {
  const { spec, metadata } = service;
  return {
    uid: metadata.uid,
    sharing: annotatedWish(service, 'sharing'),
    ports: (spec?.ports ?? []).map(({ protocol = 'TCP', port }) => `${protocol}/${port}`).toSorted(),
    policy:
      spec?.externalTrafficPolicy === 'Local'
        ? `Local ${JSON.stringify(Object.entries(spec.selector ?? {}).toSorted())}`
        : 'Cluster',
  };
}

/** Empty: it is none of this load balancer's, or its annotation is damaged. */
export function holdersOf({ metadata }: IPAddress): Holders {
  try {
    return JSON.parse(metadata?.annotations?.[HOLDERS] ?? '{}') as Holders;
  } catch {
    return {};
  }
}

/** Why it cannot have the address beside the others; undefined: it can. */
export function sharingProblem(holders: Holders, { key, holder }: Claim): string | undefined {
  for (const [other, { sharing, ports, policy }] of Object.entries(holders)) {
    if (other === key) continue;
    if (holder.sharing === undefined || sharing !== holder.sharing) return `it is in use by ${other}`;
    const port = ports.find((one) => holder.ports.includes(one));
    if (port !== undefined) return `it is shared with ${other}, which has port ${port}`;
    if (policy !== holder.policy)
      return `it is shared with ${other}, which has another externalTrafficPolicy or, with Local, other pods`;
  }
  return undefined;
}

/** As sharingProblem, of an address that somebody has. */
export function claimProblem(found: IPAddress, claim: Claim): string | undefined {
  if (found.metadata?.labels?.[POOL] === undefined) return 'it is an address of the cluster';
  return sharingProblem(holdersOf(found), claim);
}

export interface Claim {
  readonly key: string;
  readonly holder: Holder;
}

/** Undefined: the address is the Service's now, as the API server says. */
export async function claimAddress(
  api: Client,
  { address, pool, ...claim }: Claim & { readonly address: string; readonly pool: string },
): Promise<string | undefined> {
  const { key, holder } = claim;
  try {
    await api.create(ipAddresses, {
      metadata: {
        name: address,
        labels: { [POOL]: pool, 'app.kubernetes.io/managed-by': 'capstan' },
        annotations: { [HOLDERS]: JSON.stringify({ [key]: holder }) },
      },
      spec: { parentRef: { group: ipAddressPools.group, resource: ipAddressPools.plural, name: pool } },
    });
    return undefined;
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
  return retryOnConflict(ATTEMPTS, async () => {
    const found = await api.get(ipAddresses, { name: address });
    const problem = claimProblem(found, claim);
    if (problem !== undefined) return problem;
    await writeHolders(api, found, { ...holdersOf(found), [key]: holder });
    return undefined;
  });
}

/** What the last Service leaves is deleted. */
export async function releaseAddress(
  api: Client,
  { address, key }: { readonly address: string; readonly key: string },
): Promise<void> {
  await retryOnConflict(ATTEMPTS, async () => {
    const found = await api.get(ipAddresses, { name: address });
    const { [key]: own, ...others } = holdersOf(found);
    if (own === undefined) return;
    if (Object.keys(others).length > 0) return writeHolders(api, found, others);
    const { uid, resourceVersion } = found.metadata;
    await api.delete(ipAddresses, { name: address }, { preconditions: { uid, resourceVersion } });
  }).catch((error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
  });
}

async function writeHolders(api: Client, found: Stored<IPAddress>, holders: Holders): Promise<void> {
  const annotations = { ...found.metadata.annotations, [HOLDERS]: JSON.stringify(holders) };
  await api.update(ipAddresses, { ...found, metadata: { ...found.metadata, annotations } });
}

export function holdsAddress(address: IPAddress, service: Service): boolean {
  return holdersOf(address)[objectKey(service)]?.uid === service.metadata?.uid;
}
