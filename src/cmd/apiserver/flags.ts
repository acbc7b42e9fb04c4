/**
 * The flags of `capstan apiserver`, one entry a flag, with upstream's names where they mean the same; upstream's others are refused by name.
 * `to` names the setting of a flag. Flags that only mean something together have no `to`: the file of their area in flags/ reads them.
 */
import { LOGGING_FLAGS, TLS_FLAGS } from '../flags/common.ts';
import { flagKinds, refused, type GivenFlags } from '../flags/define.ts';
import { VERSION_FLAGS } from '../flags/versions.ts';
import type { ApiServerSettings } from './settings.ts';

const flag = flagKinds<ApiServerSettings>();

const IN_DIR_STORE = 'the whole cluster in one program keeps its objects in DIR/store';

/** Addresses, the store, keys. */
export const SERVER_FLAGS = {
  'data-dir': flag.dir({
    help: 'directory for everything: store, certificates, kubeconfigs; created when missing',
    decidedByUp: 'use --data-dir of up itself',
    own: true,
  }),
  'storage-dir': flag.dir({
    help: 'directory of the store',
    defaultText: 'DIR/store',
    decidedByUp: IN_DIR_STORE,
    own: true,
  }),
  storage: flag.choice(['lmdb', 'memory'], {
    placeholder: '<driver>',
    help: 'where objects are kept; memory loses them when the server stops',
    default: 'lmdb',
    decidedByUp: IN_DIR_STORE,
    own: true,
  }),
  'bind-address': flag.text({
    placeholder: '<address>',
    help: 'address to listen on',
    defaultText: '127.0.0.1 with --data-dir, else 0.0.0.0',
    decidedByUp: 'use --bind-address of up itself',
  }),
  'secure-port': flag.number({
    min: 1,
    max: 65_535,
    help: 'port to listen on',
    defaultText: '6443',
    decidedByUp: 'use --https-port of up itself',
  }),
  'advertise-address': flag.text({
    placeholder: '<address>',
    help: 'address at which clients inside the cluster reach the server',
    defaultText: 'the bind address; of 0.0.0.0 and :: the address of the default route',
    decidedByUp: 'use --advertise-address of up itself',
  }),
  'endpoint-reconciler-type': flag.choice(['lease', 'none'], {
    placeholder: '<type>',
    help: "how the endpoints of the kubernetes Service follow the API servers on one etcd; none: they are somebody else's",
    default: 'lease',
    to: (endpointReconciler) => ({ server: { endpointReconciler } }),
  }),
  'apiserver-cert-extra-sans': flag.list({
    help: 'further DNS names and IP addresses for the serving certificate in DIR/pki; may be given several times',
    decidedByUp: 'use --apiserver-cert-extra-sans of up itself',
    own: true,
  }),
  'service-cluster-ip-range': flag.text({
    placeholder: '<ranges>',
    help: 'cluster IP range of services, or one of each family with a comma between; the first is of the default family',
    defaultText: '10.96.0.0/16',
    decidedByUp: 'use --service-cidr of up itself, when the cluster is made',
  }),
  'service-node-port-range': flag.text({
    placeholder: '<from-to>',
    help: 'node port range of services',
    defaultText: '30000-32767',
  }),
  'tls-cert-file': flag.file({
    help: 'serving certificate',
    defaultText: 'DIR/pki/apiserver.crt',
    to: (cert) => ({ files: { cert } }),
  }),
  'tls-private-key-file': flag.file({
    help: 'private key of --tls-cert-file',
    to: (key) => ({ files: { key } }),
  }),
  'client-ca-file': flag.file({
    help: 'certificate authority of client certificates',
    defaultText: 'DIR/pki/ca.crt',
    to: (clientCa) => ({ files: { clientCa } }),
    decidedByUp: 'put your own authority into DIR/pki/ca.crt and DIR/pki/ca.key before the first start',
  }),
  'kubelet-client-certificate': flag.file({
    help: 'client certificate for requests to kubelets',
    defaultText: 'DIR/pki/apiserver-kubelet-client.crt',
    to: (kubeletClientCert) => ({ files: { kubeletClientCert } }),
  }),
  'kubelet-client-key': flag.file({
    help: 'private key of --kubelet-client-certificate',
    to: (kubeletClientKey) => ({ files: { kubeletClientKey } }),
  }),
  ...TLS_FLAGS,
  profiling: flag.boolean({
    help: 'serve profiles to cluster admins at /debug/pprof',
    defaultText: 'true',
    to: (profiling) => ({ server: { profiling } }),
  }),
};

