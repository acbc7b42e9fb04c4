/** What the phases of `capstan join` work with: the configuration, the cluster as discovery found it, and what only the program around them can do. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { DefaultedCluster, DefaultedJoin } from '../../config/defaults.ts';
import type { APIEndpoint, KubeletConfiguration } from '../../config/types.ts';
import type { MachineRole } from '../../machine/record.ts';
import type { InitContext } from '../init/context.ts';
import type { PhaseContext } from '../phase.ts';

export interface JoinContext extends PhaseContext {
  readonly join: DefaultedJoin;
  readonly role: MachineRole;
  /** Of this machine; the port is that of its API server, where it gets one. */
  readonly local: Required<APIEndpoint>;
  readonly options: JoinOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly program: JoinProgram;
  /** Asked for at the first call only; a UserError for each way in which it cannot be found. */
  discovered(): Promise<JoinedCluster>;
  warn(line: string): void;
}

interface JoinOptions {
  /** HOST:PORT that was given. */
  readonly apiServerEndpoint?: string | undefined;
  readonly certificateKey?: string | undefined;
  readonly ignorePreflightErrors: readonly string[];
  readonly etcdBinary?: string | undefined;
  readonly mayFetchEtcd: boolean;
  readonly runtime: 'cri' | 'simulated';
}

/** What cmd/ hands in, since phases import neither components nor the store. */
export interface JoinProgram extends Omit<InitContext['program'], 'api' | 'apiServerProblem'> {
  /** Closed when the command ends. */
  client(options: HttpsOptions): Client;
  etcd(options: EtcdConnectionOptions): EtcdMembership;
  /** Undefined where the server is ready, else why not. */
  serverProblem(options: HttpsOptions): Promise<string | undefined>;
}

export interface EtcdConnectionOptions {
  readonly endpoints: readonly string[];
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface JoinedCluster {
  /** The control-plane endpoint, 'https://HOST:PORT'. */
  readonly server: string;
  /** The one that was given to join by, where it was: the endpoint may lead to a machine that is away. */
  readonly apiServer: string;
  readonly caPem: string;
  readonly cluster: DefaultedCluster;
  readonly kubelet: KubeletConfiguration;
  /** What this machine bootstraps with: the token, or the credentials of a discovery file. */
  readonly credentials: Omit<HttpsOptions, 'server'>;
}

/** With what this machine was told to join by. */
export function bootstrapClient({ program }: JoinContext, { apiServer, credentials }: JoinedCluster): Client {
  return program.client({ server: apiServer, ...credentials });
}
