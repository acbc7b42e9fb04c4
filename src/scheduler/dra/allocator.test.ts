import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Device, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import {
  allocationInput,
  allocationText,
  cel,
  deviceClaim,
  deviceClass,
  DRIVER,
  exactly,
  slice,
  type DeviceWorld,
} from '../testing/devices.ts';
import { allocateDevices } from './allocator.ts';

const gpu = (name: string, model = 'a', more: Partial<Device> = {}): Device => ({
  name,
  attributes: { model: { string: model } },
  ...more,
});
const isModel = (model: string): ReturnType<typeof cel> =>
  cel(`device.attributes["${DRIVER}"].model == "${model}"`);
const sub = (name: string, more: object = {}): { name: string; deviceClassName: string } => ({
  name,
  deviceClassName: 'gpus',
  ...more,
});
const counters = (memory: string): Partial<Device> => ({
  consumesCounters: [{ counterSet: 'card', counters: { memory: { value: memory } } }],
});
const card = slice([], {
  name: 'card',
  count: 2,
  sharedCounters: [{ name: 'card', counters: { memory: { value: '40Gi' } } }],
});
const partitions = slice(
  [
    gpu('half-0', 'a', counters('20Gi')),
    gpu('whole', 'a', counters('40Gi')),
    gpu('half-1', 'a', counters('20Gi')),
  ],
  {
    name: 'parts',
    count: 2,
  },
);
const shared = (value = '10Gi', requestPolicy: object = {}): Device => ({
  ...gpu('s'),
  allowMultipleAllocations: true,
  capacity: { memory: { value, requestPolicy } },
});
const takenBy = (device: string, more: object = {}): ResourceClaim => ({
  ...deviceClaim([], { name: 'other' }),
  status: {
    allocation: { devices: { results: [{ request: 'r', driver: DRIVER, pool: 'pool', device, ...more }] } },
  },
});
const taint = { key: 'broken', value: 'yes', effect: 'NoSchedule' };

interface Case extends Partial<DeviceWorld> {
  readonly name: string;
  readonly claims: readonly ResourceClaim[];
  readonly expect: string;
}

