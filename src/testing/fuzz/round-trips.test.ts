/** Random objects of every kind, made from its schema: what each encoding and version does to them, and what decoding does once and twice. The seed of a failure is in its name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCbor, encodeCbor } from '#machinery/codec/cbor.ts';
import { decodeObject as decodeProtobuf, encodeObject as encodeProtobuf } from '#machinery/codec/protobuf.ts';
import { decodeObject, strictProblems } from '#machinery/decode.ts';
import { parseJsonCounted } from '#machinery/json.ts';
import { findDuplicateFields } from '#machinery/json-syntax.ts';
import type { KubeObject } from '#machinery/object.ts';
import { parseSerialized, serializeObject } from '#machinery/serialize.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { parseYaml, stringifyYaml } from '#machinery/yaml.ts';
import { schemaForKind } from '#api/schemas.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Resource, ServedVersion } from '#resources/resource.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { valueAt } from './mutate.ts';
import { below, pick, randomObject } from './random-values.ts';
import { allSeeds } from './seeds.ts';
import { withoutEmpty, withoutInnerKinds } from './verify.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const OBJECTS = 12;

interface Sample {
  readonly resource: Resource;
  readonly version: ServedVersion;
  readonly schema: ObjectSchema;
  readonly object: KubeObject;
  readonly random: Random;
}

function forEveryKind(name: string, check: (sample: Sample) => void): void {
  test(`${name} (seed ${SEED})`, () => {
    const random = seededRandom(SEED);
    for (const resource of RESOURCES) {
      for (const version of resource.versions) {
        const schema = schemaForKind({ group: resource.group, version: version.version, kind: version.kind });
        assert.ok(schema, `${version.apiVersion} ${version.kind} has a schema`);
        for (let i = 0; i < OBJECTS; i++) {
          const object = decoded(
            schema,
            randomObject(schema, version, { random, density: 0.2 + random() * 0.7 }),
          );
          try {
            check({ resource, version, schema, object, random });
          } catch (error) {
            if (error instanceof Error)
              error.message = `${version.apiVersion} ${version.kind} ${i}: ${error.message}`;
            throw error;
          }
        }
      }
    }
  });
}

function decoded(schema: ObjectSchema, object: KubeObject): KubeObject {
  return decodeObject(schema, structuredClone(object), 'strict').object;
}

forEveryKind('decoding what was decoded changes nothing, and knows all of it', ({ schema, object }) => {
  const again = decodeObject(schema, JSON.parse(JSON.stringify(object)), 'strict');
  assert.deepEqual(again.problems, []);
  assert.deepEqual(again.object, object);
});

forEveryKind('JSON, YAML and CBOR carry the object as it is', ({ schema, object }) => {
  assert.deepEqual(
    parseSerialized(serializeObject(object)),
    JSON.parse(
      JSON.stringify({
        ...object,
        metadata: object.metadata && { ...object.metadata, resourceVersion: undefined },
      }),
    ),
  );
  assert.deepEqual(parseYaml(stringifyYaml(object)).value, object);
  assert.deepEqual(decodeCbor(encodeCbor(object, schema)), object);
  assert.deepEqual(decodeCbor(encodeCbor(object, undefined)), object);
});

forEveryKind(
  'protobuf carries the object but for what is empty, and its own bytes exactly',
  ({ schema, object }) => {
    const bytes = encodeProtobuf(object, schema);
    const back = decodeObject(schema, decodeProtobuf(bytes, { schemaFor: schemaForKind }), 'strict');
    assert.deepEqual(back.problems, []);
    assert.deepEqual(withoutEmpty(withoutInnerKinds(back.object)), withoutEmpty(withoutInnerKinds(object)));
    assert.deepEqual(encodeProtobuf(decodeProtobuf(bytes, { schemaFor: schemaForKind }), schema), bytes);
  },
);

forEveryKind('an unknown field is found wherever it stands', ({ schema, object, random }) => {
  const places = typedPlaces(object, schema);
  const path = pick(random, places);
  const value = structuredClone(object);
  (valueAt(value, path) as Record<string, unknown>)['unheardOf'] = 1;
  const { problems } = decodeObject(schema, value, 'strict');
  assert.deepEqual(problems, [
    `unknown field ${JSON.stringify([...path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)), '.unheardOf'].join('').slice(1))}`,
  ]);
});

/** Where a struct stands: objects whose fields a schema lists. */
function typedPlaces(
  value: unknown,
  schema: ObjectSchema,
  path: readonly (string | number)[] = [],
): (readonly (string | number)[])[] {
  const found = [path];
  for (const { name, value: field } of schema.fields) {
    const inner = (value as Record<string, unknown>)[name];
    if (inner === undefined || inner === null) continue;
    if (field.kind === 'object') found.push(...typedPlaces(inner, field.type(), [...path, name]));
    else if (field.kind === 'list' && field.items.kind === 'object')
      for (const [i, item] of (inner as unknown[]).entries())
        found.push(...typedPlaces(item, field.items.type(), [...path, name, i]));
  }
  return found;
}

interface Repeated {
  readonly text: string;
  readonly path: string;
}

