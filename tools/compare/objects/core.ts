/** The core group but for pods. */
import { selector, template } from './pods.ts';
import type { Bases } from './base-table.ts';

const pv = { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] };

export const coreBases: Bases = {
  '/v1/Binding': { small: { target: { kind: 'Node', name: 'n' } } },
  '/v1/ConfigMap': {
    small: { data: { a: 'b' } },
    rich: {
      metadata: {
        labels: { a: 'b' },
        annotations: { c: 'd' },
        finalizers: ['example.com/f'],
        ownerReferences: [
          {
            apiVersion: 'v1',
            kind: 'Pod',
            name: 'p',
            uid: '5f2a2d1e-0000-4000-8000-000000000001',
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      immutable: true,
      data: { 'a.b': 'é' },
      binaryData: { bin: 'AAEC' },
    },
  },
  '/v1/Endpoints': {
    small: { subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ port: 80 }] }] },
    rich: {
      subsets: [
        {
          addresses: [
            {
              ip: '10.1.2.3',
              hostname: 'h',
              nodeName: 'n',
              targetRef: { kind: 'Pod', name: 'p', namespace: 'x' },
            },
          ],
          notReadyAddresses: [{ ip: '10.1.2.4' }],
          ports: [
            { port: 80, name: 'http', protocol: 'TCP', appProtocol: 'http' },
            { port: 443, name: 'https' },
          ],
        },
      ],
    },
  },
  '/v1/Event': {
    small: {
      involvedObject: { kind: 'Pod', name: 'a', namespace: 'NAMESPACE' },
      reason: 'R',
      message: 'm',
      type: 'Normal',
    },
    rich: {
      involvedObject: {
        kind: 'Pod',
        name: 'a',
        namespace: 'NAMESPACE',
        uid: 'a',
        apiVersion: 'v1',
        fieldPath: 'x',
      },
      reason: 'R',
      message: 'm',
      type: 'Warning',
      count: 2,
      firstTimestamp: '2020-01-02T03:04:05Z',
      lastTimestamp: '2020-01-02T03:04:06Z',
      source: { component: 'c', host: 'h' },
      eventTime: '2020-01-02T03:04:05.000006Z',
      action: 'A',
      reportingComponent: 'x.y/z',
      reportingInstance: 'i',
      series: { count: 2, lastObservedTime: '2020-01-02T03:04:05.000006Z' },
      related: { kind: 'Pod', name: 'p' },
    },
  },
  '/v1/LimitRange': {
    small: { spec: { limits: [{ type: 'Pod', max: { cpu: '100' } }] } },
    rich: {
      spec: {
        limits: [
          {
            type: 'Container',
            max: { cpu: '2', memory: '1Gi' },
            min: { cpu: '1m' },
            default: { cpu: '1' },
            defaultRequest: { cpu: '100m' },
            maxLimitRequestRatio: { cpu: '10' },
          },
          { type: 'PersistentVolumeClaim', max: { storage: '10Gi' }, min: { storage: '1Mi' } },
          { type: 'Pod', max: { cpu: '4' } },
        ],
      },
    },
  },
  '/v1/Namespace': {
    small: {},
    rich: {
      metadata: { labels: { a: 'b', 'pod-security.kubernetes.io/enforce': 'baseline' } },
      spec: { finalizers: ['kubernetes', 'example.com/f'] },
    },
  },
  '/v1/Node': {
    small: {},
    rich: {
      metadata: { labels: { 'kubernetes.io/os': 'linux' } },
      spec: {
        podCIDR: '10.9.0.0/24',
        podCIDRs: ['10.9.0.0/24'],
        providerID: 'x://y',
        unschedulable: true,
        taints: [
          { key: 'a', value: 'b', effect: 'NoSchedule' },
          { key: 'c', effect: 'NoExecute' },
        ],
        configSource: { configMap: { name: 'n', namespace: 'm', kubeletConfigKey: 'k' } },
      },
      status: {
        capacity: { cpu: '4', memory: '8Gi', pods: '110' },
        allocatable: { cpu: '4' },
        conditions: [{ type: 'Ready', status: 'True', reason: 'R', message: 'm' }],
        addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
        nodeInfo: {
          machineID: 'm',
          systemUUID: 'u',
          bootID: 'b',
          kernelVersion: 'k',
          osImage: 'o',
          containerRuntimeVersion: 'r',
          kubeletVersion: 'v',
          kubeProxyVersion: 'v',
          operatingSystem: 'linux',
          architecture: 'amd64',
        },
        images: [{ names: ['a'], sizeBytes: 5 }],
      },
    },
  },
  '/v1/PersistentVolume': {
    small: { spec: { ...pv, hostPath: { path: '/x' } } },
    csi: {
      spec: {
        ...pv,
        csi: {
          driver: 'd.example.com',
          volumeHandle: 'h',
          fsType: 'ext4',
          readOnly: true,
          volumeAttributes: { a: 'b' },
          controllerPublishSecretRef: { name: 's', namespace: 'n' },
          nodeStageSecretRef: { name: 's', namespace: 'n' },
          nodePublishSecretRef: { name: 's', namespace: 'n' },
          controllerExpandSecretRef: { name: 's', namespace: 'n' },
          nodeExpandSecretRef: { name: 's', namespace: 'n' },
        },
        storageClassName: 'c',
        persistentVolumeReclaimPolicy: 'Delete',
        mountOptions: ['ro'],
        volumeMode: 'Filesystem',
        claimRef: { kind: 'PersistentVolumeClaim', namespace: 'n', name: 'c', uid: 'u', apiVersion: 'v1' },
        volumeAttributesClassName: 'v',
      },
    },
    local: {
      spec: {
        ...pv,
        local: { path: '/x', fsType: 'ext4' },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n'] }] },
            ],
          },
        },
        volumeMode: 'Block',
      },
    },
    nfs: {
      spec: { ...pv, accessModes: ['ReadWriteMany', 'ReadOnlyMany'], nfs: { server: 's', path: '/p' } },
    },
    iscsi: {
      spec: {
        ...pv,
        iscsi: {
          targetPortal: '10.0.0.1:3260',
          iqn: 'iqn.2001-04.com.example:storage',
          lun: 1,
          chapAuthDiscovery: true,
          chapAuthSession: true,
          secretRef: { name: 's', namespace: 'n' },
          initiatorName: 'iqn.2001-04.com.example:i',
        },
      },
    },
    fc: { spec: { ...pv, fc: { wwids: ['x'] } } },
    rbd: { spec: { ...pv, rbd: { monitors: ['m'], image: 'i', secretRef: { name: 's', namespace: 'n' } } } },
    cephfs: { spec: { ...pv, cephfs: { monitors: ['m'], secretRef: { name: 's', namespace: 'n' } } } },
    gluster: { spec: { ...pv, glusterfs: { endpoints: 'e', path: 'p', endpointsNamespace: 'n' } } },
    gce: { spec: { ...pv, gcePersistentDisk: { pdName: 'p', partition: 1 } } },
    aws: { spec: { ...pv, awsElasticBlockStore: { volumeID: 'v' } } },
    azurefile: { spec: { ...pv, azureFile: { secretName: 's', shareName: 'n', secretNamespace: 'ns' } } },
    azuredisk: {
      spec: {
        ...pv,
        azureDisk: { diskName: 'd', diskURI: '/subscriptions/x/y/z/w/disks/d', kind: 'Managed' },
      },
    },
    cinder: { spec: { ...pv, cinder: { volumeID: 'v', secretRef: { name: 's', namespace: 'n' } } } },
    vsphere: { spec: { ...pv, vsphereVolume: { volumePath: 'p' } } },
    scaleio: {
      spec: {
        ...pv,
        scaleIO: { gateway: 'g', system: 's', volumeName: 'v', secretRef: { name: 's', namespace: 'n' } },
      },
    },
    flex: {
      spec: { ...pv, flexVolume: { driver: 'example.com/d', secretRef: { name: 's', namespace: 'n' } } },
    },
    portworx: { spec: { ...pv, portworxVolume: { volumeID: 'v' } } },
    storageos: { spec: { ...pv, storageos: { volumeName: 'v' } } },
    quobyte: { spec: { ...pv, quobyte: { registry: 'r:1', volume: 'v' } } },
    flocker: { spec: { ...pv, flocker: { datasetName: 'd' } } },
    photon: { spec: { ...pv, photonPersistentDisk: { pdID: 'p' } } },
  },
  '/v1/PersistentVolumeClaim': {
    small: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
    rich: {
      spec: {
        accessModes: ['ReadWriteOncePod'],
        resources: { requests: { storage: '1Gi' }, limits: { storage: '2Gi' } },
        storageClassName: 'c',
        volumeMode: 'Block',
        volumeName: 'v',
        selector: {
          matchLabels: { a: 'b' },
          matchExpressions: [{ key: 'k', operator: 'In', values: ['v'] }],
        },
        dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 's' },
        volumeAttributesClassName: 'gold',
      },
    },
    dataref: {
      spec: {
        accessModes: ['ReadWriteMany'],
        resources: { requests: { storage: '1Gi' } },
        dataSourceRef: { kind: 'PersistentVolumeClaim', name: 'p' },
      },
    },
  },
  '/v1/ReplicationController': {
    small: { spec: { selector: { app: 'a' }, template } },
    rich: { spec: { replicas: 3, minReadySeconds: 5, selector: { app: 'a' }, template } },
  },
  '/v1/ResourceQuota': {
    small: { spec: { hard: { 'count/widgets.none': '5' } } },
    rich: {
      spec: {
        hard: { 'requests.cpu': '10', 'limits.memory': '1Gi', pods: '5' },
        scopes: ['NotTerminating'],
        scopeSelector: {
          matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }],
        },
      },
    },
    storage: {
      spec: {
        hard: {
          'gold.storageclass.storage.k8s.io/requests.storage': '5Gi',
          persistentvolumeclaims: '3',
          'services.nodeports': '1',
          'requests.example.com/gpu': '4',
          'requests.ephemeral-storage': '1Gi',
        },
      },
    },
  },
  '/v1/Secret': {
    small: { data: { a: 'AAEC' } },
    rich: {
      type: 'kubernetes.io/tls',
      immutable: true,
      stringData: { x: 'y' },
      data: { 'tls.crt': 'AAEC', 'tls.key': 'AAEC' },
    },
    basic: { type: 'kubernetes.io/basic-auth', data: { username: 'AAEC', password: 'AAEC' } },
    ssh: { type: 'kubernetes.io/ssh-auth', data: { 'ssh-privatekey': 'AAEC' } },
    docker: { type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': '{"auths":{}}' } },
    dockercfg: { type: 'kubernetes.io/dockercfg', stringData: { '.dockercfg': '{}' } },
    token: {
      type: 'kubernetes.io/service-account-token',
      metadata: { annotations: { 'kubernetes.io/service-account.name': 'default' } },
    },
    bootstrap: {
      type: 'bootstrap.kubernetes.io/token',
      stringData: { 'token-id': 'abcdef', 'token-secret': '0123456789abcdef' },
    },
  },
  '/v1/ServiceAccount': {
    small: {},
    rich: {
      secrets: [{ name: 's' }],
      imagePullSecrets: [{ name: 'p' }],
      automountServiceAccountToken: false,
      metadata: { annotations: { 'kubernetes.io/enforce-mountable-secrets': 'true' } },
    },
  },
  '/v1/Service': {
    small: { spec: { selector: { app: 'a' }, ports: [{ port: 80 }] } },
    rich: {
      spec: {
        type: 'LoadBalancer',
        selector: { app: 'a' },
        ports: [
          { port: 80, targetPort: 'http', name: 'http', protocol: 'TCP', appProtocol: 'http' },
          { port: 443, targetPort: 8443, name: 'https' },
        ],
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 100 } },
        externalIPs: ['80.1.2.3'],
        loadBalancerSourceRanges: ['10.0.0.0/8'],
        externalTrafficPolicy: 'Local',
        internalTrafficPolicy: 'Local',
        publishNotReadyAddresses: true,
        ipFamilyPolicy: 'SingleStack',
        ipFamilies: ['IPv4'],
        allocateLoadBalancerNodePorts: true,
        loadBalancerClass: 'example.com/lb',
        trafficDistribution: 'PreferSameZone',
      },
    },
    nodeport: {
      spec: {
        type: 'NodePort',
        selector: { app: 'a' },
        ports: [
          { port: 80, name: 'a' },
          { port: 80, protocol: 'UDP', name: 'b' },
        ],
        externalTrafficPolicy: 'Cluster',
      },
    },
    headless: { spec: { clusterIP: 'None', ports: [{ port: 80 }], ipFamilyPolicy: 'PreferDualStack' } },
    external: { spec: { type: 'ExternalName', externalName: 'a.example.com' } },
  },
};

export { selector };
