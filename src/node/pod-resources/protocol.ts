/** The PodResources API (v1.PodResourcesLister) as data: which devices the containers of a node have, for monitors. */
import { describeProtocol } from '#grpc/describe.ts';

export const { methods: podResourcesMethods } = describeProtocol('v1', {
  messages: {
    AllocatableResourcesRequest: [],
    AllocatableResourcesResponse: [
      ['devices', 1, 'ContainerDevices', 'repeated'],
      ['cpuIds', 2, 'int64', 'repeated'],
      ['memory', 3, 'ContainerMemory', 'repeated'],
    ],
    ListPodResourcesRequest: [],
    ListPodResourcesResponse: [['podResources', 1, 'PodResources', 'repeated']],
    PodResources: [
      ['name', 1, 'string'],
      ['namespace', 2, 'string'],
      ['containers', 3, 'ContainerResources', 'repeated'],
    ],
    ContainerResources: [
      ['name', 1, 'string'],
      ['devices', 2, 'ContainerDevices', 'repeated'],
      ['cpuIds', 3, 'int64', 'repeated'],
      ['memory', 4, 'ContainerMemory', 'repeated'],
      ['dynamicResources', 5, 'DynamicResource', 'repeated'],
    ],
    ContainerMemory: [
      ['memoryType', 1, 'string'],
      ['size', 2, 'uint64'],
      ['topology', 3, 'TopologyInfo'],
    ],
    ContainerDevices: [
      ['resourceName', 1, 'string'],
      ['deviceIds', 2, 'string', 'repeated'],
      ['topology', 3, 'TopologyInfo'],
    ],
    TopologyInfo: [['nodes', 1, 'NUMANode', 'repeated']],
    NUMANode: [['ID', 1, 'int64']],
    DynamicResource: [
      ['claimName', 2, 'string'],
      ['claimNamespace', 3, 'string'],
      ['claimResources', 4, 'ClaimResource', 'repeated'],
    ],
    ClaimResource: [
      ['cdiDevices', 1, 'CDIDevice', 'repeated'],
      ['driverName', 2, 'string'],
      ['poolName', 3, 'string'],
      ['deviceName', 4, 'string'],
    ],
    CDIDevice: [['name', 1, 'string']],
    GetPodResourcesRequest: [
      ['podName', 1, 'string'],
      ['podNamespace', 2, 'string'],
    ],
    GetPodResourcesResponse: [['podResources', 1, 'PodResources']],
  },
  services: {
    PodResourcesLister: {
      List: ['ListPodResourcesRequest', 'ListPodResourcesResponse'],
      GetAllocatableResources: ['AllocatableResourcesRequest', 'AllocatableResourcesResponse'],
      Get: ['GetPodResourcesRequest', 'GetPodResourcesResponse'],
    },
  },
});
