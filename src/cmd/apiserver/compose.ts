/** Composes the API server of a data directory or of flags: authenticators, authorizers, admission plugins and streams. */
import type { Encryption } from '#apiserver/encryption/encryption.ts';
import type { HealthCheck } from '#apiserver/nonresource/health.ts';
import {
  createAuthentication,
  DEFAULT_ISSUER,
  type Authentication,
  type AuthenticationOptions,
} from '#apiserver/authn/authentication.ts';
import { trackLegacyTokens } from '#apiserver/authn/legacy-token-tracking.ts';
import type { TokenSources } from '#apiserver/authn/token-sources.ts';
import { createAuthorization, type Authorization } from '#apiserver/authz/authorization.ts';
import { bootstrapPolicy } from '#apiserver/authz/bootstrap-policy.ts';
import type { ApiHandler } from '#apiserver/http/request.ts';
import { publishAuthentication } from '#apiserver/bootstrap/authentication-config.ts';
import type { LoginOptions } from '#apiserver/authn/logins.ts';
import type { PeerSettings } from '#apiserver/peerproxy/peer-proxy.ts';
import { SharedMap } from '#apiserver/registry/core/configmaps/shared-map.ts';
import type { InternalApi } from '#apiserver/registry/loopback-client.ts';
import { SharedSecret } from '#apiserver/registry/core/secrets/shared-secret.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { createApiServer, type ApiServer } from '#apiserver/server.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createStreams } from '#apiserver/handlers/connect/streams.ts';
import { hostPort } from '#deploy/config/endpoint.ts';
import { CLUSTER_ADMINS_GROUP, type Pki } from '#deploy/pki/pki.ts';
import { admissionFrom } from './flags/admission.ts';
import { aggregationOfPki, requestHeaderOptions, type AggregationFromFlags } from './flags/aggregation.ts';
import {
  featureMetrics,
  featuresFrom,
  featuresOn,
  type FeatureName,
  type Features,
} from './flags/feature-gates.ts';
import type { Serving } from './flags/serving.ts';
import type { ChangeLog, ChangeLogSettings } from '#history/change-log.ts';
import { assert } from '#stdx/assert.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { limitRepeats } from '#stdx/repeat-limit.ts';
import type { Store } from '#storage/store.ts';
import { BACKUP_PATH, backupPath } from '../backup/endpoint.ts';
import type { Backups, BackupSchedule } from '../backup/schedule.ts';
import { AuditUsers } from '../history/audit-users.ts';
import { HISTORY_PATH, historyPath } from '../history/endpoint.ts';
import { identities } from '../all-in-one/identities.ts';
import { addonPolicy } from './addon-policy.ts';
import { ROOT } from './flags/etcd.ts';
import { hostResourceMetrics } from './resource-metrics.ts';
import type { ApiServerSettings } from './settings.ts';
import { followFiles } from './follow-files.ts';
import { CAPSTAN_VERSION } from '../version.ts';

/** The parts of a Pki that the server needs; flags may name other files for each. */
export interface ApiServerKeys
  extends Pick<Pki, 'apiServer' | 'serviceAccountKey'>, Partial<Pick<Pki, 'frontProxyCa'>> {
  readonly ca: Pick<Pki['ca'], 'certificatePem'>;
  readonly clients: Pick<Pki['clients'], 'apiserver-kubelet-client'> &
    Partial<Pick<Pki['clients'], 'front-proxy-client'>>;
}

