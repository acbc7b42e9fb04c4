/** Whether this instance is the leader, as upstream's leader_election_master_status. */
import { label } from '#stdx/instruments.ts';

/** name: that of the Lease. */
export function leadershipLines(name: string, isLeader: boolean): string[] {
  return [
    '# HELP leader_election_master_status Whether this instance leads: 1 or 0, by the name of the lease.',
    '# TYPE leader_election_master_status gauge',
    `leader_election_master_status{${label('name', name)}} ${isLeader ? 1 : 0}`,
  ];
}
