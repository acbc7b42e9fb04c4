/** The device plugin protocol (v1beta1, served by plugins) and the kubelet's registration of device plugins, as data. */
import { describeProtocol, TEXTS } from '#grpc/describe.ts';

export const DEVICE_PLUGIN_VERSION = 'v1beta1';
export const HEALTHY = 'Healthy';

type Texts = Readonly<Record<string, string>>;

export interface DevicePluginOptions {
  readonly preStartRequired: boolean;
  readonly getPreferredAllocationAvailable: boolean;
}

export interface PluginDevice {
  readonly ID: string;
  readonly health: string;
  readonly topology?: { readonly nodes: readonly { readonly ID: number }[] } | undefined;
}

export interface RegisterRequest {
  readonly version: string;
  /** Name of the plugin's socket beside the agent's. */
  readonly endpoint: string;
  readonly resourceName: string;
}

/** What a container gets with its devices. */
export interface ContainerAllocation {
  readonly envs: Texts;
  readonly mounts: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly readOnly: boolean;
  }[];
  readonly devices: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly permissions: string;
  }[];
  readonly annotations: Texts;
  readonly cdiDevices: readonly { readonly name: string }[];
}

const protocol = describeProtocol('v1beta1', {
  messages: {
    Empty: [],
    DevicePluginOptions: [
      ['preStartRequired', 1, 'bool'],
      ['getPreferredAllocationAvailable', 2, 'bool'],
    ],
    RegisterRequest: [
      ['version', 1, 'string'],
      ['endpoint', 2, 'string'],
      ['resourceName', 3, 'string'],
      ['options', 4, 'DevicePluginOptions'],
    ],
    ListAndWatchResponse: [['devices', 1, 'Device', 'repeated']],
    TopologyInfo: [['nodes', 1, 'NUMANode', 'repeated']],
    NUMANode: [['ID', 1, 'int64']],
    Device: [
      ['ID', 1, 'string'],
      ['health', 2, 'string'],
      ['topology', 3, 'TopologyInfo'],
    ],
    PreStartContainerRequest: [['devicesIds', 1, 'string', 'repeated']],
    PreferredAllocationRequest: [['containerRequests', 1, 'ContainerPreferredAllocationRequest', 'repeated']],
    ContainerPreferredAllocationRequest: [
      ['availableDeviceIDs', 1, 'string', 'repeated'],
      ['mustIncludeDeviceIDs', 2, 'string', 'repeated'],
      ['allocationSize', 3, 'int32'],
    ],
    PreferredAllocationResponse: [
      ['containerResponses', 1, 'ContainerPreferredAllocationResponse', 'repeated'],
    ],
    ContainerPreferredAllocationResponse: [['deviceIDs', 1, 'string', 'repeated']],
    AllocateRequest: [['containerRequests', 1, 'ContainerAllocateRequest', 'repeated']],
    ContainerAllocateRequest: [['devicesIds', 1, 'string', 'repeated']],
    CDIDevice: [['name', 1, 'string']],
    AllocateResponse: [['containerResponses', 1, 'ContainerAllocateResponse', 'repeated']],
    ContainerAllocateResponse: [
      ['envs', 1, TEXTS],
      ['mounts', 2, 'Mount', 'repeated'],
      ['devices', 3, 'DeviceSpec', 'repeated'],
      ['annotations', 4, TEXTS],
      ['cdiDevices', 5, 'CDIDevice', 'repeated'],
    ],
    Mount: [
      ['containerPath', 1, 'string'],
      ['hostPath', 2, 'string'],
      ['readOnly', 3, 'bool'],
    ],
    DeviceSpec: [
      ['containerPath', 1, 'string'],
      ['hostPath', 2, 'string'],
      ['permissions', 3, 'string'],
    ],
  },
  services: {
    Registration: { Register: ['RegisterRequest', 'Empty'] },
    DevicePlugin: {
      GetDevicePluginOptions: ['Empty', 'DevicePluginOptions'],
      ListAndWatch: ['Empty', 'ListAndWatchResponse', 'stream'],
      GetPreferredAllocation: ['PreferredAllocationRequest', 'PreferredAllocationResponse'],
      Allocate: ['AllocateRequest', 'AllocateResponse'],
      PreStartContainer: ['PreStartContainerRequest', 'Empty'],
    },
  },
});

export const devicePluginMethods = protocol.methods;
/** As the checkpoint keeps it. */
export const containerAllocation = protocol.message('ContainerAllocateResponse');
