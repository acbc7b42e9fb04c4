/** The flags of `capstan dns`, one entry a flag. CoreDNS is configured by a Corefile, so they are our own. */
import { COMPONENT_FLAGS } from '../flags/common.ts';
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
  publish: flag.text({
    placeholder: '<ip>',
    help: 'keep Service kube-system/kube-dns at this cluster IP, with this server behind it',
    own: true,
  }),
};

export type DnsFlags = GivenFlags<typeof DNS_FLAGS>;
