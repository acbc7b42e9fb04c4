/** `capstan dns`: cluster DNS as a program of its own. */
import { isIP } from 'node:net';
import { UserError } from '#deploy/data-dir.ts';
import { createClusterDns } from '#dns/cluster-dns.ts';
import { readFlags, type FlagValues } from '../flags/define.ts';
import { optionalAddress, parseAddress } from '../flags/endpoints.ts';
import { serveHealth } from '../component-endpoints.ts';
import { runComponent } from '../run-component.ts';
import { DNS_FLAGS, type DnsFlags } from './flags.ts';

const NAME = 'coredns';

export async function runDns(flags: DnsFlags): Promise<void> {
  const values = readFlags(DNS_FLAGS, flags);
  const listen = values.listen.map((text) => parseAddress('--listen', text));
  const upstream = flags.upstream?.map((text) => parseAddress('--upstream', text, { defaultPort: 53 }));
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
    name: NAME,
    flags,
    endpoints: {
      table: DNS_FLAGS,
      access: flags,
      listen: optionalAddress('--metrics-bind-address', {
        text: values.metricsBindAddress,
        defaultPort: 9153,
      }),
      health: (isReady) => startHealth(values, isReady),
    },
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

/** As CoreDNS: /health while the program runs, /ready once it serves. */
async function startHealth(
  { healthBindAddress, readyBindAddress }: FlagValues<typeof DNS_FLAGS>,
  isReady: () => boolean,
): Promise<readonly { close(): Promise<void> }[]> {
  return [
    ...(await serveHealth({
      name: NAME,
      listen: optionalAddress('--health-bind-address', { text: healthBindAddress, defaultPort: 8080 }),
      answer: (path) => (path === '/health' ? { status: 200, text: 'OK' } : undefined),
    })),
    ...(await serveHealth({
      name: NAME,
      listen: optionalAddress('--ready-bind-address', { text: readyBindAddress, defaultPort: 8181 }),
      answer: (path) => (path === '/ready' ? readiness(isReady()) : undefined),
    })),
  ];
}

function readiness(isReady: boolean): { readonly status: number; readonly text: string } {
  return isReady ? { status: 200, text: 'OK' } : { status: 503, text: 'kubernetes' };
}
