/**
 * Charges objects to quotas before they are stored: refuses what would exceed one, else adds to its status, and gives back what was added if the request fails. Of
 * ResourceQuota and of quotas of trees, which differ only in where the quotas of an object are.
 *
 * Charges that may meet are serialized in this process; several servers are serialized by the quota's resourceVersion (on Conflict: catch up, read and decide again).
 */
import type { Pod, ResourceQuota } from '#api/types.ts';
import {
  addAmounts,
  parseResourceList,
  type ResourceAmounts,
  type ResourceList,
} from '#component-helpers/pod-resources.ts';
import {
  computeUsage,
  inScope,
  unstatedResources,
  type QuotaTarget,
} from '#component-helpers/quota-usage.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { GroupResource, InternalApi } from '../../../registry/loopback-client.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionAttributes, AdmissionOperation } from '../../plugin.ts';

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

/** A kind of quota. Its objects have the fields of a ResourceQuota that limit and count. */
interface QuotaKind {
  readonly resource: GroupResource;
  /** Those that an object counts in, in the order in which they are charged. */
  quotasOf(attributes: AdmissionAttributes): readonly ResourceQuota[];
  /** What is serialized in this process: charges of different turns have no quota in common. */
  turnOf(attributes: AdmissionAttributes): string;
  /** Fields of the status that follow from its amounts. */
  derivedStatus?(hard: ResourceList, used: ResourceList): object;
  /** The refusal. Amounts by the sorted names of resources. */
  describeExcess(quota: ResourceQuota, excess: readonly Excess[]): string;
}

export interface Excess {
  readonly resource: string;
  readonly requested: string;
  readonly used: string;
  readonly limited: string;
}

/** Which quota was charged with what. */
interface Charge {
  readonly namespace: string;
  readonly quotaName: string;
  readonly amounts: ResourceAmounts;
}

/** Whether requests of this kind can change what a quota counts. */
export function isCounted(
  operation: AdmissionOperation,
  { group, resource, subresource }: GroupResource & { readonly subresource: string },
): boolean {
  if (IGNORED_GROUPS.has(group) || (group === '' && IGNORED_CORE.has(resource))) return false;
  if (operation === 'CREATE') return subresource === '';
  if (operation !== 'UPDATE' || group !== '') return false;
  return (
    (subresource === '' && COUNTED_UPDATES.has(resource)) || (subresource === 'resize' && resource === 'pods')
  );
}

/** An update of a pod changes its quotas only by activeDeadlineSeconds: usage changes by the resize subresource. */
export function isPlainPodUpdate({
  operation,
  gvr,
  subresource,
  object,
  oldObject,
}: AdmissionAttributes): boolean {
  if (operation !== 'UPDATE' || gvr.resource !== 'pods' || subresource !== '') return false;
  const hasDeadline = (pod: Pod | undefined): boolean => pod?.spec?.activeDeadlineSeconds !== undefined;
  return hasDeadline(object as Pod) === hasDeadline(oldObject as Pod);
}

export class QuotaCharging {
  readonly #kind: QuotaKind;
  readonly #queues = new Map<string, Promise<unknown>>();
  readonly #charged = new WeakMap<AdmissionAttributes, readonly Charge[]>();

  constructor(kind: QuotaKind) {
    this.#kind = kind;
  }

