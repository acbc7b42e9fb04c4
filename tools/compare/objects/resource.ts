/** resource.k8s.io in its versions, and scheduling. */
import type { Bases } from './base-table.ts';

const deviceClass = {
  small: { spec: {} },
  rich: {
    spec: {
      selectors: [{ cel: { expression: 'device.driver == "d.example.com"' } }],
      config: [{ opaque: { driver: 'd.example.com', parameters: { a: 1 } } }],
      extendedResourceName: 'example.com/gpu',
    },
  },
};
const exact = {
  deviceClassName: 'c',
  allocationMode: 'ExactCount',
  count: 2,
  selectors: [{ cel: { expression: 'device.attributes["d.example.com"].x == "y"' } }],
  tolerations: [{ key: 'k', operator: 'Equal', value: 'v', effect: 'NoSchedule' }],
};
const more = {
  constraints: [{ requests: ['r'], matchAttribute: 'd.example.com/x' }],
  config: [{ requests: ['r'], opaque: { driver: 'd.example.com', parameters: { a: 1 } } }],
};
const first = {
  name: 'r',
  firstAvailable: [
    { name: 's', ...exact },
    { name: 't', deviceClassName: 'c' },
  ],
};
const nested = {
  small: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'c' } }] } },
  rich: { devices: { requests: [{ name: 'r', exactly: exact }], ...more } },
  first: { devices: { requests: [first] } },
  none: {},
};
const flat = {
  small: { devices: { requests: [{ name: 'r', deviceClassName: 'c' }] } },
  rich: { devices: { requests: [{ name: 'r', ...exact }], ...more } },
  first: { devices: { requests: [first] } },
  none: {},
};
const claim = (specs: Record<string, object>): Record<string, object> =>
  Object.fromEntries(Object.entries(specs).map(([variant, spec]) => [variant, { spec }]));
const claimTemplate = (specs: Record<string, object>): Record<string, object> =>
  Object.fromEntries(
    Object.entries(specs).map(([variant, spec]) => [
      variant,
      { spec: { metadata: { labels: { a: 'b' } }, spec } },
    ]),
  );
const pool = { name: 'p', generation: 1, resourceSliceCount: 1 };
const attributes = {
  a: { string: 'x' },
  i: { int: 1 },
  b: { bool: true },
  'd.example.com/v': { version: '1.2.3' },
};
const slice = (inner: (device: object) => object): Record<string, object> => ({
  small: {
    spec: {
      driver: 'd.example.com',
      nodeName: 'n',
      pool,
      devices: [{ name: 'd', ...inner({ attributes: { a: { string: 'x' } } }) }],
    },
  },
  rich: {
    spec: {
      driver: 'd.example.com',
      nodeSelector: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'k', operator: 'In', values: ['v'] }] }],
      },
      pool,
      devices: [
        {
          name: 'd',
          ...inner({
            attributes,
            capacity: { c: { value: '1Gi' } },
            taints: [{ key: 'k', value: 'v', effect: 'NoExecute', timeAdded: '2026-01-02T03:04:05Z' }],
          }),
        },
      ],
    },
  },
  counters: {
    spec: {
      driver: 'd.example.com',
      allNodes: true,
      pool: { ...pool, resourceSliceCount: 2 },
      sharedCounters: [{ name: 'set', counters: { memory: { value: '8Gi' } } }],
    },
  },
  consuming: {
    spec: {
      driver: 'd.example.com',
      allNodes: true,
      pool,
      devices: [
        {
          name: 'd',
          ...inner({
            allowMultipleAllocations: true,
            capacity: {
              c: {
                value: '8Gi',
                requestPolicy: { default: '1Gi', validRange: { min: '1Gi', max: '8Gi', step: '1Gi' } },
              },
            },
            consumesCounters: [{ counterSet: 'set', counters: { memory: { value: '1Gi' } } }],
          }),
        },
      ],
    },
  },
});
const taintRule = {
  small: { spec: { taint: { key: 'k', effect: 'NoSchedule', timeAdded: '2026-01-02T03:04:05Z' } } },
  rich: {
    spec: {
      deviceSelector: { driver: 'd.example.com', pool: 'p', device: 'd' },
      taint: { key: 'k', value: 'v', effect: 'NoExecute', timeAdded: '2026-01-02T03:04:05Z' },
    },
  },
};

export const resourceBases: Bases = {
  ...Object.fromEntries(
    ['v1', 'v1beta2', 'v1beta1'].flatMap((version) => {
      const shape = version === 'v1beta1' ? flat : nested;
      return [
        [`resource.k8s.io/${version}/DeviceClass`, deviceClass],
        [`resource.k8s.io/${version}/ResourceClaim`, claim(shape)],
        [`resource.k8s.io/${version}/ResourceClaimTemplate`, claimTemplate(shape)],
        [
          `resource.k8s.io/${version}/ResourceSlice`,
          slice((device) => (version === 'v1beta1' ? { basic: device } : device)),
        ],
      ];
    }),
  ),
  'resource.k8s.io/v1beta2/DeviceTaintRule': taintRule,
  'resource.k8s.io/v1alpha3/DeviceTaintRule': taintRule,
  'resource.k8s.io/v1alpha3/ResourcePoolStatusRequest': {
    small: { spec: { driver: 'd.example.com' } },
    rich: { spec: { driver: 'd.example.com', poolName: 'p', limit: 3 } },
  },
  'scheduling.k8s.io/v1/PriorityClass': {
    small: { value: 7 },
    rich: { value: -5, preemptionPolicy: 'Never', description: 'd', globalDefault: false },
  },
  'scheduling.k8s.io/v1alpha2/PodGroup': {
    small: { spec: { schedulingPolicy: { basic: {} } } },
    rich: {
      spec: {
        podGroupTemplateRef: { workload: { workloadName: 'w', podGroupTemplateName: 'g' } },
        schedulingPolicy: { gang: { minCount: 2 } },
      },
    },
  },
  'scheduling.k8s.io/v1alpha2/Workload': {
    small: { spec: { podGroupTemplates: [{ name: 'g', schedulingPolicy: { basic: {} } }] } },
    rich: {
      spec: {
        controllerRef: { apiGroup: 'batch', kind: 'Job', name: 'j' },
        podGroupTemplates: [
          { name: 'g', schedulingPolicy: { gang: { minCount: 3 } } },
          { name: 'h', schedulingPolicy: { basic: {} } },
        ],
      },
    },
  },
};
