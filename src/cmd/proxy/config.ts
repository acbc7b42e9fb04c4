/** KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), the file of `capstan proxy --config`: every field of upstream's, and its handling. */
import { group, only, collectSchemas, sets, unused, type ConfigFields } from '#machinery/config/fields.ts';
import { configKind } from '#machinery/config/read.ts';
import { duration, flag, integer, listOf, mapOf, opaque, text } from '#machinery/config/schema.ts';
import { clientConnectionFields, loggingFields } from '../flags/config-fields.ts';

const OTHER_MODE = 'service rules are nftables rules';
const CONNTRACK = "the kernel's connection tracking keeps its own settings";
const NO_SETTING = 'the service proxy has no such setting';

export const PROXY_FIELDS: ConfigFields = {
  featureGates: unused(mapOf(flag), 'the service proxy has no feature gates'),
  clientConnection: clientConnectionFields(),
  logging: loggingFields(),
  hostnameOverride: sets(text, 'hostname-override'),
  bindAddress: unused(text, NO_SETTING, '0.0.0.0'),
  healthzBindAddress: sets(text, 'healthz-bind-address'),
  metricsBindAddress: sets(text, 'metrics-bind-address'),
  bindAddressHardFail: unused(flag, 'a port that is taken always ends the program', true),
  enableProfiling: unused(flag, NO_SETTING, false),
  showHiddenMetricsForVersion: unused(text, 'no metric is hidden'),
  mode: only(text, 'nftables', OTHER_MODE),
  iptables: unused(opaque, OTHER_MODE),
  ipvs: unused(opaque, OTHER_MODE),
  nftables: group('KubeProxyNFTablesConfiguration', {
    masqueradeBit: unused(integer, NO_SETTING, 14),
    masqueradeAll: only(flag, false, 'only traffic from outside the pod network is masqueraded'),
    syncPeriod: unused(duration, 'rules follow every change', '30s'),
    minSyncPeriod: unused(duration, 'rules follow every change', '1s'),
  }),
  winkernel: unused(opaque, OTHER_MODE),
  detectLocalMode: only(text, 'ClusterCIDR', 'pods are known by the cluster CIDR'),
  detectLocal: group('DetectLocalConfiguration', {
    bridgeInterface: unused(text, 'pods are known by the cluster CIDR'),
    interfaceNamePrefix: unused(text, 'pods are known by the cluster CIDR'),
  }),
  clusterCIDR: sets(text, 'cluster-cidr'),
  nodePortAddresses: unused(listOf(text), 'node ports are served on every address of the node'),
  oomScoreAdj: unused(integer, NO_SETTING),
  conntrack: group('KubeProxyConntrackConfiguration', {
    maxPerCore: unused(integer, CONNTRACK),
    min: unused(integer, CONNTRACK),
    tcpEstablishedTimeout: unused(duration, CONNTRACK),
    tcpCloseWaitTimeout: unused(duration, CONNTRACK),
    tcpBeLiberal: unused(flag, CONNTRACK, false),
    udpTimeout: unused(duration, CONNTRACK),
    udpStreamTimeout: unused(duration, CONNTRACK),
  }),
  configSyncPeriod: unused(duration, 'rules follow every change', '15m0s'),
  portRange: unused(text, 'it has no effect upstream either'),
  windowsRunAsService: unused(flag, NO_SETTING, false),
};

export const PROXY_KIND = configKind(
  { group: 'kubeproxy.config.k8s.io', versions: ['v1alpha1'], kind: 'KubeProxyConfiguration' },
  collectSchemas(PROXY_FIELDS),
);
