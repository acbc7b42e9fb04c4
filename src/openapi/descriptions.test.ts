import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldDescriptions, typeDescriptions } from './description-table.ts';
import { describeField, describeType } from './descriptions.ts';
import { builtinResources } from '#api/resources.ts';
import { servedSchemaTable } from '#api/schemas.ts';

test('every description is of a type and field that exist', () => {
  const fields = new Map<string, Set<string>>();
  for (const types of Object.values(servedSchemaTable())) {
    for (const [name, entry] of Object.entries(types))
      fields.set(name, new Set([...(fields.get(name) ?? []), ...(entry.f ?? []).map(([field]) => field)]));
  }
  const unknown = Object.keys(fieldDescriptions).filter(
    (key) => !fields.get(key.split('.')[0]!)?.has(key.split('.')[1]!),
  );
  assert.deepEqual([...unknown, ...Object.keys(typeDescriptions).filter((name) => !fields.has(name))], []);
});

test('every kind that is served has a sentence of its own', () => {
  const kinds = builtinResources.flatMap(({ kind, subresources = [] }) => [
    kind,
    ...subresources.map((subresource) => subresource.kind),
  ]);
  assert.deepEqual(
    [...new Set(kinds)].filter((kind) => typeDescriptions[kind] === undefined),
    [],
  );
});

test('what the table lacks is described by name and type', () => {
  assert.equal(describeField('Unknown', 'hostIPs', 'list:string'), 'Host IPs: a list, each item text.');
  assert.equal(
    describeField('Unknown', 'podAffinityTerm', 'PodAffinityTerm'),
    'Pod affinity term: a PodAffinityTerm object.',
  );
  assert.equal(describeField('Unknown', 'requestTimeoutSeconds', 'int32'), 'Request timeout, in seconds.');
  assert.equal(describeType('WidgetList'), 'A list of Widget objects.');
});
