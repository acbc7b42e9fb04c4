/** Random small worlds: what is allocated is allowed, and the allocator finds a solution exactly when trying everything does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  AllocationResult,
  Device,
  DeviceConstraint,
  ResourceClaim,
} from '#api/generated/types/resource-v1.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { allocationInput, deviceClaim, DRIVER, slice, type DeviceWorld } from '../testing/devices.ts';
import { randomDevice, randomRequest } from '../testing/random-devices.ts';
import { allocateDevices } from './allocator.ts';
import { exactRequests } from './requests.ts';

const WORLDS = 400;

interface World extends DeviceWorld {
  readonly devices: readonly Device[];
  readonly claims: readonly ResourceClaim[];
  readonly counterGi: number;
}

const chance = (random: Random, share: number): boolean => random() < share;
const below = (random: Random, most: number): number => Math.floor(random() * most);
const gi = (value: unknown): number => Number(String(value).replace('Gi', ''));

function randomWorld(random: Random): World {
  const devices = Array.from({ length: 1 + below(random, 5) }, (_, index) => randomDevice(random, index));
  const counterGi = 1 + below(random, 6);
  const counted = slice([], {
    name: 'counters',
    count: 2,
    sharedCounters: [{ name: 'set', counters: { memory: { value: `${counterGi}Gi` } } }],
  });
  const claims = Array.from({ length: 1 + below(random, 2) }, (_, index) => {
    const constrained = chance(random, 0.4);
    const constraint: DeviceConstraint = chance(random, 0.5)
      ? { matchAttribute: `${DRIVER}/model` }
      : { distinctAttribute: `${DRIVER}/slot` };
    const requests = Array.from({ length: 1 + below(random, 2) }, (_r, number) =>
      randomRequest(random, { name: `r${number}`, mayTakeAll: !constrained }),
    );
    return deviceClaim(requests, {
      name: `c${index}`,
      ...(constrained ? { constraints: [constraint] } : {}),
    });
  });
  const allocated = devices
    .filter((device) => !device.allowMultipleAllocations && chance(random, 0.2))
    .map((device, index): ResourceClaim => ({
      ...deviceClaim([], { name: `taken-${index}` }),
      status: {
        allocation: {
          devices: { results: [{ request: 'r', driver: DRIVER, pool: 'pool', device: device.name }] },
        },
      },
    }));
  return {
    devices,
    claims,
    allocated,
    counterGi,
    slices: [counted, slice(devices, { name: 'devices', count: 2 })],
  };
}

/** One alternative of a request, with the devices that it got. */
interface Assigned {
  readonly claim: number;
  readonly name: string;
  readonly exact: ReturnType<typeof exactRequests>[number]['exact'];
  readonly devices: readonly Device[];
}

/** Every rule of the API, spelled out over a complete assignment. */
function isAllowed(world: World, assigned: readonly Assigned[]): boolean {
  const taken = new Set(
    world.allocated?.map(({ status }) => status!.allocation!.devices!.results![0]!.device),
  );
  const users = new Map<string, Assigned[]>();
  for (const one of assigned) {
    if (new Set(one.devices).size !== one.devices.length) return false;
    for (const device of one.devices) {
      if (!isServed(device, one)) return false;
      users.set(device.name, [...(users.get(device.name) ?? []), one]);
    }
    if (one.exact.allocationMode === 'All') {
      const all = world.devices.filter(
        (device) => isSelected(device, one) && isServed({ ...device, taints: [] }, one),
      );
      if (all.length === 0 || all.length !== one.devices.length) return false;
    } else if (one.devices.length !== (one.exact.count ?? 1)) return false;
  }
  let counters = world.devices
    .filter(({ name }) => taken.has(name))
    .reduce((sum, device) => sum + counterOf(device), 0);
  for (const device of world.devices) {
    const of = users.get(device.name) ?? [];
    if (of.length === 0) continue;
    counters += counterOf(device);
    if (device.allowMultipleAllocations) {
      if (of.reduce((sum, one) => sum + consumption(device, one), 0) > gi(device.capacity!['memory']!.value))
        return false;
    } else {
      const plain = of.filter(({ exact }) => exact.adminAccess !== true);
      if (plain.length > 1 || (plain.length === 1 && taken.has(device.name))) return false;
      if (
        new Set(of.map(({ claim }) => claim)).size !== of.length &&
        of.some(({ exact }) => exact.adminAccess)
      )
        return false;
    }
  }
  if (
    counters > world.counterGi &&
    [...users.keys()].some((name) => counterOf(world.devices.find((device) => device.name === name)!) > 0)
  )
    return false;
  return world.claims.every((claim, index) =>
    (claim.spec.devices?.constraints ?? []).every(({ matchAttribute }) => {
      const own = assigned.filter((one) => one.claim === index).flatMap(({ devices }) => devices);
      const values = own.map(({ attributes }) =>
        matchAttribute ? attributes!['model']!.string : attributes!['slot']!.int,
      );
      return new Set(values).size === (matchAttribute ? Math.min(1, values.length) : values.length);
    }),
  );
}

