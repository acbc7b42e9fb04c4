import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { create, update } from '../testing/write-case.ts';

const meta = { name: 'x', namespace: 'default' };
const claim = (...requests: object[]): object => ({ metadata: meta, spec: { devices: { requests } } });
const exactly = { deviceClassName: 'gpu' };
const slice = (spec: object): object => ({
  metadata: { name: 's' },
  spec: {
    driver: 'gpu.example.com',
    pool: { name: 'p', generation: 1, resourceSliceCount: 1 },
    nodeName: 'n',
    ...spec,
  },
});
const LABEL =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const refused: readonly (readonly [what: string, path: string, object: object, ...errors: string[]])[] = [
  [
    'requests of no sort and of two',
    'resourceclaims',
    claim(
      { name: 'a' },
      { name: 'b', exactly, firstAvailable: [{ name: 's', ...exactly }] },
      { name: 'b', exactly: { allocationMode: 'Some' } },
    ),
    'spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required',
    'spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set',
    'spec.devices.requests[2].exactly.deviceClassName: Required value',
    'spec.devices.requests[2].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"',
    'spec.devices.requests[2]: Duplicate value: "b"',
  ],
  [
    'tolerations and selectors',
    'resourceclaims',
    claim({
      name: 'a',
      exactly: {
        ...exactly,
        allocationMode: 'All',
        count: 1,
        selectors: [{}],
        tolerations: [
          { operator: 'Exists', value: 'x' },
          { key: 'k', operator: 'Near', effect: 'Later' },
        ],
      },
    }),
    'spec.devices.requests[0].exactly.selectors[0].cel: Required value',
    "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
    'spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "x": must be empty for operator `Exists`',
    'spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: "Near": supported values: "Equal", "Exists"',
    'spec.devices.requests[0].exactly.tolerations[1].effect: Unsupported value: "Later": supported values: "NoExecute", "NoSchedule", "None"',
  ],
  [
    'constraints and configuration',
    'resourceclaims',
    {
      metadata: meta,
      spec: {
        devices: {
          requests: [{ name: 'a', firstAvailable: [{ name: 's', ...exactly }] }],
          constraints: [{ requests: ['a/s', 'b'], matchAttribute: 'model' }, {}],
          config: [{ requests: ['a', 'a'] }, { opaque: { driver: 'd', parameters: [] } }],
        },
      },
    },
    'spec.devices.constraints[0].requests[1]: Invalid value: "b": must be the name of a request in the claim or the name of a request and a subrequest separated by \'/\'',
    'spec.devices.constraints[0].matchAttribute: Invalid value: "model": a fully qualified name must be a domain and a name separated by a slash',
    'spec.devices.constraints[1]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set',
    'spec.devices.config[0].requests[1]: Duplicate value: "a"',
    'spec.devices.config[0].opaque: Required value',
    'spec.devices.config[1].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object',
  ],
  [
    'classes',
    'deviceclasses',
    {
      metadata: { name: 'c' },
      spec: { selectors: [{ cel: { expression: '1' } }], config: [{}], extendedResourceName: 'cpu' },
    },
    'spec.config[0].opaque: Required value',
    'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name',
    'spec.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int',
  ],
  [
    'slices: where they are',
    'resourceslices',
    slice({ allNodes: true, pool: { name: 'a//b', generation: -1, resourceSliceCount: 0 } }),
    "spec.pool.name: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    'spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero',
    'spec.pool.generation: Invalid value: -1: must be greater than or equal to zero',
    'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set',
  ],
  [
    'slices: devices',
    'resourceslices',
    slice({
      devices: [
        {
          name: 'A',
          attributes: { 'x/': { int: 1 }, v: { version: '1.2' }, two: { bool: true, string: 's' } },
          capacity: { memory: { value: '1Gi', requestPolicy: { default: '1' } } },
          taints: [{ key: 'k' }],
        },
        { name: 'b', nodeName: 'n', bindingConditions: ['c'], consumesCounters: [{ counterSet: 'set' }] },
      ],
    }),
    `spec.devices[0].name: Invalid value: "A": ${LABEL}`,
    'spec.devices[0].attributes: Invalid value: "": the name must not be empty',
    'spec.devices[0].attributes[v].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0',
    'spec.devices[0].attributes[two]: Invalid value: {"bool":true,"string":"s"}: exactly one value must be specified',
    'spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true',
    'spec.devices[0].taints[0].effect: Required value',
    'spec.devices[1].consumesCounters[0].counters: Required value',
    'spec.devices[1]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec',
    'spec.devices[1].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions',
  ],
  [
    'slices: policies',
    'resourceslices',
    slice({
      devices: [
        {
          name: 'a',
          allowMultipleAllocations: true,
          capacity: { m: { value: '10', requestPolicy: { default: '3', validValues: ['2', '1', '20'] } } },
        },
        {
          name: 'b',
          allowMultipleAllocations: true,
          capacity: {
            m: {
              value: '10',
              requestPolicy: { default: '4', validRange: { min: '1', max: '8', step: '2' } },
            },
          },
        },
      ],
    }),
    'spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: "1": values must be sorted in ascending order',
    'spec.devices[0].capacity[m].requestPolicy.validValues[2]: Invalid value: "20": option is larger than capacity value: 10',
    'spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: "3": default value is not valid according to the requestPolicy',
    'spec.devices[1].capacity[m].requestPolicy.validRange.step: Invalid value: "4": value is not a multiple of a given step (2) from (1)',
    'spec.devices[1].capacity[m].requestPolicy.validRange.step: Invalid value: "8": value is not a multiple of a given step (2) from (1)',
  ],
  [
    'a good slice',
    'resourceslices',
    slice({
      devices: [
        {
          name: 'a',
          attributes: { 'gpu.example.com/model': { string: 'x' }, driver: { version: '1.2.3-rc.1+b' } },
          capacity: { memory: { value: '1Gi' } },
        },
      ],
    }),
  ],
];