/** An etcd cluster in place of the embedded store. */
export const ETCD_FLAGS = {
  'etcd-servers': flag.list({
    placeholder: '<urls>',
    help: 'keep objects in this etcd, which several API servers may share, in place of --storage: https://10.0.0.1:2379,...',
    decidedByUp: IN_DIR_STORE,
  }),
  'etcd-prefix': flag.text({
    placeholder: '<prefix>',
    help: 'prefix of all keys in etcd',
    defaultText: '/registry',
    decidedByUp: IN_DIR_STORE,
  }),
  'etcd-cafile': flag.file({ help: 'certificate authority of the etcd servers', decidedByUp: IN_DIR_STORE }),
  'etcd-certfile': flag.file({ help: 'client certificate for etcd', decidedByUp: IN_DIR_STORE }),
  'etcd-keyfile': flag.file({ help: 'private key of --etcd-certfile', decidedByUp: IN_DIR_STORE }),
  'etcd-compaction-interval': flag.duration({
    help: 'how often one of all servers makes etcd forget old history; 0 turns it off',
    default: '5m',
    decidedByUp: IN_DIR_STORE,
  }),
  'etcd-db-metric-poll-interval': flag.duration({
    help: 'how often the members of etcd are asked for size, version and alarms; 0 turns it off',
    default: '30s',
    decidedByUp: IN_DIR_STORE,
  }),
};

/** History beyond the store's own revisions; upstream has none. */
export const CHANGE_LOG_FLAGS = {
  'change-log-path': flag.dir({
    help: 'directory to write every change to, with its user: for `capstan history` and restores to a moment',
    defaultText: 'none is written',
    own: true,
  }),
  'change-log-maxsize': flag.number({
    placeholder: '<megabytes>',
    help: 'size of a file of the change log, at which another is begun',
    min: 1,
    max: 4096,
    default: 64,
    own: true,
  }),
  'change-log-maxbackup': flag.number({
    help: 'files of the change log to keep beside the one that is written',
    min: 1,
    max: 10_000,
    default: 15,
    own: true,
  }),
  'change-log-maxage': flag.number({
    placeholder: '<days>',
    help: 'how long to keep files of the change log',
    min: 1,
    max: 3650,
    default: 7,
    own: true,
  }),
};

/** Scheduled backups; upstream has none. */
export const BACKUP_FLAGS = {
  backup: flag.boolean({
    help: 'make backups of the cluster, each proven by a drill',
    defaultText: 'true with --data-dir or --backup-location',
    own: true,
  }),
  'backup-interval': flag.duration({
    help: 'how often; hourly ones are kept a week, daily ones 90 days',
    default: '15m',
    own: true,
  }),
  'backup-location': flag.text({
    placeholder: '<place>',
    help: 'a directory, or s3://BUCKET/PREFIX',
    defaultText: 'DIR/backups',
    own: true,
  }),
  'backup-recipients-file': flag.file({
    help: 'who may open backups, a line a recipient of age',
    defaultText: "the cluster's own key, PKI/backup-identity.txt",
    own: true,
  }),
  'backup-pki-dir': flag.dir({
    help: 'directory of the keys and certificates that belong into a backup',
    defaultText: 'DIR/pki',
    own: true,
  }),
  'backup-s3-endpoint': flag.text({
    placeholder: '<url>',
    help: 'the S3 server of --backup-location',
    defaultText: '$AWS_ENDPOINT_URL_S3, else that of AWS',
    own: true,
  }),
  'backup-s3-region': flag.text({
    placeholder: '<region>',
    help: 'its region',
    defaultText: 'us-east-1',
    own: true,
  }),
  'backup-s3-credentials-file': flag.file({
    help: 'credentials for it, as aws configure writes them',
    defaultText: "AWS's environment variables",
    own: true,
  }),
};

