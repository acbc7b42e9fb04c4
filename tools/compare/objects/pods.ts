/** Pods, and the templates that workloads share. */
import type { Bases } from './base-table.ts';

export const smallPodSpec = { containers: [{ name: 'c', image: 'i' }] };
export const selector = { matchLabels: { app: 'a' } };
export const template = { metadata: { labels: { app: 'a' } }, spec: smallPodSpec };

const rich = {
  metadata: { labels: { app: 'a' }, annotations: { 'example.com/a': 'b' } },
  spec: {
    activeDeadlineSeconds: 600,
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 5,
    dnsPolicy: 'ClusterFirst',
    enableServiceLinks: false,
    priority: 0,
    preemptionPolicy: 'PreemptLowerPriority',
    serviceAccountName: 'default',
    automountServiceAccountToken: false,
    nodeSelector: { disk: 'ssd' },
    hostname: 'h',
    subdomain: 's',
    schedulerName: 'mine',
    shareProcessNamespace: true,
    setHostnameAsFQDN: false,
    dnsConfig: {
      nameservers: ['10.0.0.1'],
      searches: ['a.example.com'],
      options: [{ name: 'ndots', value: '2' }],
    },
    hostAliases: [{ ip: '10.1.1.1', hostnames: ['x.example.com'] }],
    os: { name: 'linux' },
    readinessGates: [{ conditionType: 'example.com/ready' }],
    imagePullSecrets: [{ name: 'pull' }],
    tolerations: [
      { key: 'a', operator: 'Equal', value: 'b', effect: 'NoExecute', tolerationSeconds: 60 },
      { key: 'c', operator: 'Exists' },
    ],
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'zone',
        whenUnsatisfiable: 'DoNotSchedule',
        labelSelector: selector,
        minDomains: 2,
        nodeAffinityPolicy: 'Honor',
        nodeTaintsPolicy: 'Ignore',
        matchLabelKeys: ['k'],
      },
    ],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            {
              matchExpressions: [
                { key: 'a', operator: 'In', values: ['b'] },
                { key: 'n', operator: 'Gt', values: ['3'] },
              ],
              matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n'] }],
            },
          ],
        },
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 10, preference: { matchExpressions: [{ key: 'a', operator: 'Exists' }] } },
        ],
      },
      podAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          {
            labelSelector: selector,
            topologyKey: 'zone',
            namespaces: ['default'],
            namespaceSelector: selector,
            matchLabelKeys: ['k'],
            mismatchLabelKeys: ['m'],
          },
        ],
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 5,
            podAffinityTerm: {
              labelSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['z'] }] },
              topologyKey: 'zone',
            },
          },
        ],
      },
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: selector, topologyKey: 'host' }],
      },
    },
    securityContext: {
      runAsUser: 1000,
      runAsGroup: 1000,
      runAsNonRoot: true,
      fsGroup: 2000,
      fsGroupChangePolicy: 'OnRootMismatch',
      supplementalGroups: [3000],
      supplementalGroupsPolicy: 'Merge',
      sysctls: [{ name: 'net.ipv4.ip_local_port_range', value: '1024 65000' }],
      seLinuxOptions: { level: 's0' },
      seccompProfile: { type: 'RuntimeDefault' },
      appArmorProfile: { type: 'RuntimeDefault' },
    },
    initContainers: [
      { name: 'init', image: 'i', command: ['true'] },
      { name: 'sidecar', image: 'i', restartPolicy: 'Always', startupProbe: { exec: { command: ['true'] } } },
    ],
    containers: [
      {
        name: 'c',
        image: 'i:v1',
        imagePullPolicy: 'Always',
        command: ['a'],
        args: ['$(A)'],
        workingDir: '/w',
        stdin: true,
        stdinOnce: true,
        tty: true,
        terminationMessagePath: '/t',
        terminationMessagePolicy: 'File',
        ports: [
          { name: 'http', containerPort: 80, protocol: 'TCP' },
          { name: 'dns', containerPort: 53, protocol: 'UDP', hostPort: 5353 },
        ],
        env: [
          { name: 'A', value: 'b' },
          { name: 'F', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } },
          {
            name: 'R',
            valueFrom: { resourceFieldRef: { containerName: 'c', resource: 'limits.cpu', divisor: '1m' } },
          },
          { name: 'M', valueFrom: { configMapKeyRef: { name: 'm', key: 'k', optional: true } } },
          { name: 'S', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
        ],
        envFrom: [
          { prefix: 'P_', configMapRef: { name: 'm' } },
          { secretRef: { name: 's', optional: true } },
        ],
        resources: {
          requests: { cpu: '10m', memory: '10Mi' },
          limits: { cpu: '20m', memory: '20Mi', 'ephemeral-storage': '1Gi', 'example.com/gpu': '1' },
        },
        resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }],
        livenessProbe: {
          httpGet: { path: '/', port: 'http', scheme: 'HTTPS', httpHeaders: [{ name: 'X-A', value: 'b' }] },
          initialDelaySeconds: 1,
          timeoutSeconds: 1,
          periodSeconds: 10,
          successThreshold: 1,
          failureThreshold: 3,
          terminationGracePeriodSeconds: 3,
        },
        readinessProbe: { tcpSocket: { port: 80 } },
        startupProbe: { grpc: { port: 80, service: 's' } },
        lifecycle: { postStart: { exec: { command: ['x'] } }, preStop: { sleep: { seconds: 1 } } },
        securityContext: {
          privileged: false,
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          runAsUser: 5,
          capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] },
          procMount: 'Default',
          seccompProfile: { type: 'Localhost', localhostProfile: 'p' },
        },
        volumeMounts: [
          { name: 'empty', mountPath: '/e', readOnly: true, recursiveReadOnly: 'Disabled' },
          { name: 'host', mountPath: '/h', subPath: 'a', mountPropagation: 'HostToContainer' },
          { name: 'projected', mountPath: '/p', subPathExpr: '$(A)' },
        ],
        volumeDevices: [{ name: 'claim', devicePath: '/dev/x' }],
      },
    ],
    volumes: [
      { name: 'empty', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
      { name: 'host', hostPath: { path: '/x', type: 'DirectoryOrCreate' } },
      { name: 'claim', persistentVolumeClaim: { claimName: 'c', readOnly: false } },
      {
        name: 'map',
        configMap: {
          name: 'm',
          defaultMode: 420,
          optional: true,
          items: [{ key: 'a', path: 'b/c', mode: 256 }],
        },
      },
      { name: 'secret', secret: { secretName: 's', items: [{ key: 'a', path: 'b' }] } },
      {
        name: 'down',
        downwardAPI: {
          items: [
            { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
            { path: 'cpu', resourceFieldRef: { containerName: 'c', resource: 'requests.cpu' } },
          ],
        },
      },
      {
        name: 'projected',
        projected: {
          defaultMode: 420,
          sources: [
            { configMap: { name: 'm' } },
            { secret: { name: 's' } },
            { serviceAccountToken: { audience: 'a', expirationSeconds: 3600, path: 'token' } },
            { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
            { clusterTrustBundle: { name: 't', path: 'ca' } },
          ],
        },
      },
      {
        name: 'csi',
        csi: {
          driver: 'd.example.com',
          readOnly: true,
          fsType: 'ext4',
          volumeAttributes: { a: 'b' },
          nodePublishSecretRef: { name: 's' },
        },
      },
      {
        name: 'ephemeral',
        ephemeral: {
          volumeClaimTemplate: {
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
          },
        },
      },
      { name: 'image', image: { reference: 'r', pullPolicy: 'IfNotPresent' } },
      { name: 'nfs', nfs: { server: 's', path: '/p' } },
      { name: 'iscsi', iscsi: { targetPortal: '10.0.0.1', iqn: 'iqn.2001-04.com.example:storage', lun: 0 } },
      { name: 'fc', fc: { targetWWNs: ['50060e801049cfd1'], lun: 0 } },
      { name: 'rbd', rbd: { monitors: ['m'], image: 'i' } },
      { name: 'cephfs', cephfs: { monitors: ['m'] } },
      { name: 'gluster', glusterfs: { endpoints: 'e', path: 'p' } },
      { name: 'flex', flexVolume: { driver: 'example.com/d' } },
      { name: 'git', gitRepo: { repository: 'r' } },
      { name: 'gce', gcePersistentDisk: { pdName: 'p' } },
      { name: 'aws', awsElasticBlockStore: { volumeID: 'v' } },
      { name: 'azurefile', azureFile: { secretName: 's', shareName: 'n' } },
      { name: 'azuredisk', azureDisk: { diskName: 'd', diskURI: 'https://blob/x' } },
      { name: 'cinder', cinder: { volumeID: 'v' } },
      { name: 'quobyte', quobyte: { registry: 'r:1', volume: 'v' } },
      { name: 'portworx', portworxVolume: { volumeID: 'v' } },
      { name: 'scaleio', scaleIO: { gateway: 'g', system: 's', volumeName: 'v', secretRef: { name: 's' } } },
      { name: 'storageos', storageos: { volumeName: 'v' } },
      { name: 'flocker', flocker: { datasetName: 'd' } },
      { name: 'vsphere', vsphereVolume: { volumePath: 'p' } },
      { name: 'photon', photonPersistentDisk: { pdID: 'p' } },
    ],
  },
};

const host = {
  spec: {
    hostNetwork: true,
    hostPID: true,
    hostIPC: true,
    dnsPolicy: 'None',
    dnsConfig: { nameservers: ['10.0.0.1'] },
    restartPolicy: 'Never',
    nodeName: 'n',
    resources: { requests: { cpu: '1' } },
    resourceClaims: [{ name: 'r', resourceClaimName: 'c' }],
    containers: [
      {
        name: 'c',
        image: 'i',
        ports: [{ containerPort: 8080 }],
        resources: { claims: [{ name: 'r' }] },
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
        restartPolicy: 'Never',
      },
    ],
  },
};

const windows = {
  spec: {
    os: { name: 'windows' },
    schedulingGates: [{ name: 'example.com/gate' }],
    securityContext: { windowsOptions: { runAsUserName: 'u' } },
    containers: [
      {
        name: 'c',
        image: 'i',
        securityContext: { windowsOptions: { gmsaCredentialSpecName: 'g', hostProcess: false } },
      },
    ],
  },
};

const guaranteed = {
  metadata: {
    labels: { app: 'a', 'bad.example.com/x': '1' },
    annotations: {
      'container.apparmor.security.beta.kubernetes.io/c': 'runtime/default',
      'seccomp.security.alpha.kubernetes.io/pod': 'runtime/default',
    },
  },
  spec: {
    containers: [
      {
        name: 'c',
        image: 'i',
        resources: {
          requests: { cpu: '1', memory: '1Gi', 'hugepages-2Mi': '2Mi' },
          limits: { cpu: '1', memory: '1Gi', 'hugepages-2Mi': '2Mi' },
        },
      },
    ],
    ephemeralContainers: [],
  },
};

export const podBases: Bases = {
  '/v1/Pod': {
    small: { spec: smallPodSpec },
    rich,
    host,
    windows,
    guaranteed,
    overhead: { spec: { ...smallPodSpec, overhead: {} } },
  },
  '/v1/PodTemplate': { small: { template }, rich: { template: rich } },
};
