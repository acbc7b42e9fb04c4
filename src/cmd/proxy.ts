/** `capstan proxy`: the service proxy of this machine as a program of its own. */
import { hostname } from 'node:os';
import { isIPv4Range, shortHash, UserError } from '#deploy/data-dir.ts';
import { missingPrograms } from '#deploy/packages/debian.ts';
import { createServiceProxy } from '#proxy/service-proxy.ts';
import { runComponent, type ComponentFlags } from './run-component.ts';

export interface ProxyFlags extends ComponentFlags {
  /** Range of all pods of the cluster. */
  readonly clusterCIDR: string;
  /** Default: the host name. */
  readonly nodeName?: string;
  /** 8 hex digits that name the rules of this cluster; as in capstan.json. Default: made from the server's address. */
  readonly clusterId?: string;
}

export async function runProxy(flags: ProxyFlags): Promise<void> {
  if (process.platform !== 'linux') throw new UserError(`The service proxy writes nftables rules and needs Linux; this is ${process.platform}.`);
  if (process.getuid?.() !== 0) throw new UserError('The service proxy writes nftables rules and needs root.');
  if (missingPrograms().some(({ program }) => program === 'nft')) throw new UserError('The program nft is missing: apt-get install --no-install-recommends nftables');
  requireIPv4Range('--cluster-cidr', flags.clusterCIDR);
  if (flags.clusterId !== undefined && !/^[0-9a-f]{8}$/.test(flags.clusterId)) throw new UserError(`--cluster-id is "${flags.clusterId}"; it should be 8 hexadecimal digits.`);
  await runComponent({
    name: 'kube-proxy', flags,
    create: (context) => createServiceProxy({
      ...context, nodeName: flags.nodeName ?? hostname().toLowerCase(), podCIDR: flags.clusterCIDR, clusterId: flags.clusterId ?? shortHash(context.connection.options.server),
    }),
  });
}

export function requireIPv4Range(flag: string, text: string): void {
  if (!isIPv4Range(text)) throw new UserError(`${flag} is "${text}"; it should be an IPv4 range, for example 10.244.0.0/16.`);
}
