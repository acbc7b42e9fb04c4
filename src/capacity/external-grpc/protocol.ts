/**
 * Upstream's external gRPC cloud provider as data: service CloudProvider of clusterautoscaler.cloudprovider.v1.externalgrpc. Its file is cluster-autoscaler/cloudprovider/externalgrpc/protos/externalgrpc.proto of
 * kubernetes/autoscaler. Not a client: provider.ts calls these methods, server.ts answers them.
 */
import type { MethodCodec } from '#grpc/codec.ts';
import { describeProtocol, TEXTS, type Messages, type Services } from '#grpc/describe.ts';

/** Of google.protobuf; 64-bit numbers are read as numbers. */
interface WireDuration {
  readonly seconds: number;
  readonly nanos: number;
}

export interface WireGroup {
  readonly id: string;
  readonly minSize: number;
  readonly maxSize: number;
  readonly debug: string;
}

export interface WireNode {
  readonly providerID: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export type WireState = 'unspecified' | 'instanceRunning' | 'instanceCreating' | 'instanceDeleting';

export interface WireInstance {
  readonly id: string;
  readonly status?: {
    readonly instanceState: WireState;
    readonly errorInfo?: {
      readonly errorCode: string;
      readonly errorMessage: string;
      readonly instanceErrorClass: number;
    };
  };
}

export interface WireOptions {
  readonly scaleDownUtilizationThreshold: number;
  readonly scaleDownGpuUtilizationThreshold: number;
  readonly zeroOrMaxNodeScaling: boolean;
  readonly ignoreDaemonSetsUtilization: boolean;
  readonly scaleDownUnneededDuration?: WireDuration;
  readonly scaleDownUnreadyDuration?: WireDuration;
  readonly MaxNodeProvisionDuration?: WireDuration;
}

const MESSAGES: Messages = {
  Empty: [],
  Any: [
    ['type_url', 1, 'string'],
    ['value', 2, 'bytes'],
  ],
  Timestamp: [
    ['seconds', 1, 'int64'],
    ['nanos', 2, 'int32'],
  ],
  Duration: [
    ['seconds', 1, 'int64'],
    ['nanos', 2, 'int32'],
  ],
  NodeGroup: [
    ['id', 1, 'string'],
    ['minSize', 2, 'int32'],
    ['maxSize', 3, 'int32'],
    ['debug', 4, 'string'],
  ],
  ExternalGrpcNode: [
    ['providerID', 1, 'string'],
    ['name', 2, 'string'],
    ['labels', 3, TEXTS],
    ['annotations', 4, TEXTS],
  ],
  NodeGroupsResponse: [['nodeGroups', 1, 'NodeGroup', 'repeated']],
  NodeGroupForNodeRequest: [['node', 1, 'ExternalGrpcNode']],
  NodeGroupForNodeResponse: [['nodeGroup', 1, 'NodeGroup']],
  PricingNodePriceRequest: [
    ['node', 1, 'ExternalGrpcNode'],
    ['startTimestamp', 4, 'Timestamp'],
    ['endTimestamp', 5, 'Timestamp'],
  ],
  PricingPodPriceRequest: [
    ['pod_bytes', 4, 'bytes'],
    ['startTimestamp', 5, 'Timestamp'],
    ['endTimestamp', 6, 'Timestamp'],
  ],
  PriceResponse: [['price', 1, 'double']],
  GPULabelResponse: [['label', 1, 'string']],
  GetAvailableGPUTypesResponse: [['gpuTypes', 1, 'map<string,Any>']],
  GroupRequest: [['id', 1, 'string']],
  NodeGroupTargetSizeResponse: [['targetSize', 1, 'int32']],
  DeltaRequest: [
    ['delta', 1, 'int32'],
    ['id', 2, 'string'],
  ],
  NodeGroupDeleteNodesRequest: [
    ['nodes', 1, 'ExternalGrpcNode', 'repeated'],
    ['id', 2, 'string'],
  ],
  NodeGroupNodesResponse: [['instances', 1, 'Instance', 'repeated']],
  Instance: [
    ['id', 1, 'string'],
    ['status', 2, 'InstanceStatus'],
  ],
  InstanceStatus: [
    ['instanceState', 1, 'InstanceState'],
    ['errorInfo', 2, 'InstanceErrorInfo'],
  ],
  InstanceErrorInfo: [
    ['errorCode', 1, 'string'],
    ['errorMessage', 2, 'string'],
    ['instanceErrorClass', 3, 'int32'],
  ],
  NodeGroupTemplateNodeInfoResponse: [['nodeBytes', 2, 'bytes']],
  NodeGroupAutoscalingOptions: [
    ['scaleDownUtilizationThreshold', 1, 'double'],
    ['scaleDownGpuUtilizationThreshold', 2, 'double'],
    ['zeroOrMaxNodeScaling', 6, 'bool'],
    ['ignoreDaemonSetsUtilization', 7, 'bool'],
    ['scaleDownUnneededDuration', 8, 'Duration'],
    ['scaleDownUnreadyDuration', 9, 'Duration'],
    ['MaxNodeProvisionDuration', 10, 'Duration'],
  ],
  NodeGroupAutoscalingOptionsRequest: [
    ['id', 1, 'string'],
    ['defaults', 2, 'NodeGroupAutoscalingOptions'],
  ],
  NodeGroupAutoscalingOptionsResponse: [['nodeGroupAutoscalingOptions', 1, 'NodeGroupAutoscalingOptions']],
};

/** Requests and responses of one shape share a message: names of messages are not sent. */
const SERVICES: Services = {
  CloudProvider: {
    NodeGroups: ['Empty', 'NodeGroupsResponse'],
    NodeGroupForNode: ['NodeGroupForNodeRequest', 'NodeGroupForNodeResponse'],
    PricingNodePrice: ['PricingNodePriceRequest', 'PriceResponse'],
    PricingPodPrice: ['PricingPodPriceRequest', 'PriceResponse'],
    GPULabel: ['Empty', 'GPULabelResponse'],
    GetAvailableGPUTypes: ['Empty', 'GetAvailableGPUTypesResponse'],
    Cleanup: ['Empty', 'Empty'],
    Refresh: ['Empty', 'Empty'],
    NodeGroupTargetSize: ['GroupRequest', 'NodeGroupTargetSizeResponse'],
    NodeGroupIncreaseSize: ['DeltaRequest', 'Empty'],
    NodeGroupDeleteNodes: ['NodeGroupDeleteNodesRequest', 'Empty'],
    NodeGroupDecreaseTargetSize: ['DeltaRequest', 'Empty'],
    NodeGroupNodes: ['GroupRequest', 'NodeGroupNodesResponse'],
    NodeGroupTemplateNodeInfo: ['GroupRequest', 'NodeGroupTemplateNodeInfoResponse'],
    NodeGroupGetOptions: ['NodeGroupAutoscalingOptionsRequest', 'NodeGroupAutoscalingOptionsResponse'],
  },
};

/** By their names. */
export const cloudProviderMethods: ReadonlyMap<string, MethodCodec> = describeProtocol(
  'clusterautoscaler.cloudprovider.v1.externalgrpc',
  {
    messages: MESSAGES,
    enums: {
      InstanceState: ['unspecified', 'instanceRunning', 'instanceCreating', 'instanceDeleting'],
    },
    services: SERVICES,
  },
).methods;

/** Upstream's InstanceErrorClass. */
export const OUT_OF_RESOURCES = 1;
export const OTHER_ERROR = 99;

export function durationOf(ms: number): WireDuration {
  return { seconds: Math.trunc(ms / 1_000), nanos: (ms % 1_000) * 1_000_000 };
}

export function durationMs({ seconds, nanos }: WireDuration): number {
  return seconds * 1_000 + Math.round(nanos / 1_000_000);
}