/** Anonymous requests, token files, OIDC, the token webhook. */
export const AUTHENTICATION_FLAGS = {
  'anonymous-auth': flag.boolean({
    help: 'accept requests without credentials as system:anonymous',
    defaultText: 'true',
    to: (enabled) => ({ authentication: { anonymous: { enabled } } }),
  }),
  'token-auth-file': flag.file({
    help: 'static bearer tokens: a CSV of token,user,uid,"group1,group2"',
    to: (tokenFile) => ({ authentication: { tokenFile } }),
  }),
  'api-audiences': flag.list({
    help: 'accepted audiences of tokens',
    defaultText: 'the issuers',
    to: (apiAudiences) => ({ authentication: { apiAudiences } }),
  }),
  'expired-node-certificate-grace': flag.duration({
    help: "how long after its end a node's client certificate may still ask for another one; 0 turns it off",
    defaultText: '8760h',
    own: true,
    to: (expiredNodeGraceMs) => ({ authentication: { expiredNodeGraceMs } }),
  }),
  'authentication-config': flag.file({
    help: 'JWT authenticators from a file of kind AuthenticationConfiguration, reloaded when it changes',
  }),
  'authentication-token-webhook-config-file': flag.file({
    help: 'kubeconfig of a webhook that authenticates bearer tokens',
  }),
  'authentication-token-webhook-version': flag.text({
    placeholder: '<version>',
    help: 'version of the TokenReview sent to the webhook: v1 or v1beta1',
    defaultText: 'v1beta1',
  }),
  'authentication-token-webhook-cache-ttl': flag.duration({
    help: 'how long to cache responses of the token webhook',
    defaultText: '2m',
  }),
  'oidc-issuer-url': flag.text({
    placeholder: '<url>',
    help: 'issuer of OpenID Connect tokens (https); for several use --authentication-config',
  }),
  'oidc-client-id': flag.text({ placeholder: '<id>', help: 'required audience of OpenID Connect tokens' }),
  'oidc-username-claim': flag.text({
    placeholder: '<claim>',
    help: 'claim with the user name',
    defaultText: 'sub',
  }),
  'oidc-username-prefix': flag.text({
    help: 'prefix of user names, - for none',
    defaultText: 'ISSUER#, none for claim email',
  }),
  'oidc-groups-claim': flag.text({ placeholder: '<claim>', help: "claim with the user's groups" }),
  'oidc-groups-prefix': flag.text({ help: 'prefix of groups' }),
  'oidc-ca-file': flag.file({
    help: "certificate authority of the issuer's certificate",
    defaultText: 'those the machine trusts',
  }),
  'oidc-required-claim': flag.list({
    placeholder: '<claim=value>',
    help: 'claim that tokens must have; may be given several times',
  }),
  'oidc-signing-algs': flag.list({ help: 'accepted signing algorithms of tokens', defaultText: 'RS256' }),
};

export const SERVICE_ACCOUNT_FLAGS = {
  'service-account-signing-key-file': flag.file({
    help: 'private key that signs service account tokens',
    defaultText: 'DIR/pki/sa.key',
    to: (signingKey) => ({ files: { signingKey } }),
  }),
  'service-account-key-file': flag.list({
    placeholder: '<file>',
    help: 'further public keys that verify service account tokens; may be given several times',
    to: (publicKeys) => ({ files: { publicKeys } }),
  }),
  'service-account-issuer': flag.list({
    placeholder: '<url>',
    help: 'issuer of service account tokens; of several, the first issues and all are accepted',
    to: (issuers) => ({ serviceAccounts: { issuers } }),
  }),
  'service-account-jwks-uri': flag.text({
    placeholder: '<uri>',
    help: 'URI of the JSON Web Key Set, for the discovery document',
    to: (jwksUri) => ({ serviceAccounts: { jwksUri } }),
  }),
  'service-account-max-token-expiration': flag.duration({
    help: 'maximum lifetime of a service account token, at least 1h; longer requests are shortened',
  }),
  'service-account-extend-token-expiration': flag.boolean({
    help: 'extend projected tokens to one year, for clients that do not reload them',
    defaultText: 'true',
    to: (extendExpiration) => ({ serviceAccounts: { extendExpiration } }),
  }),
};

/** Passwords, LDAP, Kerberos and the session tokens issued for them. Upstream has none of them. */
export const LOGIN_FLAGS = {
  'basic-auth-file': flag.file({
    help: 'passwords: a CSV of "HASH",user,uid,"group1,group2" (see: capstan user hash-password)',
    own: true,
  }),
  'ldap-config': flag.file({
    help: 'LDAP directory whose users may log in: YAML of kind LDAPAuthenticationConfiguration',
    own: true,
  }),
  'kerberos-keytab': flag.file({
    help: 'keytab of the service; accepts Kerberos tickets (Authorization: Negotiate)',
    own: true,
  }),
  'kerberos-service': flag.text({
    placeholder: '<name>',
    help: 'service that tickets must be for: HTTP or HTTP@HOST',
    defaultText: 'HTTP',
    own: true,
  }),
  'kerberos-name-mapping': flag.repeated({
    placeholder: '<pattern=name>',
    help: 'RE2 pattern over USER@REALM and the user name for it; may be given several times, the first match counts',
    own: true,
  }),
  'kerberos-groups-from-ldap': flag.boolean({
    help: 'look up the groups of Kerberos users in the LDAP directory',
    own: true,
  }),
  'session-signing-key-file': flag.file({
    help: 'private key that signs the session tokens of capstan login',
    defaultText: 'DIR/pki/session.key',
    own: true,
  }),
  'session-lifetime': flag.text({
    placeholder: '<duration>',
    help: 'maximum lifetime of a session token, 1m to 168h',
    defaultText: '1h',
    own: true,
  }),
};

