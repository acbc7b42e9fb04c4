/** kubeadm's defaults. Those that depend on the machine (its name and address) and the version are parameters. */
import { goDurationMs } from '#machinery/go-duration.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import { hostPort } from './endpoint.ts';
import { subnetsOf } from './networking.ts';
import type {
  APIEndpoint,
  BootstrapToken,
  ClusterConfiguration,
  ExternalEtcd,
  InitConfiguration,
  JoinConfiguration,
  KubeletConfiguration,
  NodeRegistration,
  Timeouts,
} from './types.ts';

const DEFAULT_BIND_PORT = 6443;
const DEFAULT_CERTIFICATES_DIR = '/etc/kubernetes/pki';
const DEFAULT_ETCD_DIR = '/var/lib/etcd';
const CONTROL_PLANE_TAINT = { key: CONTROL_PLANE_ROLE, effect: 'NoSchedule' } as const;
const BOOTSTRAPPERS = 'system:bootstrappers:kubeadm:default-node-token';

export interface DefaultedCluster extends ClusterConfiguration {
  readonly etcd: {
    readonly local?: NonNullable<NonNullable<ClusterConfiguration['etcd']>['local']> & {
      readonly dataDir: string;
    };
    readonly external?: ExternalEtcd;
  };
  readonly networking: {
    readonly serviceSubnet: string;
    readonly podSubnet: string;
    readonly dnsDomain: string;
  };
  readonly kubernetesVersion: string;
  readonly certificatesDir: string;
  readonly clusterName: string;
  readonly encryptionAlgorithm: string;
  readonly certificateValidityPeriod: string;
  readonly caCertificateValidityPeriod: string;
}

export interface DefaultedToken extends BootstrapToken {
  readonly token: string;
  readonly usages: readonly string[];
  readonly groups: readonly string[];
}

interface DefaultedRegistration extends NodeRegistration {
  readonly name: string;
}

export interface DefaultedInit extends InitConfiguration {
  readonly bootstrapTokens: readonly DefaultedToken[];
  readonly nodeRegistration: DefaultedRegistration & {
    readonly taints: NonNullable<NodeRegistration['taints']>;
  };
  readonly localAPIEndpoint: Required<APIEndpoint>;
}

export interface DefaultedJoin extends JoinConfiguration {
  readonly nodeRegistration: DefaultedRegistration;
  readonly caCertPath: string;
}

/** Of this machine. */
export interface MachineFacts {
  readonly hostName: string;
  /** That of the default route. */
  readonly address: string;
}

export function defaultCluster(
  given: ClusterConfiguration,
  { kubernetesVersion }: { readonly kubernetesVersion: string },
): DefaultedCluster {
  const { external, local } = given.etcd ?? {};
  return {
    ...given,
    kubernetesVersion: given.kubernetesVersion || kubernetesVersion,
    certificatesDir: given.certificatesDir || DEFAULT_CERTIFICATES_DIR,
    clusterName: given.clusterName || 'kubernetes',
    encryptionAlgorithm: given.encryptionAlgorithm || 'ECDSA-P256',
    certificateValidityPeriod: given.certificateValidityPeriod || '8760h0m0s',
    caCertificateValidityPeriod: given.caCertificateValidityPeriod || '87600h0m0s',
    networking: {
      ...subnetsOf(given),
      dnsDomain: given.networking?.dnsDomain || 'cluster.local',
    },
    etcd: external ? { external } : { local: { ...local, dataDir: local?.dataDir || DEFAULT_ETCD_DIR } },
  };
}

/** newToken: creates the value of tokens without one, or of the one that replaces an empty list. */
export function defaultInit(
  given: InitConfiguration,
  { newToken, ...facts }: MachineFacts & { newToken(): string },
): DefaultedInit {
  const tokens = given.bootstrapTokens?.length ? given.bootstrapTokens : [{}];
  const registration = defaultRegistration(given.nodeRegistration, facts);
  return {
    ...given,
    bootstrapTokens: tokens.map((token) => defaultToken(token, newToken)),
    nodeRegistration: { ...registration, taints: registration.taints ?? [CONTROL_PLANE_TAINT] },
    localAPIEndpoint: defaultEndpoint(given.localAPIEndpoint, facts),
  };
}

