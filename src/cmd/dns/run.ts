/** `capstan dns`: cluster DNS as a program of its own. */
import { isIP } from 'node:net';
import { UserError } from '#deploy/data-dir.ts';
import { createClusterDns } from '#dns/cluster-dns.ts';
import { readFlags } from '../flags/define.ts';
import { runComponent } from '../run-component.ts';
import { DNS_FLAGS, type DnsFlags } from './flags.ts';

export async function runDns(flags: DnsFlags): Promise<void> {
  const values = readFlags(DNS_FLAGS, flags);
  const listen = values.listen.map((text) => parseEndpoint('--listen', text));
  const upstream = flags.upstream?.map((text) => parseEndpoint('--upstream', text, 53));
  const { publish, clusterDomain } = values;
  if (publish !== undefined && isIP(publish) === 0)
    throw new UserError(
      `--publish is "${publish}"; it should be the IP address of the DNS service, for example 10.96.0.10.`,
    );
  const own =
    publish === undefined
      ? undefined
      : listen.find(({ address }) => address === '0.0.0.0' || address === '::');
  if (own)
    throw new UserError(`--publish needs an address that pods can reach in --listen, not ${own.address}.`);
  await runComponent({
    name: 'coredns',
    flags,
    create: (context) =>
      createClusterDns({
        ...context,
        listen,
        ...(upstream ? { upstream } : {}),
        clusterDomain,
        ...(publish ? { publish: { serviceIP: publish, leased: true } } : {}),
      }),
  }).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRINUSE')
      throw new UserError(
        `${values.listen.join(', ')}: another program listens there (${(error as Error).message}); choose another with --listen.`,
        error,
      );
    if (code === 'EADDRNOTAVAIL' || code === 'EACCES')
      throw new UserError(
        `Cannot listen on ${values.listen.join(', ')}: ${(error as Error).message}.`,
        error,
      );
    throw error;
  });
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** '10.0.0.1:53', '[fd00::1]:53', and without a port where there is a default. */
export function parseEndpoint(flag: string, text: string, defaultPort?: number): Endpoint {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = isIP(text) === 6 ? undefined : /^([^:]+)(?::(\d+))?$/.exec(text);
  const [, address = text, portText] = bracketed ?? plain ?? [];
  const port = portText === undefined ? defaultPort : Number(portText);
  if (isIP(address) === 0 || port === undefined || port < 1 || port > 65535) {
    throw new UserError(
      `${flag} is "${text}"; it should be ADDRESS:PORT with an IP address, for example 127.0.0.1:10053.`,
    );
  }
  return { address, port };
}
