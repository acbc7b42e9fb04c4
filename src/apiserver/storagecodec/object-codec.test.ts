/**
 * Stored bytes of upstream 1.36, read and written again. testdata/upstream-1.36.json: what a kube-apiserver 1.36.2 put into etcd for the objects of
 * tools/compare/objects, base64 by key; `tools/compare/same-etcd.test.ts` runs both servers on one etcd where that program is at hand.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { schemaForKind } from '#api/schemas.ts';
import {
  decodeObject as decodeProtobuf,
  encodeObjectFaithfully,
  isProtobuf,
  ProtobufError,
} from '#machinery/codec/protobuf.ts';
import { decodeObject } from '#machinery/decode.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { serializeObject } from '#machinery/serialize.ts';
import { RESOURCES } from '#resources/registry.ts';
import { storedResource } from '#resources/stored-resource.ts';
import { upstreamStorageVersion } from '#resources/storage-version.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { mutateValue } from '#testing/fuzz/mutate.ts';
import { codecOf, StoredFormError } from './object-codec.ts';

const golden = Object.entries(
  JSON.parse(readFileSync(new URL('./testdata/upstream-1.36.json', import.meta.url), 'utf8')) as Record<
    string,
    string
  >,
).map(([key, value]) => ({ key, stored: Buffer.from(value, 'base64') }));

/** Upstream would not write these again as they are either: defaults of the status, which reading adds, or bytes that are empty and given. */
const REWRITTEN =
  /^\/registry\/(persistentvolumeclaims\/|(mutating|validating)webhookconfigurations\/.*-rich$)/;

test('protobuf of every built-in kind is written again byte for byte', () => {
  let count = 0;
  for (const { key, stored } of golden) {
    const codec = codecOf(storedResource(key).builtin);
    if (!isProtobuf(stored) || REWRITTEN.test(key)) continue;
    assert.ok(codec.isCurrent(stored), `${key} is of upstream's storage version`);
    assert.deepEqual(codec.encode(codec.decode(stored)), stored, key);
    count++;
  }
  assert.ok(count > 140, `${count} objects`);
});

test('what is rewritten stays as it is from then on, and reads the same', () => {
  for (const { key, stored } of golden.filter((one) => REWRITTEN.test(one.key))) {
    const codec = codecOf(storedResource(key).builtin);
    const once = codec.encode(codec.decode(stored));
    assert.deepEqual(codec.encode(codec.decode(once)), once, key);
    assert.deepEqual(JSON.parse(codec.decode(once).toString()), JSON.parse(codec.decode(stored).toString()));
  }
});

test('definitions in v1beta1, as upstream prefers them for storage, are read as v1', () => {
  const definitions = golden.filter(
    ({ key }) => storedResource(key).builtin?.kind === 'CustomResourceDefinition',
  );
  assert.ok(definitions.length > 0);
  for (const { key, stored } of definitions) {
    const codec = codecOf(storedResource(key).builtin);
    assert.equal(JSON.parse(stored.toString()).apiVersion, 'apiextensions.k8s.io/v1beta1');
    const { apiVersion, spec } = JSON.parse(codec.decode(stored).toString());
    assert.equal(apiVersion, 'apiextensions.k8s.io/v1');
    assert.deepEqual(Object.keys(spec).toSorted(), ['conversion', 'group', 'names', 'scope', 'versions']);
    assert.deepEqual(spec.versions[0].schema, { openAPIV3Schema: { type: 'object' } });
  }
});

