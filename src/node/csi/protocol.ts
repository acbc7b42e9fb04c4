/**
 * The part of the container storage interface that the node agent speaks, as data: csi.v1, version 1.13, services Identity and Node. Not a client:
 * client.ts calls these methods.
 */
import { describeProtocol, TEXTS, type Messages, type Services } from '#grpc/describe.ts';

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

const CSI_SERVICES: Services = {
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

export type NodeCapability = (typeof CSI_ENUMS.NodeCapability)[number];
export type AccessMode = (typeof CSI_ENUMS.AccessMode)[number];
export type Texts = Readonly<Record<string, string>>;

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

export const csiMethods = describeProtocol('csi.v1', {
  messages: CSI_MESSAGES,
  enums: CSI_ENUMS,
  services: CSI_SERVICES,
}).methods;
