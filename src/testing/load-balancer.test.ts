/** Addresses for Services on a real API server, with the controller's own permissions. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Event, Service } from '#api/types.ts';
import { events, ipAddresses, services } from '#client/refs.ts';
import { createControllerManager } from '#runtime/run-controllers.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import type { Client } from '#client/client.ts';
import type { Stored } from '#machinery/object.ts';
import { formatMicroTime } from '#machinery/time.ts';
import { holdersOf } from '#addons/load-balancer/address-holders.ts';
import { ipAddressPools, speakers, type IPAddressPool, type Speaker } from '#addons/load-balancer/api.ts';
import { loadBalancerController } from '#addons/load-balancer/load-balancer-controller.ts';

const NAMESPACE = 'shop';

describe('load balancer addresses', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([loadBalancerController], { serviceCIDR: '10.96.0.0/16,fd00:10:96::/112' });
    await world.namespace(NAMESPACE);
  });
  after(() => world?.stop());

  const service = (
    name: string,
    spec: object = {},
    annotations: Record<string, string> = {},
  ): Promise<Service> =>
    world.api.create(services, {
      metadata: { name, namespace: NAMESPACE, annotations },
      spec: { type: 'LoadBalancer', selector: { app: name }, ports: [{ port: 80 }], ...spec },
    });
  const read = (name: string): Promise<Stored<Service>> =>
    world.api.get(services, { name, namespace: NAMESPACE });
  const pool = (name: string, spec: IPAddressPool['spec']): Promise<unknown> =>
    world.api.create(ipAddressPools, {
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'IPAddressPool',
      metadata: { name },
      spec,
    });
  const ingressOf = ({ status }: Service): string =>
    (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip).join();
  const gets = (name: string, address: string): Promise<unknown> =>
    world.until(`${name} has ${address}`, async () => ingressOf(await read(name)) === address);
  const remove = async (name: string): Promise<void> => {
    await world.api.delete(services, { name, namespace: NAMESPACE });
    await world.until(`${name} and its claims are gone`, async () => {
      const { items } = await world.api.list(ipAddresses);
      const isHeld = items.some((address) => `${NAMESPACE}/${name}` in holdersOf(address));
      return !isHeld && !(await world.find(services, { name, namespace: NAMESPACE }));
    });
  };
  const said = (name: string, message: RegExp): Promise<Event> =>
    world.until(`an event of ${name}: ${message}`, async () => {
      const { items } = await world.api.list(events, { fieldSelector: `involvedObject.name=${name}` });
      return items.find((event) => message.test(event.message ?? ''));
    });

  it('without a pool an event says so, and another load balancer may serve it', async () => {
    await service('early');
    const { reason, type } = await said('early', /no IPAddressPool .* says which addresses there are/);
    assert.deepEqual([reason, type], ['SyncLoadBalancerFailed', 'Warning']);
    assert.deepEqual((await read('early')).metadata.finalizers ?? [], []);
  });

  it('a pool gives the Service that waits an address, with its ports, mode and finalizer', async () => {
    await pool('public', { addresses: ['192.0.2.1-192.0.2.3'] });
    await gets('early', '192.0.2.1');
    const { metadata, status } = await read('early');
    assert.deepEqual(status?.loadBalancer?.ingress, [
      { ip: '192.0.2.1', ipMode: 'VIP', ports: [{ port: 80, protocol: 'TCP' }] },
    ]);
    assert.deepEqual(metadata.finalizers, ['service.kubernetes.io/load-balancer-cleanup']);
    const { spec } = await world.api.get(ipAddresses, { name: '192.0.2.1' });
    assert.equal(spec?.parentRef?.name, 'public');
  });

  it('a node writes its own Speaker and no other', async () => {
    const as = (name: string, group: string): Client =>
      world.test.clientAs({ name, groups: [group, 'system:authenticated'] });
    const node = as('system:node:n1', 'system:nodes');
    const speaker = (name: string): Speaker => ({
      apiVersion: 'network.capstan.dev/v1alpha1',
      kind: 'Speaker',
      metadata: { name },
      spec: { renewTime: formatMicroTime(0), leaseDurationSeconds: 2, ipAddressPools: [] },
    });
    const patch = { type: 'merge', patch: { spec: { leaseDurationSeconds: 20 } } } as const;
    await node.create(speakers, speaker('n1'));
    await node.patch(speakers, { name: 'n1' }, patch);
    await as('system:kube-proxy', 'system:node-proxier').create(speakers, speaker('n2'));
    const refused =
      /speakers\.network\.capstan\.dev "\w+" is forbidden: can only access Speaker with the same name as the requesting node/;
    await assert.rejects(node.create(speakers, speaker('n3')), refused);
    await assert.rejects(node.patch(speakers, { name: 'n2' }, patch), refused);
    await assert.rejects(node.delete(speakers, { name: 'n2' }), refused);
    await node.delete(speakers, { name: 'n1' });
    await world.api.delete(speakers, { name: 'n2' });
  });

  it('addresses asked for, exhausted pools, and release', async () => {
    await service('exact', { loadBalancerIP: '192.0.2.3' });
    await gets('exact', '192.0.2.3');
    await service('twice', {}, { 'metallb.io/loadBalancerIPs': '192.0.2.3' });
    await said('twice', /192\.0\.2\.3 cannot be had: it is in use by shop\/exact/);
    await service('strange', { loadBalancerIP: '198.51.100.1' });
    await said('strange', /198\.51\.100\.1 is in no IPAddressPool/);
    await service('third');
    await gets('third', '192.0.2.2');
    await service('late');
    await said('late', /no IPv4 address is free in public/);
    await remove('third');
    await gets('late', '192.0.2.2');
    await remove('exact');
    await gets('twice', '192.0.2.3');
    for (const name of ['early', 'twice', 'late', 'strange']) await remove(name);
    await world.until('all released', async () => {
      const { items } = await world.api.list(ipAddresses, {
        labelSelector: 'network.capstan.dev/address-pool',
      });
      return items.length === 0;
    });
  });

  it('another type gives the address back; another class is left alone', async () => {
    await service('changing');
    await gets('changing', '192.0.2.1');
    const { metadata, spec } = await read('changing');
    await world.api.update(services, { metadata, spec: { ...spec, type: 'ClusterIP' } });
    await world.until('released', async () => !(await world.find(ipAddresses, { name: '192.0.2.1' })));
    const after = await read('changing');
    assert.deepEqual([after.metadata.finalizers ?? [], ingressOf(after)], [[], '']);
    await service('foreign', { loadBalancerClass: 'example.org/other' });
    await service('ours', { loadBalancerClass: 'network.capstan.dev/load-balancer' });
    await gets('ours', '192.0.2.1');
    assert.equal(ingressOf(await read('foreign')), '');
    for (const name of ['changing', 'foreign', 'ours']) await remove(name);
  });

  it('Services share an address where both say so, and their ports differ', async () => {
    const key = { 'network.capstan.dev/allow-shared-ip': 'dns' };
    await service('dns-tcp', { ports: [{ port: 53 }] }, key);
    await gets('dns-tcp', '192.0.2.1');
    await service('dns-udp', { ports: [{ port: 53, protocol: 'UDP' }] }, key);
    await gets('dns-udp', '192.0.2.1');
    await service('dns-more', { ports: [{ port: 53 }], loadBalancerIP: '192.0.2.1' }, key);
    await said('dns-more', /it is shared with shop\/dns-tcp, which has port TCP\/53/);
    await service(
      'dns-local',
      { ports: [{ port: 54 }], externalTrafficPolicy: 'Local', loadBalancerIP: '192.0.2.1' },
      key,
    );
    await said('dns-local', /another externalTrafficPolicy/);
    await remove('dns-tcp');
    await gets('dns-more', '192.0.2.1');
    for (const name of ['dns-udp', 'dns-more', 'dns-local']) await remove(name);
  });

  it('pools for namespaces, by name, by priority, and of a family that there is none of', async () => {
    await pool('first', {
      addresses: ['198.51.100.0/30'],
      avoidBuggyIPs: true,
      serviceAllocation: { priority: 1 },
    });
    await pool('elsewhere', { addresses: ['203.0.113.1/32'], serviceAllocation: { namespaces: ['other'] } });
    await pool('asked', { addresses: ['203.0.113.9/32'], autoAssign: false });
    await pool('wrong', { addresses: ['203.0.113.300', '203.0.113.7-203.0.113.5'] });
    await service('one');
    await gets('one', '198.51.100.1');
    await service('named', {}, { 'metallb.io/address-pool': 'asked' });
    await gets('named', '203.0.113.9');
    await service('barred', {}, { 'network.capstan.dev/address-pool': 'elsewhere' });
    await said('barred', /no IPAddressPool takes it: elsewhere is for other namespaces/);
    await world.until('the status of the wrong pool', async () => {
      const { status } = await world.api.get(ipAddressPools, { name: 'wrong' });
      return status?.conditions[0]?.reason === 'InvalidAddresses';
    });
    await world.until('one is counted', async () => {
      const { status } = await world.api.get(ipAddressPools, { name: 'first' });
      return status?.assigned === 1 && status.conditions[0]?.status === 'True';
    });
  });

  it('both families, where the Service has both', async () => {
    await pool('six', { addresses: ['2001:db8::10-2001:db8::11'] });
    await service('dual', { ipFamilyPolicy: 'RequireDualStack' });
    await gets('dual', '198.51.100.2,2001:db8::10');
    await service('six-only', { ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' });
    await gets('six-only', '2001:db8::11');
    await service('preferring', { ipFamilyPolicy: 'PreferDualStack' });
    await gets('preferring', '198.51.100.3');
    await service('requiring', { ipFamilyPolicy: 'RequireDualStack' });
    await said('requiring', /no IPv6 address is free/);
    assert.equal(ingressOf(await read('requiring')), '');
    await service(
      'wished',
      { ipFamilyPolicy: 'RequireDualStack' },
      { 'network.capstan.dev/load-balancer-ips': '192.0.2.3,2001:db8::10' },
    );
    await said('wished', /2001:db8::10 cannot be had: it is in use by shop\/dual/);
  });

  it('two controllers never give one address to two Services', async () => {
    await pool('race', { addresses: ['203.0.113.64/28'], serviceAllocation: { namespaces: ['race'] } });
    await world.namespace('race');
    const other = createControllerManager([loadBalancerController], {
      api: world.test.api,
      clock: world.clock,
      log: silentLogger,
      identity: 'other',
    });
    await other.start();
    try {
      const names = Array.from({ length: 16 }, (_, index) => `r${index}`);
      await Promise.all(
        names.map((name) =>
          world.api.create(services, {
            metadata: { name, namespace: 'race' },
            spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
          }),
        ),
      );
      const given = await world.until('all have one', async () => {
        const { items } = await world.api.list(services, { namespace: 'race' });
        const addresses = items.map(ingressOf);
        return addresses.every(Boolean) && addresses;
      });
      assert.equal(new Set(given).size, 16);
    } finally {
      await other.stop();
    }
  });
});
