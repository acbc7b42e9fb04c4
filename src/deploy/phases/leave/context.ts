/** Context of the phases of `capstan leave` and `capstan reset`: the machine's record, and the program's functions that stop and remove. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import type { Clock } from '#stdx/clock.ts';
import type { EtcdConnectionOptions } from '../init/context.ts';
import type { PhaseContext } from '../phase.ts';

export interface LeaveContext extends PhaseContext {
  readonly options: LeaveOptions;
  readonly clock: Clock;
  readonly program: LeaveProgram;
  warn(line: string): void;
}

interface LeaveOptions {
  /** Allows irreversible steps: the last control plane, the quorum, pods without a controller. */
  readonly force: boolean;
  /** Continues where the cluster is unreachable or refuses: for reset. */
  readonly bestEffort: boolean;
  /** Timeout for pods to end. */
  readonly drainTimeoutMs: number;
  readonly gracePeriodSeconds?: number | undefined;
  /** Of an administrator, for a worker: its own credentials may not delete Nodes. */
  readonly kubeconfig?: string | undefined;
}

export interface LeaveProgram {
  client(options: HttpsOptions): Client;
  etcd(options: EtcdConnectionOptions): EtcdMembership;
  serverProblem(options: HttpsOptions): Promise<string | undefined>;
  /** Lets the supervisor apply the current record; does nothing where none runs. */
  followSupervisor(): Promise<void>;
  /** Also its unit; its services stop in reverse order. */
  stopSupervisor(): Promise<void>;
  /** Pods, containerd, mounts, interfaces, rules and cgroups of the node below the directory, and the service rules of the cluster. */
  destroyNode(options: { readonly node: string; readonly clusterID?: string | undefined }): Promise<void>;
}
