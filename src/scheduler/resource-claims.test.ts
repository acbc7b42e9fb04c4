import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Client } from '#client/client.ts';
import { releaseClaims, reserveClaims } from './resource-claims.ts';
import { pod } from './testing/snapshot.ts';

const claim = (name: string, users: readonly string[] = []): ResourceClaim => ({
  metadata: { name, namespace: 'default', uid: `claim-${name}` },
  spec: {},
  status: { reservedFor: users.map((uid) => ({ resource: 'pods', name: uid, uid })) },
});

/** Records patches; rejects claims of these names. */
function recorder(refuses: readonly string[] = []): { readonly api: Client; readonly patches: unknown[] } {
  const patches: unknown[] = [];
  const patch = async (
    _ref: unknown,
    { name }: { readonly name: string },
    { patch: body }: { readonly patch: { readonly status: { readonly reservedFor: readonly unknown[] } } },
  ): Promise<void> => {
    if (refuses.includes(name)) throw new Error(`${name} is gone`);
    patches.push([name, body.status.reservedFor[0]]);
  };
  return { api: { patch } as unknown as Client, patches };
}

test('reserves claims that do not name the pod yet, and releases them again', async () => {
  const incoming = pod('p');
  const uid = incoming.metadata!.uid!;
  const { api, patches } = recorder();
  const written = await reserveClaims(api, incoming, [claim('a'), claim('b', [uid]), claim('c', ['other'])]);
  assert.deepEqual(
    written.map(({ metadata }) => metadata?.name),
    ['a', 'c'],
  );
  const entry = { resource: 'pods', name: 'p', uid };
  assert.deepEqual(patches, [
    ['a', entry],
    ['c', entry],
  ]);
  await releaseClaims(api, incoming, written);
  const release = { $patch: 'delete', uid };
  assert.deepEqual(patches.slice(2), [
    ['a', release],
    ['c', release],
  ]);
});

test('releases earlier reservations when one claim is rejected', async () => {
  const incoming = pod('p');
  const { api, patches } = recorder(['b']);
  await assert.rejects(reserveClaims(api, incoming, [claim('a'), claim('b')]), /b is gone/);
  assert.deepEqual(
    patches.map((one) => (one as [string, object])[0]),
    ['a', 'a'],
  );
});
