/** CEL device selectors: compilation, errors with their path, and ratcheting. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldErrors } from '#machinery/errors.ts';
import type { DeviceClass, ResourceClaimTemplate } from '#api/types.ts';
import {
  selectorsOfClaim,
  selectorsOfClass,
  selectorsOfTemplate,
  withSelectorErrors,
} from './device-selectors.ts';

const selectors = (...expressions: string[]) => expressions.map((expression) => ({ cel: { expression } }));
const object = (spec: unknown) =>
  ({ metadata: { name: 'one' }, spec }) as DeviceClass & ResourceClaimTemplate;
const problems = (of: DeviceClass) =>
  withSelectorErrors([], selectorsOfClass(of)).map(({ field, detail }) => `${field}: ${detail}`);

describe('device selectors', () => {
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
      assert.deepEqual(problems(object({ selectors: selectors(expression) })), []));

  it('are rejected when they do not compile or do not return a bool', () => {
    const [undefinedField, number] = problems(object({ selectors: selectors('device.nope', '1') }));
    assert.match(undefinedField ?? '', /^spec\.selectors\[0\]\.cel\.expression: .*undefined field 'nope'/s);
    assert.equal(
      number,
      'spec.selectors[1].cel.expression: must evaluate to bool or the unknown type, not int',
    );
  });

  it('are rejected when they may be too expensive', () => {
    const nested =
      'device.attributes.all(d, device.attributes.all(e, device.attributes[d].all(a, device.attributes[e].all(b, device.attributes[d][a] == device.attributes[e][b]))))';
    assert.deepEqual(
      problems(object({ selectors: selectors(nested, 'cel.bind(x, device.attributes["a"], x.b == x.c)') })),
      ['spec.selectors[0].cel.expression: too complex, exceeds cost limit'],
    );
  });

  it('are checked in every request of a claim and of a template', () => {
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
    const where = (selectors: ReturnType<typeof selectorsOfClaim>): (string | undefined)[] =>
      withSelectorErrors([], selectors).map(({ field }) => field);
    assert.deepEqual(
      where(selectorsOfClaim(object(requests))),
      paths.map((path) => `spec.${path}`),
    );
    assert.deepEqual(
      where(selectorsOfTemplate(object({ spec: requests }))),
      paths.map((path) => `spec.spec.${path}`),
    );
  });

  it('are kept when stored, and not compiled when too long', () => {
    const kept = selectorsOfClass(object({ selectors: selectors('1') }));
    const more = selectorsOfClass(object({ selectors: selectors('1', '2') }));
    assert.deepEqual(withSelectorErrors([], kept, kept), []);
    assert.equal(withSelectorErrors([], more, kept).length, 1);
    const tooLong = fieldErrors.tooLong('spec', 1);
    assert.deepEqual(withSelectorErrors([tooLong], more), [tooLong]);
  });
});
