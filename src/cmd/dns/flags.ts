/** The flags of `capstan dns`, one entry a flag. CoreDNS is configured by a Corefile, so they are our own. */
import { COMPONENT_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, OWN_VERSION_FLAGS } from '../flags/endpoints.ts';
import { flagKinds, type GivenFlags } from '../flags/define.ts';

const flag = flagKinds();

export const DNS_FLAGS = {
  ...COMPONENT_FLAGS,
  listen: flag.list({
    placeholder: '<address:port>',
    help: 'address to answer on, over UDP and TCP; may be given several times',
    default: ['127.0.0.1:10053'] as readonly string[],
    own: true,
  }),
  upstream: flag.list({
    placeholder: '<address>',
    help: 'resolver of other names; may be given several times',
    defaultText: 'those of /etc/resolv.conf',
    own: true,
  }),
  'cluster-domain': flag.text({
    placeholder: '<name>',
    help: 'domain of the cluster',
    default: 'cluster.local',
    own: true,
  }),
  'metrics-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of metrics and configuration, over TLS; empty or port 0 for none',
    default: '0.0.0.0:9153',
    own: true,
  }),
  'health-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of /health, without TLS; empty or port 0 for none',
    default: '0.0.0.0:8080',
    own: true,
  }),
  'ready-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of /ready, without TLS; empty or port 0 for none',
    default: '0.0.0.0:8181',
    own: true,
  }),
  ...ACCESS_FLAGS,
  ...OWN_VERSION_FLAGS,
  publish: flag.text({
    placeholder: '<ip>',
    help: 'keep Service kube-system/kube-dns at this cluster IP, with this server behind it',
    own: true,
  }),
};

export type DnsFlags = GivenFlags<typeof DNS_FLAGS>;
