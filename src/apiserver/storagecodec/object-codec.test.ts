/**
 * Stored bytes of upstream 1.36, read and written again. testdata/upstream-1.36.json: what a kube-apiserver 1.36.2 put into etcd for the objects of
 * tools/compare/objects, base64 by key; `tools/compare/same-etcd.test.ts` runs both servers on one etcd where that program is at hand.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isProtobuf } from '#machinery/codec/protobuf.ts';
import { RESOURCES } from '#resources/registry.ts';
import { storedResource } from '#resources/stored-resource.ts';
import { upstreamStorageVersion } from '#resources/storage-version.ts';
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
