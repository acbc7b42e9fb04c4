/** network.capstan.dev/v1alpha1: pools of addresses and who announces them, with the fields of MetalLB's kinds of the same names; and the annotations of Services. */
import type { Service } from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import type { LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import {
  customResource,
  CONDITIONS,
  flag,
  integer,
  LABEL_SELECTOR,
  listOf,
  record,
  text,
} from '../definitions/custom-resource.ts';

export interface IPAddressPool extends KubeObject {
  readonly spec: {
    /** '192.0.2.0/28' or '192.0.2.10-192.0.2.20' each, of either family. */
    readonly addresses: readonly string[];
    /** False: only for Services that ask for it or for an address of it. Default true. */
    readonly autoAssign?: boolean;
    /** IPv4 addresses that end in .0 and .255 are left out. Default false. */
    readonly avoidBuggyIPs?: boolean;
    readonly serviceAllocation?: ServiceAllocation;
  };
  readonly status?: {
    /** How many addresses Services have of it. */
    readonly assigned: number;
    readonly conditions: readonly AddonCondition[];
  };
}

interface AddonCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime: string;
}

interface ServiceAllocation {
  /** Lower is taken first; 0, the default, last. */
  readonly priority?: number;
  readonly namespaces?: readonly string[];
  readonly namespaceSelectors?: readonly LabelSelectorObject[];
  readonly serviceSelectors?: readonly LabelSelectorObject[];
}

/** Which nodes announce a pool, where. A pool that none selects is announced by every node. */
export interface L2Advertisement extends KubeObject {
  readonly spec: {
    /** Names. Without these and selectors: all pools. */
    readonly ipAddressPools?: readonly string[];
    readonly ipAddressPoolSelectors?: readonly LabelSelectorObject[];
    /** Default: all nodes. */
    readonly nodeSelectors?: readonly LabelSelectorObject[];
    /** Default: those with an address of the same subnet, else that of the default route. */
    readonly interfaces?: readonly string[];
  };
}

/** That a node's speaker lives, written by itself; named as the node. A Lease would do, but NodeRestriction lets nodes write none but their own of kube-node-lease, which the agent renews. */
export interface Speaker extends KubeObject {
  readonly spec: {
    readonly renewTime: string;
    /** Others count the node out after that without a renewal, as far as the API server answers them. */
    readonly leaseDurationSeconds: number;
    /** That the node announces. */
    readonly ipAddressPools: readonly string[];
  };
}

const GROUP = { group: 'network.capstan.dev', version: 'v1alpha1', namespaced: false };

export const ipAddressPools: ResourceRef<IPAddressPool> = {
  ...GROUP,
  plural: 'ipaddresspools',
  kind: 'IPAddressPool',
};

export const l2Advertisements: ResourceRef<L2Advertisement> = {
  ...GROUP,
  plural: 'l2advertisements',
  kind: 'L2Advertisement',
};

export const speakers: ResourceRef<Speaker> = { ...GROUP, plural: 'speakers', kind: 'Speaker' };

export const LOAD_BALANCER_DEFINITIONS = [
  customResource({
    ref: ipAddressPools,
    singular: 'ipaddresspool',
    columns: [
      'Auto Assign:boolean:.spec.autoAssign',
      'Addresses:.spec.addresses',
      'Assigned:integer:.status.assigned',
      'Ready:.status.conditions[?(@.type=="Ready")].status',
    ],
    spec: record(
      {
        addresses: listOf(text({ maxLength: 100 }), { minItems: 1, maxItems: 64 }),
        autoAssign: flag({ default: true as never }),
        avoidBuggyIPs: flag({ default: false as never }),
        serviceAllocation: record({
          priority: integer({ minimum: 0 }),
          namespaces: listOf(text()),
          namespaceSelectors: listOf(LABEL_SELECTOR),
          serviceSelectors: listOf(LABEL_SELECTOR),
        }),
      },
      { required: ['addresses'] },
    ),
    status: record({ assigned: integer(), conditions: CONDITIONS }),
  }),
  customResource({
    ref: l2Advertisements,
    singular: 'l2advertisement',
    columns: ['IPAddressPools:.spec.ipAddressPools', 'Interfaces:.spec.interfaces'],
    spec: record({
      ipAddressPools: listOf(text()),
      ipAddressPoolSelectors: listOf(LABEL_SELECTOR),
      nodeSelectors: listOf(LABEL_SELECTOR),
      interfaces: listOf(text()),
    }),
  }),
  customResource({
    ref: speakers,
    singular: 'speaker',
    columns: ['Renewed:date:.spec.renewTime', 'IPAddressPools:.spec.ipAddressPools'],
    spec: record(
      {
        renewTime: text({ format: 'date-time' }),
        leaseDurationSeconds: integer({ minimum: 1 }),
        ipAddressPools: listOf(text()),
      },
      { required: ['renewTime', 'leaseDurationSeconds', 'ipAddressPools'] },
    ),
  }),
];

/** Of Services without one, too. */
const LOAD_BALANCER_CLASS = 'network.capstan.dev/load-balancer';
/** On an IPAddress: the Services that have the address, JSON of Holders. */
export const HOLDERS = 'network.capstan.dev/services';
/** On an IPAddress, as a label: the pool that it is of. */
export const POOL = 'network.capstan.dev/address-pool';
export const CLEANUP_FINALIZER = 'service.kubernetes.io/load-balancer-cleanup';

/** Ours, then MetalLB's: the first that is set counts. */
const WISHES = {
  addresses: [
    'network.capstan.dev/load-balancer-ips',
    'metallb.io/loadBalancerIPs',
    'metallb.universe.tf/loadBalancerIPs',
  ],
  pool: ['network.capstan.dev/address-pool', 'metallb.io/address-pool', 'metallb.universe.tf/address-pool'],
  sharing: [
    'network.capstan.dev/allow-shared-ip',
    'metallb.io/allow-shared-ip',
    'metallb.universe.tf/allow-shared-ip',
  ],
} as const;

export function annotatedWish({ metadata }: Service, wish: keyof typeof WISHES): string | undefined {
  const found = WISHES[wish].find((name) => metadata?.annotations?.[name]);
  return found && metadata?.annotations?.[found];
}

/** Whether this load balancer serves it: its type, and its class. */
export function isBalanced({ spec }: Service): boolean {
  return (
    spec?.type === 'LoadBalancer' &&
    (spec.loadBalancerClass === undefined || spec.loadBalancerClass === LOAD_BALANCER_CLASS)
  );
}