const one = [deviceClaim([exactly('r')])];
const cases: readonly Case[] = [
  { name: 'the first device', claims: one, slices: [slice([gpu('0'), gpu('1')])], expect: 'r=0' },
  {
    name: 'the next one, when it is taken',
    claims: one,
    allocated: [takenBy('0')],
    slices: [slice([gpu('0'), gpu('1')])],
    expect: 'r=1',
  },
  {
    name: 'administrative access takes nothing',
    claims: one,
    allocated: [takenBy('0', { adminAccess: true })],
    slices: [slice([gpu('0')])],
    expect: 'r=0',
  },
  {
    name: 'a taken device with administrative access',
    claims: [deviceClaim([exactly('r', { adminAccess: true })])],
    allocated: [takenBy('0')],
    slices: [slice([gpu('0')])],
    expect: 'r=0',
  },
  {
    name: 'not twice for one claim, also with administrative access',
    claims: [deviceClaim([exactly('r', { adminAccess: true }), exactly('q', { adminAccess: true })])],
    slices: [slice([gpu('0')])],
    expect: 'no',
  },
  { name: 'none is left', claims: one, allocated: [takenBy('0')], slices: [slice([gpu('0')])], expect: 'no' },
  {
    name: 'by a selector of the request',
    claims: [deviceClaim([exactly('r', { selectors: [isModel('b')] })])],
    slices: [slice([gpu('0'), gpu('1', 'b')])],
    expect: 'r=1',
  },
  {
    name: 'by a selector of the class',
    claims: one,
    classes: [deviceClass('gpus', { selectors: [isModel('b')] })],
    slices: [slice([gpu('0'), gpu('1', 'b')])],
    expect: 'r=1',
  },
  {
    name: 'a domain that the device does not have is empty',
    claims: [
      deviceClaim([
        exactly('r', {
          selectors: [
            cel('!("x.example.com" in device.attributes) && !has(device.attributes["x.example.com"].model)'),
          ],
        }),
      ]),
    ],
    slices: [slice([gpu('0')])],
    expect: 'r=0',
  },
  {
    name: 'by capacity and version',
    claims: [
      deviceClaim([
        exactly('r', {
          selectors: [
            cel(
              `device.capacity["${DRIVER}"].memory.isGreaterThan(quantity("5Gi")) && device.attributes["${DRIVER}"].firmware.isGreaterThan(semver("1.2.0"))`,
            ),
          ],
        }),
      ]),
    ],
    slices: [
      slice([
        {
          name: '0',
          attributes: { firmware: { version: '1.10.0' } },
          capacity: { memory: { value: '1Gi' } },
        },
        {
          name: '1',
          attributes: { firmware: { version: '1.10.0' } },
          capacity: { memory: { value: '8Gi' } },
        },
      ]),
    ],
    expect: 'r=1',
  },
  {
    name: 'a selector that fails ends the attempt',
    claims: [deviceClaim([exactly('r', { selectors: [cel(`device.attributes["${DRIVER}"].size == 1`)] })])],
    slices: [slice([gpu('0')])],
    expect: `claim default/c: selector #0 on device ${DRIVER}/pool/0: CEL runtime error: no such key: size`,
  },
  {
    name: 'several of one request, in order',
    claims: [deviceClaim([exactly('r', { count: 2 })])],
    slices: [slice([gpu('0'), gpu('1'), gpu('2')])],
    expect: 'r=0 r=1',
  },
  {
    name: 'an earlier request yields',
    claims: [deviceClaim([exactly('r'), exactly('q', { selectors: [isModel('a')] })])],
    slices: [slice([gpu('0'), gpu('1', 'b')])],
    expect: 'r=1 q=0',
  },
  {
    name: 'an earlier claim yields',
    claims: [
      deviceClaim([exactly('r')]),
      deviceClaim([exactly('q', { selectors: [isModel('a')] })], { name: 'd' }),
    ],
    slices: [slice([gpu('0'), gpu('1', 'b')])],
    expect: 'r=1 | q=0',
  },
  {
    name: 'all of them',
    claims: [deviceClaim([exactly('r', { allocationMode: 'All', selectors: [isModel('a')] })])],
    slices: [slice([gpu('0'), gpu('1', 'b'), gpu('2')])],
    expect: 'r=0 r=2',
  },
  {
    name: 'all, but one is taken',
    claims: [deviceClaim([exactly('r', { allocationMode: 'All' })])],
    allocated: [takenBy('1')],
    slices: [slice([gpu('0'), gpu('1')])],
    expect: 'no',
  },
  {
    name: 'all of none',
    claims: [deviceClaim([exactly('r', { allocationMode: 'All' })])],
    slices: [],
    expect: 'no',
  },
  {
    name: 'all of an incomplete pool',
    claims: [deviceClaim([exactly('r', { allocationMode: 'All' })])],
    slices: [slice([gpu('0')], { count: 2 })],
    expect: `claim default/c, request r: asks for all devices, but resource pool ${DRIVER}/pool is currently being updated`,
  },
  {
    name: 'none of an incomplete pool',
    claims: one,
    slices: [slice([gpu('0')], { count: 2 })],
    expect: 'no',
  },
  {
    name: 'only the newest generation',
    claims: one,
    slices: [slice([gpu('old')]), slice([gpu('new')], { generation: 2 })],
    expect: 'r=new',
  },
  {
    name: 'a device name twice',
    claims: one,
    slices: [slice([gpu('0')], { name: 'a', count: 2 }), slice([gpu('0')], { name: 'b', count: 2 })],
    expect: 'invalid resource pools were encountered',
  },
  {
    name: 'a pool of another node',
    claims: one,
    slices: [slice([gpu('0')], { nodeName: 'y' })],
    expect: 'no',
  },
  {
    name: 'a pool of all nodes',
    claims: one,
    slices: [slice([gpu('0')], { allNodes: true })],
    expect: 'r=0',
  },
  {
    name: 'a pool of selected nodes',
    claims: one,
    node: { name: 'x', labels: { rack: '1' } },
    slices: [
      slice([gpu('0')], {
        nodeSelector: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'rack', operator: 'In', values: ['1'] }] }],
        },
      }),
    ],
    expect: 'r=0',
  },
  {
    name: 'devices that select nodes themselves',
    claims: one,
    slices: [
      slice([gpu('0', 'a', { nodeName: 'y' }), gpu('1', 'a', { nodeName: 'x' })], {
        perDeviceNodeSelection: true,
      }),
    ],
    expect: 'r=1',
  },
  {
    name: 'the preferred alternative',
    claims: [
      deviceClaim([{ name: 'r', firstAvailable: [sub('big', { selectors: [isModel('b')] }), sub('small')] }]),
    ],
    slices: [slice([gpu('0'), gpu('1', 'b')])],
    expect: 'r/big=1',
  },
  {
    name: 'the next alternative',
    claims: [
      deviceClaim([
        {
          name: 'r',
          firstAvailable: [sub('big', { selectors: [isModel('b')] }), sub('small', { count: 2 })],
        },
      ]),
    ],
    slices: [slice([gpu('0'), gpu('1')])],
    expect: 'r/small=0 r/small=1',
  },
  {
    name: 'an alternative yields to a later request',
    claims: [
      deviceClaim([{ name: 'r', firstAvailable: [sub('big', { count: 2 }), sub('small')] }, exactly('q')]),
    ],
    slices: [slice([gpu('0'), gpu('1')])],
    expect: 'r/small=0 q=1',
  },
  {
    name: 'devices with one value',
    claims: [
      deviceClaim([exactly('r', { count: 2 })], { constraints: [{ matchAttribute: `${DRIVER}/model` }] }),
    ],
    slices: [slice([gpu('0'), gpu('1', 'b'), gpu('2')])],
    expect: 'r=0 r=2',
  },
  {
    name: 'devices with different values',
    claims: [
      deviceClaim([exactly('r', { count: 2 })], { constraints: [{ distinctAttribute: `${DRIVER}/model` }] }),
    ],
    slices: [slice([gpu('0'), gpu('1'), gpu('2', 'b')])],
    expect: 'r=0 r=2',
  },
  {
    name: 'a constraint of some requests',
    claims: [
      deviceClaim([exactly('r'), exactly('q'), exactly('p')], {
        constraints: [{ requests: ['r', 'p'], matchAttribute: `${DRIVER}/model` }],
      }),
    ],
    slices: [slice([gpu('0'), gpu('1', 'b'), gpu('2')])],
    expect: 'r=0 q=1 p=2',
  },
  {
    name: 'a constraint on a missing attribute',
    claims: [deviceClaim([exactly('r')], { constraints: [{ matchAttribute: `${DRIVER}/size` }] })],
    slices: [slice([gpu('0')])],
    expect: 'no',
  },
  {
    name: 'a tainted device',
    claims: one,
    slices: [slice([gpu('0', 'a', { taints: [taint] }), gpu('1')])],
    expect: 'r=1',
  },
  {
    name: 'a tolerated taint',
    claims: [deviceClaim([exactly('r', { tolerations: [{ key: 'broken', operator: 'Exists' }] })])],
    slices: [slice([gpu('0', 'a', { taints: [taint] })])],
    expect: 'r=0',
  },
  {
    name: 'an unknown effect',
    claims: one,
    slices: [slice([gpu('0', 'a', { taints: [{ ...taint, effect: 'None' }] })])],
    expect: 'r=0',
  },
  {
    name: 'partitions share counters',
    claims: [deviceClaim([exactly('r', { count: 2 })])],
    slices: [card, partitions],
    expect: 'r=half-0 r=half-1',
  },
  {
    name: 'partitions that are taken have consumed theirs',
    claims: one,
    allocated: [takenBy('half-1')],
    slices: [
      card,
      slice(
        [
          gpu('whole', 'a', counters('40Gi')),
          gpu('half-1', 'a', counters('20Gi')),
          gpu('half-0', 'a', counters('20Gi')),
        ],
        { name: 'parts', count: 2 },
      ),
    ],
    expect: 'r=half-0',
  },
  {
    name: 'counters that the pool does not have',
    claims: one,
    slices: [slice([gpu('0', 'a', counters('1'))])],
    expect: 'invalid resource pools were encountered',
  },
  {
    name: 'a shared device, for two claims',
    claims: [
      deviceClaim([exactly('r', { capacity: { requests: { memory: '5Gi' } } })]),
      deviceClaim([exactly('q', { capacity: { requests: { memory: '5Gi' } } })], { name: 'd' }),
    ],
    slices: [slice([shared()])],
    expect: 'r=s | q=s',
  },
  {
    name: 'not beyond its capacity',
    claims: [
      deviceClaim([exactly('r', { capacity: { requests: { memory: '6Gi' } } })]),
      deviceClaim([exactly('q', { capacity: { requests: { memory: '5Gi' } } })], { name: 'd' }),
    ],
    slices: [slice([shared()])],
    expect: 'no',
  },
  {
    name: 'the whole of it without a request',
    claims: one,
    allocated: [takenBy('s', { shareID: 'z', consumedCapacity: { memory: '1Gi' } })],
    slices: [slice([shared()])],
    expect: 'no',
  },
  {
    name: 'the default of its policy',
    claims: one,
    allocated: [takenBy('s', { shareID: 'z', consumedCapacity: { memory: '1Gi' } })],
    slices: [slice([shared('10Gi', { default: '1Gi' })])],
    expect: 'r=s',
  },
  {
    name: 'rounded up to a valid value',
    claims: [deviceClaim([exactly('r', { capacity: { requests: { memory: '3Gi' } } })])],
    allocated: [takenBy('s', { shareID: 'z', consumedCapacity: { memory: '4Gi' } })],
    slices: [slice([shared('10Gi', { default: '1Gi', validValues: ['1Gi', '8Gi'] })])],
    expect: 'no',
  },
  {
    name: 'beyond the range of its policy',
    claims: [deviceClaim([exactly('r', { capacity: { requests: { memory: '9Gi' } } })])],
    slices: [slice([shared('10Gi', { default: '1Gi', validRange: { min: '1Gi', max: '8Gi' } })])],
    expect: 'no',
  },
  {
    name: 'a capacity that the device does not have',
    claims: [deviceClaim([exactly('r', { capacity: { requests: { cores: '1' } } })])],
    slices: [slice([shared()])],
    expect: 'no',
  },
  {
    name: 'too many devices',
    claims: [deviceClaim([exactly('r', { count: 33 })])],
    slices: [],
    expect: 'claim default/c: number of requested devices 33 exceeds the claim limit of 32',
  },
  {
    name: 'no such class',
    claims: one,
    classes: [],
    slices: [],
    expect:
      'claim default/c, request r: could not retrieve device class gpus: deviceclass.resource.k8s.io "gpus" not found',
  },
];

