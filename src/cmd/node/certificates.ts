/**
 * Certificates of `capstan node`: a machine that joins with a bootstrap kubeconfig (a token) requests a client certificate as system:node:NAME, stores it in
 * the certificate directory, writes its kubeconfig, and renews it from then on as itself. The kubelet API uses a self-signed certificate until the
 * cluster has signed one. A machine that was off past its certificate's end asks for the next with the bootstrap kubeconfig, else with that certificate.
 *
 *   CERT-DIR/kubelet-client-current.pem  kubelet-server-current.pem     links to the current ones; kubelet.crt, kubelet.key: self-signed
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { createClient } from '#client/create.ts';
import { readAuthority } from '#client/credentials.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { isTransportError } from '#client/transport-error.ts';
import { UserError } from '#deploy/data-dir.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { readIfPresent, writeFileAtomically, PUBLIC_MODE } from '#deploy/pki/files.ts';
import { writeKubeconfig } from '#deploy/pki/kubeconfig.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime } from '#machinery/time.ts';
import { CertificateFiles } from '#node/certificates/certificate-files.ts';
import { CertificateManager } from '#node/certificates/certificate-manager.ts';
import {
  askForCertificate,
  KUBELET_CLIENT,
  KUBELET_SERVING,
  RequestRefused,
  type RequestNames,
} from '#node/certificates/request.ts';
import { writeKubeconfigAuthority } from '#deploy/phases/certificate-files.ts';
import { TrustFollower, type UsedCertificate } from '#node/certificates/trust-follower.ts';
import type { Component } from '#runtime/component.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { RealNode } from './compose.ts';
import { loggerFrom } from '../flags/common.ts';
import { readFlags, type GivenFlags } from '../flags/define.ts';
import type { ComponentFlags, RunContext } from '../run-component.ts';
import { CERTIFICATE_FLAGS, type NodeFlags } from './flags.ts';
import { KUBERNETES_VERSION } from '../version.ts';

type Flags = Pick<NodeFlags, keyof GivenFlags<typeof CERTIFICATE_FLAGS> | 'dataDir'> & ComponentFlags;

const RETRY_MS = 2_000;
const SELF_SIGNED_LIFETIME_MS = 365 * 86_400_000;

function certDirOf({ certDir, dataDir, kubeconfig }: Flags): string {
  return resolve(certDir ?? join(dataDir ?? dirname(kubeconfig ?? '.'), 'pki'));
}

function clientFiles(flags: Flags): CertificateFiles {
  return new CertificateFiles(certDirOf(flags), 'kubelet-client');
}

/** PEM of the client certificate in use, read at each call. Undefined: the kubeconfig has other credentials, or the file is not there now. */
export function readClientCertificate({
  connection: { options },
}: Pick<RunContext, 'connection'>): string | undefined {
  if (options.cert !== undefined) return String(options.cert);
  try {
    return options.certFile === undefined ? undefined : readFileSync(options.certFile, 'utf8');
  } catch {
    // A metric without a value: the connection itself reports the error.
    return undefined;
  }
}

/** PEM of the authority that the kubeconfig names, inline or in a file. */
export function requireAuthority({
  options,
  file,
}: Pick<RunContext['connection'], 'options' | 'file'>): string {
  let found: string | undefined;
  try {
    found = readAuthority(options);
  } catch (error) {
    throw new UserError(`certificate-authority of ${file} cannot be read: ${errorMessage(error)}.`, error);
  }
  if (!found)
    throw new UserError(`${file} names no certificate authority: the node needs it to know the API server.`);
  return found;
}

