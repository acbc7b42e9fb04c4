import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createClient } from './create.ts';
import { createDirectTransport } from './direct.ts';
import { fencedClient } from './fenced-client.ts';
import { configMaps } from './refs.ts';
import { createFakeApi } from './testing/fake-api.ts';
import { isTransportError } from './transport-error.ts';

it('a fenced client reads always and writes only while it may', async () => {
  const client = createClient(createDirectTransport(createFakeApi().handler), { userAgent: 'test' });
  let leads = true;
  const fenced = fencedClient(client, () => leads);
  const [name, namespace] = ['c', 'default'];
  const made = await fenced.create(configMaps, { metadata: { name, namespace } });
  leads = false;
  const patch = { type: 'merge', patch: {} } as const;
  for (const write of [
    () => fenced.create(configMaps, { metadata: { name: 'd', namespace } }),
    () => fenced.update(configMaps, made),
    () => fenced.updateStatus(configMaps, made),
    () => fenced.updateSubresource(configMaps, made, 'approval'),
    () => fenced.patch(configMaps, { name, namespace }, patch),
    () => fenced.delete(configMaps, { name, namespace }),
    () => fenced.deleteCollection(configMaps, { namespace }),
    () => fenced.createSubresource(configMaps, { name, namespace }, { subresource: 'token', body: made }),
  ])
    await assert.rejects(write, (error) => isTransportError(error, 'refused'));
  const { metadata } = await fenced.get(configMaps, { name, namespace });
  assert.equal(metadata.resourceVersion, made.metadata.resourceVersion);
  assert.equal((await fenced.list(configMaps, { namespace })).items.length, 1);
  leads = true;
  await fenced.delete(configMaps, { name, namespace });
  await client.close();
});
