/** The derived OpenAPI documents against upstream's, descriptions and declared gaps aside. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openapiV2Document } from './v2.ts';
import { openapiV3Document, openapiV3Index, openapiV3Paths } from './v3.ts';

const root = join(import.meta.dirname, '../../../shared/kubernetes-1.36');
const skip = existsSync(root) ? false : '../shared is absent';

type Json = Record<string, unknown>;

/**
 * Declared gaps: descriptions are our own words; enumerations stand in ours as running upstream servers have them, but not in the
 * specification upstream commits; orders of required fields and of kinds carry no meaning; parameters are compared without regard to
 * whether they stand at the path or at the operation in v2, where upstream refers to shared ones.
 */
function normalise(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => normalise(item));
    return key === 'required' || key === 'x-kubernetes-group-version-kind'
      ? items.toSorted((left, right) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1))
      : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(
    ([name, inner]) =>
      !(name === 'description' && typeof inner === 'string') && !(name === 'enum' && Array.isArray(inner)),
  );
  return Object.fromEntries(entries.map(([name, inner]) => [name, normalise(inner, name)]));
}

const everything = (): boolean => true;

test('the index lists the stable versions, each with a hash', () => {
  const { paths } = openapiV3Index();
  assert.match(
    paths['apis/apps/v1']!.serverRelativeURL,
    /^\/openapi\/v3\/apis\/apps\/v1\?hash=[0-9A-F]{64}$/,
  );
  assert.equal(paths['apis/resource.k8s.io/v1beta1'], undefined);
  assert.equal(openapiV3Document('apis/no.such.group/v1'), undefined);
});

test('enumerations have values, also those of other packages and of maps', () => {
  for (const name of openapiV3Paths(everything))
    assert.ok(!JSON.stringify(openapiV3Document(name)).includes('"enum":[]'), name);
  const document = openapiV3Document('api/v1') as unknown as {
    components: {
      schemas: Record<string, { properties: Record<string, { additionalProperties?: { enum?: string[] } }> }>;
    };
  };
  assert.ok(
    document.components.schemas['io.k8s.api.core.v1.PersistentVolumeClaimStatus']!.properties[
      'allocatedResourceStatuses'
    ]!.additionalProperties!.enum!.includes('NodeResizePending'),
  );
  assert.match(
    JSON.stringify(openapiV3Document('apis/discovery.k8s.io/v1')),
    /"enum":\["SCTP","TCP","UDP"\].*"enum":\["FQDN","IPv4","IPv6"\]/,
  );
});

/** Upstream has it only in v2. */
const onlyInV2 = '.well-known/openid-configuration';

for (const name of openapiV3Paths(everything).filter((path) => path !== onlyInV2)) {
  test(`v3: ${name}`, { skip }, () => {
    const expected = JSON.parse(
      readFileSync(join(root, 'openapi-v3', `${name.replaceAll('/', '__')}_openapi.json`), 'utf8'),
    ) as Json;
    const actual = JSON.parse(JSON.stringify(openapiV3Document(name))) as Json;
    assert.deepEqual(normalise(actual), normalise(expected));
  });
}

test('v2: same paths, operations and definitions', { skip }, () => {
  const expected = normalise(JSON.parse(readFileSync(join(root, 'swagger.json'), 'utf8'))) as Json;
  const actual = normalise(JSON.parse(JSON.stringify(openapiV2Document(everything)))) as Json;
  const shared = expected['parameters'] as Record<string, Json>;
  const resolve = (parameter: Json): unknown =>
    typeof parameter['$ref'] === 'string'
      ? shared[parameter['$ref'].slice('#/parameters/'.length)]
      : parameter;
  const withParameters = (paths: Json): Json =>
    JSON.parse(JSON.stringify(paths), (key, value: unknown) =>
      key === 'parameters' ? (value as Json[]).map(resolve) : value,
    ) as Json;
  assert.deepEqual(actual['definitions'], expected['definitions']);
  assert.deepEqual(
    Object.keys(actual['paths'] as Json).toSorted(),
    Object.keys(expected['paths'] as Json).toSorted(),
  );
  for (const [path, item] of Object.entries(withParameters(expected['paths'] as Json)))
    assert.deepEqual((actual['paths'] as Json)[path], item, path);
});
