/** Context of the phases of `capstan join`: the configuration, the discovered cluster, and functions of the program around them. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
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
  /** Of this machine; the port is that of its API server, if it gets one. */
  readonly local: Required<APIEndpoint>;
  readonly options: JoinOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly program: JoinProgram;
  /** Runs discovery at the first call; a UserError for each failure. */
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
  /** Undefined where the server is ready, else the reason. */
  serverProblem(options: HttpsOptions): Promise<string | undefined>;
}

export interface JoinedCluster {
  /** The control-plane endpoint, 'https://HOST:PORT'. */
  readonly server: string;
  /** The server given for the join, if any: the endpoint may lead to a machine that is down. */
  readonly apiServer: string;
  readonly caPem: string;
  readonly cluster: DefaultedCluster;
  readonly kubelet: KubeletConfiguration;
  /** Bootstrap credentials: the token, or those of a discovery file. */
  readonly credentials: Omit<HttpsOptions, 'server'>;
}

/** With this machine's bootstrap credentials. */
export function bootstrapClient({ program }: JoinContext, { apiServer, credentials }: JoinedCluster): Client {
  return program.client({ server: apiServer, ...credentials });
}
