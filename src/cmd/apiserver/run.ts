/**
 * `capstan apiserver`: the API server as a program of its own, from a data directory, from flags with upstream's names, or from both (a flag
 * wins). In the foreground; SIGTERM lets requests under way finish.
 *
 *   flags ─► [data directory: lock, certificates] ─► store ─► listening ─► ready ──SIGTERM──► closed, unlocked, exit 0
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { hostname } from 'node:os';
import { openStore, type StorageDriver } from '#storage/drivers/index.ts';
import { StoreError, type Store } from '#storage/store.ts';
import { publishCertificates, renewCertificates, type PublishOptions } from '#deploy/cluster-certificates.ts';
import {
  DATA_FORMAT,
  dataDir,
  describeDiskError,
  hasRun,
  newClusterId,
  prepareDataDir,
  readSettings,
  UserError,
  writeFileAtomic,
  writeSettings,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import type { DaemonState } from '#deploy/daemon.ts';
import { DEFAULT_NETWORKS } from '#deploy/networks.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import { CertificateRenewal, type CertificateState } from '#deploy/pki/renewal.ts';
import { ensurePki, PkiError, type Pki } from '#deploy/pki/pki.ts';
import { findHostAddress } from '#node/host-address.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, errorMessage, type Logger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { keepFiles } from '#stdx/kept-files.ts';
import { acquireProcessLock, LockedError } from '#stdx/process-lock.ts';
import { serviceAccountTokensFrom, tokenSourcesFrom } from './flags/authentication.ts';
import { admissionSettings } from './flags/admission.ts';
import { etcdFrom } from './flags/etcd.ts';
import { encryptionFrom } from './flags/encryption.ts';
import { authorizationSettings } from './flags/authorization.ts';
import { auditSettings } from './flags/audit.ts';
import { loginOptions } from './flags/login.ts';
import { requestLimitsFrom } from './flags/request-limits.ts';
import { aggregationFrom } from './flags/aggregation.ts';
import { servingFrom } from './flags/serving.ts';
import { composeApiServer, type ApiServerKeys, type ComposeOptions } from './compose.ts';
import { readFlags, settingsOf, shownFlags } from '../flags/define.ts';
import { LOGGING_FLAGS } from '../flags/common.ts';
import { API_SERVER_FLAGS, SERVER_FLAGS, type ApiServerFlags } from './flags.ts';
import type { ApiServerSettings } from './settings.ts';
import { keptFilesOf, lostSentence } from '../all-in-one/kept-dir.ts';
import {
  advertiseAddress,
  machineAddresses,
  requireAddress,
  requireAdvertisable,
  requireSubjectNames,
  servedAddresses,
} from './addresses.ts';
import { requireIPv4Range } from '../proxy/run.ts';
import { tlsSettingsFrom } from '../tls-flags.ts';

interface Plan {
  readonly bindAddress: string;
  readonly port: number;
  readonly serviceCIDR: string;
  readonly advertiseAddress: string;
  readonly extraSANs: readonly string[];
  readonly driver: StorageDriver | 'etcd';
  readonly storeDir: string | undefined;
}

/** Resolves after it was stopped by a signal; throws a UserError when it cannot start. */
export async function runApiServer(flags: ApiServerFlags): Promise<void> {
  const { loggingFormat, logLevel } = readFlags(LOGGING_FLAGS, flags);
  const log = createLogger({ format: loggingFormat, level: logLevel }).with({
    component: 'kube-apiserver',
  });
  const dir = flags.dataDir === undefined ? undefined : dataDir(flags.dataDir);
  const stopped = stopRequest(log);
  const cleanup: (() => Promise<void> | void)[] = [];
  try {
    // Before anything is made or locked.
    etcdFrom(flags);
    const settings = settingsFrom(flags, dir?.pki);
    const stored = dir ? openDataDir(dir, cleanup) : undefined;
    const plan = planFrom(flags, { dir, stored, hostAddress: await findHostAddress() });
    const mayCreate = !dir || !hasRun(dir, stored);
    if (dir) writeSettings(dir, settingsAfter(plan, stored));
    const pki = dir ? await ensurePki({ ...pkiOptions(dir, plan), mayCreate }) : undefined;
    for (const { message } of pki?.warnings ?? []) log.warn(message);
    let renewal: CertificateRenewal | undefined;
    const fromFlags = composeOptionsFrom(flags, { settings, pki });
    const store = await openStoreOf(plan, { flags, mayCreate, log });
    cleanup.push(() => store.close());
    const server = await composeApiServer({
      store,
      ...fromFlags,
      serviceCIDR: plan.serviceCIDR,
      listen: [plan.bindAddress],
      port: plan.port,
      advertiseAddress: plan.advertiseAddress,
      metrics: () => renewal?.metrics() ?? '',
      clock: realClock,
      log,
    });
    cleanup.push(() => server.stop());
    await server.ready();
    const url = serverUrl(plan);
    if (dir && pki) {
      const initial = await publishCertificates(dir, { ...publishOptions(url), pki, nowMs: Date.now() });
      renewal = startRenewal(dir, { plan, initial, log });
      cleanup.push(() => renewal?.stop());
      saveState(dir, url);
    }
    cleanup.push(releaseMemoryWhenQuiet({ clock: realClock, log, trims: true }));
    log.info('ready', { server: url });
    await Promise.race([stopped, ...(dir ? [lostFiles(dir, { plan, cleanup })] : [])]);
    server.leave();
    await realClock.sleep(settings.shutdownDelayMs ?? 0);
  } catch (error) {
    throw explained(error, { flags, dir });
  } finally {
    for (const step of cleanup.toReversed()) await step();
  }
  log.info('stopped');
}

