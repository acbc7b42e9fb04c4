/**
 * Members of an etcd cluster as those see them who change them (the phases of join and leave, `capstan etcd`), and the one error of such changes.
 * Contract only: storage/drivers/etcd implements it over gRPC.
 */

export interface EtcdMember {
  /** 16 hexadecimal digits, as etcdctl prints it. */
  readonly id: string;
  /** Empty until it has been started. */
  readonly name: string;
  readonly peerURLs: readonly string[];
  readonly clientURLs: readonly string[];
  readonly isLearner: boolean;
}

export interface EtcdMemberStatus {
  /** The member that answered. */
  readonly id: string;
  readonly clusterId: string;
  readonly version: string;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  /** '' without one. */
  readonly leaderId: string;
  readonly revision: number;
  readonly raftTerm: number;
  readonly raftIndex: number;
  readonly raftAppliedIndex: number;
  readonly isLearner: boolean;
  readonly errors: readonly string[];
}

export type EtcdAlarmType = 'NOSPACE' | 'CORRUPT' | `alarm ${number}`;
export interface EtcdAlarm {
  readonly memberId: string;
  readonly type: EtcdAlarmType;
}

export interface EtcdMembership {
  /** Linearizable; `local`: the view of the queried member, also without quorum. */
  list(options?: { readonly local?: boolean }): Promise<readonly EtcdMember[]>;
  addLearner(peerURLs: readonly string[]): Promise<EtcdMember>;
  /** Nothing to do for a voting member. */
  promote(id: string): Promise<void>;
  /** Nothing to do where there is no such member. */
  remove(id: string): Promise<void>;
  status(endpoint: string): Promise<EtcdMemberStatus>;
  alarms(): Promise<readonly EtcdAlarm[]>;
  disarm(alarm: EtcdAlarm): Promise<void>;
  /** The member answers nothing meanwhile. */
  defragment(endpoint: string): Promise<void>;
  /** Writes the file with etcd's checksum at its end, verified, and returns its size. */
  snapshot(endpoint: string, file: string): Promise<number>;
  /** `endpoint` must be the leader's. */
  moveLeader(endpoint: string, targetId: string): Promise<void>;
  close(): void;
}

export type EtcdMembershipErrorCode =
  /** No member responds in time. */
  | 'unavailable'
  /** No leader: more than half of the voting members are away. */
  | 'no-quorum'
  /** A member is away, or was connected less than five seconds ago: etcd changes nothing now. Passes by itself, or needs repair. */
  | 'unhealthy'
  /** The change would leave fewer started members than a majority. */
  | 'quorum-would-be-lost'
  | 'duplicate-peer-url'
  | 'too-many-learners'
  /** Not started, or too far behind. Passes by itself once it is started. */
  | 'learner-not-ready'
  | 'not-learner'
  | 'member-not-found'
  | 'not-leader'
  /** The client certificate, or etcd's own users. */
  | 'forbidden'
  | 'damaged'
  /** Anything else that etcd refuses; its text is in the message. */
  | 'refused';

export class EtcdMembershipError extends Error {
  override readonly name = 'EtcdMembershipError';
  readonly code: EtcdMembershipErrorCode;
  /** The change did not happen and will not. False: it may have. */
  readonly certain: boolean;
  constructor(
    code: EtcdMembershipErrorCode,
    message: string,
    { cause, certain = true }: { readonly cause?: unknown; readonly certain?: boolean } = {},
  ) {
    super(message, { cause });
    this.code = code;
    this.certain = certain;
  }
}

export function isMembershipError(
  error: unknown,
  ...codes: readonly EtcdMembershipErrorCode[]
): error is EtcdMembershipError {
  return error instanceof EtcdMembershipError && (codes.length === 0 || codes.includes(error.code));
}
