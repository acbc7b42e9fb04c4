/** The parts of comparison that are data: references, mutations, bases, groups. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { schemaForKind } from '#api/schemas.ts';
import { mutationsOf } from './mutations.ts';
import { allBases, kindsWithoutBase } from './objects/bases.ts';
import { Report } from './report.ts';
import { resolveReferences } from './scenario.ts';
import { SOURCES } from './scenarios/index.ts';

describe('references', () => {
  const answers = new Map([
    ['made', { status: 201, headers: { etag: ['"x"'] }, body: { metadata: { uid: 'u', generation: 3 } } }],
  ]);
  it('become values, or parts of a text', () => {
    assert.deepEqual(
      resolveReferences(
        {
          a: '{{made.metadata.generation}}',
          b: ['x-{{made.metadata.uid}}-{{made|status}}'],
          c: '{{made|header:etag}}',
          d: '{{made.nope}}',
        },
        answers,
      ),
      { a: 3, b: ['x-u-201'], c: '"x"', d: '' },
    );
  });
});

describe('mutations', () => {
  const schema = schemaForKind({ group: '', version: 'v1', kind: 'ConfigMap' })!;
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { k: 'v' } };
  it('change one field each and leave the object as it was', () => {
    const before = structuredClone(object);
    const byName = new Map(mutationsOf(object, schema).map((mutation) => [mutation.name, mutation.object]));
    assert.deepEqual(byName.get('data/removed'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a' },
    });
    assert.deepEqual(byName.get('data.k/number'), { ...object, data: { k: 5 } });
    assert.deepEqual(byName.get('immutable/text'), { ...object, immutable: 'true' });
    assert.deepEqual(byName.get('metadata.ownerReferences[0].controller/true'), {
      ...object,
      metadata: { name: 'a', ownerReferences: [{ controller: true }] },
    });
    assert.deepEqual(object, before);
  });
  it('stay outside where told to', () => {
    const names = mutationsOf(object, schema, { shallow: ['metadata'] }).map(({ name }) => name);
    assert.ok(names.includes('metadata/removed') && !names.some((name) => name.startsWith('metadata.')));
  });
});

describe('scenarios', () => {
  it('have a base for every kind that can be created', () => assert.deepEqual(kindsWithoutBase(), []));
  it('name every base only once', () => {
    const keys = allBases({ name: 'x', namespace: 'n' })
      .filter(({ object }) => object.metadata?.name !== undefined)
      .map(({ facts, object }) => `${facts.group}/${facts.version}/${facts.plural}/${object.metadata?.name}`);
    assert.equal(new Set(keys).size, keys.length);
  });
  it('come from every source', () => {
    for (const source of SOURCES) assert.ok(source({ token: 't', namespace: 'n' }).length > 0, source.name);
  });
});

describe('report', () => {
  it('groups what differs only in names, numbers and places', () => {
    const report = new Report();
    for (const at of [0, 1, 2])
      report.add({
        scenario: `s${at}`,
        area: 'apps',
        request: 'POST /x',
        sent: '',
        difference: {
          kind: 'cause',
          path: `spec.template.spec.containers[${at}].image`,
          reference: `Required: "a${at}" is ${at}`,
          subject: '(absent)',
        },
      });
    const [group, ...others] = report.groups();
    assert.deepEqual(others, []);
    assert.deepEqual([group?.area, group?.count, group?.scenarios], ['core/Pod', 3, ['s0', 's1', 's2']]);
  });
});
