/** A claim's allocation as it is written: devices, configuration from classes and the claim, and the nodes that reach the devices. Pure. */
import type {
  AllocationResult,
  DeviceAllocationConfiguration,
  DeviceRequestAllocationResult,
} from '#api/generated/types/resource-v1.ts';
import type { NodeSelector, NodeSelectorRequirement } from '#api/types.ts';
import type { ConsumedCapacity } from './allocated-devices.ts';
import type { PoolDevice } from './device-pools.ts';
import type { Alternative, ClaimRequests } from './requests.ts';

export interface ChosenDevice {
  readonly device: PoolDevice;
  readonly alternative: Alternative;
  readonly consumesCounters: boolean;
  /** Of a device that several claims may share. */
  readonly shareID: string | undefined;
  readonly consumption: ConsumedCapacity | undefined;
}

interface Choice {
  readonly chosen: readonly ChosenDevice[];
  readonly nodeName: string;
}

export function allocationResult(requests: ClaimRequests, { chosen, nodeName }: Choice): AllocationResult {
  const config = configuration(requests, chosen);
  const nodeSelector = selectorOf(chosen, nodeName);
  return {
    devices: { results: chosen.map(resultOf), ...(config.length > 0 ? { config } : {}) },
    ...(nodeSelector ? { nodeSelector } : {}),
  };
}

function resultOf({
  device: { driver, pool, device },
  alternative,
  shareID,
  consumption,
}: ChosenDevice): DeviceRequestAllocationResult {
  const { bindingConditions, bindingFailureConditions } = device;
  return {
    request: alternative.name.full,
    driver,
    pool,
    device: device.name,
    ...(alternative.adminAccess ? { adminAccess: true } : {}),
    ...(alternative.tolerations.length > 0 ? { tolerations: [...alternative.tolerations] } : {}),
    ...(bindingConditions?.length ? { bindingConditions } : {}),
    ...(bindingFailureConditions?.length ? { bindingFailureConditions } : {}),
    ...(shareID === undefined ? {} : { shareID }),
    ...(consumption?.size
      ? {
          consumedCapacity: Object.fromEntries(
            [...consumption].map(([name, amount]) => [name, amount.toString()]),
          ),
        }
      : {}),
  };
}

/** Of each class once, then of the claim; those that concern every request name none. */
function configuration(
  { claim, requests }: ClaimRequests,
  chosen: readonly ChosenDevice[],
): DeviceAllocationConfiguration[] {
  // A request of which no device was chosen does not exist: the modes take at least one.
  const selected = requests.map(
    (alternatives) =>
      alternatives.find((one) => chosen.some(({ alternative }) => alternative === one)) ?? alternatives[0]!,
  );
  const all = [...configurationOfClasses(selected), ...configurationOfClaim(claim, selected)];
  return all.map(({ requests: names, ...rest }) =>
    names && names.length > 0 && names.length < requests.length ? { ...rest, requests: names } : rest,
  );
}

function configurationOfClasses(selected: readonly Alternative[]): DeviceAllocationConfiguration[] {
  const byClass = Map.groupBy(selected, (alternative) => alternative.class.metadata?.name);
  return [...byClass.values()].flatMap((alternatives) =>
    (alternatives[0]?.class.spec.config ?? []).map((config) => ({
      source: 'FromClass',
      requests: alternatives.map(({ name }) => name.full),
      ...config,
    })),
  );
}

/** As upstream, once per request that it concerns. */
function configurationOfClaim(
  { spec }: ClaimRequests['claim'],
  selected: readonly Alternative[],
): DeviceAllocationConfiguration[] {
  return (spec.devices?.config ?? []).flatMap(({ requests = [], ...config }) => {
    const concerned = { source: 'FromClaim', requests, ...config };
    if (requests.length === 0) return [concerned];
    return selected
      .filter(({ name }) => requests.includes(name.base) || requests.includes(name.full))
      .map(() => concerned);
  });
}

/** Undefined: every node reaches all of them. */
function selectorOf(chosen: readonly ChosenDevice[], nodeName: string): NodeSelector | undefined {
  const matchFields: NodeSelectorRequirement[] = [];
  const matchExpressions: NodeSelectorRequirement[] = [];
  for (const { device } of chosen) {
    const where = device.slice.spec.perDeviceNodeSelection ? device.device : device.slice.spec;
    if (where.nodeName || device.device.bindsToNode) return onlyOn(nodeName);
    const term = where.nodeSelector?.nodeSelectorTerms[0];
    addNew(matchFields, term?.matchFields);
    addNew(matchExpressions, term?.matchExpressions);
  }
  if (matchFields.length + matchExpressions.length === 0) return undefined;
  return {
    nodeSelectorTerms: [
      {
        ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
        ...(matchFields.length > 0 ? { matchFields } : {}),
      },
    ],
  };
}

function onlyOn(nodeName: string): NodeSelector {
  return {
    nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] }],
  };
}

function addNew(to: NodeSelectorRequirement[], from: readonly NodeSelectorRequirement[] = []): void {
  const textOf = ({ key, operator, values = [] }: NodeSelectorRequirement): string =>
    JSON.stringify([key, operator, [...values].sort()]);
  for (const requirement of from)
    if (!to.some((known) => textOf(known) === textOf(requirement))) to.push(requirement);
}
