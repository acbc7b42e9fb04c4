/** The parts of one API server. */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { EffectiveVersion } from '#machinery/effective-version.ts';
import type { GroupVersion } from '#machinery/object.ts';
import type { Resource } from '#resources/resource.ts';
import type { Store } from '#storage/store.ts';
import type { AdmissionPlugin } from './admission/plugin.ts';
import type { AggregationSettings } from './aggregation/aggregator.ts';
import type { Authenticator, TokenIssuer, TokenReviewer } from './authn/authenticator.ts';
import type { Authorizer } from './authz/authorizer.ts';
import type { PublishedRequestHeader } from './bootstrap/authentication-config.ts';
import type { AuditSink } from './audit/audit-sink.ts';
import type { RequestLimits } from './flowcontrol/flow-control.ts';
import type { ConnectHandlers } from './handlers/connect/connect.ts';
import type { ListenerLimits, TlsMaterial } from './http/listener.ts';
import type { HealthCheck } from './nonresource/health.ts';
import type { Collector } from './nonresource/metrics.ts';
import type { PathHandler } from './nonresource/paths.ts';
import type { PeerSettings } from './peerproxy/peer-proxy.ts';
import type { InternalApi } from './registry/loopback-client.ts';

/** Inputs for the parts that need the server's own objects. */
export interface PartContext {
  readonly internal: InternalApi;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Authentication {
  readonly authenticator: Authenticator;
  readonly tokenIssuer?: TokenIssuer | undefined;
  readonly tokenReviewer?: TokenReviewer | undefined;
}

export interface ApiServerOptions {
  /** The server uses it and leaves it open. */
  readonly store: Store;
  /** Default: every built-in resource. */
  readonly registry?: readonly Resource[];
  readonly authentication: (context: PartContext) => Authentication;
  readonly authorization: (context: PartContext) => Authorizer;
  /** In the order they run. */
  readonly admission?: (
    context: PartContext & { readonly authorizer: Authorizer },
  ) => readonly AdmissionPlugin[];
  /** Exec, logs, proxies; absent = refused. */
  readonly connect?: ConnectHandlers | ((context: PartContext) => ConnectHandlers);
  readonly audit?: AuditSink;
  /** Default: priority and fairness over 600 seats, 60 s a request. */
  readonly requestLimits?: RequestLimits | undefined;
  /** Of the program, by name and as they hold: shown by /flagz, which is not served without. */
  readonly flags?: Readonly<Record<string, string>> | undefined;
  /** Enables /debug/pprof. Default true. */
  readonly profiling?: boolean;
  /** Further paths that are no part of the Kubernetes API, authorized as non-resource URLs. */
  readonly extraPaths?: Readonly<Record<string, PathHandler>>;
  /** One range, or one of each family behind a comma, the default family's first. Default 10.96.0.0/12. */
  readonly serviceCidr?: string;
  readonly serviceNodePorts?: { readonly from: number; readonly to: number } | undefined;
  /** Where clients in the cluster reach this server: the endpoint of the kubernetes Service. Default: that Service gets no endpoint. */
  readonly advertiseAddress?: { readonly ip: string; readonly port: number };
  /** How the kubernetes Service's endpoints follow the API servers of a shared store; none: they are not written. Default: lease. */
  readonly endpointReconciler?: 'lease' | 'none';
  /** Runs after the built-in bootstrap, before the server is ready: bootstrapPolicy of authz. */
  readonly bootstrap?: (internal: InternalApi) => Promise<void>;
  /** False: nothing is created at start (tests). */
  readonly bootstrapObjects?: boolean;
  /** PEM, published in kube-system/extension-apiserver-authentication. */
  readonly clientCa?: string;
  /** Accepts and produces CBOR: upstream's feature gate CBORServingAndStorage. Default false. */
  readonly cbor?: boolean;
  /** Impersonation for some requests only: upstream's feature gate ConstrainedImpersonation. Default true. */
  readonly constrainedImpersonation?: boolean;
  /** Upstream's feature gates by name, as hooks of resources see them. Default: all off. */
  readonly features?: Readonly<Record<string, boolean>>;
  /** How extension API servers are reached. */
  readonly aggregation?: AggregationSettings | undefined;
  /** Of a shared store: requests that only other servers can serve are passed on to them. */
  readonly peers?: PeerSettings | undefined;
  /** Published beside clientCa: the front-proxy CA and the names and headers it allows. */
  readonly requestHeader?: PublishedRequestHeader | undefined;
  /** Of parts that this server does not know: its storage's, say. */
  readonly healthChecks?: readonly HealthCheck[];
  /** Further lines of /metrics. */
  readonly metrics?: readonly Collector[];
  /** Which versions are served. Default: the stable ones. */
  readonly isEnabled?: (served: GroupVersion & { readonly resource: string }) => boolean;
  readonly programVersion?: string;
  /** --emulated-version and --min-compatibility-version. What is served and how it is stored is in isEnabled and the store. */
  readonly effectiveVersion?: EffectiveVersion;
  readonly clock?: Clock;
  readonly log?: Logger;
}

export interface StartOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMaterial;
  readonly limits?: Partial<ListenerLimits> | undefined;
}

export const DEFAULT_SERVICE_CIDR = '10.96.0.0/12';
