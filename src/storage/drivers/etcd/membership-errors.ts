/**
 * What etcd's answers to changes of its members mean: one code and one sentence each. Texts: etcd's api/v3rpc/rpctypes.
 */
import { EtcdMembershipError, type EtcdMembershipErrorCode } from '#machinery/etcd-membership.ts';
import type { EtcdCallError } from './failures.ts';

/** By a part of etcd's text; the first that matches. */
const KNOWN: readonly {
  readonly text: string;
  readonly code: EtcdMembershipErrorCode;
  readonly remedy: string;
}[] = [
  {
    text: 'not enough started members',
    code: 'quorum-would-be-lost',
    remedy: 'etcd would lose its quorum: start the members that are away, or remove one that never started',
  },
  {
    text: 'unhealthy cluster',
    code: 'unhealthy',
    remedy:
      'a member of etcd is away or came back less than five seconds ago, and the change would risk the quorum',
  },
  // The ID comes of the peer URLs and the second.
  { text: 'member ID already exist', code: 'duplicate-peer-url', remedy: 'a member has this peer URL' },
  { text: 'Peer URLs already exists', code: 'duplicate-peer-url', remedy: 'a member has this peer URL' },
  {
    text: 'too many learner members',
    code: 'too-many-learners',
    remedy: 'another machine is joining; one learner at a time',
  },
  {
    text: 'in sync with leader',
    code: 'learner-not-ready',
    remedy: 'the learner is not started, or has not yet caught up with the leader',
  },
  { text: 'can only promote a learner member', code: 'not-learner', remedy: 'it votes already' },
  { text: 'member not found', code: 'member-not-found', remedy: 'etcd has no such member' },
  { text: 'bad leader transferee', code: 'refused', remedy: 'the target is no voting member' },
  { text: 'not leader', code: 'not-leader', remedy: 'only the leader can do it' },
  { text: 'no leader', code: 'no-quorum', remedy: 'etcd has lost its quorum' },
  { text: 'permission denied', code: 'forbidden', remedy: "the client certificate's user lacks the role" },
  { text: 'user name is empty', code: 'forbidden', remedy: 'etcd asks for authentication' },
];

export function membershipError({ failure, message }: EtcdCallError): EtcdMembershipError {
  const cause = failure.error;
  const known = KNOWN.find(({ text }) => message.includes(text));
  if (known)
    return new EtcdMembershipError(known.code, withRemedy(message, known.remedy), { cause, certain: true });
  // Without a cause nobody was reached.
  const code = failure.elsewhere || cause.cause === undefined ? 'unavailable' : 'refused';
  return new EtcdMembershipError(code, message, { cause, certain: failure.certain });
}

function withRemedy(message: string, remedy: string): string {
  return message.endsWith(')') ? message : `${message} (${remedy})`;
}
