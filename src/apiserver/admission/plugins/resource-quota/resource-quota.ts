/**
 * ResourceQuota: refuses a request that would exceed the namespace's quotas; otherwise charges it to their status before it is stored, and releases
 * the charge if the request fails. The resourcequota controller recounts periodically, and after deletions.
 *
 * Charges of one namespace are serialized in this process; several servers are serialized by the quota's resourceVersion (on Conflict: read and
 * decide again).
 */
import type { Pod, ResourceQuota } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { InternalApi } from '../../../registry/loopback-client.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../plugin.ts';
import { checkLimitedResources, type LimitedResource } from './limited-resources.ts';
import { addAmounts, parseResourceList, type ResourceAmounts } from '#component-helpers/pod-resources.ts';
import {
  inScope,
  unstatedResources,
  computeUsage,
  type QuotaTarget,
} from '#component-helpers/quota-usage.ts';

const QUOTAS = { group: '', resource: 'resourcequotas' } as const;
/** Attempts of one charge before the client is asked to retry. */
const CHARGE_TRIES = 10;
/** What upstream never counts: records and questions, of which there are many. */
const IGNORED_GROUPS: ReadonlySet<string> = new Set([
  'events.k8s.io',
  'authentication.k8s.io',
  'authorization.k8s.io',
]);
const IGNORED_CORE: ReadonlySet<string> = new Set(['events', 'bindings', 'namespaces']);

/** Kinds of the core group whose update may change their usage or the matching quotas. */
const COUNTED_UPDATES: ReadonlySet<string> = new Set(['services', 'persistentvolumeclaims', 'pods']);

/** Which quota was charged with what. */
interface Charge {
  readonly quotaName: string;
  readonly amounts: ResourceAmounts;
}

export interface ResourceQuotaOptions {
  readonly limitedResources?: readonly LimitedResource[];
}

export function resourceQuota({ limitedResources = [] }: ResourceQuotaOptions = {}): AdmissionPlugin {
  const queues = new Map<string, Promise<unknown>>();
  const charged = new WeakMap<AdmissionAttributes, readonly Charge[]>();

  /** Serialized by namespace. */
  function inTurn<T>(namespace: string, work: () => Promise<T>): Promise<T> {
    const turn = (queues.get(namespace) ?? Promise.resolve()).then(work, work);
    queues.set(namespace, turn);
    const clear = (): void => {
      if (queues.get(namespace) === turn) queues.delete(namespace);
    };
    turn.then(clear, clear);
    return turn;
  }

  return {
    name: 'ResourceQuota',
    handles(operation, { group, resource, subresource }) {
      if (IGNORED_GROUPS.has(group) || (group === '' && IGNORED_CORE.has(resource))) return false;
      if (operation === 'CREATE') return subresource === '';
      if (operation !== 'UPDATE' || group !== '') return false;
      return (
        (subresource === '' && COUNTED_UPDATES.has(resource)) ||
        (subresource === 'resize' && resource === 'pods')
      );
    },
    validate(attributes) {
      const { namespace, internal } = attributes;
      if (namespace === '' || isPlainPodUpdate(attributes)) return undefined;
      if (limitedResources.length > 0)
        checkLimitedResources(attributes, {
          limited: limitedResources,
          quotas: internal.list(QUOTAS, { namespace }) as ResourceQuota[],
        });
      if (internal.count(QUOTAS, { namespace }) === 0) return undefined;
      return inTurn(namespace, async () => {
        const charges = await charge(attributes);
        if (charges.length > 0) charged.set(attributes, charges);
      });
    },
    async undo(attributes) {
      const charges = charged.get(attributes);
      if (!charges) return;
      charged.delete(attributes);
      const { namespace, internal } = attributes;
      await inTurn(namespace, async () => {
        for (const { quotaName, amounts } of charges)
          await giveBack(internal, { namespace, quotaName, amounts });
      }).catch(() => {
        // The controller's next count puts it right.
      });
    },
  };
}

/** An update of a pod changes its quotas only by activeDeadlineSeconds: usage changes by the resize subresource. */
function isPlainPodUpdate({ operation, gvr, subresource, object, oldObject }: AdmissionAttributes): boolean {
  if (operation !== 'UPDATE' || gvr.resource !== 'pods' || subresource !== '') return false;
  const hasDeadline = (pod: Pod | undefined): boolean => pod?.spec?.activeDeadlineSeconds !== undefined;
  return hasDeadline(object as Pod) === hasDeadline(oldObject as Pod);
}

/** Checks and charges every quota that matches the object; all or nothing. */
async function charge(attributes: AdmissionAttributes): Promise<Charge[]> {
  const done: Charge[] = [];
  const { namespace, internal } = attributes;
  const quotas = internal.list(QUOTAS, { namespace }) as ResourceQuota[];
  // All are judged before any is charged.
  for (const quota of quotas) judge(attributes, quota);
  if (attributes.dryRun) return [];
  try {
    for (const quota of quotas) {
      const amounts = await chargeOne(attributes, quota.metadata?.name ?? '');
      if (amounts) done.push({ quotaName: quota.metadata?.name ?? '', amounts });
    }
  } catch (error) {
    for (const { quotaName, amounts } of done) await giveBack(internal, { namespace, quotaName, amounts });
    throw error;
  }
  return done;
}

