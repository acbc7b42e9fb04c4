/** The kinds of configuration documents with their fields, and the fields without effect here: the reader warns of each by name. */
import { configKind } from '#machinery/config/read.ts';
import { ADDON_SECTIONS } from '../addons/addon-files.ts';
import { duration, flag, integer, listOf, mapOf, struct, text } from '#machinery/config/schema.ts';

const arg = struct('Arg', { name: text, value: text });
const args = listOf(arg);
const environment = listOf(struct('EnvVar', { name: text, value: text }));
const taint = struct('Taint', { key: text, value: text, effect: text, timeAdded: text });
const localAPIEndpoint = struct('APIEndpoint', { advertiseAddress: text, bindPort: integer });
const patches = struct('Patches', { directory: text });
const timeouts = struct('Timeouts', {
  controlPlaneComponentHealthCheck: duration,
  kubeletHealthCheck: duration,
  kubernetesAPICall: duration,
  etcdAPICall: duration,
  tlsBootstrap: duration,
  discovery: duration,
  upgradeManifests: duration,
});
const nodeRegistration = struct('NodeRegistrationOptions', {
  name: text,
  criSocket: text,
  taints: listOf(taint),
  kubeletExtraArgs: args,
  ignorePreflightErrors: listOf(text),
  imagePullPolicy: text,
  imagePullSerial: flag,
});
const hostPathMount = struct('HostPathMount', {
  name: text,
  hostPath: text,
  mountPath: text,
  readOnly: flag,
  pathType: text,
});
const component = { extraArgs: args, extraVolumes: listOf(hostPathMount), extraEnvs: environment };

const KUBEADM = { group: 'kubeadm.k8s.io', versions: ['v1beta4'] as const };

export const INIT = configKind(
  { ...KUBEADM, kind: 'InitConfiguration' },
  {
    bootstrapTokens: listOf(
      struct('BootstrapToken', {
        token: text,
        description: text,
        expires: text,
        ttl: duration,
        usages: listOf(text),
        groups: listOf(text),
      }),
    ),
    dryRun: flag,
    nodeRegistration,
    localAPIEndpoint,
    certificateKey: text,
    skipPhases: listOf(text),
    patches,
    timeouts,
  },
);

export const CLUSTER = configKind(
  { ...KUBEADM, kind: 'ClusterConfiguration' },
  {
    etcd: struct('Etcd', {
      local: struct('LocalEtcd', {
        imageRepository: text,
        imageTag: text,
        dataDir: text,
        extraArgs: args,
        extraEnvs: environment,
        serverCertSANs: listOf(text),
        peerCertSANs: listOf(text),
      }),
      external: struct('ExternalEtcd', {
        endpoints: listOf(text),
        httpEndpoints: listOf(text),
        caFile: text,
        certFile: text,
        keyFile: text,
      }),
    }),
    networking: struct('Networking', { serviceSubnet: text, podSubnet: text, dnsDomain: text }),
    kubernetesVersion: text,
    controlPlaneEndpoint: text,
    apiServer: struct('APIServer', { ...component, certSANs: listOf(text) }),
    controllerManager: struct('ControlPlaneComponent', component),
    scheduler: struct('ControlPlaneComponent', component),
    dns: struct('DNS', { imageRepository: text, imageTag: text, disabled: flag }),
    proxy: struct('Proxy', { disabled: flag }),
    certificatesDir: text,
    imageRepository: text,
    featureGates: mapOf(flag),
    clusterName: text,
    encryptionAlgorithm: text,
    certificateValidityPeriod: duration,
    caCertificateValidityPeriod: duration,
  },
);

export const JOIN = configKind(
  { ...KUBEADM, kind: 'JoinConfiguration' },
  {
    dryRun: flag,
    nodeRegistration,
    caCertPath: text,
    discovery: struct('Discovery', {
      bootstrapToken: struct('BootstrapTokenDiscovery', {
        token: text,
        apiServerEndpoint: text,
        caCertHashes: listOf(text),
        unsafeSkipCAVerification: flag,
      }),
      file: struct('FileDiscovery', { kubeConfigPath: text }),
      tlsBootstrapToken: text,
    }),
    controlPlane: struct('JoinControlPlane', { localAPIEndpoint, certificateKey: text }),
    skipPhases: listOf(text),
    patches,
    timeouts,
  },
);

export const RESET = configKind(
  { ...KUBEADM, kind: 'ResetConfiguration' },
  {
    certificatesDir: text,
    cleanupTmpDir: flag,
    criSocket: text,
    dryRun: flag,
    force: flag,
    ignorePreflightErrors: listOf(text),
    skipPhases: listOf(text),
    unmountFlags: listOf(text),
    timeouts,
  },
);

/** Beside kubeadm's kinds in the file of init; ClusterConfiguration is upstream's, and has no room for them. */
export const ADDONS = configKind(
  { group: 'fleet.capstan.dev', versions: ['v1alpha1'], kind: 'Addons' },
  { addons: ADDON_SECTIONS },
);

/** Fields that are read and not acted on: by kind, the path of each and why. Paths of lists are those of the list. */
export const IGNORED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  InitConfiguration: {
    'nodeRegistration.criSocket': 'the node runs a containerd of its own',
    'nodeRegistration.imagePullPolicy': 'no image is needed to start a cluster',
    'nodeRegistration.imagePullSerial': 'no image is needed to start a cluster',
    'timeouts.upgradeManifests': 'it is of upgrades',
  },
  ClusterConfiguration: {
    'etcd.local.imageRepository': 'etcd is a program of this machine, not an image',
    'etcd.local.imageTag': 'etcd is a program of this machine, not an image',
    'dns.imageRepository': 'DNS is a component of Capstan, not an image',
    'dns.imageTag': 'DNS is a component of Capstan, not an image',
    imageRepository: 'no image is needed to start a cluster',
  },
  JoinConfiguration: {
    'nodeRegistration.criSocket': 'the node runs a containerd of its own',
    'nodeRegistration.imagePullPolicy': 'no image is needed to join a cluster',
    'nodeRegistration.imagePullSerial': 'no image is needed to join a cluster',
    'timeouts.upgradeManifests': 'it is of upgrades',
  },
  ResetConfiguration: {
    cleanupTmpDir: 'there is no such directory',
    criSocket: 'the node runs a containerd of its own',
    unmountFlags: 'mounts are taken away one by one, and lazily where they are busy',
    timeouts: 'reset has bounds of its own',
  },
};
