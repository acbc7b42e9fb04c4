/**
 * HierarchicalResourceQuota: an object counts in the quotas of its namespace and of all its ancestors, and is refused where it would exceed one. Runs after ResourceQuota, so
 * that a namespace's own usage is never less than what the tree was charged for it. Does nothing in a cluster without trees.
 */
import type { ResourceQuota } from '#api/types.ts';
import { GROUP_NAME, type HierarchicalResourceQuota } from '#component-helpers/hierarchy/names.ts';
import { quotaSummaries } from '#component-helpers/hierarchy/tree-quotas.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { tryParseQuantity } from '#machinery/quantity.ts';
import { Errors, SPEC } from '#resources/field-path.ts';
import { checkQuotaAmounts } from '#resources/resource-list.ts';
import type { AdmissionKinds } from '../../kinds.ts';
import { requestName, type AdmissionAttributes, type AdmissionPlugin } from '../../plugin.ts';
import { isCounted, isPlainPodUpdate, QuotaCharging, type Excess } from '../resource-quota/charging.ts';
import type { LiveTrees } from './live-trees.ts';

const QUOTAS = { group: GROUP_NAME, resource: 'hierarchicalresourcequotas' } as const;

export function hierarchicalResourceQuota(trees: LiveTrees): AdmissionPlugin {
  let kinds: AdmissionKinds | undefined;
  const charging = new QuotaCharging({
    resource: QUOTAS,
    quotasOf: (attributes) =>
      upwards(attributes).flatMap(
        (namespace) =>
          attributes.internal.list(QUOTAS, { namespace }) as readonly KubeObject[] as ResourceQuota[],
      ),
    turnOf: (attributes) => upwards(attributes).at(-1)!,
    derivedStatus: quotaSummaries,
    describeExcess,
  });
  const upwards = ({ namespace }: AdmissionAttributes): string[] => [
    namespace,
    ...(trees.forest?.ancestorsOf(namespace).toReversed() ?? []),
  ];
  return {
    name: 'HierarchicalResourceQuota',
    start(context) {
      ({ kinds } = context);
      return trees.start(context);
    },
    handles(operation, target) {
      if (!trees.forest || !kinds?.storedKindOf(QUOTAS)) return false;
      if (target.group === GROUP_NAME && target.resource === QUOTAS.resource)
        return target.subresource === '' && (operation === 'CREATE' || operation === 'UPDATE');
      return isCounted(operation, target);
    },
    validate(attributes) {
      const { gvr, namespace, internal } = attributes;
      if (gvr.group === GROUP_NAME && gvr.resource === QUOTAS.resource) return checkQuota(attributes);
      if (!trees.forest?.get(namespace) || isPlainPodUpdate(attributes)) return undefined;
      if (internal.count(QUOTAS) === 0) return undefined;
      return chargeFresh(attributes);
    },
    undo: (attributes) => charging.undo(attributes),
  };

  /** With the tree as all servers have acknowledged it. */
  async function chargeFresh(attributes: AdmissionAttributes): Promise<void> {
    await attributes.internal.caughtUp();
    await charging.charge(attributes);
  }
}

/** Throws Invalid. */
function checkQuota(attributes: AdmissionAttributes): void {
  const errors = new Errors();
  const { spec } = attributes.object as HierarchicalResourceQuota;
  const hard = Object.entries(spec?.hard ?? {});
  const unreadable = hard.filter(([, amount]) => !tryParseQuantity(String(amount)));
  for (const [name, amount] of unreadable)
    errors.invalid(SPEC.child('hard').key(name), amount, 'must be a quantity');
  if (unreadable.length === 0) checkQuotaAmounts(spec?.hard, SPEC.child('hard'), errors);
  if (errors.list.length > 0)
    throw statusErrors.invalid({ ...attributes.gvk, name: requestName(attributes) }, errors.list);
}

function describeExcess({ metadata }: ResourceQuota, excess: readonly Excess[]): string {
  const amounts = excess.map(
    ({ resource, requested, used, limited }) =>
      `, requested: ${resource}=${requested}, used: ${resource}=${used}, limited: ${resource}=${limited}`,
  );
  return `exceeded hierarchical quota in namespace "${metadata?.namespace}": "${metadata?.name}"${amounts.join('')}`;
}
