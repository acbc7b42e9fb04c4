/** What claims ask for, checked and resolved: each request with its alternatives, classes and constraints. Throws AllocationError, in upstream's words. */
import type {
  DeviceClass,
  DeviceRequest,
  DeviceSelector,
  DeviceToleration,
  ExactDeviceRequest,
  ResourceClaim,
} from '#api/generated/types/resource-v1.ts';
import { objectKey } from '#machinery/object.ts';
import { AllocationError } from './allocation-error.ts';
import { consumptionOf, hasRoom, type CapacityRequests } from './capacity.ts';
import { constraintOf, type Constraint, type RequestName } from './constraints.ts';
import type { DevicePool, PoolDevice } from './device-pools.ts';
import { selectorsMatch } from './selectors.ts';

/** Upstream's AllocationResultsMaxSize: devices of one claim. */
export const MAX_RESULTS = 32;

/** A request without alternatives, or one of its subrequests. */
export interface Alternative {
  readonly name: RequestName;
  readonly class: DeviceClass;
  readonly selectors: readonly DeviceSelector[] | undefined;
  readonly tolerations: readonly DeviceToleration[];
  readonly capacity: CapacityRequests;
  readonly adminAccess: boolean;
  readonly count: number;
  /** allocationMode All: exactly these. */
  readonly all: readonly PoolDevice[] | undefined;
}

export interface ClaimRequests {
  readonly claim: ResourceClaim;
  /** 'claim namespace/name', for messages. */
  readonly owner: string;
  /** In order of preference. */
  readonly requests: readonly (readonly Alternative[])[];
  /** New ones for each search: they count devices. */
  readonly constraints: () => readonly Constraint[];
}

interface RequestContext {
  readonly pools: readonly DevicePool[];
  readonly deviceClass: (name: string) => DeviceClass | undefined;
}

export function requestsOfClaim(claim: ResourceClaim, context: RequestContext): ClaimRequests {
  const owner = `claim ${objectKey(claim)}`;
  const { requests = [], constraints = [] } = claim.spec.devices ?? {};
  const alternatives = (requests ?? []).map((request) =>
    exactRequests(request).map(({ name, exact }) => alternativeOf(exact, { name, owner, ...context })),
  );
  const least = alternatives.reduce((sum, list) => sum + Math.min(...list.map(({ count }) => count)), 0);
  if (least > MAX_RESULTS)
    throw new AllocationError(
      `${owner}: number of requested devices ${least} exceeds the claim limit of ${MAX_RESULTS}`,
    );
  return {
    claim,
    owner,
    requests: alternatives,
    constraints: () =>
      constraints.map((constraint, index) => {
        const known = constraintOf(constraint);
        if (known) return known;
        throw new AllocationError(
          `${owner}, constraint #${index}: empty constraint (unsupported constraint type?)`,
        );
      }),
  };
}

interface NamedRequest {
  readonly name: RequestName;
  readonly exact: ExactDeviceRequest;
}

/** Whether the requests are the same for all nodes: they name no "all devices". */
export function isForEveryNode({ spec }: ResourceClaim): boolean {
  return (spec.devices?.requests ?? [])
    .flatMap(exactRequests)
    .every(({ exact }) => exact.allocationMode !== 'All');
}

/** Subrequests have every field of a request but adminAccess. */
export function exactRequests({
  name,
  exactly,
  firstAvailable = [],
}: DeviceRequest): readonly NamedRequest[] {
  if (exactly) return [{ name: { base: name, full: name }, exact: exactly }];
  return firstAvailable.map((sub) => ({ name: { base: name, full: `${name}/${sub.name}` }, exact: sub }));
}

function alternativeOf(
  exact: ExactDeviceRequest,
  {
    name,
    owner,
    pools,
    deviceClass,
  }: RequestContext & { readonly name: RequestName; readonly owner: string },
): Alternative {
  const where = `${owner}, request ${name.full.slice(name.full.indexOf('/') + 1)}`;
  const found = deviceClass(exact.deviceClassName);
  if (!found)
    throw new AllocationError(
      `${where}: could not retrieve device class ${exact.deviceClassName}: deviceclass.resource.k8s.io "${exact.deviceClassName}" not found`,
    );
  const resolved = {
    name,
    class: found,
    selectors: exact.selectors,
    tolerations: exact.tolerations ?? [],
    capacity: exact.capacity?.requests,
    adminAccess: exact.adminAccess === true,
  };
  const mode = exact.allocationMode ?? 'ExactCount';
  if (mode === 'ExactCount') return { ...resolved, count: exact.count ?? 1, all: undefined };
  if (mode !== 'All') throw new AllocationError(`${where}: unsupported count mode ${mode}`);
  const all = allDevices(resolved, { pools, where, owner });
  return { ...resolved, count: all.length, all };
}

type Resolved = Omit<Alternative, 'count' | 'all'>;

function allDevices(
  request: Resolved,
  {
    pools,
    where,
    owner,
  }: { readonly pools: readonly DevicePool[]; readonly where: string; readonly owner: string },
): readonly PoolDevice[] {
  const problem = pools.find(({ isIncomplete, invalid }) => isIncomplete || invalid !== undefined);
  if (problem)
    throw new AllocationError(
      `${where}: asks for all devices, but resource pool ${problem.id} is currently ${problem.isIncomplete ? 'being updated' : 'invalid'}`,
    );
  return pools.flatMap(({ devices }) =>
    devices.filter((device) => isSelectable(device, request, owner) && couldServe(device, request)),
  );
}

/** By the selectors of the class and the request. */
export function isSelectable(
  device: PoolDevice,
  request: Pick<Alternative, 'class' | 'selectors'>,
  owner: string,
): boolean {
  const { class: deviceClass, selectors } = request;
  return (
    selectorsMatch(device, {
      selectors: deviceClass.spec.selectors,
      owner: `class ${deviceClass.metadata?.name}`,
    }) && selectorsMatch(device, { selectors, owner })
  );
}

/** Its whole capacity is enough. */
function couldServe({ device, driver }: PoolDevice, { capacity }: Pick<Alternative, 'capacity'>): boolean {
  const consumption = consumptionOf(device, { requests: capacity, driver });
  return consumption !== undefined && hasRoom(device, { consumption, inUse: [] });
}
