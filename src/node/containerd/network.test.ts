/** What the node's own table says; that the kernel takes it is shown by containerd.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerdLayout } from './layout.ts';
import { renderNft } from './network.ts';

const layout = containerdLayout({ dir: '/nonexistent/node' });

function masquerades(network: Parameters<typeof renderNft>[0]['network']): string[] {
  return renderNft({ layout, network, bridgeFiltered: true })
    .split('\n')
    .filter((line) => line.endsWith('masquerade'))
    .map((line) => line.trim());
}

test('what goes to pods of other nodes keeps its source address, what leaves the cluster does not', () => {
  assert.deepEqual(
    masquerades({ podCIDRs: ['10.244.1.0/24'], clusterCIDRs: ['10.244.0.0/16', 'fd00::/48'] }),
    [
      `ip saddr 10.244.1.0/24 ip daddr != 224.0.0.0/4 ip daddr != 10.244.1.0/24 ip daddr != 10.244.0.0/16 oifname != "${layout.bridge}" masquerade`,
    ],
  );
});

test('a node that knows no range of the cluster spares its own pods only', () => {
  assert.deepEqual(masquerades({ podCIDRs: ['10.244.1.0/24'] }), [
    `ip saddr 10.244.1.0/24 ip daddr != 224.0.0.0/4 ip daddr != 10.244.1.0/24 oifname != "${layout.bridge}" masquerade`,
  ]);
});