export const AUTHORIZATION_FLAGS = {
  'authorization-mode': flag.list({
    placeholder: '<modes>',
    help: 'authorizers in order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny',
    defaultText: 'Node,RBAC',
  }),
  'authorization-policy-file': flag.file({ help: 'ABAC policies: one JSON object a line' }),
  'authorization-config': flag.file({
    help: 'authorizers from a file of kind AuthorizationConfiguration, reloaded when it changes',
  }),
  'authorization-webhook-config-file': flag.file({ help: 'kubeconfig of the webhook of mode Webhook' }),
  'authorization-webhook-version': flag.text({
    placeholder: '<version>',
    help: 'version of the SubjectAccessReview sent to the webhook: v1 or v1beta1',
    defaultText: 'v1beta1',
  }),
  'authorization-webhook-cache-authorized-ttl': flag.duration({
    help: 'how long to cache allowed decisions of the webhook',
    defaultText: '5m',
  }),
  'authorization-webhook-cache-unauthorized-ttl': flag.duration({
    help: 'how long to cache denied decisions of the webhook',
    defaultText: '30s',
  }),
};

export const ADMISSION_FLAGS = {
  'enable-admission-plugins': flag.list({
    help: 'admission plugins to enable in addition to those that are on by default',
  }),
  'disable-admission-plugins': flag.list({ help: 'admission plugins to disable' }),
  'admission-control-config-file': flag.file({
    help: 'configuration of admission plugins: YAML of kind AdmissionConfiguration',
  }),
};

/** Extension API servers, and an authenticating proxy in front of this one. */
export const AGGREGATION_FLAGS = {
  'proxy-client-cert-file': flag.file({
    help: 'client certificate for requests to extension API servers',
    defaultText: 'DIR/pki/front-proxy-client.crt',
    to: (proxyClientCert) => ({ files: { proxyClientCert } }),
  }),
  'proxy-client-key-file': flag.file({
    help: 'private key of --proxy-client-cert-file',
    to: (proxyClientKey) => ({ files: { proxyClientKey } }),
  }),
  'enable-aggregator-routing': flag.boolean({
    help: 'route requests to the endpoint IPs of an extension API server rather than its cluster IP',
    defaultText: 'true',
  }),
  'resource-metrics': flag.boolean({
    help: 'serve metrics.k8s.io (kubectl top): usage of nodes and pods, unless an APIService names another server for it',
    default: true,
    own: true,
    to: (on) => ({ resourceMetrics: { isOff: !on } }),
  }),
  'requestheader-client-ca-file': flag.file({
    help: 'certificate authority of front proxies whose X-Remote-* headers are trusted',
    defaultText: 'DIR/pki/front-proxy-ca.crt',
    to: (frontProxyCa) => ({ files: { frontProxyCa } }),
  }),
  'requestheader-allowed-names': flag.list({
    help: 'accepted common names of front proxies',
    defaultText: "any, or front-proxy-client with the data directory's authority",
  }),
  'requestheader-username-headers': flag.list({
    help: 'headers with the user name',
    defaultText: 'X-Remote-User',
  }),
  'requestheader-uid-headers': flag.list({
    help: "headers with the user's UID",
    defaultText: "X-Remote-Uid of the data directory's own proxy, none of another",
  }),
  'requestheader-group-headers': flag.list({
    help: 'headers with a group',
    defaultText: 'X-Remote-Group',
  }),
  'requestheader-extra-headers-prefix': flag.list({
    help: 'prefixes of headers with extra user information',
    defaultText: 'X-Remote-Extra-',
  }),
};

