/**
 * The part of two gRPC protocols that the node agent speaks, as data: the container storage interface (csi.v1, version 1.13, services Identity and Node)
 * and the kubelet's registration of plugins. Fields are [name, number, type, label]. Not a client: client.ts calls these methods.
 */
import { serviceCodecs, type MethodCodec } from '../grpc/codec.ts';

type Field = readonly [name: string, id: number, type: string, label?: 'repeated'];
type Messages = Readonly<Record<string, readonly Field[]>>;
type Methods = Readonly<Record<string, readonly [request: string, response: string]>>;

const TEXTS = 'map<string,string>';

const CSI_MESSAGES: Messages = {
  Empty: [],
  GetPluginInfoResponse: [
    ['name', 1, 'string'],
    ['vendorVersion', 2, 'string'],
  ],
  NodeGetInfoResponse: [
    ['nodeId', 1, 'string'],
    ['maxVolumesPerNode', 2, 'int64'],
    ['accessibleTopology', 3, 'Topology'],
  ],
  Topology: [['segments', 1, TEXTS]],
  NodeGetCapabilitiesResponse: [['capabilities', 1, 'NodeServiceCapability', 'repeated']],
  NodeServiceCapability: [['rpc', 1, 'NodeServiceCapabilityRpc']],
  NodeServiceCapabilityRpc: [['type', 1, 'NodeCapability']],
  VolumeCapability: [
    ['block', 1, 'Empty'],
    ['mount', 2, 'MountVolume'],
    ['accessMode', 3, 'VolumeAccessMode'],
  ],
  MountVolume: [
    ['fsType', 1, 'string'],
    ['mountFlags', 2, 'string', 'repeated'],
    ['volumeMountGroup', 3, 'string'],
  ],
  VolumeAccessMode: [['mode', 1, 'AccessMode']],
  NodeStageVolumeRequest: [
    ['volumeId', 1, 'string'],
    ['publishContext', 2, TEXTS],
    ['stagingTargetPath', 3, 'string'],
    ['volumeCapability', 4, 'VolumeCapability'],
    ['secrets', 5, TEXTS],
    ['volumeContext', 6, TEXTS],
  ],
  NodeUnstageVolumeRequest: [
    ['volumeId', 1, 'string'],
    ['stagingTargetPath', 2, 'string'],
  ],
  NodePublishVolumeRequest: [
    ['volumeId', 1, 'string'],
    ['publishContext', 2, TEXTS],
    ['stagingTargetPath', 3, 'string'],
    ['targetPath', 4, 'string'],
    ['volumeCapability', 5, 'VolumeCapability'],
    ['readonly', 6, 'bool'],
    ['secrets', 7, TEXTS],
    ['volumeContext', 8, TEXTS],
  ],
  NodeUnpublishVolumeRequest: [
    ['volumeId', 1, 'string'],
    ['targetPath', 2, 'string'],
  ],
  NodeGetVolumeStatsRequest: [
    ['volumeId', 1, 'string'],
    ['volumePath', 2, 'string'],
    ['stagingTargetPath', 3, 'string'],
  ],
  NodeGetVolumeStatsResponse: [
    ['usage', 1, 'VolumeUsage', 'repeated'],
    ['volumeCondition', 2, 'VolumeCondition'],
  ],
  VolumeUsage: [
    ['available', 1, 'int64'],
    ['total', 2, 'int64'],
    ['used', 3, 'int64'],
    ['unit', 4, 'UsageUnit'],
  ],
  VolumeCondition: [
    ['abnormal', 1, 'bool'],
    ['message', 2, 'string'],
  ],
  NodeExpandVolumeRequest: [
    ['volumeId', 1, 'string'],
    ['volumePath', 2, 'string'],
    ['capacityRange', 3, 'CapacityRange'],
    ['stagingTargetPath', 4, 'string'],
    ['volumeCapability', 5, 'VolumeCapability'],
    ['secrets', 6, TEXTS],
  ],
  CapacityRange: [
    ['requiredBytes', 1, 'int64'],
    ['limitBytes', 2, 'int64'],
  ],
  NodeExpandVolumeResponse: [['capacityBytes', 1, 'int64']],
};

const CSI_ENUMS = {
  NodeCapability: [
    'UNKNOWN',
    'STAGE_UNSTAGE_VOLUME',
    'GET_VOLUME_STATS',
    'EXPAND_VOLUME',
    'VOLUME_CONDITION',
    'SINGLE_NODE_MULTI_WRITER',
    'VOLUME_MOUNT_GROUP',
  ],
  AccessMode: [
    'UNKNOWN',
    'SINGLE_NODE_WRITER',
    'SINGLE_NODE_READER_ONLY',
    'MULTI_NODE_READER_ONLY',
    'MULTI_NODE_SINGLE_WRITER',
    'MULTI_NODE_MULTI_WRITER',
    'SINGLE_NODE_SINGLE_WRITER',
    'SINGLE_NODE_MULTI_WRITER',
  ],
  UsageUnit: ['UNKNOWN', 'BYTES', 'INODES'],
} as const;

