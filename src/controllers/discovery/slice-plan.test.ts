import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Endpoint, EndpointSlice } from '#api/types.ts';
import { planSlices, type EndpointGroup, type SlicePlan } from './slice-plan.ts';

const MAX = 4;
const labels = { a: 'b' };
const endpoint = (id: number, ready = true): Endpoint => ({
  addresses: [`10.0.0.${id}`],
  conditions: { ready },
});
const group = (port: number, ids: readonly number[]): EndpointGroup => ({
  addressType: 'IPv4',
  ports: [{ name: '', port, protocol: 'TCP' }],
  endpoints: ids.map((id) => endpoint(id)),
});
const plan = (
  existing: readonly EndpointSlice[],
  groups: readonly EndpointGroup[],
  maxEndpoints = MAX,
): SlicePlan =>
  planSlices({
    existing,
    groups,
    addressTypes: ['IPv4'],
    maxEndpoints,
    labels,
    metadata: { namespace: 'n', generateName: 's-', ownerReferences: [] },
  });

/** The slices after the plan was applied. */
function apply(
  existing: readonly EndpointSlice[],
  { create, update, delete: doomed }: SlicePlan,
  round: number,
): EndpointSlice[] {
  const updated = new Map(update.map((slice) => [slice.metadata!.name, slice]));
  const kept = existing
    .filter((slice) => !doomed.includes(slice))
    .map((slice) => updated.get(slice.metadata!.name) ?? slice);
  return [
    ...kept,
    ...create.map((slice, index) => ({
      ...slice,
      metadata: { ...slice.metadata, name: `s-${round}-${index}`, ownerReferences: [] },
    })),
  ];
}

test('after any change, every endpoint is in one slice with its ports, no slice is over the limit, and a second plan is empty', () => {
  const ids = fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { maxLength: 14 });
  fc.assert(
    fc.property(fc.array(fc.record({ http: ids, other: ids }), { minLength: 1, maxLength: 6 }), (rounds) => {
      let slices: EndpointSlice[] = [];
      for (const [round, { http, other }] of rounds.entries()) {
        const groups = [group(80, http), group(81, other)];
        slices = apply(slices, plan(slices, groups), round);
        for (const { ports, endpoints } of groups) {
          const own = slices.filter((slice) => slice.ports?.[0]?.port === ports[0]!.port);
          assert.deepEqual(
            own.flatMap((slice) => slice.endpoints!.map(({ addresses }) => addresses[0])).sort(),
            endpoints.map(({ addresses }) => addresses[0]).sort(),
          );
          assert.ok(own.every((slice) => slice.endpoints!.length <= MAX && slice.endpoints!.length > 0));
        }
        assert.ok(slices.length > 0);
        const again = plan(slices, groups);
        assert.deepEqual([again.create, again.update, again.delete], [[], [], []]);
      }
    }),
  );
});

test('one change causes one write', () => {
  const slices = apply([], plan([], [group(80, [1, 2, 3, 4, 5, 6])]), 0);
  assert.equal(slices.length, 2);
  const less = plan(slices, [group(80, [1, 2, 3, 5, 6])]);
  assert.deepEqual([less.create.length, less.update.length, less.delete.length], [0, 1, 0]);
  const more = plan(slices, [group(80, [1, 2, 3, 4, 5, 6, 7])]);
  assert.deepEqual([more.create.length, more.update.length, more.delete.length], [0, 1, 0]);
  const replaced = plan(slices, [group(80, [1, 2, 3, 7, 5, 6])]);
  assert.deepEqual([replaced.create.length, replaced.update.length, replaced.delete.length], [0, 1, 0]);
});

test('slices of a removed address type are deleted, and empty slices are reused', () => {
  const six: EndpointSlice = { metadata: { name: 'six' }, addressType: 'IPv6', endpoints: [] };
  const empty: EndpointSlice = {
    metadata: { name: 'empty', labels, ownerReferences: [] },
    addressType: 'IPv4',
    endpoints: [],
    ports: [],
  };
  const next = plan([six, empty], [group(80, [1])]);
  assert.deepEqual(
    [
      next.create.length,
      next.update.map(({ metadata }) => metadata!.name),
      next.delete.map(({ metadata }) => metadata!.name),
    ],
    [0, ['empty'], ['six']],
  );
});
