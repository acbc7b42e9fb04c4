/** Configuration files of init, join and reset as data: kubeadm.k8s.io/v1beta4 as written, and with defaults as the phases use it. */
import type { Taint } from '#api/types.ts';
import type { AddonSection } from '../addons/addon-files.ts';

export interface Arg {
  readonly name?: string;
  readonly value?: string;
}

export interface BootstrapToken {
  readonly token?: string;
  readonly description?: string;
  /** RFC 3339; excludes ttl. */
  readonly expires?: string;
  /** A Go duration; '0s' never expires. */
  readonly ttl?: string;
  readonly usages?: readonly string[];
  readonly groups?: readonly string[];
}

export interface NodeRegistration {
  readonly name?: string;
  readonly criSocket?: string;
  /** Absent: the control-plane taint on control planes. */
  readonly taints?: readonly Taint[];
  readonly kubeletExtraArgs?: readonly Arg[];
  readonly ignorePreflightErrors?: readonly string[];
  readonly imagePullPolicy?: string;
  readonly imagePullSerial?: boolean;
}

export interface APIEndpoint {
  readonly advertiseAddress?: string;
  readonly bindPort?: number;
}

/** Go durations. */
export interface Timeouts {
  readonly controlPlaneComponentHealthCheck?: string;
  readonly kubeletHealthCheck?: string;
  readonly kubernetesAPICall?: string;
  readonly etcdAPICall?: string;
  readonly tlsBootstrap?: string;
  readonly discovery?: string;
  readonly upgradeManifests?: string;
}

export interface InitConfiguration {
  readonly bootstrapTokens?: readonly BootstrapToken[];
  readonly dryRun?: boolean;
  readonly nodeRegistration?: NodeRegistration;
  readonly localAPIEndpoint?: APIEndpoint;
  readonly certificateKey?: string;
  readonly skipPhases?: readonly string[];
  readonly patches?: { readonly directory?: string };
  readonly timeouts?: Timeouts | undefined;
}

/** A path of the machine in a component that is a static pod. */
export interface HostPathMount {
  readonly name?: string;
  readonly hostPath?: string;
  readonly mountPath?: string;
  readonly readOnly?: boolean;
  /** Of a hostPath volume. Default: not checked. */
  readonly pathType?: string;
}

interface ComponentConfiguration {
  readonly extraArgs?: readonly Arg[];
  readonly extraVolumes?: readonly HostPathMount[];
  readonly extraEnvs?: readonly { readonly name?: string; readonly value?: string }[];
}

export interface ExternalEtcd {
  readonly endpoints?: readonly string[];
  readonly httpEndpoints?: readonly string[];
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

interface LocalEtcd {
  readonly dataDir?: string;
  readonly extraArgs?: readonly Arg[];
  readonly extraEnvs?: readonly { readonly name?: string; readonly value?: string }[];
  readonly serverCertSANs?: readonly string[];
  readonly peerCertSANs?: readonly string[];
}

export interface ClusterConfiguration {
  readonly etcd?: { readonly local?: LocalEtcd; readonly external?: ExternalEtcd };
  readonly networking?: {
    readonly serviceSubnet?: string;
    readonly podSubnet?: string;
    readonly dnsDomain?: string;
  };
  readonly kubernetesVersion?: string;
  /** HOST or HOST:PORT. */
  readonly controlPlaneEndpoint?: string;
  readonly apiServer?: ComponentConfiguration & { readonly certSANs?: readonly string[] };
  readonly controllerManager?: ComponentConfiguration;
  readonly scheduler?: ComponentConfiguration;
  readonly dns?: { readonly disabled?: boolean };
  readonly proxy?: { readonly disabled?: boolean };
  readonly certificatesDir?: string;
  readonly imageRepository?: string;
  readonly featureGates?: Readonly<Record<string, boolean>>;
  readonly clusterName?: string;
  readonly encryptionAlgorithm?: string;
  readonly certificateValidityPeriod?: string;
  readonly caCertificateValidityPeriod?: string;
}

/** fleet.capstan.dev/v1alpha1. */
export interface AddonsConfiguration {
  readonly kind: 'Addons';
  readonly addons?: readonly AddonSection[];
}

export interface JoinConfiguration {
  readonly dryRun?: boolean;
  readonly nodeRegistration?: NodeRegistration;
  readonly caCertPath?: string;
  readonly discovery?: {
    readonly bootstrapToken?: {
      readonly token?: string;
      readonly apiServerEndpoint?: string;
      readonly caCertHashes?: readonly string[];
      readonly unsafeSkipCAVerification?: boolean;
    };
    readonly file?: { readonly kubeConfigPath?: string };
    readonly tlsBootstrapToken?: string;
  };
  readonly controlPlane?: { readonly localAPIEndpoint?: APIEndpoint; readonly certificateKey?: string };
  readonly skipPhases?: readonly string[];
  readonly patches?: { readonly directory?: string };
  readonly timeouts?: Timeouts;
}

export interface ResetConfiguration {
  readonly certificatesDir?: string;
  readonly cleanupTmpDir?: boolean;
  readonly criSocket?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly ignorePreflightErrors?: readonly string[];
  readonly skipPhases?: readonly string[];
  readonly unmountFlags?: readonly string[];
  readonly timeouts?: Timeouts;
}

/** kubelet.config.k8s.io/v1beta1, what `capstan node` acts on. */
export interface KubeletConfiguration {
  readonly staticPodPath?: string;
  readonly clusterDNS?: readonly string[];
  readonly clusterDomain?: string;
  readonly podPidsLimit?: number;
  readonly systemReserved?: Readonly<Record<string, string>>;
  readonly kubeReserved?: Readonly<Record<string, string>>;
  readonly streamingConnectionIdleTimeout?: string;
  readonly protectKernelDefaults?: boolean;
  readonly rotateCertificates?: boolean;
  readonly serverTLSBootstrap?: boolean;
  readonly tlsCertFile?: string;
  readonly tlsPrivateKeyFile?: string;
  readonly tlsMinVersion?: string;
  readonly tlsCipherSuites?: readonly string[];
  readonly authentication?: {
    readonly anonymous?: { readonly enabled?: boolean };
    readonly webhook?: { readonly enabled?: boolean };
    readonly x509?: { readonly clientCAFile?: string };
  };
  readonly authorization?: { readonly mode?: string };
  readonly readOnlyPort?: number;
}
