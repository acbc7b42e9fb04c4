/** The components of a machine as its supervisor runs them: each the `capstan` command that a user can run by hand, with the flags of kubeadm's manifests. */
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Taint } from '#api/types.ts';
import { hostPort } from '../config/endpoint.ts';
import type { DefaultedCluster } from '../config/defaults.ts';
import type { APIEndpoint, Arg, KubeletConfiguration } from '../config/types.ts';
import { taintText } from '../config/kubelet.ts';
import { clientURL, withExtra } from './etcd-service.ts';
import { ENCRYPTION_FLAG, encryptionPath } from './encryption-file.ts';
import { externalEtcdFiles } from './external-etcd.ts';
import type { MachinePaths } from './paths.ts';
import { serviceAddress } from './service-address.ts';
import type { ServiceSpec } from './services.ts';

interface OnMachine {
  readonly paths: MachinePaths;
  readonly cluster: DefaultedCluster;
}

/** Components that share a process. */
const CONTROL_GROUP = 'control';
const NODE_GROUP = 'node';
const DNS_PORT = 53;
const PEER_PROXY_GATE = 'UnknownVersionInteroperabilityProxy';
const BALANCER_HEALTH_URL = 'http://127.0.0.1:7446/healthz';
/** The supervisor starts components in parallel with their dependencies: they wait as long as it takes. */
const WAIT_FOR_API = { 'api-timeout-seconds': '86400' };

export function apiServerService({
  paths,
  cluster,
  local,
  startSeconds,
}: OnMachine & {
  readonly local: Required<APIEndpoint>;
  /** Of the health probe. */
  readonly startSeconds?: number | undefined;
}): ServiceSpec {
  const pki = (file: string): string => join(paths.pki, file);
  const { external } = cluster.etcd;
  const files = externalEtcdFiles(paths, external ?? {});
  const etcd = external
    ? {
        'etcd-servers': (external.endpoints ?? []).join(),
        ...(files.caFile ? { 'etcd-cafile': files.caFile } : {}),
        ...(files.certFile ? { 'etcd-certfile': files.certFile } : {}),
        ...(files.keyFile ? { 'etcd-keyfile': files.keyFile } : {}),
      }
    : {
        'etcd-servers': clientURL('127.0.0.1'),
        'etcd-cafile': join(paths.etcdPki, 'ca.crt'),
        'etcd-certfile': pki('apiserver-etcd-client.crt'),
        'etcd-keyfile': pki('apiserver-etcd-client.key'),
      };
  const flags = {
    'advertise-address': local.advertiseAddress,
    'bind-address': isIP(local.advertiseAddress) === 6 ? '::' : '0.0.0.0',
    'secure-port': String(local.bindPort),
    'authorization-mode': 'Node,RBAC',
    'client-ca-file': pki('ca.crt'),
    'tls-cert-file': pki('apiserver.crt'),
    'tls-private-key-file': pki('apiserver.key'),
    'kubelet-client-certificate': pki('apiserver-kubelet-client.crt'),
    'kubelet-client-key': pki('apiserver-kubelet-client.key'),
    'proxy-client-cert-file': pki('front-proxy-client.crt'),
    'proxy-client-key-file': pki('front-proxy-client.key'),
    ...(passesOn(cluster.apiServer?.extraArgs) ? { 'peer-ca-file': pki('ca.crt') } : {}),
    'requestheader-client-ca-file': pki('front-proxy-ca.crt'),
    'requestheader-allowed-names': 'front-proxy-client',
    'requestheader-username-headers': 'X-Remote-User',
    'requestheader-group-headers': 'X-Remote-Group',
    'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    'service-account-issuer': `https://kubernetes.default.svc.${cluster.networking.dnsDomain}`,
    'service-account-key-file': pki('sa.pub'),
    'service-account-signing-key-file': pki('sa.key'),
    'service-cluster-ip-range': cluster.networking.serviceSubnet,
    'backup-location': paths.backups,
    'backup-pki-dir': paths.pki,
    ...etcd,
  };
  return {
    name: 'apiserver',
    run: { capstan: ['apiserver', ...withExtra(flags, onThisMachine(paths, cluster))] },
    health: { url: `https://127.0.0.1:${local.bindPort}/livez`, startSeconds },
    env: environment(cluster.apiServer?.extraEnvs),
    volumes: cluster.apiServer?.extraVolumes,
  };
}

/** The extraArgs of the API server; the managed file of encryption lies where the machine has its certificates. */
function onThisMachine(
  paths: MachinePaths,
  { apiServer, certificatesDir }: DefaultedCluster,
): readonly Arg[] | undefined {
  return apiServer?.extraArgs?.map((arg) =>
    arg.name === ENCRYPTION_FLAG && arg.value !== undefined
      ? { ...arg, value: encryptionPath(paths, { path: arg.value, certificatesDir }) }
      : arg,
  );
}

/** Whether API servers pass on what only another one serves: unless the gate is off, with which the flag is refused. */
function passesOn(extraArgs: readonly Arg[] = []): boolean {
  return !extraArgs.some(
    ({ name, value }) => name === 'feature-gates' && value?.split(',').includes(`${PEER_PROXY_GATE}=false`),
  );
}