async function openStoreOf(
  { driver, storeDir }: Plan,
  {
    flags,
    mayCreate,
    log,
  }: { readonly flags: ApiServerFlags; readonly mayCreate: boolean; readonly log: Logger },
): Promise<Store> {
  const etcd = etcdFrom(flags);
  if (driver !== 'etcd' || !etcd)
    return openStore({
      driver: driver === 'etcd' ? 'lmdb' : driver,
      dir: storeDir,
      mayCreate,
      log: log.with({ component: 'store' }),
    });
  log.warn(
    'etcd is experimental: one API server allocates service addresses, objects are JSON, nothing compacts',
    {
      servers: etcd.endpoints.join(','),
    },
  );
  return (await import('#storage/drivers/etcd/etcd-store.ts')).openEtcdStore(etcd);
}

/** Takes the lock; what the directory says. */
function openDataDir(dir: DataDir, cleanup: (() => void)[]): ClusterSettings | undefined {
  prepareDataDir(dir);
  const lock = acquireProcessLock(dir.lock);
  cleanup.push(() => lock.release());
  return readSettings(dir);
}

function planFrom(
  givenFlags: ApiServerFlags,
  {
    dir,
    stored,
    hostAddress,
  }: {
    readonly dir: DataDir | undefined;
    readonly stored: ClusterSettings | undefined;
    readonly hostAddress: string | undefined;
  },
): Plan {
  const flags = readFlags(SERVER_FLAGS, givenFlags);
  const bindAddress = flags.bindAddress ?? stored?.bindAddress ?? (dir ? '127.0.0.1' : '0.0.0.0');
  const serviceCIDR = flags.serviceClusterIpRange ?? stored?.serviceCIDR ?? DEFAULT_NETWORKS.serviceCIDR;
  requireAddress('--bind-address', bindAddress);
  const given = flags.advertiseAddress ?? stored?.advertiseAddress;
  if (given !== undefined) requireAdvertisable('--advertise-address', given);
  const extraSANs = flags.apiserverCertExtraSans ?? stored?.certExtraSANs ?? [];
  requireSubjectNames('--apiserver-cert-extra-sans', extraSANs);
  requireIPv4Range('--service-cluster-ip-range', serviceCIDR);
  if (stored && serviceCIDR !== stored.serviceCIDR)
    throw new UserError(
      `--service-cluster-ip-range is ${serviceCIDR}, but the cluster in ${dir?.path} has ${stored.serviceCIDR}: that cannot be changed.`,
    );
  const driver = givenFlags.etcdServers ? 'etcd' : flags.storage;
  const storeDir = driver === 'memory' || driver === 'etcd' ? undefined : (flags.storageDir ?? dir?.store);
  if (driver !== 'memory' && driver !== 'etcd' && storeDir === undefined)
    throw new UserError(
      `--storage ${driver} needs --data-dir DIR or --storage-dir DIR to keep its files in; --storage memory keeps nothing.`,
    );
  if (storeDir !== undefined) makeDir(storeDir);
  return {
    bindAddress,
    port: flags.securePort ?? stored?.httpsPort ?? 6443,
    serviceCIDR,
    driver,
    storeDir,
    advertiseAddress:
      advertiseAddress({ bindAddress, given, hostAddress, machine: machineAddresses() }) ?? '127.0.0.1',
    extraSANs,
  };
}

function makeDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw describeDiskError(path, error);
  }
}

/** Of a directory that `up` has not made: it has no nodes until some are started. */
function newSettings({ bindAddress, port, serviceCIDR }: Plan): ClusterSettings {
  return {
    format: DATA_FORMAT,
    id: newClusterId(),
    httpsPort: port,
    bindAddress,
    runtime: 'simulated',
    nodes: 0,
    podCIDR: DEFAULT_NETWORKS.podCIDR,
    serviceCIDR,
  };
}

/** Rejects when the directory is no longer where it was. */
function lostFiles(
  dir: DataDir,
  { plan, cleanup }: { readonly plan: Plan; readonly cleanup: (() => Promise<void> | void)[] },
): Promise<never> {
  return new Promise((_, reject) => {
    const kept = keepFiles({
      paths: keptFilesOf(dir, plan.driver === 'lmdb' ? plan.storeDir : undefined),
      clock: realClock,
      onLost: (path) => reject(new UserError(lostSentence(dir, path))),
    });
    cleanup.push(() => kept.close());
  });
}

/** Of a new directory, or those it has; that it keeps nothing is no longer true once it has had a store. */
function settingsAfter(plan: Plan, stored: ClusterSettings | undefined): ClusterSettings {
  const { keepsNothing = stored === undefined, ...settings } = stored ?? newSettings(plan);
  return keepsNothing && plan.driver === 'memory' ? { ...settings, keepsNothing } : settings;
}

function pkiOptions(
  dir: DataDir,
  { serviceCIDR, bindAddress, advertiseAddress: advertised, extraSANs }: Plan,
): Parameters<typeof ensurePki>[0] {
  const [base = ''] = serviceCIDR.split('/');
  const octets = base.split('.').map(Number);
  const serviceIP = [...octets.slice(0, 3), (octets[3] ?? 0) + 1].join('.');
  return {
    dir: dir.pki,
    nowMs: Date.now(),
    apiServer: {
      hostName: hostname(),
      serviceIP,
      bindAddresses: servedAddresses(bindAddress, {
        advertised: [advertised],
        machine: machineAddresses(),
      }),
      extraSANs,
    },
  };
}

