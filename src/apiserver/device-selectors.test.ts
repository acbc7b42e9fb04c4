import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import type { Resource } from '#resources/resource.ts';
import { withDeviceSelectorChecks } from './device-selectors.ts';

const plain = (plural: string, group = 'resource.k8s.io') =>
  ({ group, plural, validate: () => [], validateUpdate: () => [] }) as unknown as Resource;
const checked = (plural: string) => withDeviceSelectorChecks(plain(plural));
const selectors = (...expressions: string[]) => expressions.map((expression) => ({ cel: { expression } }));
const object = (spec: unknown) => ({ metadata: { name: 'one' }, spec }) as KubeObject;
const problems = (resource: Resource, of: KubeObject) =>
  resource.validate(of, {} as never).map(({ field, detail }) => `${field}: ${detail}`);

describe('selectors of devices', () => {
  const devices = checked('deviceclasses');

  for (const expression of [
    'true',
    'device.driver == "gpu.example.com"',
    'device.attributes["gpu.example.com"].family == "a"',
    '"gpu.example.com" in device.attributes',
    'device.capacity["gpu.example.com"].memory.isGreaterThan(quantity("1Gi"))',
    'device.attributes["gpu.example.com"].ready',
    'device.allowMultipleAllocations',
    'device.attributes["gpu.example.com"].version.isGreaterThan(semver("1.0.0"))',
  ])
    it(`take ${expression}`, () =>
      assert.deepEqual(problems(devices, object({ selectors: selectors(expression) })), []));

  it('are refused where they do not compile or do not answer with a bool', () => {
    const [undefinedField, number] = problems(devices, object({ selectors: selectors('device.nope', '1') }));
    assert.match(undefinedField ?? '', /^spec\.selectors\[0\]\.cel\.expression: .*undefined field 'nope'/s);
    assert.equal(
      number,
      'spec.selectors[1].cel.expression: must evaluate to bool or the unknown type, not int',
    );
  });

  it('are refused where they may cost too much', () => {
    const nested =
      'device.attributes.all(d, device.attributes.all(e, device.attributes[d].all(a, device.attributes[e].all(b, device.attributes[d][a] == device.attributes[e][b]))))';
    assert.deepEqual(
      problems(
        devices,
        object({ selectors: selectors(nested, 'cel.bind(x, device.attributes["a"], x.b == x.c)') }),
      ),
      ['spec.selectors[0].cel.expression: too complex, exceeds cost limit'],
    );
  });

  it('are looked for in every request of a claim and of a template', () => {
    const requests = {
      devices: {
        requests: [
          { name: 'a', exactly: { selectors: selectors('1') } },
          { name: 'b', firstAvailable: [{ name: 'c', selectors: selectors('true', '2') }] },
        ],
      },
    };
    const paths = [
      'devices.requests[0].exactly.selectors[0].cel.expression',
      'devices.requests[1].firstAvailable[0].selectors[1].cel.expression',
    ];
    const where = (plural: string, spec: unknown) =>
      checked(plural)
        .validate(object(spec), {} as never)
        .map(({ field }) => field);
    assert.deepEqual(
      where('resourceclaims', requests),
      paths.map((path) => `spec.${path}`),
    );
    assert.deepEqual(
      where('resourceclaimtemplates', { spec: requests }),
      paths.map((path) => `spec.spec.${path}`),
    );
  });

  it('that an object had already stay', () => {
    const kept = object({ selectors: selectors('1') });
    assert.deepEqual(devices.validateUpdate(kept, kept, {} as never), []);
    assert.equal(
      devices.validateUpdate(object({ selectors: selectors('1', '2') }), kept, {} as never).length,
      1,
    );
  });

  it('are of no concern to other resources', () => {
    const other = plain('deviceclasses', 'example.com');
    assert.equal(withDeviceSelectorChecks(other), other);
  });
});