describe('allocations', () => {
  for (const { name, claims, expect, slices = [], ...world } of cases)
    test(name, () => assert.equal(allocationText(claims, { slices, ...world }), expect));
});

test('the written allocation: configuration, nodes, tolerations, shares', () => {
  const parameters = { size: 1 };
  const opaque = { driver: DRIVER, parameters };
  const selector = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'rack', operator: 'Exists' }] }] };
  const claim = deviceClaim(
    [
      exactly('r', { tolerations: [{ key: 'a', operator: 'Exists' }] }),
      exactly('q', { deviceClassName: 'shares', capacity: { requests: { memory: '3Gi' } } }),
    ],
    { config: [{ requests: ['q'], opaque }, { opaque }] },
  );
  const [result] = allocateDevices(
    allocationInput([claim], {
      node: { name: 'x', labels: { rack: '1' } },
      classes: [
        deviceClass('gpus', { selectors: [isModel('b')], config: [{ opaque }] }),
        deviceClass('shares', { selectors: [cel('device.allowMultipleAllocations')] }),
      ],
      slices: [
        slice([gpu('0', 'b', { bindingConditions: ['attached'], bindingFailureConditions: ['failed'] })], {
          pool: 'p',
          nodeSelector: selector,
        }),
        slice([shared('10Gi', { default: '1Gi', validRange: { min: '1Gi', step: '2Gi' } })], {
          pool: 'z',
          allNodes: true,
        }),
      ],
    }),
  )!;
  assert.deepEqual(result, {
    devices: {
      results: [
        {
          request: 'r',
          driver: DRIVER,
          pool: 'p',
          device: '0',
          tolerations: [{ key: 'a', operator: 'Exists' }],
          bindingConditions: ['attached'],
          bindingFailureConditions: ['failed'],
        },
        {
          request: 'q',
          driver: DRIVER,
          pool: 'z',
          device: 's',
          shareID: 'share-1',
          consumedCapacity: { memory: '3Gi' },
        },
      ],
      config: [
        { source: 'FromClass', requests: ['r'], opaque },
        { source: 'FromClaim', requests: ['q'], opaque },
        { source: 'FromClaim', opaque },
      ],
    },
    nodeSelector: selector,
  });
  const [local] = allocateDevices(
    allocationInput([deviceClaim([exactly('r')])], { slices: [slice([gpu('0')])] }),
  )!;
  assert.deepEqual(local!.nodeSelector, {
    nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['x'] }] }],
  });
});

test('the search ends when its time is over', () => {
  const devices = Array.from({ length: 30 }, (_, index) => gpu(`${index}`, index < 15 ? 'a' : 'b'));
  const claim = deviceClaim([
    exactly('r', { count: 14 }),
    exactly('q', { count: 17, selectors: [isModel('a')] }),
  ]);
  let checks = 0;
  assert.throws(
    () =>
      allocateDevices({
        ...allocationInput([claim], { slices: [slice(devices)] }),
        expired: () => ++checks > 3,
      }),
    /^AllocationTimeout: timed out trying to allocate devices$/,
  );
});