/** Files that flags name, else those of the data directory. */
function keysFrom(flags: ApiServerFlags, pki: Pki | undefined): ApiServerKeys {
  const needed = {
    '--tls-cert-file': flags.tlsCertFile,
    '--tls-private-key-file': flags.tlsPrivateKeyFile,
    '--client-ca-file': flags.clientCaFile,
    '--service-account-signing-key-file': flags.serviceAccountSigningKeyFile,
  };
  const missing = Object.entries(needed)
    .filter(([, file]) => file === undefined)
    .map(([flag]) => flag);
  if (!pki && missing.length > 0)
    throw new UserError(
      `Without --data-dir DIR, which brings its own certificates, these are needed too: ${missing.join(', ')}.`,
    );
  pairOf('--tls-cert-file', flags.tlsCertFile, flags.tlsPrivateKeyFile);
  pairOf('--kubelet-client-certificate', flags.kubeletClientCertificate, flags.kubeletClientKey);
  const none = { certificatePem: '', keyPem: '' };
  const {
    tlsCertFile,
    tlsPrivateKeyFile,
    clientCaFile,
    serviceAccountSigningKeyFile,
    kubeletClientCertificate,
    kubeletClientKey,
  } = flags;
  const publicKeys = (flags.serviceAccountKeyFile ?? [])
    .map((file) => readPem('--service-account-key-file', file))
    .join('\n');
  return {
    ca: clientCaFile
      ? { certificatePem: readPem('--client-ca-file', clientCaFile) }
      : { certificatePem: pki?.ca.certificatePem ?? '' },
    apiServer:
      tlsCertFile && tlsPrivateKeyFile
        ? {
            certificatePem: readPem('--tls-cert-file', tlsCertFile),
            keyPem: readPem('--tls-private-key-file', tlsPrivateKeyFile),
          }
        : (pki?.apiServer ?? none),
    clients: {
      'apiserver-kubelet-client':
        kubeletClientCertificate && kubeletClientKey
          ? {
              certificatePem: readPem('--kubelet-client-certificate', kubeletClientCertificate),
              keyPem: readPem('--kubelet-client-key', kubeletClientKey),
            }
          : (pki?.clients['apiserver-kubelet-client'] ?? none),
    },
    serviceAccountKey: serviceAccountSigningKeyFile
      ? {
          keyPem: readPem('--service-account-signing-key-file', serviceAccountSigningKeyFile),
          publicKeyPem: publicKeys,
        }
      : {
          keyPem: pki?.serviceAccountKey.keyPem ?? '',
          publicKeyPem: `${pki?.serviceAccountKey.publicKeyPem ?? ''}\n${publicKeys}`,
        },
  };
}

function pairOf(flag: string, certificate: string | undefined, key: string | undefined): void {
  if ((certificate === undefined) !== (key === undefined))
    throw new UserError(`${flag} and its key go together: give both or neither.`);
}

function readPem(flag: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
  if (!text.includes('-----BEGIN '))
    throw new UserError(`${flag} ${path} holds no PEM block; it should begin with -----BEGIN.`);
  return text;
}

/** All that flags change of a server, wherever its store and addresses come from. */
export function composeOptionsFrom(
  flags: ApiServerFlags,
  { settings, pki }: { readonly settings: ApiServerSettings; readonly pki: Pki | undefined },
): Pick<ComposeOptions, 'pki' | 'settings' | 'extensions' | 'serving' | 'flags'> {
  return {
    pki: keysFrom(flags, pki),
    settings,
    extensions: aggregationFrom(flags, { pki, readPem }),
    serving: servingFrom(flags),
    // What is secret is in files, which flags only name.
    flags: shownFlags(API_SERVER_FLAGS, flags),
  };
}

/** What the flags ask for, beside keys and addresses. Touches nothing. pkiDir: where keys that are missing will be made. */
export function settingsFrom(flags: ApiServerFlags, pkiDir: string | undefined): ApiServerSettings {
  const { tokenAuthFile } = flags;
  if (tokenAuthFile !== undefined) readFileFor('--token-auth-file', tokenAuthFile);
  const serviceNodePorts =
    flags.serviceNodePortRange === undefined ? undefined : portRange(flags.serviceNodePortRange);
  const authorization = authorizationSettings(flags);
  const login = loginOptions(flags, { pkiDir });
  const tokenSources = tokenSourcesFrom(flags);
  const encryption = encryptionFrom(flags);
  const admission = admissionSettings(flags);
  const serviceAccountTokens = serviceAccountTokensFrom(flags);
  const own = settingsOf<ApiServerSettings>(API_SERVER_FLAGS, flags);
  return {
    ...own,
    ...(encryption ? { encryption } : {}),
    ...(login ? { login } : {}),
    ...requestLimitsFrom(flags),
    audit: auditSettings(flags),
    tls: tlsSettingsFrom(flags),
    ...(tokenSources ? { tokenSources } : {}),
    files: { ...(pkiDir === undefined ? {} : filesOfPki(pkiDir)), ...own.files },
    serviceAccounts: { ...own.serviceAccounts, ...serviceAccountTokens },
    ...(authorization ? { authorization } : {}),
    ...(admission ? { admission } : {}),
    ...(serviceNodePorts ? { serviceNodePorts } : {}),
  };
}

