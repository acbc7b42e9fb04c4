/** Objects written anew through a real API server whose store forgets, and fails, meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configMaps } from '#client/refs.ts';
import { statusErrors } from '#machinery/errors.ts';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import { rewriteAll, storedKinds } from './migrate.ts';

const OBJECTS = 450;

test('every object is written where pages outlive the history of the store, and where a request fails', async (t) => {
  const { api, store, stop } = await startTestApi();
  t.after(stop);
  for (let index = 0; index < OBJECTS; index += 1)
    await api.create(configMaps, { metadata: { namespace: 'default', name: `c${index}` } });
  const kind = (await storedKinds(api)).get('configmaps')!;
  const update = api.update.bind(api);
  const updated = new Set<string>();
  let failures = 3;
  t.mock.method(
    api,
    'update',
    async function (this: typeof api, ...[ref, object]: Parameters<typeof api.update>) {
      if (updated.size === 100 && failures > 0) {
        failures -= 1;
        throw statusErrors.internal('the server is starting');
      }
      updated.add(object.metadata?.name ?? '');
      return await update(ref, object);
    },
  );
  let pages = 0;
  await rewriteAll(
    {
      api,
      clock: skippingClock(),
      before: () => {
        pages += 1;
        // The API server compacts the same way every five minutes.
        void store.compact(store.revision);
      },
    },
    kind,
  );
  assert.ok(pages > 2, `${pages} pages`);
  assert.equal(failures, 0);
  assert.equal([...updated].filter((name) => /^c\d+$/.test(name)).length, OBJECTS);
});
