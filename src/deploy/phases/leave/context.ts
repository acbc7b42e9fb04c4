/** What the phases of `capstan leave` and `capstan reset` work with: the machine's record says what it is, and the program around them stops and removes. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import type { Clock } from '#stdx/clock.ts';
import type { EtcdConnectionOptions } from '../join/context.ts';
import type { PhaseContext } from '../phase.ts';

export interface LeaveContext extends PhaseContext {
  readonly options: LeaveOptions;
  readonly clock: Clock;
  readonly program: LeaveProgram;
  warn(line: string): void;
}

interface LeaveOptions {
  /** Also what cannot be taken back: the last control plane, the quorum, pods that nobody makes again. */
  readonly force: boolean;
  /** Goes on where the cluster cannot be reached or refuses: of reset. */
  readonly bestEffort: boolean;
  /** For pods to be gone. */
  readonly drainTimeoutMs: number;
  readonly gracePeriodSeconds?: number | undefined;
  /** Of an administrator, for a worker: its own credentials may not delete Nodes. */
  readonly kubeconfig?: string | undefined;
}

export interface LeaveProgram {
  /** maxRetries: of a request that the server asks to retry later. */
  client(options: HttpsOptions, more?: { readonly maxRetries?: number }): Client;
  etcd(options: EtcdConnectionOptions): EtcdMembership;
  serverProblem(options: HttpsOptions): Promise<string | undefined>;
  /** The supervisor follows the record as it is now; nothing to do where none runs. */
  followSupervisor(): Promise<void>;
  /** Also its unit; its services stop in reverse order. */
  stopSupervisor(): Promise<void>;
  /** Pods, containerd, mounts, interfaces, rules and cgroups of the node below the directory, and the service rules of the cluster. */
  destroyNode(options: { readonly node: string; readonly clusterID?: string | undefined }): Promise<void>;
}