test('common fields, printer columns and webhooks of a v1beta1 definition', () => {
  const key = '/registry/apiextensions.k8s.io/customresourcedefinitions/xs.a.io';
  const codec = codecOf(storedResource(key).builtin);
  const stored = {
    kind: 'CustomResourceDefinition',
    apiVersion: 'apiextensions.k8s.io/v1beta1',
    metadata: { name: 'xs.a.io' },
    spec: {
      group: 'a.io',
      version: 'v1',
      names: { plural: 'xs', kind: 'X' },
      scope: 'Cluster',
      subresources: { status: {} },
      additionalPrinterColumns: [{ name: 'n', type: 'string', JSONPath: '.spec.n' }],
      conversion: {
        strategy: 'Webhook',
        webhookClientConfig: { url: 'https://x' },
        conversionReviewVersions: ['v1'],
      },
      preserveUnknownFields: true,
    },
  };
  const { spec } = JSON.parse(codec.decode(Buffer.from(JSON.stringify(stored))).toString());
  const [version] = spec.versions;
  assert.deepEqual([version.name, version.served, version.storage], ['v1', true, true]);
  assert.deepEqual(version.subresources, { status: {} });
  assert.deepEqual(version.additionalPrinterColumns, [{ name: 'n', type: 'string', jsonPath: '.spec.n' }]);
  assert.equal(spec.preserveUnknownFields, true);
  assert.deepEqual(spec.conversion, {
    strategy: 'Webhook',
    webhook: { clientConfig: { url: 'https://x' }, conversionReviewVersions: ['v1'] },
  });
});

test('every built-in kind has the storage version whose hash upstream publishes', () => {
  const others = RESOURCES.filter(
    (resource) => !resource.virtual && upstreamStorageVersion(resource) !== resource.storageApiVersion,
  ).map((resource) => `${resource.kind} ${upstreamStorageVersion(resource)}`);
  assert.deepEqual(others.toSorted(), [
    'DeviceTaintRule resource.k8s.io/v1alpha3',
    'MutatingAdmissionPolicy admissionregistration.k8s.io/v1beta1',
    'MutatingAdmissionPolicyBinding admissionregistration.k8s.io/v1beta1',
  ]);
});

test('JSON of a built-in kind, another version of its group, and bytes that are neither', () => {
  const key = '/registry/horizontalpodautoscalers/n/a';
  const codec = codecOf(storedResource(key).builtin);
  const json = Buffer.from(
    '{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"D","name":"d"},"targetCPUUtilizationPercentage":50}}\n',
  );
  assert.ok(!codec.isCurrent(json));
  const { apiVersion, spec } = JSON.parse(codec.decode(json).toString());
  assert.equal(apiVersion, 'autoscaling/v2');
  assert.equal(spec.metrics[0].resource.target.averageUtilization, 50);
  assert.ok(codec.isCurrent(codec.encode(codec.decode(json))));
  for (const bytes of ['k8s\0\xff\xff', 'nonsense', '{"kind":"Pod","apiVersion":"v1","metadata":{}}'])
    assert.throws(() => codec.decode(Buffer.from(bytes, 'latin1')), StoredFormError, bytes);
});

test('custom resources stay JSON; what no registry keeps is left as it is', () => {
  const codec = codecOf(undefined);
  const unordered = Buffer.from(
    '{"spec":{"a":1},"metadata":{"name":"x"},"kind":"X","apiVersion":"a.io/v1"}\n',
  );
  assert.equal(
    codec.decode(unordered).toString(),
    '{"kind":"X","apiVersion":"a.io/v1","metadata":{"name":"x"},"spec":{"a":1}}',
  );
  const raw = Buffer.from('k8s\0whatever');
  assert.equal(codec.decode(raw), raw);
});

/** As JSON has it. */
function plain(object: KubeObject): KubeObject {
  return JSON.parse(JSON.stringify(object)) as KubeObject;
}

test('an object is encoded as its JSON is, and where that is faithful, it is decoded as it was', () => {
  let faithful = 0;
  for (const { key, stored } of golden) {
    const codec = codecOf(storedResource(key).builtin);
    const json = codec.decode(stored);
    const { bytes, isFaithful } = codec.encodeObject(JSON.parse(json.toString()) as KubeObject, json);
    assert.deepEqual(bytes, codec.encode(json), key);
    if (!isFaithful) continue;
    faithful++;
    assert.deepEqual(JSON.parse(codec.decode(bytes).toString()), JSON.parse(json.toString()), key);
  }
  assert.ok(faithful > golden.length * 0.9, `${faithful} of ${golden.length}`);
});

/** Undefined where it is refused. */
function asRead(value: unknown, schema: ObjectSchema): KubeObject | undefined {
  try {
    return decodeObject(schema, value, 'ignore').object as KubeObject;
  } catch (error) {
    if (isStatusError(error)) return undefined;
    throw error;
  }
}

