/** A pod's hostname, its hosts file and its DNS configuration. Pure; after upstream's kubelet/network/dns and kubelet_pods. */
import type { Pod } from '#api/types.ts';
import type { CriInput, DNSConfig } from '../../cri/types.ts';

interface ResolvConf {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface DnsOptions {
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  /** The machine's resolv.conf. */
  readonly host: ResolvConf;
}

const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;
const HOSTNAME_LENGTH = 63;

export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === 'nameserver' && values[0]) servers.push(values[0]);
    else if (keyword === 'search')
      searches = values.map((name) => (name.length > 1 ? name.replace(/\.$/, '') : name));
    else if (keyword === 'options') options = [...options, ...values];
  }
  return { servers, searches, options };
}

export function podDns(pod: Pod, { clusterDNS, clusterDomain, host }: DnsOptions): CriInput<DNSConfig> {
  const { dnsPolicy = 'ClusterFirst', hostNetwork = false, dnsConfig } = pod.spec ?? {};
  const cluster =
    clusterDNS.length > 0 &&
    (dnsPolicy === 'ClusterFirstWithHostNet' || (dnsPolicy === 'ClusterFirst' && !hostNetwork));
  const namespace = pod.metadata?.namespace ?? 'default';
  const base: ResolvConf =
    dnsPolicy === 'None'
      ? { servers: [], searches: [], options: [] }
      : cluster
        ? {
            servers: clusterDNS,
            searches: [
              ...new Set([
                `${namespace}.svc.${clusterDomain}`,
                `svc.${clusterDomain}`,
                clusterDomain,
                ...host.searches,
              ]),
            ],
            options: ['ndots:5'],
          }
        : host;
  const ownOptions = (dnsConfig?.options ?? []).map(({ name = '', value }) =>
    value === undefined || value === '' ? name : `${name}:${value}`,
  );
  return {
    servers: [...new Set([...base.servers, ...(dnsConfig?.nameservers ?? [])])].slice(0, MAX_SERVERS),
    searches: [...new Set([...base.searches, ...(dnsConfig?.searches ?? [])])].slice(0, MAX_SEARCHES),
    options: mergeOptions(base.options, ownOptions),
  };
}

/** A pod's option replaces the option of the same name. */
function mergeOptions(base: readonly string[], own: readonly string[]): string[] {
  const byName = new Map([...base, ...own].map((option) => [option.split(':')[0] ?? option, option]));
  return [...byName.values()];
}

interface PodHostname {
  readonly hostname: string;
  /** '' without a subdomain. */ readonly domain: string;
}

export function podHostname(pod: Pod, clusterDomain: string): PodHostname {
  const { hostname, subdomain, hostnameOverride } = pod.spec ?? {};
  if (hostnameOverride) return { hostname: hostnameOverride, domain: '' };
  const short = hostname || (pod.metadata?.name ?? '').slice(0, HOSTNAME_LENGTH).replace(/[-.]+$/, '');
  const domain = subdomain ? `${subdomain}.${pod.metadata?.namespace ?? 'default'}.svc.${clusterDomain}` : '';
  return { hostname: short, domain };
}

const HEADER = '# Kubernetes-managed hosts file.\n';
const LOCAL =
  '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n';

export function hostsFile(
  pod: Pod,
  { podIPs, name }: { readonly podIPs: readonly string[]; readonly name: PodHostname },
): string {
  const names = name.domain ? `${name.hostname}.${name.domain}\t${name.hostname}` : name.hostname;
  return HEADER + LOCAL + podIPs.map((ip) => `${ip}\t${names}\n`).join('') + aliases(pod);
}

/** A hostNetwork pod has the machine's hosts file. */
export function hostNetworkHostsFile(pod: Pod, hostsOfMachine: string): string {
  return `# Kubernetes-managed hosts file (host network).\n${hostsOfMachine}${aliases(pod)}`;
}

function aliases(pod: Pod): string {
  const list = pod.spec?.hostAliases ?? [];
  if (list.length === 0) return '';
  return `\n# Entries added by HostAliases.\n${list.map(({ ip, hostnames = [] }) => `${ip}\t${hostnames.join('\t')}\n`).join('')}`;
}