async function chargeOne(
  attributes: AdmissionAttributes,
  quotaName: string,
): Promise<ResourceAmounts | undefined> {
  const { namespace, internal } = attributes;
  for (let attempt = 0; attempt < CHARGE_TRIES; attempt++) {
    const quota = internal.get(QUOTAS, { namespace, name: quotaName }) as ResourceQuota | undefined;
    const amounts = quota && judge(attributes, quota);
    if (!quota || !amounts) return undefined;
    try {
      await writeUsed(internal, { quota, amounts });
      return amounts;
    } catch (error) {
      if (!isStatusError(error, 'Conflict') && !isStatusError(error, 'NotFound')) throw error;
    }
  }
  throw forbid(
    attributes,
    `status of quota ${quotaName} could not be updated: too many conflicts, please try again`,
  );
}

/** The charge for this quota, undefined for none. Throws Forbidden when it exceeds the quota. */
function judge(attributes: AdmissionAttributes, quota: ResourceQuota): ResourceAmounts | undefined {
  const name = quota.metadata?.name ?? '';
  const hard = parseResourceList(quota.status?.hard);
  const wanted = delta(attributes, quota);
  const target = targetOf(attributes);
  const stated = Object.keys(quota.spec?.hard ?? {});
  if (
    attributes.object &&
    attributes.operation === 'CREATE' &&
    inScope(attributes.object, { target, quota })
  ) {
    const unstated = unstatedResources(attributes.object, { target, hard: stated });
    if (unstated.length > 0)
      throw forbid(attributes, `failed quota: ${name}: must specify ${unstated.join('; ')}`);
  }
  const relevant = [...wanted].filter(([resource]) => stated.includes(resource));
  if (!relevant.some(([, amount]) => amount.sign > 0)) return undefined;
  const used = parseResourceList(quota.status?.used);
  const unknown = relevant
    .map(([resource]) => resource)
    .filter((resource) => !hard.has(resource) || !used.has(resource))
    .toSorted();
  if (unknown.length > 0)
    throw forbid(attributes, `status unknown for quota: ${name}, resources: ${unknown.join(',')}`);
  const exceeded = relevant
    .filter(
      ([resource, amount]) =>
        amount.sign > 0 && used.get(resource)!.add(amount).compare(hard.get(resource)!) > 0,
    )
    .map(([resource]) => resource);
  if (exceeded.length > 0) {
    const show = (amounts: ResourceAmounts): string =>
      exceeded
        .toSorted()
        .map((resource) => `${resource}=${(amounts.get(resource) ?? Quantity.zero).toString()}`)
        .join(',');
    throw forbid(
      attributes,
      `exceeded quota: ${name}, requested: ${show(wanted)}, used: ${show(used)}, limited: ${show(hard)}`,
    );
  }
  return new Map(relevant);
}

function targetOf({ gvr }: AdmissionAttributes): QuotaTarget {
  return { group: gvr.group, resource: gvr.resource };
}

/** New use minus old use, as far as the quota's scopes go. */
function delta(attributes: AdmissionAttributes, quota: ResourceQuota): ResourceAmounts {
  const target = targetOf(attributes);
  const use = (object: KubeObject | undefined): ResourceAmounts =>
    object && inScope(object, { target, quota }) ? computeUsage(object, target) : new Map();
  const before = attributes.operation === 'UPDATE' ? use(attributes.oldObject) : new Map<string, Quantity>();
  return addAmounts(use(attributes.object), negated(before));
}

function negated(amounts: ResourceAmounts): ResourceAmounts {
  return new Map([...amounts].map(([name, amount]) => [name, amount.negate()]));
}

async function writeUsed(
  internal: InternalApi,
  { quota, amounts }: { readonly quota: ResourceQuota; readonly amounts: ResourceAmounts },
): Promise<void> {
  const next = structuredClone(quota) as KubeObject & ResourceQuota;
  const used: Record<string, string> = { ...next.status?.used };
  for (const [name, amount] of amounts) {
    const sum = parseQuantity(used[name] ?? '0').add(amount);
    used[name] = (sum.sign < 0 ? Quantity.zero : sum).toString();
  }
  next.status = { ...next.status, used };
  await internal.update(QUOTAS, next, { subresource: 'status' });
}

async function giveBack(
  internal: InternalApi,
  { namespace, quotaName, amounts }: { readonly namespace: string } & Charge,
): Promise<void> {
  for (let attempt = 0; attempt < CHARGE_TRIES; attempt++) {
    const quota = internal.get(QUOTAS, { namespace, name: quotaName }) as ResourceQuota | undefined;
    if (!quota) return;
    try {
      return await writeUsed(internal, { quota, amounts: negated(amounts) });
    } catch (error) {
      if (!isStatusError(error, 'Conflict')) return;
    }
  }
}
