/** One claim: reservations of pods that are over go, with the last one its allocation; a claim made for a pod that is over is deleted. */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { pods, resourceClaims } from '#client/refs.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

type Consumer = NonNullable<NonNullable<ResourceClaim['status']>['reservedFor']>[number];

/** Keeps a claim while devices are allocated to it. */
const FINALIZER = 'resource.kubernetes.io/delete-protection';

export async function syncClaim(context: ReconcileContext): Promise<void> {
  const claim = context.informer(resourceClaims).get(context.key);
  if (!claim) return;
  const before = claim.status?.reservedFor ?? [];
  const users = await currentUsers(context, claim);
  const isProtected = claim.metadata.finalizers?.includes(FINALIZER) ?? false;
  if (users.length < before.length) await release(context, { claim, users, isProtected });
  else if (isProtected && claim.metadata.deletionTimestamp && users.length === 0)
    await unprotect(context, await withoutAllocation(context, claim));
  if (users.length === 0) await deleteUnused(context, claim);
}

async function currentUsers(context: ReconcileContext, claim: Stored<ResourceClaim>): Promise<Consumer[]> {
  const users: Consumer[] = [];
  for (const user of claim.status?.reservedFor ?? []) {
    if (user.apiGroup || user.resource !== 'pods')
      throw new Error(`unsupported ReservedFor entry: ${JSON.stringify(user)}`);
    if (await mayStillRun(context, { namespace: claim.metadata.namespace, user })) users.push(user);
  }
  return users;
}

/** A pod that the cache does not have may be new: the API decides. */
async function mayStillRun(
  { informer, api }: ReconcileContext,
  { namespace, user }: { readonly namespace: string | undefined; readonly user: Consumer },
): Promise<boolean> {
  const known = informer(pods).get(`${namespace}/${user.name}`);
  if (known) return known.metadata.uid === user.uid && !isOver(known);
  try {
    return (await api.get(pods, { name: user.name, namespace })).metadata.uid === user.uid;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return false;
    throw error;
  }
}

/** None of its containers runs, or will. */
function isOver(pod: Pod): boolean {
  return isPodTerminal(pod) || (pod.metadata?.deletionTimestamp !== undefined && !pod.spec?.nodeName);
}

/** With the last user, the devices are free for others. A plain update: it fails when anything changed in the meantime. */
async function release(
  context: ReconcileContext,
  {
    claim,
    users,
    isProtected,
  }: {
    readonly claim: Stored<ResourceClaim>;
    readonly users: Consumer[];
    readonly isProtected: boolean;
  },
): Promise<void> {
  const { reservedFor: _before, allocation, devices, ...rest } = claim.status ?? {};
  const isFree = users.length === 0 && isProtected;
  const status = {
    ...rest,
    ...(users.length > 0 ? { reservedFor: users } : {}),
    ...(isFree || !allocation ? {} : { allocation }),
    ...(isFree || !devices ? {} : { devices }),
  };
  const updated = await context.api.updateStatus(resourceClaims, { ...claim, status });
  if (isProtected && !updated.status?.allocation) await unprotect(context, updated);
}

async function withoutAllocation(
  { api }: ReconcileContext,
  claim: Stored<ResourceClaim>,
): Promise<Stored<ResourceClaim>> {
  if (!claim.status?.allocation) return claim;
  const { allocation: _gone, devices: _also, ...status } = claim.status;
  return api.updateStatus(resourceClaims, { ...claim, status });
}

async function unprotect({ api }: ReconcileContext, claim: Stored<ResourceClaim>): Promise<void> {
  const finalizers = (claim.metadata.finalizers ?? []).filter((one) => one !== FINALIZER);
  await api.update(resourceClaims, { ...claim, metadata: { ...claim.metadata, finalizers } });
}

/** The garbage collector deletes it with its pod, which may stay for long. */
async function deleteUnused(
  { api, informer }: ReconcileContext,
  claim: Stored<ResourceClaim>,
): Promise<void> {
  const { name, namespace, deletionTimestamp } = claim.metadata;
  const owner = findController(claim);
  if (deletionTimestamp || owner?.kind !== 'Pod' || owner.apiVersion !== 'v1') return;
  const pod = informer(pods).get(`${namespace}/${owner.name}`);
  if (!pod || (pod.metadata.uid === owner.uid && !isOver(pod))) return;
  try {
    await api.delete(resourceClaims, { name, namespace });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}
