/** What a peer's discovery may hold: it is another program, of another version. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGroups, withoutVersions } from './peer-discovery.ts';

test('groups, versions and resources are read; what is none is dropped', () => {
  const groups = parseGroups({
    kind: 'APIGroupDiscoveryList',
    items: [
      {
        metadata: {},
        versions: [{ version: 'v1', resources: [{ resource: 'pods' }, { resource: 1 }, 'x'] }],
      },
      {
        metadata: { name: 'a.example.com' },
        versions: [{ version: 'v1', freshness: 'Stale' }, { version: 2 }],
      },
      7,
      { metadata: { name: 'b.example.com' }, versions: 'none' },
    ],
  });
  assert.deepEqual(
    groups.map(({ name, versions }) => [
      name,
      versions.map(({ version, resources }) => [version, [...resources.keys()]]),
    ]),
    [
      ['', [['v1', ['pods']]]],
      ['a.example.com', [['v1', []]]],
      ['b.example.com', []],
    ],
  );
  assert.deepEqual(
    withoutVersions(groups, (version) => version === 'a.example.com/v1').map(({ name }) => name),
    [''],
  );
});

test('another document is refused', () => {
  for (const document of [null, [], {}, { kind: 'APIGroupList', groups: [] }, 'text'])
    assert.throws(() => parseGroups(document), /is not aggregated/);
});