/** Which APIs are served and how they are stored. */
export const SERVING_FLAGS = {
  'runtime-config': flag.text({
    placeholder: '<settings>',
    help: 'API versions and resources to serve: api/beta=true, storage.k8s.io/v1beta1=true, ...',
  }),
  'feature-gates': flag.text({
    placeholder: '<settings>',
    help: 'feature gates: CBORServingAndStorage=true, ConstrainedImpersonation=false, GenericWorkload=true',
  }),
  'event-ttl': flag.duration({ help: 'how long to keep events after their last update', defaultText: '1h' }),
};

export const ENCRYPTION_FLAGS = {
  'encryption-provider-config': flag.file({
    help: 'providers and keys of encryption at rest: YAML of kind EncryptionConfiguration',
  }),
  'encryption-provider-config-automatic-reload': flag.boolean({
    help: 'reload --encryption-provider-config when it changes',
  }),
};

/** Concurrency, timeouts, how connections are spread. */
export const REQUEST_LIMIT_FLAGS = {
  'max-requests-inflight': flag.number({
    help: 'read-only requests at a time; with priority and fairness, added to the next one as the total of seats',
    defaultText: '400',
    to: (maxRequestsInFlight) => ({ requestLimits: { maxRequestsInFlight } }),
  }),
  'max-mutating-requests-inflight': flag.number({
    help: 'mutating requests at a time; with priority and fairness, further seats',
    defaultText: '200',
    to: (maxMutatingRequestsInFlight) => ({ requestLimits: { maxMutatingRequestsInFlight } }),
  }),
  'enable-priority-and-fairness': flag.boolean({
    help: 'queue requests by FlowSchemas and priority levels instead of only limiting their number',
    defaultText: 'true',
    to: (priorityAndFairness) => ({ requestLimits: { priorityAndFairness } }),
  }),
  'request-timeout': flag.duration({
    help: 'timeout of a request, except watches and streams',
    defaultText: '1m',
    to: (requestTimeoutMs) => ({ requestLimits: { requestTimeoutMs } }),
  }),
  'min-request-timeout': flag.number({
    placeholder: '<seconds>',
    min: 1,
    help: 'minimum timeout of a watch whose client sets none; the timeout is up to twice as long',
    defaultText: '1800',
    to: (seconds) => ({ requestLimits: { minWatchMs: seconds * 1000 } }),
  }),
  'shutdown-delay-duration': flag.duration({
    help: 'how long to go on serving after SIGTERM, with /readyz failing',
    default: '0s',
    to: (shutdownDelayMs) => ({ shutdownDelayMs }),
  }),
  'goaway-chance': flag.number({
    placeholder: '<fraction>',
    max: 0.02,
    whole: false,
    help: 'fraction of HTTP/2 requests after which the client is asked to reconnect, up to 0.02',
    default: 0,
    to: (goawayChance) => ({ listener: { goawayChance } }),
  }),
};

/** The two audit backends have the same flags with different defaults. */
const BATCH_DEFAULTS = {
  log: { mode: 'blocking', size: 1, wait: '0', throttle: false, qps: 0, burst: 0 },
  webhook: { mode: 'batch', size: 400, wait: '30s', throttle: true, qps: 10, burst: 15 },
} as const;

function deliveryFlags<const Backend extends 'log' | 'webhook'>(backend: Backend) {
  const { mode, size, wait, throttle, qps, burst } = BATCH_DEFAULTS[backend];
  const flags = {
    mode: flag.choice(['batch', 'blocking', 'blocking-strict'], {
      placeholder: '<mode>',
      help: 'when events are sent',
      default: mode as string,
    }),
    'batch-buffer-size': flag.number({ min: 1, help: 'events to buffer in mode batch', default: 10_000 }),
    'batch-max-size': flag.number({ min: 1, help: 'maximum events of a batch', default: size as number }),
    'batch-max-wait': flag.duration({
      help: 'how long to wait before sending a batch that is not full',
      default: wait as string,
    }),
    'batch-throttle-enable': flag.boolean({
      help: 'limit the rate of batches',
      default: throttle as boolean,
    }),
    'batch-throttle-qps': flag.number({ whole: false, help: 'batches a second', default: qps as number }),
    'batch-throttle-burst': flag.number({ help: 'batches at once after a pause', default: burst as number }),
    'truncate-enabled': flag.boolean({
      help: 'remove request and response bodies from events that are too large',
      default: false,
    }),
    'truncate-max-batch-size': flag.number({
      placeholder: '<bytes>',
      min: 1,
      help: 'maximum size of a batch',
      default: 10_485_760,
    }),
    'truncate-max-event-size': flag.number({
      placeholder: '<bytes>',
      min: 1,
      help: 'maximum size of an event',
      default: 102_400,
    }),
    version: flag.choice(['audit.k8s.io/v1'], {
      placeholder: '<version>',
      help: 'API version of the events',
      default: 'audit.k8s.io/v1',
    }),
  };
  return prefixed(`audit-${backend}-`, flags);
}

