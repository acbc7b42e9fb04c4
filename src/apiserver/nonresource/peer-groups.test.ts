import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commonOrder, mergePeerGroups, type DiscoveredGroup, type PeerGroups } from './peer-groups.ts';

test('an order that all lists agree on; what is new has its place among its neighbours', () => {
  assert.deepEqual(commonOrder([['apps', 'batch', 'policy']]), ['apps', 'batch', 'policy']);
  assert.deepEqual(
    commonOrder([
      ['apps', 'batch', 'policy'],
      ['apps', 'new', 'batch', 'policy', 'last'],
    ]),
    ['apps', 'new', 'batch', 'policy', 'last'],
  );
});

test('lists that contradict each other give the first one, and nothing is lost', () => {
  assert.deepEqual(
    commonOrder([
      ['a', 'b', 'c'],
      ['c', 'd', 'a'],
    ]),
    ['a', 'b', 'c', 'd'],
  );
  assert.deepEqual(commonOrder([[], ['b', 'a'], ['a', 'b']]), ['a', 'b']);
});

test('groups, versions and resources are united; what is served here is described here', () => {
  const own: DiscoveredGroup[] = [
    {
      metadata: { name: 'apps' },
      versions: [
        { version: 'v1', freshness: 'Current', resources: [{ resource: 'deployments', by: 'own' }] },
      ],
    },
  ];
  const peer: PeerGroups = [
    { name: '', versions: [] },
    {
      name: 'apps',
      versions: [
        {
          version: 'v1',
          freshness: 'Current',
          resources: new Map([
            ['deployments', { resource: 'deployments', by: 'peer' }],
            ['rollouts', { resource: 'rollouts', by: 'peer' }],
          ]),
        },
        { version: 'v2alpha1', freshness: 'Current', resources: new Map() },
      ],
    },
  ];
  assert.deepEqual(mergePeerGroups(own, [peer]), [
    {
      metadata: { name: 'apps' },
      versions: [
        {
          version: 'v1',
          freshness: 'Current',
          resources: [
            { resource: 'deployments', by: 'own' },
            { resource: 'rollouts', by: 'peer' },
          ],
        },
        { version: 'v2alpha1', freshness: 'Current', resources: [] },
      ],
    },
  ]);
  assert.deepEqual(mergePeerGroups(own, []), own);
});