/** The text of a value with one of its fields written twice, the second time with some other value. */
function withRepeatedField(value: unknown, random: Random): Repeated | undefined {
  const fields: (readonly (string | number)[])[] = [];
  const walk = (item: unknown, path: readonly (string | number)[]): void => {
    if (typeof item !== 'object' || item === null) return;
    for (const [key, inner] of Object.entries(item)) {
      const at = [...path, Array.isArray(item) ? Number(key) : key];
      if (!Array.isArray(item)) fields.push(at);
      walk(inner, at);
    }
  };
  walk(value, []);
  if (fields.length === 0) return undefined;
  const path = pick(random, fields),
    copy = structuredClone(value),
    parent = valueAt(copy, path.slice(0, -1)) as Record<string, unknown>;
  const key = String(path.at(-1)),
    mark = '\u0001again\u0001';
  // The same again, elsewhere in the object: under a name that becomes the first one's.
  const entries = Object.entries(parent);
  entries.splice(below(random, entries.length + 1), 0, [
    mark,
    pick(random, [structuredClone(parent[key]), null, {}, [], { [key]: 1 }]),
  ]);
  for (const name of Object.keys(parent)) delete parent[name];
  for (const [name, item] of entries)
    Object.defineProperty(parent, name, {
      value: item,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return {
    text: JSON.stringify(copy).replace(JSON.stringify(mark), JSON.stringify(key)),
    path: path
      .map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`))
      .join('')
      .slice(1),
  };
}

forEveryKind(
  'a field that stands twice is found wherever it stands, also by counting',
  ({ schema, object, random }) => {
    const repeated = withRepeatedField(object, random);
    if (!repeated) return;
    const { text, path } = repeated;
    assert.ok(
      findDuplicateFields(text).includes(`duplicate field ${JSON.stringify(path)}`),
      `${path} in ${text}`,
    );
    const { value, fields } = parseJsonCounted(text);
    let result: ReturnType<typeof decodeObject>;
    try {
      result = decodeObject(schema, value, 'strict');
    } catch {
      // The last one counts, and was of another type.
      return;
    }
    assert.ok(
      strictProblems(result, { text, fields }).some((problem) => problem.startsWith('duplicate field')),
      `${path} in ${text}`,
    );
  },
);

forEveryKind('a text without repeated fields is reported as such', ({ schema, object }) => {
  const text = JSON.stringify(object),
    { value, fields } = parseJsonCounted(text);
  assert.deepEqual(strictProblems(decodeObject(schema, value, 'strict'), { text, fields }), []);
});

test('counting does not hide repeated fields behind what is counted otherwise', () => {
  const schema = schemaForKind({ group: '', version: 'v1', kind: 'Pod' })!,
    deployment = schemaForKind({ group: 'apps', version: 'v1', kind: 'Deployment' })!;
  const problems = (text: string, of = schema): readonly string[] => {
    const { value, fields } = parseJsonCounted(text);
    return strictProblems(decodeObject(of, value, 'strict'), { text, fields });
  };
  const attacks: readonly (readonly [text: string, of?: ObjectSchema])[] = [
    // Nulls stand for structs with defaults, whose fields are not the text's.
    ['{"metadata":{"name":"a","name":"b"},"spec":{"containers":[null,null,null]}}'],
    [
      '{"metadata":{"name":"a","name":"b"},"spec":{"containers":[{"name":"c","ports":[null,null],"env":[null]}],"volumes":[null]}}',
    ],
    ['{"spec":{"replicas":1,"replicas":2,"selector":null,"template":null}}', deployment],
    ['{"spec":{"replicas":1,"replicas":2},"status":null}', deployment],
    ['{"metadata":{"labels":{"a":"1","a":"2"},"annotations":{"__proto__":"x"}}}'],
    ['{"metadata":{"labels":{"__proto__":"1","__proto__":"2"}}}'],
    ['{"metadata":{"name":"a","\\u006eame":"b"}}'],
    ['{"metadata":{"name":"a:b:c:{","name":"\\"name\\":1"}}'],
    ['{"metadata" : {"name"\n:\t"a" , "name" : "b"}}'],
    ['{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{},"f:a":{}}}]}}'],
    ['{"metadata":{"managedFields":[{"fieldsV1":{"a":{"b":1}}}],"name":"a","name":"b"}}'],
    ['{"kind":"Pod","kind":"Pod"}'],
    ['{"x":{"a":1,"b":2},"metadata":{"name":"a","name":"b"}}'],
    ['{"spec":{"nodeSelector":{"a":"1"}},"spec":{"nodeSelector":{"a":"1"}}}'],
  ];
  for (const [text, of] of attacks)
    assert.ok(
      problems(text, of).some((problem) => problem.startsWith('duplicate field')),
      `${text}: ${problems(text, of).join()}`,
    );
});

test(`every kind's seed goes through every served version and back as it was, with defaults that are stable (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  for (const { resource, object: seed } of allSeeds) {
    for (const version of resource.versions) {
      const label = `${version.apiVersion} ${version.kind}`;
      const storage = schemaForKind({
        group: resource.storageApiVersion.includes('/') ? resource.group : '',
        version: resource.storageApiVersion.split('/').at(-1)!,
        kind: resource.kind,
      })!;
      const stored = decoded(storage, seed);
      if (random() < 0.5)
        stored.metadata = { ...stored.metadata, annotations: { a: 'b' }, labels: { c: 'd' } };
      resource.applyDefaults(stored);
      const once = structuredClone(stored);
      resource.applyDefaults(stored);
      assert.deepEqual(stored, once, `${label}: defaults are not idempotent`);
      const served = decoded(
        schemaForKind({ group: resource.group, version: version.version, kind: version.kind })!,
        resource.convert(stored, version.apiVersion),
      );
      const back = decoded(storage, resource.convert(served, resource.storageApiVersion));
      assert.deepEqual(
        withoutEmpty(back),
        withoutEmpty(decoded(storage, stored)),
        `${label}: there and back`,
      );
      assert.deepEqual(stored, once, `${label}: conversion changed what it was given`);
    }
  }
});