/** Ensures a valid --kubeconfig where a bootstrap kubeconfig is given. Waits until the cluster has signed. */
export async function joinCluster(flags: Flags, nodeName: string): Promise<void> {
  const { bootstrapKubeconfig, kubeconfig } = flags;
  if (bootstrapKubeconfig === undefined) return;
  if (!kubeconfig)
    throw new UserError(
      '--kubeconfig FILE is needed beside --bootstrap-kubeconfig: it is written there who this node is.',
    );
  const files = clientFiles(flags);
  if (await isStillGood(kubeconfig, files)) return;
  const log = loggerFrom(flags, 'bootstrap');
  const isKnown = existsSync(kubeconfig);
  if (isKnown && !existsSync(bootstrapKubeconfig))
    return returnToCluster(kubeconfig, { files, nodeName, log });
  const options = bootstrapOptions(bootstrapKubeconfig);
  const caPem = requireAuthority({ options, file: bootstrapKubeconfig });
  try {
    await getClientCertificate(options, { files, nodeName, log, from: bootstrapKubeconfig });
  } catch (error) {
    if (!isKnown || !isOldToken(error)) throw error;
    log.info('the token does not serve any more', { error: errorMessage(error) });
    return returnToCluster(kubeconfig, { files, nodeName, log });
  }
  await mkdir(dirname(resolve(kubeconfig)), { recursive: true });
  await writeKubeconfig(resolve(kubeconfig), {
    server: options.server,
    caPem,
    clusterName: 'capstan',
    userName: `system:node:${nodeName}`,
    credentials: { certificateFile: files.currentPath },
  });
  log.info('joined the cluster', { node: nodeName, kubeconfig });
}

function isOldToken(error: unknown): boolean {
  return (
    error instanceof UserError &&
    (isStatusError(error.cause, 'Unauthorized') || isStatusError(error.cause, 'Forbidden'))
  );
}

/**
 * Without a token, the certificate that has ended asks for the next one: the API server takes it for nothing else. Waits until the cluster has decided. Throws
 * UserError where it does not let the node back.
 */
async function returnToCluster(
  kubeconfig: string,
  {
    files,
    nodeName,
    log,
  }: { readonly files: CertificateFiles; readonly nodeName: string; readonly log: Logger },
): Promise<void> {
  const joinAgain =
    'make a token on a control plane with `capstan token create --print-join-command`, then run `capstan reset` and that command here';
  const ended = await files.load().catch(() => undefined);
  if (!ended)
    throw new UserError(
      `The client certificate of node ${nodeName} (${files.currentPath}) is missing or damaged, and there is no token to ask for another: ${joinAgain}.`,
    );
  log.info('the client certificate has ended: asking for another one with it', {
    node: nodeName,
    ended: formatTime(ended.validToMs),
  });
  try {
    await getClientCertificate(bootstrapOptions(kubeconfig), {
      files,
      nodeName,
      log,
      from: kubeconfig,
      // At the next start it meets the same answer, instead of asking again at each.
      keepsRefused: true,
    });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `${errorMessage(error)} The client certificate of node ${nodeName} ended on ${formatTime(ended.validToMs)} and does not bring it back: ${joinAgain}.`,
      error,
    );
  }
  log.info('returned to the cluster', { node: nodeName });
}

/** A kubeconfig with other credentials is used unchanged. */
async function isStillGood(kubeconfig: string, files: CertificateFiles): Promise<boolean> {
  if (!existsSync(kubeconfig)) return false;
  const { certFile } = bootstrapOptions(kubeconfig);
  if (certFile !== files.currentPath) return true;
  const pair = await files.load().catch(() => undefined);
  return pair !== undefined && pair.validToMs > realClock.now();
}

function bootstrapOptions(path: string): HttpsOptions {
  try {
    return resolveContext(loadKubeconfig({ path })).options;
  } catch (error) {
    throw new UserError(`${errorMessage(error)} (${path}).`, error);
  }
}