/** Undefined for a null among strings, say. */
function encodedUnlessRefused(
  object: KubeObject,
  schema: ObjectSchema,
): ReturnType<typeof encodeObjectFaithfully> | undefined {
  try {
    return encodeObjectFaithfully(object, schema);
  } catch (error) {
    if (error instanceof ProtobufError) return undefined;
    throw error;
  }
}

/** Now and then, some field becomes null, or an unknown one is added. */
function mutateFields(value: unknown, random: Random): void {
  if (typeof value !== 'object' || value === null) return;
  const object = value as Record<string, unknown>;
  const keys = Object.keys(object);
  if (!Array.isArray(value) && random() < 0.02) object['unknown'] = 1;
  if (!Array.isArray(value) && keys.length > 0 && random() < 0.01) object[keys[0]!] = null;
  for (const key of keys) mutateFields(object[key], random);
}

const SEED = Number(process.env['CODEC_SEED'] ?? 1);
const MUTATIONS = 20;

test(`however an object is damaged, the encoder only calls it faithful where it is (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  let faithful = 0,
    others = 0;
  for (const { key, stored } of golden) {
    if (!isProtobuf(stored)) continue;
    const { kind, storageApiVersion } = storedResource(key).builtin!;
    const schema = schemaForKind({ ...parseApiVersion(storageApiVersion), kind })!;
    const json = codecOf(storedResource(key).builtin).decode(stored).toString();
    for (let round = 0; round < MUTATIONS; round++) {
      const object = asRead(mutateValue(JSON.parse(json), random), schema);
      if (object?.kind !== kind || object.apiVersion !== storageApiVersion) continue;
      // Which bodies do not bring.
      mutateFields(object, random);
      const encoded = encodedUnlessRefused(object, schema);
      if (!encoded) continue;
      const { bytes, isFaithful } = encoded;
      if (isFaithful)
        assert.deepEqual(plain(decodeProtobuf(bytes, { schemaFor: schemaForKind })), plain(object), key);
      if (isFaithful) faithful++;
      else others++;
    }
  }
  assert.ok(faithful > 300 && others > 300, `${faithful} and ${others}`);
});

test('what no protobuf message holds is not faithful', () => {
  const schema = schemaForKind({ group: '', version: 'v1', kind: 'ConfigMap' })!;
  const of = (fields: object): boolean =>
    encodeObjectFaithfully(
      { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' }, ...fields },
      schema,
    ).isFaithful;
  assert.ok(of({ data: { k: 'é', l: '' }, immutable: false }));
  assert.ok(of({ data: undefined, binaryData: { k: 'AAE=' } }));
  assert.ok(of({ metadata: { name: 'a', creationTimestamp: '2026-12-03T12:00:00Z' } }));
  for (const fields of [
    { data: {} },
    { data: null },
    { data: { k: '\ud800' } },
    { binaryData: { k: 'AAE' } },
    { unknown: 1 },
    { metadata: { name: 'a', unknown: 1 } },
    { metadata: { name: 'a', namespace: '' } },
    { metadata: { name: 'a', finalizers: [] } },
    { metadata: { name: 'a', creationTimestamp: null } },
    { metadata: { name: 'a', creationTimestamp: '2026-12-03T12:00:00.5Z' } },
    { metadata: { name: 'a', creationTimestamp: '2026-12-03T13:00:00+01:00' } },
    { metadata: { name: 'a', generation: 2 ** 53 } },
    { kind: '' },
  ])
    assert.ok(!of(fields), JSON.stringify(fields));
});

test('an object of another version than the stored one is encoded by way of its JSON', () => {
  const codec = codecOf(storedResource('/registry/horizontalpodautoscalers/n/a').builtin);
  const object = { kind: 'HorizontalPodAutoscaler', apiVersion: 'autoscaling/v1', metadata: { name: 'a' } };
  const json = serializeObject(object);
  assert.deepEqual(codec.encodeObject(object, json), { bytes: codec.encode(json), isFaithful: false });
});
