/** The flags of `capstan proxy`, one entry a flag, with upstream's names; upstream's others are refused by name. */
import { COMPONENT_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, OWN_VERSION_FLAGS } from '../flags/endpoints.ts';
import { fixed, flagKinds, refusedFlags, type GivenFlags } from '../flags/define.ts';

const flag = flagKinds();

export const PROXY_FLAGS = {
  config: flag.file({
    help: 'configuration from a file of kind KubeProxyConfiguration; flags take precedence',
  }),
  ...COMPONENT_FLAGS,
  'cluster-cidr': flag.text({
    placeholder: '<ranges>',
    help: 'IP range of the pods of the cluster, or one of each family with a comma between; other families are not served',
    default: '10.244.0.0/16',
  }),
  'hostname-override': flag.text({
    placeholder: '<name>',
    help: 'name of the node',
    defaultText: 'the host name',
  }),
  'node-name': flag.text({ placeholder: '<name>', help: 'the same as --hostname-override', own: true }),
  'metrics-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of metrics and configuration, over TLS; empty or port 0 for none',
    default: '127.0.0.1:10249',
  }),
  'healthz-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of /healthz and /livez, without TLS, for load balancers; empty or port 0 for none',
    default: '0.0.0.0:10256',
  }),
  ...ACCESS_FLAGS,
  ...OWN_VERSION_FLAGS,
  'bind-address-hard-fail': fixed('true', 'a port that is taken always ends the program'),
  'cluster-domain': flag.text({
    placeholder: '<name>',
    help: 'domain of the cluster, for the DNS server that this node has when it is chosen',
    default: 'cluster.local',
    own: true,
  }),
  'cluster-id': flag.text({
    placeholder: '<id>',
    help: "8 hex digits that name this cluster's nftables table",
    defaultText: "made from the server's address",
    own: true,
  }),
  'proxy-mode': fixed('nftables', 'service rules are nftables rules'),
  ...refusedFlags('service rules are nftables rules', [
    'iptables-masquerade-bit',
    'iptables-min-sync-period',
    'iptables-sync-period',
    'iptables-localhost-nodeports',
    'ipvs-exclude-cidrs',
    'ipvs-min-sync-period',
    'ipvs-scheduler',
    'ipvs-strict-arp',
    'ipvs-sync-period',
    'ipvs-tcp-timeout',
    'ipvs-tcpfin-timeout',
    'ipvs-udp-timeout',
  ]),
  ...refusedFlags("the kernel's connection tracking keeps its own settings: use sysctl", [
    'conntrack-max-per-core',
    'conntrack-min',
    'conntrack-tcp-be-liberal',
    'conntrack-tcp-timeout-close-wait',
    'conntrack-tcp-timeout-established',
    'conntrack-udp-timeout',
    'conntrack-udp-timeout-stream',
  ]),
  ...refusedFlags('it is not supported', [
    'masquerade-all',
    'nodeport-addresses',
    'detect-local-mode',
    'pod-interface-name-prefix',
    'pod-bridge-interface',
    'oom-score-adj',
    'config-sync-period',
    'feature-gates',
    'init-only',
    'write-config-to',
  ]),
  ...refusedFlags('use capstan reset', ['cleanup']),
};

export type ProxyFlags = GivenFlags<typeof PROXY_FLAGS>;