  /** Throws Forbidden. */
  charge(attributes: AdmissionAttributes): Promise<void> {
    return this.#inTurn(this.#kind.turnOf(attributes), async () => {
      const charges = await this.#chargeAll(attributes);
      if (charges.length > 0) this.#charged.set(attributes, charges);
    });
  }

  /** The request that was charged failed. */
  async undo(attributes: AdmissionAttributes): Promise<void> {
    const charges = this.#charged.get(attributes);
    if (!charges) return;
    this.#charged.delete(attributes);
    await this.#inTurn(this.#kind.turnOf(attributes), () =>
      this.#giveBackAll(attributes.internal, charges),
    ).catch(() => {
      // The controller's next count puts it right.
    });
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#queues.get(name) ?? Promise.resolve()).then(work, work);
    this.#queues.set(name, turn);
    const clear = (): void => {
      if (this.#queues.get(name) === turn) this.#queues.delete(name);
    };
    turn.then(clear, clear);
    return turn;
  }

  /** Checks and charges every quota that matches the object; all or nothing. */
  async #chargeAll(attributes: AdmissionAttributes): Promise<Charge[]> {
    const done: Charge[] = [];
    const quotas = this.#kind.quotasOf(attributes);
    // All are judged before any is charged.
    for (const quota of quotas) this.#judge(attributes, quota);
    if (attributes.dryRun) return [];
    try {
      for (const { metadata } of quotas) {
        const at = { namespace: metadata?.namespace ?? '', quotaName: metadata?.name ?? '' };
        const amounts = await this.#chargeOne(attributes, at);
        if (amounts) done.push({ ...at, amounts });
      }
    } catch (error) {
      await this.#giveBackAll(attributes.internal, done);
      throw error;
    }
    return done;
  }

  async #chargeOne(
    attributes: AdmissionAttributes,
    { namespace, quotaName }: Pick<Charge, 'namespace' | 'quotaName'>,
  ): Promise<ResourceAmounts | undefined> {
    const { internal } = attributes;
    for (let attempt = 0; attempt < CHARGE_TRIES; attempt++) {
      const quota = this.#read(internal, { namespace, quotaName });
      const amounts = quota && this.#judge(attributes, quota);
      if (!quota || !amounts) return undefined;
      try {
        await this.#writeUsed(internal, { quota, amounts });
        return amounts;
      } catch (error) {
        if (!isStatusError(error, 'Conflict') && !isStatusError(error, 'NotFound')) throw error;
        await internal.caughtUp();
      }
    }
    throw forbid(
      attributes,
      `status of quota ${quotaName} could not be updated: too many conflicts, please try again`,
    );
  }

  #read(
    internal: InternalApi,
    { namespace, quotaName: name }: Pick<Charge, 'namespace' | 'quotaName'>,
  ): ResourceQuota | undefined {
    return internal.get(this.#kind.resource, { namespace, name }) as ResourceQuota | undefined;
  }

  /** The charge for this quota, undefined for none. Throws Forbidden when it exceeds the quota. */
  #judge(attributes: AdmissionAttributes, quota: ResourceQuota): ResourceAmounts | undefined {
    const name = quota.metadata?.name ?? '';
    const stated = Object.keys(quota.spec?.hard ?? {});
    requireStated(attributes, quota);
    const wanted = delta(attributes, quota);
    const relevant = [...wanted].filter(([resource]) => stated.includes(resource));
    if (!relevant.some(([, amount]) => amount.sign > 0)) return undefined;
    const hard = parseResourceList(quota.status?.hard);
    const used = parseResourceList(quota.status?.used);
    const unknown = relevant
      .map(([resource]) => resource)
      .filter((resource) => !hard.has(resource) || !used.has(resource))
      .toSorted();
    if (unknown.length > 0)
      throw forbid(attributes, `status unknown for quota: ${name}, resources: ${unknown.join(',')}`);
    const excess = excessOf(relevant, { hard, used });
    if (excess.length > 0) throw forbid(attributes, this.#kind.describeExcess(quota, excess));
    return new Map(relevant);
  }

  async #writeUsed(
    internal: InternalApi,
    { quota, amounts }: { readonly quota: ResourceQuota; readonly amounts: ResourceAmounts },
  ): Promise<void> {
    const next = structuredClone(quota) as KubeObject & ResourceQuota;
    const used: Record<string, string> = { ...next.status?.used };
    for (const [name, amount] of amounts) {
      const sum = parseQuantity(used[name] ?? '0').add(amount);
      used[name] = (sum.sign < 0 ? Quantity.zero : sum).toString();
    }
    const derived = this.#kind.derivedStatus?.(next.status?.hard ?? {}, used);
    next.status = { ...next.status, used, ...derived };
    await internal.update(this.#kind.resource, next, { subresource: 'status' });
  }

  async #giveBackAll(internal: InternalApi, charges: readonly Charge[]): Promise<void> {
    for (const charge of charges) await this.#giveBack(internal, charge);
  }

  async #giveBack(internal: InternalApi, { amounts, ...at }: Charge): Promise<void> {
    for (let attempt = 0; attempt < CHARGE_TRIES; attempt++) {
      const quota = this.#read(internal, at);
      if (!quota) return;
      try {
        return await this.#writeUsed(internal, { quota, amounts: negated(amounts) });
      } catch (error) {
        if (!isStatusError(error, 'Conflict')) return;
        await internal.caughtUp();
      }
    }
  }
}

/** A new pod states what a quota of its requests and limits needs to know. */
function requireStated(attributes: AdmissionAttributes, quota: ResourceQuota): void {
  const { object, operation } = attributes;
  const target = targetOf(attributes);
  if (!object || operation !== 'CREATE' || !inScope(object, { target, quota })) return;
  const unstated = unstatedResources(object, { target, hard: Object.keys(quota.spec?.hard ?? {}) });
  if (unstated.length > 0)
    throw forbid(
      attributes,
      `failed quota: ${quota.metadata?.name ?? ''}: must specify ${unstated.join('; ')}`,
    );
}

function excessOf(
  wanted: readonly (readonly [resource: string, amount: Quantity])[],
  { hard, used }: { readonly hard: ResourceAmounts; readonly used: ResourceAmounts },
): Excess[] {
  return wanted
    .filter(
      ([resource, amount]) =>
        amount.sign > 0 && used.get(resource)!.add(amount).compare(hard.get(resource)!) > 0,
    )
    .map(([resource, amount]) => ({
      resource,
      requested: amount.toString(),
      used: used.get(resource)!.toString(),
      limited: hard.get(resource)!.toString(),
    }))
    .toSorted((left, right) => (left.resource < right.resource ? -1 : 1));
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
