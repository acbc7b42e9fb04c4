/** Upstream's golden objects, one of every kind with every field set, through the protobuf codec in all directions. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { managedFieldsAfterUpdate } from '#machinery/apply/managed-fields.ts';
import { fieldsOfNew } from '#machinery/apply/new-fields.ts';
import { decodeObject, encodeObject } from '#machinery/codec/protobuf.ts';
import type { GroupVersionKind, KubeObject } from '#machinery/object.ts';
import { schemaForKind } from './schemas.ts';

const folder = join(import.meta.dirname, '../../../shared/kubernetes-1.36/golden-objects');
const skip = existsSync(folder) ? false : '../shared is absent';
const names = skip
  ? []
  : readdirSync(folder)
      .filter((file) => file.endsWith('.json'))
      .map((file) => file.slice(0, -'.json'.length));

function kindOf(name: string): GroupVersionKind {
  const parts = name.split('.');
  const [version, kind] = parts.splice(-2) as [string, string];
  return { group: parts.join('.') === 'core' ? '' : parts.join('.'), version, kind };
}

test('golden objects are there', { skip }, () => assert.ok(names.length > 150));

for (const name of names) {
  test(name, async () => {
    const read = (extension: string): Buffer => readFileSync(join(folder, `${name}.${extension}`));
    const object = JSON.parse(read('json').toString()) as KubeObject;
    const bytes = read('pb');
    const schema = schemaForKind(kindOf(name));
    assert.ok(schema, 'has a schema');
    assert.deepEqual(decodeObject(bytes, { schemaFor: schemaForKind, defaultKind: kindOf(name) }), object);
    assert.deepEqual(encodeObject(object, schema), bytes);
    assert.deepEqual(encodeObject(parse(read('yaml').toString()) as KubeObject, schema), bytes);
    const compared = await managedFieldsAfterUpdate({
      schema,
      live: undefined,
      next: object,
      manager: 'm',
      apiVersion: 'v',
      nowMs: 0,
    });
    assert.equal(
      JSON.stringify(fieldsOfNew(schema, object)),
      JSON.stringify(compared.find(({ manager }) => manager === 'm')?.fieldsV1 ?? {}),
    );
  });
}
