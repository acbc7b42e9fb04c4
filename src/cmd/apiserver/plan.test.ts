/** The service ranges of an API server, and what they ask of its address. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError, dataDir } from '#deploy/data-dir.ts';
import type { ApiServerFlags } from './flags.ts';
import { pkiOptions } from './certificates.ts';
import { planFrom, settingsAfter, type Plan } from './plan.ts';

const dir = dataDir('/nonexistent/plan');
const stored = {
  format: 1,
  id: '0a1b2c3d',
  httpsPort: 6443,
  bindAddress: '127.0.0.1',
  runtime: 'simulated',
  nodes: 0,
  podCIDR: '10.244.0.0/16',
  serviceCIDR: '10.96.0.0/16',
} as const;

function plan(flags: ApiServerFlags, { isStored = false } = {}): Plan {
  return planFrom(
    { storage: 'memory', ...flags },
    isStored
      ? { dir, stored, hostAddress: '192.0.2.1' }
      : { dir: undefined, stored: undefined, hostAddress: '192.0.2.1' },
  );
}

function refused(flags: ApiServerFlags, options?: { isStored: boolean }): string {
  try {
    plan(flags, options);
    return '';
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error.message;
  }
}

test('one service range, or one of each family', () => {
  assert.equal(plan({}).serviceCIDR, '10.96.0.0/16');
  assert.equal(
    plan({ serviceClusterIpRange: '10.96.0.0/16, fd00::/112' }).serviceCIDR,
    '10.96.0.0/16,fd00::/112',
  );
  assert.match(refused({ serviceClusterIpRange: '10.96.0.0/16,10.97.0.0/16' }), /one of each IP family/);
  assert.match(refused({ serviceClusterIpRange: '10.96.0.0/16,fd00::/48' }), /of an IPv6 range 64 to 126/);
});

test('a cluster of one family may get the second one, and nothing else', () => {
  const isStored = true;
  const both = plan({ serviceClusterIpRange: '10.96.0.0/16,fd00::/112' }, { isStored });
  assert.equal(settingsAfter(both, stored).serviceCIDR, '10.96.0.0/16,fd00::/112');
  assert.match(
    refused({ serviceClusterIpRange: 'fd00::/112,10.96.0.0/16' }, { isStored }),
    /that cannot be changed/,
  );
});

test('the endpoint of the kubernetes Service is of the default family', () => {
  const serviceClusterIpRange = 'fd00::/112,10.96.0.0/16';
  assert.match(refused({ serviceClusterIpRange }), /192\.0\.2\.1; it should be of the family .* fd00::\/112/);
  assert.equal(
    plan({ serviceClusterIpRange, advertiseAddress: '2001:db8::1' }).advertiseAddress,
    '2001:db8::1',
  );
});

test('the serving certificate has the first address of each range', () => {
  const { apiServer } = pkiOptions(dir, plan({ serviceClusterIpRange: '10.96.0.0/16,fd00::/112' }));
  assert.equal(apiServer.serviceIP, '10.96.0.1');
  assert.deepEqual(apiServer.extraSANs, ['fd00::1']);
});
