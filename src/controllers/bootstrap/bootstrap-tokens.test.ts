import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { configMaps, namespaces, secrets } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { bootstrapSignerController, detachedSignature } from './bootstrap-signer-controller.ts';
import { tokenCleanerController } from './token-cleaner-controller.ts';

const HOUR_MS = 3_600_000;
let world: TestWorld;
before(async () => {
  world = await startTestWorld([tokenCleanerController, bootstrapSignerController]);
});
after(() => world.stop());

const nameOf = (id: string): { name: string; namespace: string } => ({
  name: `bootstrap-token-${id}`,
  namespace: 'kube-system',
});
const isThere = async (id: string): Promise<boolean> => (await world.find(secrets, nameOf(id))) !== undefined;

async function token(
  id: string,
  { type = 'bootstrap.kubernetes.io/token', ...data }: Readonly<Record<string, string>> = {},
): Promise<void> {
  await world.api.create(secrets, {
    metadata: nameOf(id),
    type,
    stringData: { 'token-id': id, 'token-secret': '0123456789abcdef', ...data },
  } as never);
}

it('deletes expired tokens, and no other secrets', async () => {
  const at = (ms: number): string => formatTime(world.clock.now() + ms);
  await token('past00', { expiration: at(-1_000) });
  await token('broken', { expiration: 'tomorrow' });
  await token('soon00', { expiration: at(2_000) });
  await token('later0', { expiration: at(HOUR_MS) });
  await token('always');
  await token('opaque', { type: 'Opaque', expiration: at(-1_000) });
  await world.until(
    'expired tokens are gone',
    async () => !(await isThere('past00')) && !(await isThere('broken')),
  );
  await world.until('the next one is gone at its time', async () => !(await isThere('soon00')));
  for (const id of ['later0', 'always', 'opaque']) assert.ok(await isThere(id), id);
  await world.api.update(secrets, {
    ...(await world.api.get(secrets, nameOf('later0'))),
    stringData: { expiration: at(-1) },
  } as never);
  await world.until('a shortened one is gone', async () => !(await isThere('later0')));
});

it('signs cluster-info with all signing tokens, and removes signatures of others', async () => {
  await world.api
    .create(namespaces, { metadata: { name: 'kube-public' } })
    .catch((error: { reason?: string }) => assert.equal(error.reason, 'AlreadyExists'));
  const content = 'apiVersion: v1\nkind: Config\n';
  const info = { name: 'cluster-info', namespace: 'kube-public' };
  await token('signer', { 'usage-bootstrap-signing': 'true' });
  await token('silent', { 'usage-bootstrap-signing': 'false' });
  await world.api.create(configMaps, {
    metadata: info,
    data: { kubeconfig: content, other: 'kept', 'jws-kubeconfig-gone00': 'stale' },
  });
  await world.until('it is signed', async () => {
    const { data } = await world.api.get(configMaps, info);
    return 'jws-kubeconfig-signer' in (data ?? {}) && !('jws-kubeconfig-gone00' in (data ?? {}));
  });
  assert.deepEqual((await world.api.get(configMaps, info)).data, {
    kubeconfig: content,
    other: 'kept',
    'jws-kubeconfig-signer': detachedSignature(content, { id: 'signer', secret: '0123456789abcdef' }),
  });
  await world.api.delete(secrets, nameOf('signer'));
  await world.until(
    'the signature of a deleted token is gone',
    async () => !('jws-kubeconfig-signer' in ((await world.api.get(configMaps, info)).data ?? {})),
  );
});

it('the signature matches that of kubeadm (the expected one was made with openssl)', () => {
  assert.equal(
    detachedSignature('kind: Config\n', { id: 'abcdef', secret: '0123456789abcdef' }),
    'eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..3ZR7IfHD4V0NLYjj9trDyCFIZSwMzkyMpnxx9vCiSPI',
  );
});
