/**
 * The port for a component's health, metrics, configuration and flags: the component server of src/runtime/ with the certificate, client CA and review
 * kubeconfig of its flags.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import type { Client } from '#client/client.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import {
  startComponentServer,
  startHealthServer,
  type ComponentServerOptions,
} from '#runtime/component-server/server.ts';
import { errorMessage } from '#stdx/log.ts';
import { watchFiles } from '#stdx/watched-files.ts';
import { readFlags } from './flags/define.ts';
import { ACCESS_FLAGS, type AccessFlags } from './flags/endpoints.ts';
import { tlsSettingsFrom } from './tls-flags.ts';
import { KUBERNETES_VERSION } from './version.ts';

/** A self-signed certificate that changes at each start cannot be verified. */
const SELF_SIGNED_MS = 365 * 86_400_000;

interface EndpointsPlan extends Pick<
  ComponentServerOptions,
  | 'name'
  | 'metrics'
  | 'moreMetrics'
  | 'flags'
  | 'effectiveVersion'
  | 'config'
  | 'checks'
  | 'clock'
  | 'log'
  | 'address'
  | 'port'
> {
  /** Client of TokenReviews and SubjectAccessReviews. */
  readonly api: Client;
  readonly access: AccessFlags;
}

/** Resolves once it listens. Throws a UserError for an unusable port. */
export async function serveEndpoints({
  access,
  ...plan
}: EndpointsPlan): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { authorizationAlwaysAllowPaths: alwaysAllow, clientCaFile } = readFlags(ACCESS_FLAGS, access);
  const { name, clock, log } = plan;
  const given = givenPair(access);
  const server = await startComponentServer({
    ...plan,
    version: KUBERNETES_VERSION,
    serving: given?.() ?? selfSigned(name, clock.now()),
    clientCaPem: clientCaFile === undefined ? undefined : readFlagFile('--client-ca-file', clientCaFile),
    alwaysAllow,
    ...tlsSettingsFrom(access),
  }).catch((error: unknown) => {
    throw explained(error, plan);
  });
  const followed = given && followPair(access, { log, replace: () => server.replaceServing(given()) });
  log.info('serving health and metrics', { address: plan.address, port: server.port });
  return {
    port: server.port,
    async close() {
      followed?.close();
      await server.close();
    },
  };
}

/** Health only, without TLS: a server, or none where no address is given. Throws a UserError for an unusable port. */
export async function serveHealth({
  name,
  listen,
  answer,
}: {
  readonly name: string;
  readonly listen: { readonly address: string; readonly port: number } | undefined;
  readonly answer: Parameters<typeof startHealthServer>[0]['answer'];
}): Promise<readonly { close(): Promise<void> }[]> {
  if (!listen) return [];
  const started = startHealthServer({ ...listen, answer });
  return [
    await started.catch((error: unknown) => {
      throw explained(error, { name, ...listen });
    }),
  ];
}

/** Reads the pair of --tls-cert-file at each call. */
function givenPair({ tlsCertFile, tlsPrivateKeyFile }: AccessFlags): (() => KeyPair) | undefined {
  if ((tlsCertFile === undefined) !== (tlsPrivateKeyFile === undefined))
    throw new UserError('--tls-cert-file and --tls-private-key-file go together: give both or neither.');
  if (tlsCertFile === undefined || tlsPrivateKeyFile === undefined) return undefined;
  return () => ({
    certificatePem: readFlagFile('--tls-cert-file', tlsCertFile),
    keyPem: readFlagFile('--tls-private-key-file', tlsPrivateKeyFile),
  });
}

function followPair(
  { tlsCertFile = '', tlsPrivateKeyFile = '' }: AccessFlags,
  { log, replace }: Pick<EndpointsPlan, 'log'> & { readonly replace: () => void },
): { close(): void } {
  const kept = (error: unknown): void =>
    log.error('the changed serving certificate is invalid, keeping the previous one', {
      error: errorMessage(error),
    });
  return watchFiles({
    paths: [tlsCertFile, tlsPrivateKeyFile],
    changed() {
      try {
        replace();
      } catch (error) {
        kept(error);
      }
    },
    unreadable: kept,
  });
}

function selfSigned(name: string, nowMs: number): KeyPair {
  const commonName = `${name}-ca@${Math.floor(nowMs / 1000)}`;
  const authority = createAuthority({ commonName, nowMs, lifetimeMs: SELF_SIGNED_MS });
  return issueCertificate(authority, {
    subject: { commonName: `${name}@${Math.floor(nowMs / 1000)}` },
    usages: ['serverAuth'],
    altNames: { dnsNames: ['localhost', hostname().toLowerCase()], ipAddresses: ['127.0.0.1', '::1'] },
    nowMs,
    lifetimeMs: SELF_SIGNED_MS,
  });
}

function readFlagFile(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}

function explained(
  error: unknown,
  { name, address, port }: Pick<EndpointsPlan, 'name' | 'address' | 'port'>,
): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return new UserError(
      `${address}:${port}, where ${name} shows its health and metrics, is taken by ${describePortHolder(port)}.`,
      error,
    );
  if (code === 'EADDRNOTAVAIL') return new UserError(`${address} is not an address of this machine.`, error);
  return error;
}
