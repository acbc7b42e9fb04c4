/**
 * What etcd's and gRPC's errors mean to the store: one StoreError each, and whether a write that failed so may have happened.
 * Texts of etcd's errors: etcd's api/v3rpc/rpctypes.
 */
import { status, type ServiceError } from '@grpc/grpc-js';
import { StoreError, type StoreErrorCode } from '../../store.ts';

const NO_LEADER = 'etcdserver: no leader';

/** By what etcd's error says; the first that matches. `certain`: the request was refused and cannot happen later. */
const KNOWN: readonly {
  readonly text: string;
  readonly code: StoreErrorCode;
  readonly certain: boolean;
  readonly remedy?: string;
}[] = [
  { text: 'required revision has been compacted', code: 'compacted', certain: true },
  { text: 'required revision is a future revision', code: 'future', certain: true },
  {
    text: 'database space exceeded',
    code: 'no-space',
    // etcd applies the transaction that crosses the quota, and reports the error all the same.
    certain: false,
    remedy:
      'etcd raised the NOSPACE alarm: compact and defragment it, or raise its --quota-backend-bytes, then run `etcdctl alarm disarm`',
  },
  { text: 'request is too large', code: 'too-large', certain: true },
  { text: 'too many requests', code: 'unavailable', certain: true },
  {
    text: 'corrupt',
    code: 'corrupt',
    certain: true,
    remedy:
      'etcd raised the CORRUPT alarm: a member holds different data; remove and add it anew, then run `etcdctl alarm disarm`',
  },
  { text: 'requested lease not found', code: 'unavailable', certain: true },
  {
    text: NO_LEADER,
    code: 'unavailable',
    certain: true,
    remedy: 'etcd has lost its quorum: start its members',
  },
  {
    text: 'not supported for learner',
    code: 'unavailable',
    certain: true,
    remedy: 'the member is a learner: `etcdctl member promote` makes it a voter',
  },
  {
    text: 'user name is empty',
    code: 'unavailable',
    certain: true,
    remedy:
      'etcd has authentication enabled: --etcd-certfile should be a client certificate whose common name is a user of etcd',
  },
  {
    text: 'permission denied',
    code: 'unavailable',
    certain: true,
    remedy:
      "the common name of the client certificate should be a user of etcd with a role that has readwrite on the API's keys and compact_rev_key: see `etcdctl role grant-permission`",
  },
  { text: 'invalid auth token', code: 'unavailable', certain: true },
  { text: 'authentication', code: 'unavailable', certain: true },
];

const CERTAIN_CODES = new Set([
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.INVALID_ARGUMENT,
  status.UNIMPLEMENTED,
  status.FAILED_PRECONDITION,
]);

/** A call that failed. */
interface EtcdFailure {
  readonly error: StoreError;
  /** The request did not happen and will not. False: it may have. */
  readonly certain: boolean;
  /** Another member may answer. */
  readonly elsewhere: boolean;
  /** The member knows no leader: there may be one after an election. */
  readonly leaderless?: boolean | undefined;
}

/** Thrown by calls: says whether the request may have happened. */
export class EtcdCallError extends Error {
  readonly failure: EtcdFailure;
  constructor(failure: EtcdFailure) {
    super(failure.error.message, { cause: failure.error });
    this.failure = failure;
  }
}

export function classifyFailure(
  cause: Pick<ServiceError, 'code' | 'details' | 'message'>,
  { doing, endpoint }: { doing: string; endpoint: string },
): EtcdFailure {
  const text = cause.details || cause.message;
  const known = KNOWN.find((one) => text.includes(one.text));
  const code = known?.code ?? 'unavailable';
  const remedy = known?.remedy ? ` (${known.remedy})` : '';
  return {
    error: new StoreError(code, `Cannot ${doing} at etcd ${endpoint}: ${text}${remedy}`, { cause }),
    certain: known?.certain ?? CERTAIN_CODES.has(cause.code),
    elsewhere: code === 'unavailable' && !CERTAIN_CODES.has(cause.code),
    leaderless: known?.text === NO_LEADER,
  };
}

export function closedError(): StoreError {
  return new StoreError('closed', 'The store is closed');
}