/** Those of the data directory, in the absence of flags. */
function filesOfPki(dir: string): NonNullable<ApiServerSettings['files']> {
  const certificate = (name: string): string => join(dir, `${name}.crt`);
  const key = (name: string): string => join(dir, `${name}.key`);
  return {
    cert: certificate('apiserver'),
    key: key('apiserver'),
    proxyClientCert: certificate('front-proxy-client'),
    proxyClientKey: key('front-proxy-client'),
    kubeletClientCert: certificate('apiserver-kubelet-client'),
    kubeletClientKey: key('apiserver-kubelet-client'),
  };
}

function readFileFor(flag: string, path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}

function portRange(text: string): { readonly from: number; readonly to: number } {
  const [, from = '', to = ''] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  if (from === '' || Number(from) < 1 || Number(to) > 65535 || Number(from) > Number(to))
    throw new UserError(
      `--service-node-port-range is "${text}"; it should be FROM-TO, for example 30000-32767.`,
    );
  return { from: Number(from), to: Number(to) };
}

export function serverUrl({
  bindAddress,
  port,
}: {
  readonly bindAddress: string;
  readonly port: number;
}): string {
  const address = bindAddress === '0.0.0.0' ? '127.0.0.1' : bindAddress === '::' ? '::1' : bindAddress;
  return `https://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

function startRenewal(
  dir: DataDir,
  { plan, initial, log }: { readonly plan: Plan; readonly initial: CertificateState; readonly log: Logger },
): CertificateRenewal {
  const renewal = new CertificateRenewal({
    initial,
    clock: realClock,
    log,
    ensure: (nowMs) =>
      renewCertificates(dir, { ...publishOptions(serverUrl(plan)), pki: pkiOptions(dir, plan), nowMs }),
  });
  renewal.start();
  return renewal;
}

/** Kubeconfigs for whoever is to find it. */
function publishOptions(url: string): PublishOptions {
  return {
    server: url,
    simulatedNodes: true,
    node: {
      name: hostname().toLowerCase(),
      addresses: machineAddresses().filter((address) => isIP(address) === 4),
    },
  };
}

/** The state that `capstan status` reads. */
function saveState(dir: DataDir, url: string): void {
  const state: DaemonState = {
    pid: process.pid,
    server: url,
    startedAt: new Date().toISOString(),
    phase: 'ready',
    components: { 'kube-apiserver': 'running' },
  };
  writeFileAtomic(dir.state, JSON.stringify(state));
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
function stopRequest(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(1);
        asked = true;
        log.info('stopping', { signal });
        resolve();
      });
    }
  });
}

function explained(
  error: unknown,
  { flags, dir }: { readonly flags: ApiServerFlags; readonly dir: DataDir | undefined },
): unknown {
  if (error instanceof UserError) return error;
  if (error instanceof LockedError)
    return new UserError(
      `The cluster in ${dir?.path} is already run by process ${error.holder.pid}; stop it with: capstan down --data-dir ${dir?.path}`,
      error,
    );
  if (error instanceof StoreError || error instanceof PkiError) return new UserError(error.message, error);
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'EADDRINUSE')
    return new UserError(
      `${errorMessage(error)}: ${describePortHolder((error as { port?: number }).port ?? 0)} listens there; choose another with --secure-port.`,
      error,
    );
  if (code === 'EADDRNOTAVAIL')
    return new UserError(
      `${flags.bindAddress ?? ''} is not an address of this machine: choose one with --bind-address.`,
      error,
    );
  if (code === 'EACCES' && (error as NodeJS.ErrnoException).syscall === 'listen')
    return new UserError(
      `${errorMessage(error)}: ports below 1024 need root; choose another with --secure-port.`,
      error,
    );
  if (['ENOSPC', 'EROFS', 'EACCES', 'EPERM'].includes(code) && dir) return describeDiskError(dir.path, error);
  // What flags asked for and the parts refuse by name: a mode, a plugin, a key.
  if (
    code.startsWith('ERR_OSSL') ||
    (error instanceof Error &&
      /authorization-|Authorizat|policy file|kubeconfig|audit log|admission plugin|token file|password file|session key|LDAP|Kerberos|keytab|--oidc|--authentication-config/.test(
        error.message,
      ))
  )
    return new UserError(`${errorMessage(error)}.`, error);
  return error;
}
