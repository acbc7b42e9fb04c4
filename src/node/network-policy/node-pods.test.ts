import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { compileNetworkPolicy } from './compile-network-policy.ts';
import { NetworkPolicyError, NodePods } from './node-pods.ts';
import { Ruleset } from './ruleset.ts';

const WEB: Pod = {
  metadata: { name: 'web', namespace: 'default', uid: 'web', labels: { app: 'web' } },
  spec: { nodeName: 'n1', containers: [{ name: 'c' }] },
};
const OTHER: Pod = { ...WEB, metadata: { ...WEB.metadata, name: 'other', uid: 'other', labels: {} } };
const SELECTED = 'cannot enforce the network policies default/p on this node';

function setUp() {
  const clock = new FakeClock();
  const ruleset = new Ruleset({ podCIDRs: () => ['10.244.0.0/24'] });
  ruleset.setNamespace('default', {});
  ruleset.setPolicy(
    'default/p',
    compileNetworkPolicy({
      metadata: { name: 'p', namespace: 'default' },
      spec: { podSelector: { matchLabels: { app: 'web' } } },
    }),
  );
  const pods = new NodePods({ nodeName: 'n1', ruleset, clock, changed: () => {} });
  pods.observe(WEB, ['10.244.0.5']);
  pods.observe(OTHER, ['10.244.0.6']);
  const waits = (pod: Pod): Promise<void> => pods.inForce(pod, new AbortController().signal);
  return { clock, pods, waits };
}

const refusal = (message: string) => (error: unknown) =>
  error instanceof NetworkPolicyError && error.message === message;

describe('a pod that waits for its rules', () => {
  it('starts with the write that has them', async () => {
    const { pods, waits } = setUp();
    const waiting = waits(WEB);
    pods.applied(pods.version);
    await waiting;
    await waits(WEB);
  });

  it('is refused when nft refuses a change, where a policy selects it', async () => {
    const { pods, waits } = setUp();
    const refused = assert.rejects(waits(WEB), refusal(`${SELECTED}: nft refused a change`));
    const free = waits(OTHER);
    pods.failed('nft refused a change');
    await refused;
    await free;
  });

  it('is refused where the kernel does not filter between pods of a node, where a policy selects it', async () => {
    const { pods, waits } = setUp();
    pods.bridgeProblem = 'br_netfilter is not there';
    pods.applied(pods.version);
    await assert.rejects(waits(WEB), refusal(`${SELECTED}: br_netfilter is not there`));
    await waits(OTHER);
  });

  it('is refused while the API server has not listed the policies', async () => {
    const { clock, waits } = setUp();
    const refused = assert.rejects(
      waits(OTHER),
      refusal("the cluster's network policies are not known yet: the API server has not listed them"),
    );
    await clock.advance(30_000);
    await refused;
  });
});
