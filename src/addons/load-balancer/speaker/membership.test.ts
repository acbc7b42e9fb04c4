import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Membership } from './membership.ts';

const POOLS = ['public'];

function world(): { members: Membership; renew: (node: string, isSlow?: boolean) => void } {
  const members = new Membership('me');
  let turn = 0;
  return {
    members,
    renew: (node, isSlow = false) =>
      members.seen({ node, renewTime: String((turn += 1)), isSlow, pools: POOLS }),
  };
}

it('a peer that misses four renewals of this node is gone, and comes back with its next', () => {
  const { members, renew } = world();
  renew('me');
  renew('peer');
  for (let round = 0; round < 3; round += 1) renew('me');
  assert.deepEqual(members.announcers('public'), ['me', 'peer']);
  renew('me');
  assert.deepEqual(members.announcers('public'), ['me']);
  assert.equal(members.hasPeers, false);
  renew('peer');
  assert.deepEqual(members.announcers('public'), ['me', 'peer']);
  members.left('peer');
  assert.deepEqual(members.announcers('public'), ['me']);
});

it('while this node cannot renew either, nobody is counted out', () => {
  const { members, renew } = world();
  renew('me');
  renew('peer');
  // The same Speaker again, as after a new list.
  for (let round = 0; round < 100; round += 1)
    members.seen({ node: 'me', renewTime: '1', isSlow: false, pools: POOLS });
  assert.deepEqual(members.announcers('public'), ['me', 'peer']);
});

it('a peer that believes to be alone renews seldom', () => {
  const { members, renew } = world();
  renew('me');
  renew('peer', true);
  for (let round = 0; round < 20; round += 1) renew('me');
  assert.equal(members.hasPeers, true);
  assert.deepEqual(members.announcers('other'), []);
});
