/** `capstan token create|list|delete`: bootstrap tokens of a cluster, as its administrator. */
import { existsSync } from 'node:fs';
import { alignColumns } from '#stdx/columns.ts';
import { X509Certificate } from 'node:crypto';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';
import { defaultToken, type DefaultedToken } from '#deploy/config/defaults.ts';
import { readConfigFile } from '#deploy/config/read.ts';
import { generateToken } from '#deploy/config/token.ts';
import { requireValid } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { deleteToken, listTokens, writeToken } from '#deploy/phases/bootstrap-tokens.ts';
import { controlPlaneJoin, joinCommand } from '#deploy/phases/init/show-join-command.ts';
import { parseConfig } from '#machinery/config/read.ts';
import { timeMs } from '#machinery/time.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock } from '#stdx/clock.ts';
import { KUBERNETES_VERSION } from '../version.ts';

export interface TokenFlags {
  readonly kubeconfig?: string;
  readonly rootfs?: string;
  readonly dryRun?: boolean;
  readonly config?: string;
  readonly ttl?: string;
  readonly usages?: readonly string[];
  readonly groups?: readonly string[];
  readonly description?: string;
  readonly printJoinCommand?: boolean;
  readonly certificateKey?: string;
  readonly output?: 'text' | 'json';
}

interface Output {
  print(line: string): void;
  warn(line: string): void;
}

export async function createToken(
  given: string | undefined,
  flags: TokenFlags,
  output: Output,
): Promise<void> {
  const tokens = tokensFrom(given, flags, output);
  if (flags.certificateKey !== undefined && !flags.printJoinCommand)
    throw new UserError('--certificate-key is for --print-join-command only.');
  await asAdministrator(flags, async (api) => {
    for (const token of tokens) {
      if (!flags.dryRun) await writeToken(api, token, { nowMs: realClock.now() });
      output.print(flags.printJoinCommand ? await joinLine(api, token.token, flags) : token.token);
    }
  });
}

function tokensFrom(
  given: string | undefined,
  flags: TokenFlags,
  { warn }: Output,
): readonly DefaultedToken[] {
  const { config, ttl, usages, groups, description } = flags;
  const documents =
    config === undefined
      ? {
          init: {
            bootstrapTokens: [
              {
                ...(given === undefined ? {} : { token: given }),
                ...(ttl === undefined ? {} : { ttl }),
                ...(usages === undefined ? {} : { usages }),
                ...(groups === undefined ? {} : { groups }),
                ...(description === undefined ? {} : { description }),
              },
            ],
          },
          warnings: [],
        }
      : readConfigFile(config);
  for (const warning of documents.warnings) warn(warning);
  requireValid(documents);
  const tokens = documents.init?.bootstrapTokens ?? [{}];
  return tokens.map((token) => defaultToken(token, generateToken));
}

/** From the cluster's own configuration, so that it is right on every machine. */
async function joinLine(api: Client, token: string, { certificateKey }: TokenFlags): Promise<string> {
  const { data } = await api.get(configMaps, { name: 'cluster-info', namespace: 'kube-public' });
  const info = parseConfig(data?.['kubeconfig'] ?? '').value as {
    clusters?: readonly { cluster?: { server?: string; 'certificate-authority-data'?: string } }[];
  };
  const { server = '', 'certificate-authority-data': ca = '' } = info.clusters?.[0]?.cluster ?? {};
  const pins = certificatesIn(Buffer.from(ca, 'base64').toString()).map((one: X509Certificate) =>
    publicKeyHash(one),
  );
  const lines = joinCommand({ endpoint: server.replace('https://', ''), token, caCertHashes: pins });
  return (certificateKey === undefined ? lines : controlPlaneJoin(lines, certificateKey))
    .map((line) => line.replace(/\\$/, '').trim())
    .join(' ');
}

export async function printTokens(flags: TokenFlags, { print }: Output): Promise<void> {
  await asAdministrator(flags, async (api) => {
    const tokens = await listTokens(api);
    if (flags.output === 'json') return print(JSON.stringify(tokens, undefined, 2));
    const rows = tokens.map(({ token, expires, usages, description, groups }) => [
      token,
      expires === undefined ? '<forever>' : ttlText(expires),
      expires ?? '<never>',
      usages.join() || '<none>',
      description ?? '<none>',
      groups.join() || '<none>',
    ]);
    const head = ['TOKEN', 'TTL', 'EXPIRES', 'USAGES', 'DESCRIPTION', 'EXTRA GROUPS'];
    for (const line of alignColumns([head, ...rows])) print(line);
  });
}

/** '23h' as kubeadm rounds it. */
function ttlText(expires: string): string {
  const leftMs = (timeMs(expires) ?? 0) - realClock.now();
  if (leftMs <= 0) return '<invalid>';
  const minutes = Math.floor(leftMs / 60_000);
  return minutes < 60 ? `${minutes}m` : `${Math.floor(minutes / 60)}h`;
}

export async function deleteTokens(
  tokens: readonly string[],
  flags: TokenFlags,
  { print }: Output,
): Promise<void> {
  await asAdministrator(flags, async (api) => {
    for (const token of tokens) {
      if (!flags.dryRun) await deleteToken(api, token);
      print(`bootstrap token "${token.split('.', 1)[0]}" deleted`);
    }
  });
}

async function asAdministrator(
  { kubeconfig, rootfs }: TokenFlags,
  work: (api: Client) => Promise<void>,
): Promise<void> {
  const own = machinePaths({ rootfs }).kubeconfig('admin');
  const path = kubeconfig ?? (existsSync(own) ? own : process.env['KUBECONFIG']);
  if (!path)
    throw new UserError(
      `${own} is not there: run this on a control plane, or name a kubeconfig with --kubeconfig.`,
    );
  const transport = createHttpsTransport(resolveContext(loadKubeconfig({ path })).options);
  const api = createClient(transport, { userAgent: `capstan/${KUBERNETES_VERSION}` });
  try {
    await work(api);
  } finally {
    await api.close();
    await transport.close();
  }
}
