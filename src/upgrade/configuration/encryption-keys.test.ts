import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseYaml } from '#machinery/yaml.ts';
import { planEncryption, type EncryptionConfiguration } from './encryption-keys.ts';

type Entry = EncryptionConfiguration['resources'][number];
type Provider = Entry['providers'][number];

const gcm = (...names: string[]): Provider => ({
  aesgcm: { keys: names.map((name) => ({ name, secret: Buffer.alloc(32, name).toString('base64') })) },
});
const identity: Provider = { identity: {} };
const kms: Provider = { kms: { name: 'vault' } };
const entry = (resources: readonly string[], ...providers: Provider[]): Entry => ({ resources, providers });
const configuration = (...resources: Entry[]): EncryptionConfiguration => ({ resources });
/** 'secrets: aesgcm a b, identity' */
const shown = (file: string): string[] =>
  (parseYaml(file).value as EncryptionConfiguration).resources.map(
    ({ resources, providers }) =>
      `${resources.join(' ')}: ${providers
        .map((provider) =>
          Object.entries(provider)
            .map(([kind, { keys = [], name = '' }]) =>
              [kind, ...keys.map((key) => key.name), name].join(' ').trim(),
            )
            .join(),
        )
        .join(', ')}`,
  );

const A = configuration(entry(['secrets'], gcm('a'), identity));
const B = configuration(entry(['secrets'], gcm('b'), identity));

describe('a changed key', () => {
  test('all read it, then write with it, then the old one goes', () => {
    const { changes, refused, read, write, target, isRewritten } = planEncryption(A, B);
    assert.deepEqual(changes, [
      'encryption of secrets: aesgcm a (writes), identity -> aesgcm b (writes), identity',
    ]);
    assert.deepEqual(refused, []);
    assert.deepEqual(shown(read), ['secrets: aesgcm a, identity, aesgcm b']);
    assert.deepEqual(shown(write), ['secrets: aesgcm b, identity, aesgcm a']);
    assert.deepEqual(shown(target), ['secrets: aesgcm b, identity']);
    assert.ok(isRewritten({ group: '', plural: 'secrets' }));
    assert.ok(!isRewritten({ group: '', plural: 'configmaps' }));
  });

  test('from any step on, the same steps are left: no reader that something may be written with is ever dropped before', () => {
    const first = planEncryption(A, B);
    const ids = (file: string): string[] => shown(file).flatMap((line) => line.split(/[,:] /).slice(1));
    for (const file of [first.read, first.write, first.target]) {
      const again = planEncryption(parseYaml(file).value as EncryptionConfiguration, B);
      assert.equal(again.target, first.target);
      for (const reader of ids(file)) {
        assert.ok(ids(again.read).includes(reader), reader);
        assert.ok(ids(again.write).includes(reader), reader);
      }
      if (file !== first.target) assert.deepEqual(ids(again.write).toSorted(), ids(first.write).toSorted());
    }
  });

  test('two secrets of one name are refused', () => {
    const other = { aesgcm: { keys: [{ name: 'a', secret: Buffer.alloc(32, 'z').toString('base64') }] } };
    const { refused } = planEncryption(A, configuration(entry(['secrets'], other, identity)));
    assert.deepEqual(refused, [
      'encryption: aesgcm a is another one in the new file: give the new one a name of its own',
    ]);
  });
});

test('the first keys, and the way back to plain objects', () => {
  const first = planEncryption(configuration(), A);
  assert.deepEqual(shown(first.read), ['secrets: identity, aesgcm a']);
  assert.deepEqual(shown(first.write), ['secrets: aesgcm a, identity']);
  const back = planEncryption(A, configuration(entry(['secrets'], identity)));
  assert.deepEqual(shown(back.write), ['secrets: identity, aesgcm a']);
  assert.ok(back.isRewritten({ group: '', plural: 'secrets' }));
});

test('wildcards: a resource of its own comes before what would cover it', () => {
  const wide = configuration(entry(['*.apps'], gcm('c'), identity), entry(['*.*'], gcm('d'), identity));
  const plan = planEncryption(A, wide);
  assert.deepEqual(shown(plan.write), [
    'secrets: aesgcm d, identity, aesgcm a',
    '*.apps: aesgcm c, identity',
    '*.*: aesgcm d, identity',
  ]);
  assert.ok(plan.isRewritten({ group: 'apps', plural: 'deployments' }));
  assert.ok(plan.isRewritten({ group: 'example.org', plural: 'things' }));
});

test('a plugin stands in one entry; where the way would need two it is refused', () => {
  const one = configuration(entry(['secrets'], kms, identity));
  assert.deepEqual(planEncryption(A, one).refused, []);
  const more = configuration(entry(['secrets', 'configmaps'], kms, identity));
  assert.match(planEncryption(A, more).refused.join(), /kms vault would stand in several entries on the way/);
});