export function controllerManagerService({ paths, cluster }: OnMachine): ServiceSpec {
  const pki = (file: string): string => join(paths.pki, file);
  const flags = {
    kubeconfig: paths.kubeconfig('controller-manager'),
    'cluster-cidr': cluster.networking.podSubnet,
    'root-ca-file': pki('ca.crt'),
    'cluster-signing-cert-file': pki('ca.crt'),
    'cluster-signing-key-file': pki('ca.key'),
    'service-account-private-key-file': pki('sa.key'),
    'use-service-account-credentials': 'true',
    'leader-elect': 'true',
    ...WAIT_FOR_API,
  };
  return {
    name: 'controller-manager',
    run: { capstan: ['controller-manager', ...withExtra(flags, cluster.controllerManager?.extraArgs)] },
    group: CONTROL_GROUP,
    env: environment(cluster.controllerManager?.extraEnvs),
    volumes: cluster.controllerManager?.extraVolumes,
  };
}

export function schedulerService({ paths, cluster }: OnMachine): ServiceSpec {
  const flags = { kubeconfig: paths.kubeconfig('scheduler'), 'leader-elect': 'true', ...WAIT_FOR_API };
  return {
    name: 'scheduler',
    run: { capstan: ['scheduler', ...withExtra(flags, cluster.scheduler?.extraArgs)] },
    group: CONTROL_GROUP,
    env: environment(cluster.scheduler?.extraEnvs),
    volumes: cluster.scheduler?.extraVolumes,
  };
}

interface NodeService extends OnMachine {
  readonly nodeName: string;
  /** Default: that of the default route. */
  readonly address?: string | undefined;
  readonly kubelet: KubeletConfiguration;
  /** Of the Node from its beginning: pods that wait do not go there before. Simulated nodes get them later. */
  readonly taints?: readonly Taint[] | undefined;
  readonly extraArgs?: readonly Arg[] | undefined;
  readonly runtime: 'cri' | 'simulated';
}

export function nodeService({
  paths,
  cluster,
  nodeName,
  address,
  kubelet,
  taints = [],
  extraArgs,
  runtime,
}: NodeService): ServiceSpec {
  const flags = {
    kubeconfig: paths.kubeconfig('kubelet'),
    'bootstrap-kubeconfig': paths.kubeconfig('bootstrap-kubelet'),
    'cert-dir': paths.kubeletPki,
    'node-name': nodeName,
    ...WAIT_FOR_API,
    ...(runtime === 'simulated'
      ? { runtime }
      : {
          'data-dir': paths.node,
          ...(address ? { 'node-ip': address } : {}),
          ...(taints.length > 0 ? { 'register-with-taints': taints.map(taintText).join() } : {}),
          'cluster-cidr': cluster.networking.podSubnet,
          config: paths.kubeletConfig,
          'rotate-server-certificates': String(kubelet.serverTLSBootstrap ?? true),
        }),
  };
  return {
    name: 'node',
    run: { capstan: ['node', ...withExtra(flags, extraArgs)] },
    group: NODE_GROUP,
  };
}

/** Acts as the machine's node. */
export function proxyService({
  paths,
  cluster,
  nodeName,
  clusterID,
}: OnMachine & { readonly nodeName: string; readonly clusterID: string }): ServiceSpec {
  const flags = {
    kubeconfig: paths.kubeconfig('kubelet'),
    'cluster-cidr': cluster.networking.podSubnet,
    'node-name': nodeName,
    'cluster-id': clusterID,
    'cluster-domain': cluster.networking.dnsDomain,
    ...WAIT_FOR_API,
  };
  return { name: 'proxy', run: { capstan: ['proxy', ...withExtra(flags)] }, group: NODE_GROUP };
}

export function dnsService({
  paths,
  cluster,
  address,
}: OnMachine & { readonly address: string }): ServiceSpec {
  const flags = {
    kubeconfig: paths.kubeconfig('dns'),
    listen: hostPort(address, DNS_PORT),
    'cluster-domain': cluster.networking.dnsDomain,
    publish: serviceAddress(cluster.networking.serviceSubnet, 10),
    ...WAIT_FOR_API,
  };
  return { name: 'dns', run: { capstan: ['dns', ...withExtra(flags)] }, group: CONTROL_GROUP };
}

/** seeds: HOST:PORT of API servers to begin with; on a control plane its own comes first. */
export function balancerService({
  paths,
  seeds,
}: Pick<OnMachine, 'paths'> & { readonly seeds: readonly string[] }): ServiceSpec {
  const flags = {
    kubeconfig: paths.kubeconfig('kubelet'),
    'list-file': paths.apiServersFile,
    // A machine that joins has no kubeconfig yet.
    'certificate-authority': join(paths.pki, 'ca.crt'),
  };
  const servers = seeds.map((value) => ({ name: 'server', value }));
  return {
    name: 'balancer',
    run: { capstan: ['balancer', ...withExtra(flags, servers)] },
    group: NODE_GROUP,
    health: { url: BALANCER_HEALTH_URL },
  };
}

/** The API address of a machine's components. */
export const COMPONENT_SERVER = 'https://127.0.0.1:7445';

function environment(
  given: readonly { readonly name?: string; readonly value?: string }[] = [],
): Readonly<Record<string, string>> | undefined {
  return given.length === 0
    ? undefined
    : Object.fromEntries(given.map(({ name = '', value = '' }) => [name, value]));
}
