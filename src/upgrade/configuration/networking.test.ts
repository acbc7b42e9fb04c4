import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedNetworking } from './networking.ts';

const CURRENT = { serviceSubnet: '10.96.0.0/12', podSubnet: '10.244.0.0/16', dnsDomain: 'cluster.local' };
const DUAL = { ...CURRENT, podSubnet: '10.244.0.0/16,fd00:1::/56' };
const refused = (change: Partial<typeof CURRENT>, current = CURRENT): string =>
  refusedNetworking({ current, wanted: { ...current, ...change } }).join('\n');

test('ranges that may grow', () => {
  assert.equal(refused({}), '');
  assert.equal(refused({ podSubnet: '10.244.0.0/15' }), '');
  assert.equal(refused({ podSubnet: '10.240.0.0/12,fd00:1::/48' }, DUAL), '');
  assert.equal(refused({ serviceSubnet: '10.96.0.0/12,fd00:2::/112' }), '');
});

test('what is refused says why, and what to do', () => {
  assert.match(refused({ podSubnet: '10.244.0.0/17' }), /podSubnet cannot .*: it can only grow/);
  assert.match(refused({ podSubnet: '10.245.0.0/16' }), /it can only grow/);
  assert.match(refused({ podSubnet: '10.0.0.0/8' }), /overlaps with the addresses of Services, 10\.96/);
  assert.match(refused({ podSubnet: '10.244.0.0/16,fd00::/56' }), /only with Nodes that join anew/);
  assert.match(refused({ podSubnet: '10.244.0.0/16' }, DUAL), /only with Nodes that join anew/);
  assert.match(refused({ serviceSubnet: '10.96.0.0/11' }), /serviceSubnet cannot .*kind: ServiceCIDR/);
  assert.match(refused({ serviceSubnet: 'fd00::/112,10.96.0.0/12' }), /serviceSubnet cannot/);
  assert.match(
    refused({ serviceSubnet: '10.96.0.0/12,fd00:1::/112' }, DUAL),
    /overlaps with .*Services, fd00:1/,
  );
  assert.match(refused({ dnsDomain: 'other' }), /dnsDomain cannot/);
});
