/** network.capstan.dev/v1alpha1: routers that nodes speak BGP to and what they tell them, with the fields of MetalLB's kinds of the same names. Fields that are not supported are not in the definitions. */
import type { ResourceRef } from '#client/client.ts';
import type { LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import {
  customResource,
  flag,
  integer,
  LABEL_SELECTOR,
  listOf,
  oneOf,
  record,
  text,
} from '../definitions/custom-resource.ts';

export interface BGPPeer extends KubeObject {
  readonly spec: {
    readonly myASN: number;
    /** This or dynamicASN. */
    readonly peerASN?: number;
    /** internal: the own; external: any other. */
    readonly dynamicASN?: 'internal' | 'external';
    readonly peerAddress: string;
    /** Default: 179. */
    readonly peerPort?: number;
    readonly sourceAddress?: string;
    /** Default: 90s. */
    readonly holdTime?: string;
    /** Default: a third of holdTime. */
    readonly keepaliveTime?: string;
    readonly connectTime?: string;
    /** Default: the node's IPv4 address. */
    readonly routerID?: string;
    /** Default: all nodes. */
    readonly nodeSelectors?: readonly LabelSelectorObject[];
    /** TCP MD5. This or passwordSecret. */
    readonly password?: string;
    /** A Secret of type kubernetes.io/basic-auth. */
    readonly passwordSecret?: { readonly name: string; readonly namespace?: string };
    readonly bfdProfile?: string;
    readonly enableGracefulRestart?: boolean;
    readonly ebgpMultiHop?: boolean;
    /** Addresses of both families over this session. Default: those of the family of peerAddress. */
    readonly dualStackAddressFamily?: boolean;
  };
}

/** A pool that none selects is not announced by BGP; one that some select and no L2Advertisement does is not announced to the segment. */
export interface BGPAdvertisement extends KubeObject {
  readonly spec?: {
    /** Default: 32. */
    readonly aggregationLength?: number;
    /** Default: 128. */
    readonly aggregationLengthV6?: number;
    /** For peers of the own ASN. */
    readonly localPref?: number;
    /** '64512:100', 'large:64512:1:2', or the name of a Community's. */
    readonly communities?: readonly string[];
    /** Names. Without these and selectors: all pools. */
    readonly ipAddressPools?: readonly string[];
    readonly ipAddressPoolSelectors?: readonly LabelSelectorObject[];
    /** Default: all nodes. */
    readonly nodeSelectors?: readonly LabelSelectorObject[];
    /** Names of BGPPeers. Default: all. */
    readonly peers?: readonly string[];
  };
}

export interface Community extends KubeObject {
  readonly spec: { readonly communities?: readonly { readonly name: string; readonly value: string }[] };
}

export interface BFDProfile extends KubeObject {
  readonly spec?: {
    /** Milliseconds; default: 300. */
    readonly receiveInterval?: number;
    readonly transmitInterval?: number;
    /** Default: 3. */
    readonly detectMultiplier?: number;
    readonly passiveMode?: boolean;
  };
}

const GROUP = { group: 'network.capstan.dev', version: 'v1alpha1', namespaced: false };

export const bgpPeers: ResourceRef<BGPPeer> = { ...GROUP, plural: 'bgppeers', kind: 'BGPPeer' };
export const bgpAdvertisements: ResourceRef<BGPAdvertisement> = {
  ...GROUP,
  plural: 'bgpadvertisements',
  kind: 'BGPAdvertisement',
};
export const communities: ResourceRef<Community> = { ...GROUP, plural: 'communities', kind: 'Community' };
export const bfdProfiles: ResourceRef<BFDProfile> = { ...GROUP, plural: 'bfdprofiles', kind: 'BFDProfile' };

const MAX_ASN = 4_294_967_295;
const asn = { ...integer({ minimum: 0, maximum: MAX_ASN }), format: 'int64' };
/** The daemon's configuration has no way to write quotes within quotes. */
const PASSWORD = text({ maxLength: 80, pattern: '^[^"\\n\\r]*$' });

export const BGP_DEFINITIONS = [
  customResource({
    ref: bgpPeers,
    singular: 'bgppeer',
    columns: ['Address:.spec.peerAddress', 'ASN:.spec.peerASN', 'BFD Profile:.spec.bfdProfile'],
    spec: record(
      {
        myASN: asn,
        peerASN: asn,
        dynamicASN: oneOf('internal', 'external'),
        peerAddress: text({ maxLength: 50 }),
        peerPort: integer({ minimum: 1, maximum: 65_535 }),
        sourceAddress: text({ maxLength: 50 }),
        holdTime: text({ maxLength: 30 }),
        keepaliveTime: text({ maxLength: 30 }),
        connectTime: text({ maxLength: 30 }),
        routerID: text({ maxLength: 50 }),
        nodeSelectors: listOf(LABEL_SELECTOR),
        password: PASSWORD,
        passwordSecret: record({ name: text(), namespace: text() }, { required: ['name'] }),
        bfdProfile: text(),
        enableGracefulRestart: flag(),
        ebgpMultiHop: flag(),
        dualStackAddressFamily: flag(),
      },
      { required: ['myASN', 'peerAddress'] },
    ),
  }),
  customResource({
    ref: bgpAdvertisements,
    singular: 'bgpadvertisement',
    columns: ['IPAddressPools:.spec.ipAddressPools', 'Peers:.spec.peers'],
    isSpecRequired: false,
    spec: record({
      aggregationLength: integer({ minimum: 1, maximum: 32 }),
      aggregationLengthV6: integer({ minimum: 1, maximum: 128 }),
      localPref: { ...integer({ minimum: 0, maximum: MAX_ASN }), format: 'int64' },
      communities: listOf(text()),
      ipAddressPools: listOf(text()),
      ipAddressPoolSelectors: listOf(LABEL_SELECTOR),
      nodeSelectors: listOf(LABEL_SELECTOR),
      peers: listOf(text()),
    }),
  }),
  customResource({
    ref: communities,
    singular: 'community',
    spec: record({
      communities: listOf(record({ name: text(), value: text() }, { required: ['name', 'value'] })),
    }),
  }),
  customResource({
    ref: bfdProfiles,
    singular: 'bfdprofile',
    isSpecRequired: false,
    spec: record({
      receiveInterval: integer({ minimum: 10, maximum: 60_000 }),
      transmitInterval: integer({ minimum: 10, maximum: 60_000 }),
      detectMultiplier: integer({ minimum: 2, maximum: 255 }),
      passiveMode: flag(),
    }),
  }),
];