function counterOf({ consumesCounters }: Device): number {
  return gi(consumesCounters?.[0]?.counters['memory']?.value ?? '0Gi');
}

function isSelected(device: Device, { exact }: Assigned): boolean {
  const model = exact.selectors?.[0]?.cel?.expression.match(/"(\w)"$/)?.[1];
  return model === undefined || device.attributes!['model']!.string === model;
}

function consumption(device: Device, { exact }: Assigned): number {
  return gi(
    exact.capacity?.requests?.['memory'] ??
      (device.allowMultipleAllocations ? '1Gi' : device.capacity!['memory']!.value),
  );
}

function isServed(device: Device, one: Assigned): boolean {
  if (!isSelected(device, one)) return false;
  if ((device.taints ?? []).length > 0 && (one.exact.tolerations ?? []).length === 0) return false;
  return consumption(device, one) <= gi(device.capacity!['memory']!.value);
}

function subsets(devices: readonly Device[]): Device[][] {
  return devices.reduce<Device[][]>(
    (sets, device) => [...sets, ...sets.map((set) => [...set, device])],
    [[]],
  );
}

/** Administrative access and ordinary requests of one pod depend on their order: see the allocator. */
function tryEverything(world: World): boolean {
  const requests = world.claims.flatMap((claim, index) =>
    claim.spec.devices!.requests!.map((request) => ({ claim: index, alternatives: exactRequests(request) })),
  );
  const sets = subsets(world.devices);
  const search = (at: number, assigned: readonly Assigned[]): boolean => {
    const request = requests[at];
    if (!request) return isAllowed(world, assigned);
    return request.alternatives.some(({ name, exact }) =>
      sets
        .filter(
          ({ length }) => length > 0 && (exact.allocationMode === 'All' || length === (exact.count ?? 1)),
        )
        .some((devices) => {
          const one = { claim: request.claim, name: name.full, exact, devices };
          return devices.every((device) => isServed(device, one)) && search(at + 1, [...assigned, one]);
        }),
    );
  };
  return search(0, []);
}

function assignedBy(world: World, results: readonly AllocationResult[]): Assigned[] {
  return results.flatMap(({ devices }, claim) =>
    world.claims[claim]!.spec.devices!.requests!.flatMap((request) =>
      exactRequests(request).flatMap(({ name, exact }) => {
        const own = devices!.results!.filter((result) => result.request === name.full);
        if (own.length === 0) return [];
        return [
          {
            claim,
            name: name.full,
            exact,
            devices: own.map(({ device }) => world.devices.find((one) => one.name === device)!),
          },
        ];
      }),
    ),
  );
}

const usesAdminAccess = ({ claims }: World): boolean =>
  claims.some(({ spec }) => spec.devices!.requests!.some(({ exactly }) => exactly?.adminAccess));

test('allocations are allowed, and found exactly when there are any', () => {
  let found = 0;
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const world = randomWorld(seededRandom(seed));
    const results = allocateDevices(allocationInput(world.claims, world));
    const shown = `seed ${seed}: ${JSON.stringify(world, null, 1)}`;
    if (results) {
      found += 1;
      const assigned = assignedBy(world, results);
      assert.ok(isAllowed(world, assigned), `not allowed, ${shown}: ${JSON.stringify(results)}`);
    } else if (!usesAdminAccess(world)) assert.ok(!tryEverything(world), `missed a solution, ${shown}`);
  }
  assert.ok(found > WORLDS / 5 && found < WORLDS, `${found} of ${WORLDS} worlds had a solution`);
});