export interface ComposeOptions {
  readonly store: Store;
  /** The store is an etcd with upstream's encoding, below this prefix in place of /registry. */
  readonly etcdPrefix?: string | undefined;
  readonly pki: ApiServerKeys;
  readonly settings?: ApiServerSettings | undefined;
  /** Default: by the front-proxy certificates among the keys. */
  readonly extensions?: AggregationFromFlags;
  /** Of a store that other servers use too. */
  readonly peers?: PeerSettings | undefined;
  readonly serving?: Serving | undefined;
  /** As given: shown by /flagz. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly serviceCIDR: string;
  /** Addresses to listen on, all on one port. */
  readonly listen: readonly string[];
  readonly port: number;
  /** Where clients inside the cluster reach it. */
  readonly advertiseAddress: string;
  /** Default: no scheduled backups. */
  readonly backups?: BackupSchedule | undefined;
  /** Of the program around it, for /healthz, /livez and /readyz. */
  readonly healthChecks?: readonly HealthCheck[];
  /** Of the program around it, for /metrics. */
  readonly metrics?: () => string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The store as the server sees it, encryption at rest and upstream's bytes behind it. store: as it is kept. */
async function openStoredForm(
  { store, etcdPrefix, serving }: Pick<ComposeOptions, 'store' | 'etcdPrefix' | 'serving'>,
  encryption: Encryption | undefined,
): Promise<Store> {
  if (etcdPrefix === undefined) return encryption?.wrap(store) ?? store;
  const inEtcd = (key: string): string => etcdPrefix + key.slice(ROOT.length);
  const { CodecStore } = await import('#apiserver/storagecodec/codec-store.ts');
  return new CodecStore(
    encryption?.wrap(store, inEtcd) ?? store,
    serving?.effectiveVersion?.minCompatibility,
  );
}

export interface ComposedApiServer {
  readonly handler: ApiHandler;
  /** Resolves when /readyz is. */
  ready(): Promise<void>;
  /** /readyz fails from now on; everything is served as before. */
  leave(): void;
  stop(): Promise<void>;
}

/** Plugins that come with a feature gate, which is off by default or in an older emulated version. */
const PLUGIN_GATES: Readonly<Record<string, FeatureName>> = {
  MutatingAdmissionPolicy: 'MutatingAdmissionPolicy',
  PodGroupProtection: 'GenericWorkload',
  PodGroupWorkloadExists: 'GenericWorkload',
  PodTopologyLabels: 'PodTopologyLabelsAdmission',
};

function isOfVersion(plugin: string, features: Features | undefined): boolean {
  const gate = Object.hasOwn(PLUGIN_GATES, plugin) ? PLUGIN_GATES[plugin] : undefined;
  return gate === undefined || (features ?? featuresFrom(new Map()))[gate];
}

/** Resolves once listening. */
export async function composeApiServer(options: ComposeOptions): Promise<ComposedApiServer> {
  const { pki, clock, settings = {} } = options;
  // Clients without credentials can cause some of its lines at will: bad tokens, say.
  const log = limitRepeats(options.log, { clock });
  const encryption =
    settings.encryption &&
    (await (
      await import('#apiserver/encryption/encryption.ts')
    ).createEncryption({ ...settings.encryption, clock, log }));
  const recorded = settings.changeLog && (await recordChanges(settings.changeLog, { ...options, log }));
  const raw = recorded?.store ?? options.store;
  const store = await openStoredForm({ ...options, store: raw }, encryption);
  let authorization: Authorization | undefined;
  const kubelet = pki.clients['apiserver-kubelet-client'];
  let kubeletTls = { cert: kubelet.certificatePem, key: kubelet.keyPem, ca: pki.ca.certificatePem };
  const apiAudiences = settings.authentication?.apiAudiences ??
    settings.serviceAccounts?.issuers ?? [DEFAULT_ISSUER];
  const sharedLogins = sharedLoginsOf(settings, { store, clock, log });
  const logins =
    settings.login &&
    (await (
      await import('#apiserver/authn/logins.ts')
    ).openLogins({ ...settings.login, ...sharedLogins?.options }, { clock, log, apiAudiences }));
  const serviceAccountIssuers = settings.serviceAccounts?.issuers ?? [DEFAULT_ISSUER];
  const sources =
    settings.tokenSources &&
    (await (
      await import('#apiserver/authn/token-sources.ts')
    ).openTokenSources(settings.tokenSources, { clock, log, apiAudiences, serviceAccountIssuers }));
  const serviceAccountKeys = {
    signingKeyPem: pki.serviceAccountKey.keyPem,
    publicKeyPems: [pki.serviceAccountKey.publicKeyPem],
  };
  let authentication: Authentication | undefined;
  const { requestHeader, aggregation } = options.extensions ?? aggregationOfPki(pki);
  const audit =
    settings.audit && (await import('#apiserver/audit/audit.ts')).openAudit(settings.audit, { clock, log });
  const auditLog = auditLogOf(settings);
  const streams = createStreams({ kubeletTls: () => kubeletTls });
  const made = Promise.withResolvers<ApiServer>();
  const resourceMetrics = hostResourceMetrics({
    ...settings.resourceMetrics,
    server: made.promise,
    kubeletTls: () => kubeletTls,
    peerAddress: store.newestRevision && { host: options.advertiseAddress, port: options.port },
    peerCa: options.peers?.ca ?? pki.ca.certificatePem,
    clock,
    log,
  });
  const server = await createApiServer({
    store,
    clock,
    log,
    serviceCidr: options.serviceCIDR,
    // Endpoints may not be loopback addresses: then the kubernetes Service has none.
    ...(options.advertiseAddress.startsWith('127.')
      ? {}
      : { advertiseAddress: { ip: options.advertiseAddress, port: options.port } }),
    clientCa: pki.ca.certificatePem,
    requestHeader,
    aggregation: { ...aggregation, hosted: [resourceMetrics.api] },
    peers: options.peers,
    ...options.serving,
    programVersion: CAPSTAN_VERSION,
    ...settings.server,
    flags: options.flags,
    requestLimits: settings.requestLimits,
    ...(audit ? { audit: audit.sink } : {}),
    authentication: ({ internal }) =>
      (authentication = createAuthentication({
        internal,
        log,
        clock,
        nowMs: () => clock.now(),
        ...settings.authentication,
        ...(requestHeader ? { requestHeader: requestHeaderOptions(requestHeader) } : {}),
        apiAudiences,
        extraTokens: [...(logins?.tokens ?? []), ...(sources?.tokens ?? [])],
        ...(logins ? { extraAuthenticators: logins.authenticators } : {}),
        ...(sources ? { anonymous: anonymousBy(sources, settings.authentication?.anonymous) } : {}),
        serviceAccounts: {
          jwksUri: `https://${hostPort(options.advertiseAddress, options.port)}/openid/v1/jwks`,
          ...serviceAccountKeys,
          ...settings.serviceAccounts,
        },
      })),
    authorization: ({ internal }) => {
      authorization = createAuthorization({ internal, log, clock, ...settings.authorization });
      return authorization.authorizer;
    },
    admission: () => {
      assert(authorization, 'authorization is made before admission');
      return admissionFrom({ authorization, ...settings.admission }).filter(({ name }) =>
        isOfVersion(name, options.serving?.features),
      );
    },
    connect: streams,
    healthChecks: [...(encryption?.healthChecks ?? []), ...(options.healthChecks ?? [])],
    ...(encryption ? { metrics: [() => encryption.metrics()] } : {}),
    extraPaths: {
      ...logins?.paths,
      [BACKUP_PATH]: backupPath(store),
      [HISTORY_PATH]: historyPath({
        store,
        raw,
        changes: recorded?.changes,
        audit: auditLog === undefined ? undefined : new AuditUsers(auditLog),
      }),
    },
    bootstrap: async (internal) => {
      await Promise.all([
        bootstrapPolicy(internal, {
          clusterAdminGroups: [CLUSTER_ADMINS_GROUP],
          features: featuresOn(options.serving?.features),
        }),
        trackLegacyTokens(internal, clock.now()),
        sharedLogins?.attach(internal),
      ]);
      await addonPolicy(internal);
    },
  });
  made.resolve(server);
  server.metrics.collect(() => resourceMetrics.metrics());
  server.metrics.collect(() => authorization?.metrics.render() ?? '');
  server.metrics.collect(() => audit?.metrics() ?? '');
  server.metrics.collect(() => recorded?.changes.metrics() ?? '');
  server.metrics.collect(() => options.metrics?.() ?? '');
  const features = options.serving?.features ?? featuresFrom(new Map());
  server.metrics.collect(() => featureMetrics(features, options.serving?.effectiveVersion?.emulated));
  server.metrics.collect(
    () => `${authentication?.metrics() ?? ''}${sources ? `\n${sources.metrics()}` : ''}`,
  );
  let backups: Backups | undefined;
  server.metrics.collect(() => backups?.metrics() ?? '');
  const tls = {
    ...settings.tls,
    cert: pki.apiServer.certificatePem,
    key: pki.apiServer.keyPem,
    clientCa: pki.ca.certificatePem,
    ...(requestHeader ? { frontProxyCa: requestHeader.ca } : {}),
  };
  try {
    for (const host of options.listen)
      await server.start({
        host,
        port: options.port,
        tls,
        limits: settings.listener,
      });
  } catch (error) {
    await server.stop();
    await resourceMetrics.close();
    await recorded?.close();
    encryption?.close();
    authentication?.close();
    sources?.close();
    await logins?.close();
    throw error;
  }
  const followed =
    settings.files &&
    followFiles(settings.files, {
      tls,
      keys: serviceAccountKeys,
      proxyClient: aggregation?.proxyClient,
      kubeletClient: kubeletTls,
      peerCa: options.peers?.ca,
      clock,
      log,
      replaceTls(next) {
        server.replaceCertificates(next);
        void publishAuthentication(server.internal, {
          clientCa: next.clientCa?.toString(),
          requestHeader: next.frontProxyCa === undefined ? undefined : { ca: String(next.frontProxyCa) },
          nowMs: clock.now(),
        }).catch((error: unknown) =>
          log.warn('the new authorities could not be published', { error: errorMessage(error) }),
        );
      },
      replaceKeys: (next) => authentication?.serviceAccountKeys.replace(next),
      replaceProxyClient: (next) => server.replaceProxyClient(next),
      replaceKubeletClient: (next) => (kubeletTls = { ...kubeletTls, ...next }),
      replacePeerAuthorities: (next) => server.replacePeerAuthorities(next),
    });
  backups = await backupsOf(options, { store, server, log });
  return {
    handler: server.handler,
    ready: () => server.ready(),
    leave: () => server.leave(),
    async stop() {
      followed?.close();
      await backups?.stop();
      await server.stop();
      await resourceMetrics.close();
      await recorded?.close();
      encryption?.close();
      authentication?.close();
      sources?.close();
      authorization?.stop();
      streams.close();
      await audit?.close();
      await logins?.close();
    },
  };
}

interface RecordedStore {
  readonly store: Store;
  readonly changes: ChangeLog;
  close(): Promise<void>;
}

/** What the log lacks is read while the server runs. */
async function recordChanges(
  settings: ChangeLogSettings,
  { store, clock, log }: Pick<ComposeOptions, 'store' | 'clock' | 'log'>,
): Promise<RecordedStore> {
  const [{ ChangeLog }, { RecordingStore, resumeLog }] = await Promise.all([
    import('#history/change-log.ts'),
    import('#history/recording-store.ts'),
  ]);
  const changes = new ChangeLog(settings, { clock, log });
  const recording = new RecordingStore(store, { changes, nowMs: () => clock.now() });
  const resumed = resumeLog({ store, changes, log });
  return {
    store: recording,
    changes,
    async close() {
      await resumed;
      await changes.close(store.newestRevision ? recording.written : store.revision);
    },
  };
}

/** The file that events are written to; undefined: none, or the standard output. */
function auditLogOf({ audit }: ApiServerSettings): string | undefined {
  return audit?.log?.path === '-' ? undefined : audit?.log?.path;
}

/** Their first look is later than the server is ready. */
async function backupsOf(
  { backups: schedule, clock }: ComposeOptions,
  { store, server, log }: { readonly store: Store; readonly server: ApiServer; readonly log: Logger },
): Promise<Backups | undefined> {
  if (!schedule) return undefined;
  const { recipientsFor } = await import('../backup/keys.ts');
  // The key exists before a control plane may join, which gets it with the certificates. What is wrong, the first backup reports.
  await recipientsFor(schedule, schedule.pkiDir).catch((error: unknown) =>
    log.warn('the key of backups could not be made', { error: errorMessage(error) }),
  );
  const { startBackups } = await import('../backup/schedule.ts');
  const transport = createDirectTransport(server.handler, { user: identities.up });
  const api = createClient(transport, { userAgent: `capstan-backup/${CAPSTAN_VERSION}`, clock });
  return startBackups(schedule, { store, api, clock, log: log.with({ part: 'backup' }) });
}

/** The file of --authentication-config if it sets it, else the flag; at start both may not be set. */
function anonymousBy(
  sources: TokenSources,
  flag: AuthenticationOptions['anonymous'],
): NonNullable<AuthenticationOptions['anonymous']> {
  if (sources.anonymous && flag)
    throw new Error(
      '--anonymous-auth cannot be set when anonymous is configured in the file of --authentication-config',
    );
  const byFlag = flag ?? { enabled: true };
  return {
    get enabled() {
      return (sources.anonymous ?? byFlag).enabled;
    },
    get paths() {
      return (sources.anonymous ?? byFlag).paths;
    },
  };
}

interface SharedLogins {
  readonly options: Partial<LoginOptions>;
  attach(internal: InternalApi): Promise<void>;
}

/** Of servers that share their store, sessions are valid at each (a key file that a flag names is the operator's to share), and so are lock-outs. */
function sharedLoginsOf(
  { login }: ApiServerSettings,
  { store, clock, log }: { readonly store: Store; readonly clock: Clock; readonly log: Logger },
): SharedLogins | undefined {
  if (!login || !store.newestRevision) return undefined;
  const sharedLocks = new SharedMap({ name: 'capstan-lockouts', clock, log });
  const { key } = login.session;
  const isNamed = 'file' in key && !key.make;
  const secret = new SharedSecret({
    name: 'capstan-session-key',
    field: 'session.key',
    make: generateKeyPem,
    log,
  });
  return {
    options: {
      sharedLocks,
      session: isNamed ? login.session : { ...login.session, key: { shared: secret } },
    },
    async attach(internal) {
      sharedLocks.attach(internal);
      if (!isNamed) await secret.attach(internal);
    },
  };
}
