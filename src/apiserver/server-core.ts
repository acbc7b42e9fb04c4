/** State of the server, shared by the pipeline's stages and the verbs; assembled by server.ts. */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { RequestContext } from './context.ts';
import type { Store } from '#storage/store.ts';
import type { AdmissionChain } from './admission/chain.ts';
import type { Aggregator } from './aggregation/aggregator.ts';
import type { AuditSink } from './audit/audit-sink.ts';
import type { Authenticator, TokenIssuer, TokenReviewer } from './authn/authenticator.ts';
import type { Authorizer } from './authz/authorizer.ts';
import type { WatchCache } from './watchcache/watch-cache.ts';
import type { ConnectHandlers } from './handlers/connect/connect.ts';
import type { ApiResponse } from './http/request.ts';
import type { PeerProxy } from './peerproxy/peer-proxy.ts';
import type { InternalApi } from './registry/loopback-client.ts';
import type { Metrics } from './nonresource/metrics.ts';
import type { RequestLimiter } from './flowcontrol/limiter.ts';
import type { RequestDeadlines } from './flowcontrol/request-timeout.ts';
import type { ServedEndpoints } from './registry/endpoints.ts';
import type { RegistryStore } from './registry/store.ts';
import type { NodePortMap } from './registry/core/services/node-port-map.ts';
import type { ServiceAllocation } from './registry/core/services/allocation.ts';

/** The parts of one API server, put together by server.ts. */
export interface ServerCore {
  readonly store: Store;
  readonly cache: WatchCache;
  readonly servedEndpoints: ServedEndpoints;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly admission: AdmissionChain;
  readonly internal: InternalApi;
  /** Every write of an object. */
  readonly registry: RegistryStore;
  readonly services: ServiceAllocation;
  /** Where other servers allocate node ports too. */
  readonly nodePorts: NodePortMap | undefined;
  /** API servers of others. */
  readonly aggregator: Aggregator;
  /** API servers on the same store that may serve what this one does not. */
  readonly peers: PeerProxy | undefined;
  readonly connect: ConnectHandlers | undefined;
  readonly tokenIssuer: TokenIssuer | undefined;
  readonly tokenReviewer: TokenReviewer | undefined;
  readonly audit: AuditSink | undefined;
  readonly constrainedImpersonation: boolean;
  readonly limiter: RequestLimiter;
  readonly deadlines: RequestDeadlines;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Paths that are no resources: health, discovery, … */
  readonly routePath: (context: RequestContext) => ApiResponse | Promise<ApiResponse>;
  /** True once shutdown was announced: /readyz fails, everything else continues. */
  leaving: boolean;
  /** True once the server shuts down: watches end too. */
  stopping: boolean;
  /** Stops everything long-running (watches); called at shutdown. */
  readonly running: Set<() => void>;
}
