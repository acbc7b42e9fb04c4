import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { configMaps, namespaces, serviceAccounts } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { rootCACertificatePublisherController } from './root-ca-certificate-publisher-controller.ts';
import { serviceAccountController } from './serviceaccount-controller.ts';

describe('objects of every namespace', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([
      serviceAccountController,
      rootCACertificatePublisherController({ rootCA: 'the certificate' }),
    ]);
  });
  after(() => world.stop());

  it('serviceaccount-controller: creates and restores the account default', async () => {
    await world.api.create(namespaces, { metadata: { name: 'a' } });
    const made = await world.until('account', () =>
      world.find(serviceAccounts, { namespace: 'a', name: 'default' }),
    );
    await world.api.delete(serviceAccounts, { namespace: 'a', name: 'default' });
    await world.until(
      'another one',
      async () =>
        (await world.api.get(serviceAccounts, { namespace: 'a', name: 'default' })).metadata.uid !==
        made.metadata!.uid,
    );
  });

  it('root-ca-certificate-publisher-controller: creates and restores the ConfigMap', async () => {
    await world.api.create(namespaces, { metadata: { name: 'b' } });
    const map = await world.until('config map', () =>
      world.find(configMaps, { namespace: 'b', name: 'kube-root-ca.crt' }),
    );
    assert.deepEqual(map.data, { 'ca.crt': 'the certificate' });
    await world.api.update(configMaps, { ...map, data: { 'ca.crt': 'forged', more: 'x' } });
    await world.until('restored', async () => {
      const { data } = await world.api.get(configMaps, { namespace: 'b', name: 'kube-root-ca.crt' });
      return data?.['ca.crt'] === 'the certificate' && data['more'] === undefined;
    });
    await world.api.delete(configMaps, { namespace: 'b', name: 'kube-root-ca.crt' });
    await world.until('made again', () =>
      world.find(configMaps, { namespace: 'b', name: 'kube-root-ca.crt' }),
    );
  });
});
