import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { nodes } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { CIDRSet } from './cidr-set.ts';
import { nodeIPAMController } from './node-ipam-controller.ts';

describe('CIDRSet', () => {
  it('allocates round-robin, and never overlaps allocated ranges', () => {
    const set = new CIDRSet('10.0.0.0/22', 24);
    set.occupy('10.0.1.128/25');
    assert.equal(set.allocate(), '10.0.0.0/24');
    assert.equal(set.allocate(), '10.0.2.0/24');
    set.release('10.0.0.0/24');
    assert.equal(set.allocate(), '10.0.3.0/24');
    assert.equal(set.allocate(), '10.0.0.0/24');
    assert.equal(set.allocate(), undefined);
    set.release('10.0.1.128/25');
    set.occupy('192.168.0.0/16');
    assert.equal(set.allocate(), '10.0.1.0/24');
  });

  it('handles ranges larger than a subnet, and IPv6', () => {
    const set = new CIDRSet('10.0.0.0/23');
    set.occupy('10.0.0.0/8');
    assert.equal(set.allocate(), undefined);
    assert.equal(new CIDRSet('fd00::/56').allocate(), 'fd00::/64');
    assert.throws(() => new CIDRSet('10.0.0.0/25'), /smaller than a node's share/);
    assert.throws(() => new CIDRSet('fd00::/32'), /too many shares/);
  });
});

describe('node-ipam-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([nodeIPAMController({ clusterCIDR: '10.1.0.0/22, fd00:1::/56' })]);
  });
  after(() => world.stop());

  const rangesOf = async (name: string): Promise<readonly string[] | undefined> =>
    (await world.api.get(nodes, { name })).spec?.podCIDRs;

  it('allocates CIDRs for each node, and reuses those of deleted nodes', async () => {
    await world.api.create(nodes, {
      metadata: { name: 'own' },
      spec: { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24'] },
    });
    for (const name of ['a', 'b', 'c', 'd']) await world.api.create(nodes, { metadata: { name } });
    const given = new Set<string>();
    for (const name of ['a', 'b', 'c']) {
      const ranges = await world.until('ranges', () => rangesOf(name));
      assert.equal(ranges.length, 2);
      for (const range of ranges) given.add(range);
    }
    assert.equal(given.size, 6);
    assert.equal(given.has('10.1.0.0/24'), false);
    assert.equal(await rangesOf('d'), undefined);
    const [freed] = (await rangesOf('b'))!;
    await world.api.delete(nodes, { name: 'b' });
    assert.equal((await world.until('ranges', () => rangesOf('d')))[0], freed);
  });
});

describe('prefix lengths of node ranges', () => {
  const both = '10.1.0.0/16,fd00:1::/56';
  it('are of each family, or one of a single family', () => {
    for (const options of [
      { clusterCIDR: both },
      { clusterCIDR: both, nodeCIDRMaskSizeIPv4: 26, nodeCIDRMaskSizeIPv6: 60 },
      { clusterCIDR: '10.1.0.0/16', nodeCIDRMaskSize: 26 },
      { clusterCIDR: 'fd00:1::/56', nodeCIDRMaskSizeIPv6: 60 },
    ])
      assert.equal(nodeIPAMController(options).name, 'node-ipam-controller');
  });

  it('that do not fit the ranges are refused', () => {
    for (const [options, problem] of [
      [{ clusterCIDR: both, nodeCIDRMaskSize: 26 }, /not allowed with dual-stack clusters/],
      [{ clusterCIDR: '10.1.0.0/16', nodeCIDRMaskSizeIPv6: 64 }, /for a single-stack IPv4 cluster/],
      [{ clusterCIDR: 'fd00::/56', nodeCIDRMaskSizeIPv4: 24 }, /for a single-stack IPv6 cluster/],
      [
        { clusterCIDR: '10.1.0.0/16', nodeCIDRMaskSize: 24, nodeCIDRMaskSizeIPv4: 24 },
        /if --node-cidr-mask-size is set/,
      ],
      [{ clusterCIDR: both, nodeCIDRMaskSizeIPv6: 48 }, /smaller than a node's share/],
    ] as const)
      assert.throws(() => nodeIPAMController(options), problem);
  });
});
