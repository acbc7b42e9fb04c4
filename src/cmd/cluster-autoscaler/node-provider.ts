/** `capstan node-provider`: one of our providers of nodes as an external gRPC cloud provider, for upstream's cluster autoscaler or one in another place. */
import { readFileSync } from 'node:fs';
import type { NodeProvider } from '#capacity/autoscaler/provider.ts';
import { serveExternalGrpc } from '#capacity/external-grpc/server.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { ServerTls } from '#grpc/server.ts';
import type { Component } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';
import { readFlags } from '../flags/define.ts';
import { parseAddress } from '../flags/endpoints.ts';
import { runComponent, type RunContext } from '../run-component.ts';
import { SERVING_FLAGS, type NodeProviderFlags } from './node-provider-flags.ts';
import { providerFrom } from './providers.ts';

const NAME = 'node-provider';

export async function runNodeProvider(flags: NodeProviderFlags): Promise<void> {
  const { listen } = readFlags(SERVING_FLAGS, flags);
  const { address, port } = parseAddress('--listen', listen);
  const tls = tlsFrom(flags);
  const isLoopback = address === '::1' || address.startsWith('127.');
  if (!tls && !isLoopback)
    throw new UserError(
      `--listen is ${listen}: whoever reaches it can add and delete machines. Give --tls-cert-file, --tls-private-key-file and --client-ca-file, or listen on 127.0.0.1.`,
    );
  const make = await providerFrom(flags);
  const target = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  await runComponent({
    name: NAME,
    flags,
    create: (context) => servingComponent(context, { target, tls, make }),
  });
}

interface Serving {
  readonly target: string;
  readonly tls: ServerTls | undefined;
  readonly make: (context: RunContext) => Promise<NodeProvider>;
}

function servingComponent(context: RunContext, { target, tls, make }: Serving): Component {
  let provider: NodeProvider | undefined;
  let server: { close(): void } | undefined;
  return {
    name: NAME,
    async start() {
      provider = await make(context);
      const { log } = context;
      server = await serveExternalGrpc({ address: target, tls, provider, log }).catch((error: unknown) => {
        throw new UserError(`Cannot listen on ${target}: ${errorMessage(error)}.`, error);
      });
      context.log.info('serving an external gRPC cloud provider', {
        address: target,
        tls: tls !== undefined,
      });
    },
    async stop() {
      server?.close();
      await provider?.close();
    },
  };
}

function tlsFrom(flags: NodeProviderFlags): ServerTls | undefined {
  const { tlsCertFile, tlsPrivateKeyFile, clientCaFile } = readFlags(SERVING_FLAGS, flags);
  const files = [tlsCertFile, tlsPrivateKeyFile, clientCaFile];
  if (files.every((file) => file === undefined)) return undefined;
  if (tlsCertFile === undefined || tlsPrivateKeyFile === undefined || clientCaFile === undefined)
    throw new UserError(
      '--tls-cert-file, --tls-private-key-file and --client-ca-file should be given all, or none of them.',
    );
  return {
    cert: readPem('--tls-cert-file', tlsCertFile),
    key: readPem('--tls-private-key-file', tlsPrivateKeyFile),
    clientCa: readPem('--client-ca-file', clientCaFile),
  };
}

function readPem(flag: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UserError(`${flag} ${file} cannot be read: ${errorMessage(error)}.`, error);
  }
}
