/** The pods' bridge in a network namespace of the test, twice: the second time everything is there. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { canHaveNamespaces, createLan } from '#testing/lan.ts';
import { computeGateway } from './bridge.ts';
import { containerdLayout } from './layout.ts';

test('the gateway is the first address of the range', () => {
  assert.equal(computeGateway('10.244.7.0/24'), '10.244.7.1');
  assert.equal(computeGateway('fd00:244:0:7::/64'), 'fd00:244:0:7::1');
});

test(
  'the bridge has a gateway of each family',
  { skip: !canHaveNamespaces() && 'needs root and ip netns' },
  async () => {
    const lan = createLan(`br${process.pid}`, '10.218.0');
    const machine = lan.namespace('machine');
    const options = {
      podCIDRs: ['10.244.7.0/24', 'fd00:244:0:7::/64'],
      serviceCIDRs: ['10.96.0.0/16', 'fd00:96::/112'],
      mtu: 1450,
    };
    const layout = containerdLayout({ dir: '/nonexistent/bridge' });
    const script = `import { ensureBridge } from ${JSON.stringify(join(import.meta.dirname, 'bridge.ts'))};
    const ensure = () => ensureBridge(${JSON.stringify(layout)}, ${JSON.stringify(options)});
    await ensure(); console.log(JSON.stringify(await ensure()));`;
    try {
      const answer = machine.run(process.execPath, '--input-type=module', '--eval', script);
      assert.deepEqual(JSON.parse(answer), ['10.244.7.1', 'fd00:244:0:7::1']);
      const shown = machine.run('ip', 'address', 'show', 'dev', layout.bridge);
      assert.match(
        shown,
        /mtu 1450.*inet 10\.244\.7\.1\/24 brd 10\.244\.7\.255 .*inet6 fd00:244:0:7::1\/64/s,
      );
      assert.match(
        machine.run('ip', '-6', 'route', 'show', 'fd00:96::/112'),
        new RegExp(`dev ${layout.bridge}`),
      );
      const hardwareAddress = (): string | undefined =>
        /link\/ether (\S+)/.exec(machine.run('ip', 'link', 'show', 'dev', layout.bridge))?.[1];
      const ofBridge = hardwareAddress();
      // Lower than any that the kernel gives.
      machine.run(
        'ip',
        'link',
        'add',
        'pod',
        'address',
        '00:00:00:00:00:01',
        'type',
        'veth',
        'peer',
        'name',
        'in',
      );
      machine.run('ip', 'link', 'set', 'pod', 'master', layout.bridge, 'up');
      assert.equal(hardwareAddress(), ofBridge, 'pods that know it go on sending to it');
    } finally {
      await lan.close();
    }
  },
);