async function getClientCertificate(
  options: HttpsOptions,
  {
    files,
    nodeName,
    log,
    from,
    keepsRefused = false,
  }: {
    readonly files: CertificateFiles;
    readonly nodeName: string;
    readonly log: Logger;
    readonly from: string;
    readonly keepsRefused?: boolean;
  },
): Promise<void> {
  const transport = createHttpsTransport(options);
  const api = createClient(transport, { userAgent: `kubelet/${KUBERNETES_VERSION}`, log });
  // Timers of components do not keep a process alive.
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    for (;;) {
      try {
        const keyPem = await files.pendingKey(generateKeyPem);
        const waiting = (name: string): void =>
          log.info(
            `the request for a client certificate waits for approval: kubectl certificate approve ${name}`,
          );
        const certificate = await askForCertificate({
          api,
          clock: realClock,
          signal: new AbortController().signal,
          kind: KUBELET_CLIENT,
          names: { nodeName },
          keyPem,
          resumable: true,
          waiting,
        });
        await files.save(certificate, keyPem);
        await files.dropPendingKey();
        return;
      } catch (error) {
        const isRefused = error instanceof RequestRefused;
        if (isStatusError(error, 'NotFound') || (isRefused && !keepsRefused)) await files.dropPendingKey();
        if (isRefused) throw new UserError(`${errorMessage(error)}.`, error);
        if (isTransportError(error, 'tls'))
          throw new UserError(
            `The certificate of ${options.server}, or ours, was not accepted (${errorMessage(error)}): is ${from} of this cluster?`,
            error,
          );
        if (isStatusError(error, 'Unauthorized'))
          throw new UserError(
            `The API server ${options.server} does not accept the credentials in ${from} (401 Unauthorized): they are expired, revoked or of another cluster.`,
            error,
          );
        if (isStatusError(error, 'Forbidden'))
          throw new UserError(
            `The user of ${from} may not request a node's certificate: ${errorMessage(error)}.`,
            error,
          );
        log.warn('no client certificate yet', { error: errorMessage(error) });
        await realClock.sleep(RETRY_MS);
      }
    }
  } finally {
    clearInterval(alive);
    await api.close();
    await transport.close();
  }
}

// ---------------------------------------------------------------------------------------------------------- while it runs

interface Around {
  readonly flags: Flags;
  readonly context: RunContext;
  /** Certificates in use, for the rotation of authorities. */
  readonly used: UsedCertificate[];
}

/** The component, with its client certificate renewed if it was bootstrapped: connections reload it from its file. */
export function withClientCertificate(
  component: Component,
  {
    flags,
    nodeName,
    context,
    used,
    failed,
  }: Around & { readonly nodeName: string; readonly failed?: () => void },
): Component {
  if (flags.bootstrapKubeconfig === undefined || !readFlags(CERTIFICATE_FLAGS, flags).rotateCertificates) {
    const { connection, log } = context;
    used.push({
      current: () => connection.options.cert && String(connection.options.cert),
      renew: () =>
        log.warn('the client certificate is of an authority that ends, and is not renewed by this node', {
          kubeconfig: connection.file,
        }),
    });
    return component;
  }
  const { api, clock, log } = context;
  // An expired one serves only to ask for the next, which is done at a start.
  const expired = (): void =>
    fail?.(
      new UserError(
        `The client certificate of node ${nodeName} has expired before it could be renewed: start again to ask for another one.`,
      ),
    );
  let fail: ((error: Error) => void) | undefined;
  const manager = new CertificateManager({
    what: 'client certificate',
    kind: KUBELET_CLIENT,
    names: { nodeName },
    files: clientFiles(flags),
    api,
    clock,
    log,
    expired,
    failed,
  });
  used.push(usedBy(manager));
  const whole = together(component, manager);
  return {
    ...whole,
    onFailure(callback) {
      fail = callback;
      whole.onFailure?.(callback);
    },
  };
}

/** The node, with the certificate of its kubelet API got from the cluster and renewed. */
export function withServingCertificate(
  node: RealNode,
  { flags, names, context, used }: Around & { readonly names: RequestNames },
): Component {
  if (!readFlags(CERTIFICATE_FLAGS, flags).rotateServerCertificates) return node.component;
  const { api, clock, log } = context;
  const files = new CertificateFiles(certDirOf(flags), 'kubelet-server');
  const manager = new CertificateManager({
    what: 'serving certificate',
    kind: KUBELET_SERVING,
    names,
    files,
    api,
    clock,
    log,
    changed: ({ certificatePem, keyPem }) => node.replaceTls({ certificatePem, keyPem }),
    failed: () => node.renewFailed('serving'),
  });
  used.push(usedBy(manager));
  return together(node.component, manager);
}