for (const [what, plural, object, ...errors] of refused)
  test(`dynamic resources: ${what}`, () =>
    assert.deepEqual(create(`resource.k8s.io/${plural}`, object).errors, errors));

const NEEDS_LABEL =
  'spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace';
const asking = claim({ name: 'a', exactly }, { name: 'b', exactly: { ...exactly, adminAccess: true } });
const template = { metadata: meta, spec: { spec: (asking as { spec: object }).spec } };

test('administrative access needs a labelled namespace', () => {
  const namespace = (labels?: Record<string, string>) => ({
    find: (_of: object, { name }: { readonly name: string }) =>
      name === 'default' ? { metadata: { name, ...(labels ? { labels } : {}) } } : undefined,
  });
  for (const [path, object] of [
    ['resource.k8s.io/resourceclaims', asking],
    ['resource.k8s.io/resourceclaimtemplates', template],
  ] as const) {
    assert.deepEqual(create(path, object, namespace()).errors, [NEEDS_LABEL]);
    assert.deepEqual(
      create(path, object, namespace({ 'resource.kubernetes.io/admin-access': 'yes' })).errors,
      [NEEDS_LABEL],
    );
    assert.deepEqual(
      create(path, object, namespace({ 'resource.kubernetes.io/admin-access': 'true' })).errors,
      [],
    );
  }
});

const stored = create<KubeObject>('resource.k8s.io/resourceclaims', claim({ name: 'a', exactly })).object;
const result = { request: 'a', driver: 'gpu.example.com', pool: 'p', device: 'd' };
const allocation = { devices: { results: [result] } };
const device = { driver: 'gpu.example.com', pool: 'p', device: 'd' };
const condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Made',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
};

const statuses: readonly (readonly [what: string, before: object, after: object, ...errors: string[]])[] = [
  [
    'allocated, reserved, ready',
    {},
    {
      allocation,
      reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }],
      devices: [{ ...device, conditions: [condition], networkData: { ips: ['10.0.0.1/24'] } }],
    },
  ],
  [
    'reserved before it is allocated',
    {},
    { reservedFor: [{ name: 'p', uid: 'u' }] },
    'status.reservedFor[0].resource: Required value',
    'status.reservedFor: Forbidden: may not be specified when `allocated` is not set',
  ],
  [
    'allocated otherwise',
    { allocation },
    { allocation: { devices: { results: [{ ...result, device: 'e' }] } } },
    'status.allocation: Invalid value: {"devices":{"results":[{"request":"a","driver":"gpu.example.com","pool":"p","device":"e"}]}}: field is immutable',
  ],
  [
    'of no request',
    {},
    {
      allocation: {
        devices: {
          results: [{ ...result, request: 'b' }],
          config: [{ source: 'FromSky', opaque: { driver: 'd', parameters: {} } }],
        },
      },
    },
    'status.allocation.devices.results[0].request: Invalid value: "b": must be the name of a request in the claim or the name of a request and a subrequest separated by \'/\'',
    'status.allocation.devices.config[0].source: Unsupported value: "FromSky": supported values: "FromClaim", "FromClass"',
  ],
  [
    'devices of others',
    { allocation },
    {
      allocation,
      devices: [
        {
          ...device,
          device: 'e',
          conditions: [{ type: 'Ready', status: 'Yes', reason: 'no reason' }],
          networkData: { ips: ['10.0.0.1'] },
        },
      ],
    },
    'status.devices[0]: Invalid value: "gpu.example.com/p/e": must be an allocated device in the claim',
    'status.devices[0].conditions[0].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"',
    'status.devices[0].conditions[0].lastTransitionTime: Required value',
    "status.devices[0].conditions[0].reason: Invalid value: \"no reason\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
    'status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)',
  ],
];

for (const [what, before, after, ...errors] of statuses) {
  test(`claim status: ${what}`, () =>
    assert.deepEqual(
      update<KubeObject>(
        'resource.k8s.io/resourceclaims',
        { ...stored, status: before },
        (next) => {
          next['status'] = after;
        },
        'status',
      ).errors,
      errors,
    ));
}

test('claim status: keeps labels, and accepts no new consumers during deletion', () => {
  const going = {
    ...stored,
    metadata: { ...stored.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' },
    status: { allocation },
  };
  const { object, errors } = update<KubeObject>(
    'resource.k8s.io/resourceclaims',
    going,
    (next) => {
      next.metadata!.labels = { a: 'b' };
      next['status'] = { allocation, reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }] };
    },
    'status',
  );
  assert.equal(object.metadata?.labels, undefined);
  assert.deepEqual(errors, [
    'status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set',
  ]);
});
