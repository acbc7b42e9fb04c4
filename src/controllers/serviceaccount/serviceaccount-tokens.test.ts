import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { generateKeyPairSync } from 'node:crypto';
import type { Secret } from '#api/types.ts';
import { configMaps, namespaces, pods, secrets, serviceAccounts } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { legacyServiceAccountTokenCleanerController } from './legacy-serviceaccount-token-cleaner-controller.ts';
import { serviceAccountTokenController } from './serviceaccount-token-controller.ts';
import { ACCOUNT_NAME, ACCOUNT_UID, INVALID_SINCE, LAST_USED, TOKEN_SECRET_TYPE } from './token-secrets.ts';

const DAY_MS = 86_400_000;
const text = (secret: Secret, key: string): string =>
  Buffer.from(secret.data?.[key] ?? '', 'base64').toString();

function tokenSecret(name: string, account: string): Secret {
  return {
    metadata: { name, namespace: 'red', annotations: { [ACCOUNT_NAME]: account } },
    type: TOKEN_SECRET_TYPE,
  };
}

describe('tokens in secrets', () => {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([
      serviceAccountTokenController({ serviceAccountKey: key, rootCA: 'the certificate' }),
    ]);
    await world.api.create(namespaces, { metadata: { name: 'red' } });
  });
  after(() => world.stop());
  const filled = (name: string): Promise<Secret> =>
    world.until(`${name} is filled`, async () => {
      const secret = await world.find(secrets, { namespace: 'red', name });
      return secret?.data?.['token'] && secret;
    });

  it('are filled for an existing account, with the CA and the namespace', async () => {
    const account = await world.api.create(serviceAccounts, { metadata: { name: 'bot', namespace: 'red' } });
    await world.api.create(secrets, tokenSecret('bot-token', 'bot'));
    const secret = await filled('bot-token');
    assert.equal(text(secret, 'ca.crt'), 'the certificate');
    assert.equal(text(secret, 'namespace'), 'red');
    assert.equal(secret.metadata?.annotations?.[ACCOUNT_UID], account.metadata.uid);
    assert.deepEqual(JSON.parse(Buffer.from(text(secret, 'token').split('.')[1]!, 'base64url').toString()), {
      iss: 'kubernetes/serviceaccount',
      'kubernetes.io/serviceaccount/namespace': 'red',
      'kubernetes.io/serviceaccount/secret.name': 'bot-token',
      'kubernetes.io/serviceaccount/service-account.name': 'bot',
      'kubernetes.io/serviceaccount/service-account.uid': account.metadata.uid,
      sub: 'system:serviceaccount:red:bot',
    });
  });

  it('are restored when CA or namespace are changed', async () => {
    const { data, ...secret } = await filled('bot-token');
    await world.api.update(secrets, { ...secret, data: { token: data!['token']!, 'ca.crt': 'eA==' } });
    const again = await world.until('restored', async () => {
      const found = await world.api.get(secrets, { namespace: 'red', name: 'bot-token' });
      return text(found, 'ca.crt') === 'the certificate' && text(found, 'namespace') === 'red' && found;
    });
    assert.equal(again.data?.['token'], data!['token'], 'the same token');
  });

  it('are deleted when their account does not exist or has another uid', async () => {
    await world.api.create(secrets, tokenSecret('lost', 'nobody'));
    await world.until(
      'lost is gone',
      async () => !(await world.find(secrets, { namespace: 'red', name: 'lost' })),
    );
    const foreign = tokenSecret('foreign', 'bot');
    foreign.metadata!.annotations![ACCOUNT_UID] = 'another';
    await world.api.create(secrets, foreign);
    await world.until(
      'foreign is gone',
      async () => !(await world.find(secrets, { namespace: 'red', name: 'foreign' })),
    );
  });

  it('are deleted with their account; references to deleted secrets are removed; other secrets are ignored', async () => {
    await world.api.create(serviceAccounts, {
      metadata: { name: 'old', namespace: 'red' },
      secrets: [{ name: 'old-token' }, { name: 'other' }],
    });
    await world.api.create(secrets, tokenSecret('old-token', 'old'));
    await world.api.create(secrets, {
      metadata: { name: 'other', namespace: 'red', annotations: { [ACCOUNT_NAME]: 'old' } },
      type: 'Opaque',
    });
    await filled('old-token');
    await world.api.delete(secrets, { namespace: 'red', name: 'old-token' });
    await world.until(
      'forgotten',
      async () =>
        (await world.api.get(serviceAccounts, { namespace: 'red', name: 'old' })).secrets
          ?.map(({ name }) => name)
          .join() === 'other',
    );
    await world.api.create(secrets, tokenSecret('old-token2', 'old'));
    await filled('old-token2');
    await world.api.delete(serviceAccounts, { namespace: 'red', name: 'old' });
    await world.until(
      'old-token2 is gone',
      async () => !(await world.find(secrets, { namespace: 'red', name: 'old-token2' })),
    );
    assert.ok(await world.find(secrets, { namespace: 'red', name: 'other' }));
  });
});

describe('unused tokens', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([legacyServiceAccountTokenCleanerController({ legacyTokenCleanUpMs: 1 })]);
    await world.namespace('red');
  });
  after(() => world.stop());

  it('are marked invalid after a period and deleted after another; used ones are kept', async () => {
    const day = (offset: number): string =>
      new Date(world.clock.now() + offset * DAY_MS).toISOString().slice(0, 10);
    const tracking = {
      namespace: 'kube-system',
      name: 'kube-apiserver-legacy-service-account-token-tracking',
    };
    assert.equal(
      (await world.api.get(configMaps, tracking)).data?.['since'],
      day(0),
      'the API server notes uses from now on',
    );
    const names = ['unused', 'used', 'mounted'];
    await world.api.create(serviceAccounts, {
      metadata: { name: 'bot', namespace: 'red' },
      secrets: names.map((name) => ({ name })),
    });
    for (const name of [...names, 'manual']) await world.api.create(secrets, tokenSecret(name, 'bot'));
    await world.api.create(pods, {
      metadata: { name: 'p', namespace: 'red' },
      spec: {
        containers: [{ name: 'c', image: 'i' }],
        volumes: [{ name: 'v', secret: { secretName: 'mounted' } }],
      },
    });
    const label = async (name: string): Promise<string | undefined> =>
      (await world.find(secrets, { namespace: 'red', name }))?.metadata?.labels?.[INVALID_SINCE];
    const nextDay = async (): Promise<void> => {
      await world.api.patch(
        secrets,
        { namespace: 'red', name: 'used' },
        { type: 'merge', patch: { metadata: { labels: { [LAST_USED]: day(1) } } } },
      );
      await world.clock.advance(DAY_MS);
      await world.pass(100);
    };
    await nextDay();
    assert.equal(await label('unused'), undefined, 'uses have not been noted for long enough');
    await world.api.patch(configMaps, tracking, { type: 'merge', patch: { data: { since: day(-30) } } });
    await nextDay();
    assert.equal(await world.until('marked', () => label('unused')), day(0));
    for (const name of ['used', 'mounted', 'manual']) assert.equal(await label(name), undefined, name);
    await nextDay();
    assert.ok(await label('unused'), 'not before the day is over');
    await nextDay();
    await world.until(
      'deleted',
      async () => !(await world.find(secrets, { namespace: 'red', name: 'unused' })),
    );
    for (const name of ['used', 'mounted', 'manual'])
      assert.ok(await world.find(secrets, { namespace: 'red', name }), name);
  });
});