function usedBy(manager: CertificateManager): UsedCertificate {
  return { current: () => manager.current?.certificatePem, renew: () => manager.renewNow() };
}

interface Trusting {
  readonly flags: Pick<NodeFlags, 'clientCaFile'>;
  readonly nodeName: string;
  readonly context: RunContext;
  readonly used: readonly UsedCertificate[];
  readonly node: Pick<RealNode, 'replaceTls'>;
}

/** The component, following the authorities of the cluster when they are rotated. */
export function withTrust(
  component: Component,
  { flags: { clientCaFile }, nodeName, context, used, node }: Trusting,
): Component {
  const { api, clock, log, connection } = context;
  const { file } = connection;
  return together(
    component,
    new TrustFollower({
      api,
      nodeName,
      trusted: () => readAuthority(connection.options) ?? '',
      async trust(caPem) {
        const { caFile } = connection.options;
        if (caFile === undefined || isFollowed(caFile)) await writeKubeconfigAuthority(file, caPem);
        if (clientCaFile !== undefined && isFollowed(clientCaFile))
          await writeFileAtomically(clientCaFile, caPem, PUBLIC_MODE);
        node.replaceTls({ clientCaPem: caPem });
      },
      used,
      clock,
      log,
    }),
  );
}

/** If its key is beside it, the rotation writes it itself. */
function isFollowed(authorityFile: string): boolean {
  return !existsSync(authorityFile.replace(/\.crt$/, '.key'));
}

function together(component: Component, manager: Pick<Component, 'start' | 'stop'>): Component {
  return {
    name: component.name,
    async start() {
      await component.start();
      await manager.start();
    },
    async stop() {
      await manager.stop();
      await component.stop();
    },
    onFailure: (callback) => component.onFailure?.(callback),
  };
}

// ---------------------------------------------------------------------------------------------------------------- serving

/** Of --tls-cert-file and --tls-private-key-file. */
export async function givenServing({
  tlsCertFile,
  tlsPrivateKeyFile,
}: Pick<NodeFlags, 'tlsCertFile' | 'tlsPrivateKeyFile'>): Promise<KeyPair | undefined> {
  if ((tlsCertFile === undefined) !== (tlsPrivateKeyFile === undefined))
    throw new UserError('--tls-cert-file and --tls-private-key-file go together: give both or neither.');
  if (tlsCertFile === undefined || tlsPrivateKeyFile === undefined) return undefined;
  return {
    certificatePem: await readFlagFile('--tls-cert-file', tlsCertFile),
    keyPem: await readFlagFile('--tls-private-key-file', tlsPrivateKeyFile),
  };
}

export function readFlagFile(flag: string, path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  });
}

/** The kubelet API's initial certificate: self-signed, kept for the next start. */
export async function keptServing(
  flags: Flags,
  {
    nodeName,
    addresses,
    nowMs,
  }: { readonly nodeName: string; readonly addresses: readonly string[]; readonly nowMs: number },
): Promise<KeyPair> {
  const dir = certDirOf(flags);
  const [certificateFile, keyFile] = [join(dir, 'kubelet.crt'), join(dir, 'kubelet.key')];
  const [certificatePem, keyPem] = await Promise.all([
    readIfPresent(certificateFile),
    readIfPresent(keyFile),
  ]);
  if (certificatePem !== undefined && keyPem !== undefined) return { certificatePem, keyPem };
  const authority = createAuthority({
    commonName: `${nodeName}-ca@${Math.floor(nowMs / 1000)}`,
    nowMs,
    lifetimeMs: SELF_SIGNED_LIFETIME_MS,
  });
  const made = issueCertificate(authority, {
    subject: { commonName: `${nodeName}@${Math.floor(nowMs / 1000)}` },
    usages: ['serverAuth'],
    altNames: { dnsNames: [nodeName], ipAddresses: addresses },
    nowMs,
    lifetimeMs: SELF_SIGNED_LIFETIME_MS,
  });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeFileAtomically(keyFile, made.keyPem);
  await writeFileAtomically(certificateFile, made.certificatePem, PUBLIC_MODE);
  return made;
}