type Prefixed<Prefix extends string, Table> = {
  readonly [Name in keyof Table & string as `${Prefix}${Name}`]: Table[Name];
};

function prefixed<const Prefix extends string, Table extends Readonly<Record<string, unknown>>>(
  prefix: Prefix,
  table: Table,
): Prefixed<Prefix, Table> {
  return Object.fromEntries(
    Object.entries(table).map(([name, entry]) => [`${prefix}${name}`, entry]),
  ) as Prefixed<Prefix, Table>;
}

export const AUDIT_FLAGS = {
  'audit-policy-file': flag.file({ help: 'audit policy: a Policy of audit.k8s.io/v1' }),
  'audit-log-path': flag.file({ help: 'file to write audit events to, - for standard output' }),
  'audit-log-format': flag.choice(['json', 'legacy'], {
    placeholder: '<format>',
    help: 'format of the audit log',
    default: 'json',
  }),
  'audit-log-maxsize': flag.number({
    placeholder: '<megabytes>',
    help: 'size at which the audit log is rotated, 0 for 100',
    default: 0,
  }),
  'audit-log-maxbackup': flag.number({ help: 'rotated files to keep, 0 for all', default: 0 }),
  'audit-log-maxage': flag.number({
    placeholder: '<days>',
    help: 'how long to keep rotated files, 0 for ever',
    default: 0,
  }),
  'audit-log-compress': flag.boolean({ help: 'compress rotated files', default: false }),
  ...deliveryFlags('log'),
  'audit-webhook-config-file': flag.file({ help: 'kubeconfig of the webhook to send audit events to' }),
  'audit-webhook-initial-backoff': flag.duration({
    help: 'how long to wait before the first retry',
    default: '10s',
  }),
  ...deliveryFlags('webhook'),
};

/** The mixed version proxy: requests that only another API server on the same etcd can serve. */
export const PEER_FLAGS = {
  'peer-ca-file': flag.file({
    help: 'certificate authorities of other API servers on the same etcd: requests that only they can serve are passed on to them',
    to: (peerCa) => ({ files: { peerCa } }),
  }),
  'peer-advertise-ip': flag.text({
    placeholder: '<address>',
    help: 'address at which other API servers reach this one',
    defaultText: 'that of --advertise-address',
  }),
  'peer-advertise-port': flag.number({
    min: 1,
    max: 65_535,
    help: 'port at which other API servers reach this one',
    defaultText: 'that of --secure-port',
  }),
};

/** Upstream flags that someone may bring along, and why they do nothing here. */
const REFUSED_FLAGS = {
  'storage-backend': refused('use --storage lmdb or --storage memory'),
  'allow-privileged': refused(
    'privileged pods are restricted by namespace: see PodSecurity in docs/admission.md',
    {
      accepts: 'true',
    },
  ),
  'insecure-bind-address': refused('the API is served over TLS only: use --bind-address'),
  'insecure-port': refused('the API is served over TLS only: use --secure-port', { accepts: '0' }),
  'egress-selector-config-file': refused('egress selection is not supported'),
  'service-account-signing-endpoint': refused(
    'external signing is not supported: use --service-account-signing-key-file',
  ),
  'service-account-lookup': refused('the objects that a token is bound to are always checked', {
    accepts: 'true',
  }),
};

export const API_SERVER_FLAGS = {
  ...SERVER_FLAGS,
  ...ETCD_FLAGS,
  ...BACKUP_FLAGS,
  ...CHANGE_LOG_FLAGS,
  ...AUTHENTICATION_FLAGS,
  ...SERVICE_ACCOUNT_FLAGS,
  ...LOGIN_FLAGS,
  ...AUTHORIZATION_FLAGS,
  ...ADMISSION_FLAGS,
  ...AGGREGATION_FLAGS,
  ...PEER_FLAGS,
  ...SERVING_FLAGS,
  ...VERSION_FLAGS,
  ...ENCRYPTION_FLAGS,
  ...REQUEST_LIMIT_FLAGS,
  ...AUDIT_FLAGS,
  ...LOGGING_FLAGS,
  ...REFUSED_FLAGS,
};

export type ApiServerFlags = GivenFlags<typeof API_SERVER_FLAGS>;