const CSI_SERVICES: Readonly<Record<string, Methods>> = {
  Identity: { GetPluginInfo: ['Empty', 'GetPluginInfoResponse'] },
  Node: {
    NodeGetInfo: ['Empty', 'NodeGetInfoResponse'],
    NodeGetCapabilities: ['Empty', 'NodeGetCapabilitiesResponse'],
    NodeStageVolume: ['NodeStageVolumeRequest', 'Empty'],
    NodeUnstageVolume: ['NodeUnstageVolumeRequest', 'Empty'],
    NodePublishVolume: ['NodePublishVolumeRequest', 'Empty'],
    NodeUnpublishVolume: ['NodeUnpublishVolumeRequest', 'Empty'],
    NodeGetVolumeStats: ['NodeGetVolumeStatsRequest', 'NodeGetVolumeStatsResponse'],
    NodeExpandVolume: ['NodeExpandVolumeRequest', 'NodeExpandVolumeResponse'],
  },
};

const REGISTRATION_MESSAGES: Messages = {
  Empty: [],
  PluginInfo: [
    ['type', 1, 'string'],
    ['name', 2, 'string'],
    ['endpoint', 3, 'string'],
    ['supportedVersions', 4, 'string', 'repeated'],
  ],
  RegistrationStatus: [
    ['pluginRegistered', 1, 'bool'],
    ['error', 2, 'string'],
  ],
};

const REGISTRATION_SERVICES: Readonly<Record<string, Methods>> = {
  Registration: {
    GetInfo: ['Empty', 'PluginInfo'],
    NotifyRegistrationStatus: ['RegistrationStatus', 'Empty'],
  },
};

export type NodeCapability = (typeof CSI_ENUMS.NodeCapability)[number];
export type AccessMode = (typeof CSI_ENUMS.AccessMode)[number];
export type Texts = Readonly<Record<string, string>>;

export interface PluginInfo {
  /** 'CSIPlugin', 'DevicePlugin' or 'DRAPlugin'. */
  readonly type: string;
  readonly name: string;
  /** The socket of the plugin itself; '': the one that registers it. */
  readonly endpoint: string;
  readonly supportedVersions: readonly string[];
}

export interface NodeInfo {
  readonly nodeId: string;
  /** 0: no limit is known. */
  readonly maxVolumesPerNode: number;
  readonly accessibleTopology?: { readonly segments: Texts };
}

export interface VolumeCapability {
  readonly block?: Readonly<Record<never, never>> | undefined;
  readonly mount?:
    | { readonly fsType: string; readonly mountFlags: readonly string[]; readonly volumeMountGroup: string }
    | undefined;
  readonly accessMode: { readonly mode: AccessMode };
}

export interface StageRequest {
  readonly volumeId: string;
  readonly publishContext: Texts;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability;
  readonly secrets: Texts;
  readonly volumeContext: Texts;
}

export interface PublishRequest extends StageRequest {
  readonly targetPath: string;
  readonly readonly: boolean;
}

export interface ExpandRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  readonly stagingTargetPath: string;
  readonly capacityRange: { readonly requiredBytes: number };
  readonly volumeCapability: VolumeCapability;
  readonly secrets: Texts;
}

export interface VolumeStats {
  readonly usage: readonly {
    readonly available: number;
    readonly total: number;
    readonly used: number;
    readonly unit: (typeof CSI_ENUMS.UsageUnit)[number];
  }[];
  readonly volumeCondition?: { readonly abnormal: boolean; readonly message: string };
}

export const csiMethods = codecsByName('csi.v1', {
  messages: CSI_MESSAGES,
  enums: CSI_ENUMS,
  services: CSI_SERVICES,
});

export const registrationMethods = codecsByName('pluginregistration', {
  messages: REGISTRATION_MESSAGES,
  enums: {},
  services: REGISTRATION_SERVICES,
});

function codecsByName(
  packageName: string,
  of: {
    readonly messages: Messages;
    readonly enums: Readonly<Record<string, readonly string[]>>;
    readonly services: Readonly<Record<string, Methods>>;
  },
): ReadonlyMap<string, MethodCodec> {
  const nested: Record<string, object> = {};
  for (const [name, fields] of Object.entries(of.messages))
    nested[name] = { fields: Object.fromEntries(fields.map(describeField)) };
  for (const [name, values] of Object.entries(of.enums))
    nested[name] = { values: Object.fromEntries(values.map((value, number) => [value, number])) };
  for (const [name, methods] of Object.entries(of.services))
    nested[name] = {
      methods: Object.fromEntries(
        Object.entries(methods).map(([method, [requestType, responseType]]) => [
          method,
          { requestType, responseType },
        ]),
      ),
    };
  const descriptor = packageName
    .split('.')
    .reduceRight<object>((inner, segment) => ({ nested: { [segment]: inner } }), { nested });
  const codecs = serviceCodecs(descriptor, { packageName, services: Object.keys(of.services) });
  return new Map(codecs.map((codec) => [codec.name, codec]));
}

function describeField([name, id, type, label]: Field): [string, object] {
  if (type === TEXTS) return [name, { keyType: 'string', type: 'string', id }];
  return [name, label === 'repeated' ? { rule: 'repeated', type, id } : { type, id }];
}