export function defaultToken(given: BootstrapToken, newToken: () => string): DefaultedToken {
  return {
    ...given,
    token: given.token || newToken(),
    ...(given.expires === undefined && given.ttl === undefined ? { ttl: '24h0m0s' } : {}),
    usages: given.usages?.length ? given.usages : ['signing', 'authentication'],
    groups: given.groups?.length ? given.groups : [BOOTSTRAPPERS],
  };
}

export function defaultJoin(given: JoinConfiguration, facts: MachineFacts): DefaultedJoin {
  const { controlPlane, discovery } = given;
  const registration = defaultRegistration(given.nodeRegistration, facts);
  const tlsBootstrapToken = discovery?.tlsBootstrapToken || discovery?.bootstrapToken?.token;
  return {
    ...given,
    nodeRegistration: {
      ...registration,
      ...(controlPlane && !registration.taints ? { taints: [CONTROL_PLANE_TAINT] } : {}),
    },
    caCertPath: given.caCertPath || `${DEFAULT_CERTIFICATES_DIR}/ca.crt`,
    discovery: { ...discovery, ...(tlsBootstrapToken ? { tlsBootstrapToken } : {}) },
    ...(controlPlane && {
      controlPlane: {
        ...controlPlane,
        localAPIEndpoint: defaultEndpoint(controlPlane.localAPIEndpoint, facts),
      },
    }),
  };
}

/** dnsAddress: the tenth address of the services' range. */
export function defaultKubelet(
  given: KubeletConfiguration,
  { cluster, dnsAddress, clientCAFile, staticPodPath }: KubeletFacts,
): KubeletConfiguration {
  return {
    staticPodPath,
    clusterDNS: [dnsAddress],
    clusterDomain: cluster.networking.dnsDomain,
    rotateCertificates: true,
    serverTLSBootstrap: true,
    ...given,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile },
      ...given.authentication,
    },
    authorization: { mode: 'Webhook', ...given.authorization },
  };
}

interface KubeletFacts {
  readonly cluster: DefaultedCluster;
  readonly dnsAddress: string;
  readonly clientCAFile: string;
  readonly staticPodPath: string;
}

function defaultRegistration(
  given: NodeRegistration = {},
  { hostName }: Pick<MachineFacts, 'hostName'>,
): DefaultedRegistration {
  return { ...given, name: (given.name || hostName).toLowerCase() };
}

function defaultEndpoint(
  given: APIEndpoint = {},
  { address }: Pick<MachineFacts, 'address'>,
): Required<APIEndpoint> {
  return {
    advertiseAddress: given.advertiseAddress || address,
    bindPort: given.bindPort || DEFAULT_BIND_PORT,
  };
}

/** HOST:PORT where clients outside reach the control plane: the control-plane endpoint, else this machine's API server. */
export function clusterEndpoint(
  { controlPlaneEndpoint }: Pick<ClusterConfiguration, 'controlPlaneEndpoint'>,
  local: Required<APIEndpoint>,
): string {
  if (!controlPlaneEndpoint) return hostPort(local.advertiseAddress, local.bindPort);
  return /:\d+$/.test(controlPlaneEndpoint) && !/^[^[]*:[^[]*:/.test(controlPlaneEndpoint)
    ? controlPlaneEndpoint
    : hostPort(controlPlaneEndpoint.replace(/^\[|\]$/g, ''), local.bindPort);
}

const MINUTE_MS = 60_000;
const TIMEOUTS_MS: Readonly<Record<keyof Timeouts, number>> = {
  controlPlaneComponentHealthCheck: 4 * MINUTE_MS,
  kubeletHealthCheck: 4 * MINUTE_MS,
  kubernetesAPICall: MINUTE_MS,
  etcdAPICall: 2 * MINUTE_MS,
  tlsBootstrap: 5 * MINUTE_MS,
  discovery: 5 * MINUTE_MS,
  upgradeManifests: 5 * MINUTE_MS,
};

export function timeoutMs(given: Timeouts | undefined, name: keyof Timeouts): number {
  const text = given?.[name];
  return text === undefined ? TIMEOUTS_MS[name] : goDurationMs(text);
}
