import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { configMaps, serviceAccounts } from '#client/refs.ts';
import { isTransportError } from '#client/transport-error.ts';
import { isStatusError } from '#machinery/errors.ts';
import { realClock } from '#stdx/clock.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import { createServiceAccountTransport } from './service-account-transport.ts';

const NAMESPACE = 'kube-system';
const NAME = 'some-controller';

describe('requests as a service account', () => {
  it('make the account and its token when first needed', async (t) => {
    const { api, own } = await accountClient(t, () => true);
    // Of no role: it is known, and allowed nothing.
    await assert.rejects(
      own.list(configMaps, { namespace: NAMESPACE }),
      (error) =>
        isStatusError(error, 'Forbidden') && /serviceaccount:kube-system:some-controller/.test(String(error)),
    );
    assert.equal((await api.get(serviceAccounts, { name: NAME, namespace: NAMESPACE })).metadata.name, NAME);
  });

  it('make neither while the lease may be over, also where a read needs them', async (t) => {
    const { api, own } = await accountClient(t, () => false);
    await assert.rejects(own.list(configMaps, { namespace: NAMESPACE }), (error) =>
      isTransportError(error, 'refused'),
    );
    await assert.rejects(api.get(serviceAccounts, { name: NAME, namespace: NAMESPACE }), (error) =>
      isStatusError(error, 'NotFound'),
    );
  });

  it('are not sent where the lease was lost while the token was awaited', async (t) => {
    let asked = 0;
    // The account, its token twice: the first time there is no account.
    const { own } = await accountClient(t, () => ++asked <= 3);
    const metadata = { name: 'c', namespace: NAMESPACE };
    await assert.rejects(own.create(configMaps, { metadata }), (error) => isTransportError(error, 'refused'));
    assert.equal(asked, 4);
  });
});

/** own: of the account, which is not there yet. */
async function accountClient(
  t: TestContext,
  mayWrite: () => boolean,
): Promise<{ readonly api: Client; readonly own: Client }> {
  const test = await startTestApi();
  t.after(() => test.stop());
  const shared = createDirectTransport(test.server.handler);
  const { api } = test;
  const account = { shared, api, namespace: NAMESPACE, name: NAME, clock: realClock, mayWrite };
  const own = createClient(createServiceAccountTransport(account), { userAgent: NAME });
  t.after(() => own.close());
  return { api, own };
}
