/** Encryption at rest from the API's side: real server, real store, real plugin on a socket; and what the store's file says. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { configMaps, customResourceDefinitions, secrets } from '#api/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { keptStore } from '#testing/kept-store.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { createEncryption } from './encryption.ts';
import { TestKmsPlugin } from './testing/kms-plugin.ts';

const log = process.env['CAPSTAN_TEST_LOG'] ? createLogger({ level: 'debug' }) : silentLogger;
const MARK = 'plain-text-that-nobody-may-read';
const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64');

type Client = TestApi['api'];

interface Running {
  readonly api: Client;
  get(path: string): Promise<{ readonly status: number; readonly text: string }>;
  stop(): Promise<void>;
}

interface World {
  readonly dir: string;
  readonly file: string;
  configure(
    entries: readonly { readonly resources: readonly string[]; readonly providers: readonly object[] }[],
  ): void;
  start(
    store: Store,
    options?: { readonly clock?: Clock; readonly reload?: boolean; readonly encrypted?: boolean },
  ): Promise<Running>;
}

function world(t: TestContext): World {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-encryption-'));
  const file = join(dir, 'encryption.yaml');
  const running = new Set<Running>();
  t.after(async () => {
    for (const one of Array.from(running)) await one.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    dir,
    file,
    configure: (resources) =>
      writeFileSync(
        file,
        JSON.stringify({
          apiVersion: 'apiserver.config.k8s.io/v1',
          kind: 'EncryptionConfiguration',
          resources,
        }),
      ),
    async start(store, { clock = realClock, reload = false, encrypted = true } = {}) {
      const test = await startTestApi({
        store: keptStore(store),
        clock,
        log,
        settings: encrypted ? { encryption: { file, reload } } : {},
      });
      const { api } = test;
      const one: Running = {
        api,
        async get(path) {
          const response = await api.transport.request({ method: 'GET', path });
          return { status: response.status, text: (await response.bytes()).toString() };
        },
        async stop() {
          if (running.delete(one)) await test.stop();
        },
      };
      running.add(one);
      return one;
    },
  };
}

const secret = (name: string): { metadata: object; stringData: Record<string, string> } => ({
  metadata: { name, namespace: 'default' },
  stringData: { value: MARK },
});
const valueOf = async (api: Client, name: string): Promise<string> =>
  Buffer.from(
    (await api.get(secrets, { name, namespace: 'default' })).data?.['value'] ?? '',
    'base64',
  ).toString();
const prefixOf = async (store: Store, name: string, kind = 'secrets'): Promise<string> =>
  /^(?:k8s:enc:[^:]+:v\d:[^:]+:|)/.exec(
    (await store.get(`/registry/${kind}/default/${name}`))!.value.toString('latin1'),
  )![0];
const fails =
  (message: string) =>
  (error: unknown): boolean => {
    assert.ok(isStatusError(error, 'InternalError'), String(error));
    assert.equal((error as Error).message, `Internal error occurred: ${message}`);
    return true;
  };
const replace = async (api: Client, name: string): Promise<void> => {
  await api.update(secrets, await api.get(secrets, { name, namespace: 'default' }));
};

async function until(
  what: string,
  check: () => Promise<boolean> | boolean,
  step: () => Promise<void> = () => new Promise((resolve) => setTimeout(resolve, 20)),
): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!(await check())) {
    assert.ok(performance.now() < endMs, `never came true: ${what}`);
    await step();
  }
}

describe('encryption at rest', () => {
  it("leaves no plain text in the store's files, and everything as it was for clients", async (t) => {
    const at = world(t);
    at.configure([
      {
        resources: ['secrets'],
        providers: [{ aesgcm: { keys: [{ name: 'key1', secret: key(1) }] } }, { identity: {} }],
      },
    ]);
    const storeDir = join(at.dir, 'store');
    let store = await openStore({ driver: 'lmdb', dir: storeDir });
    const first = await at.start(store);
    await first.api.create(secrets, secret('a'));
    await first.api.patch(
      secrets,
      { name: 'a', namespace: 'default' },
      { type: 'merge', patch: { metadata: { labels: { changed: MARK } } } },
    );
    await first.api.create(configMaps, {
      metadata: { name: 'open', namespace: 'default' },
      data: { value: 'not encrypted' },
    });
    assert.equal(await valueOf(first.api, 'a'), MARK);
    assert.equal((await first.api.list(secrets, { labelSelector: `changed=${MARK}` })).items.length, 1);
    assert.deepEqual(
      [await prefixOf(store, 'a'), await prefixOf(store, 'open', 'configmaps')],
      ['k8s:enc:aesgcm:v1:key1:', ''],
    );
    const metrics = (await first.get('/metrics')).text;
    assert.match(
      metrics,
      /apiserver_storage_transformation_operations_total\{resource="secrets",status="OK",transformation_type="to_storage",transformer_prefix="k8s:enc:aesgcm:v1:key1:"\} [2-9]/,
    );
    assert.ok(!metrics.includes(MARK));
    await first.stop();
    await store.close();
    const files = readdirSync(storeDir).map((name) => readFileSync(join(storeDir, name)));
    const encoded = Buffer.from(MARK).toString('base64');
    assert.ok(files.some((content) => content.includes('not encrypted')));
    assert.ok(files.every((content) => !content.includes(MARK) && !content.includes(encoded)));
    store = await openStore({ driver: 'lmdb', dir: storeDir });
    const second = await at.start(store);
    assert.equal(await valueOf(second.api, 'a'), MARK);
    await second.stop();
    await store.close();
  });

  it('re-encrypts on any update, changed or not, when keys and providers change; and decrypts back to plain', async (t) => {
    const at = world(t),
      store = createMemoryStore({});
    t.after(() => store.close());
    const gcm = (...keys: number[]): object => ({
      aesgcm: { keys: keys.map((byte) => ({ name: `key${byte}`, secret: key(byte) })) },
    });
    const box = { secretbox: { keys: [{ name: 'box', secret: key(9) }] } },
      cbc = { aescbc: { keys: [{ name: 'cbc', secret: key(8) }] } };
    const steps: readonly (readonly [readonly object[], string])[] = [
      [[{ identity: {} }], ''],
      [[gcm(1), { identity: {} }], 'k8s:enc:aesgcm:v1:key1:'],
      [[gcm(2, 1)], 'k8s:enc:aesgcm:v1:key2:'],
      [[box, gcm(2)], 'k8s:enc:secretbox:v1:box:'],
      [[cbc, box], 'k8s:enc:aescbc:v1:cbc:'],
      [[{ identity: {} }, cbc], ''],
    ];
    for (const [providers, prefix] of steps) {
      at.configure([{ resources: ['secrets'], providers }]);
      const { api, stop } = await at.start(store);
      if (prefix === '' && steps[0]![0] === providers) await api.create(secrets, secret('a'));
      const before = await api.get(secrets, { name: 'a', namespace: 'default' });
      await api.update(secrets, before);
      assert.equal(await prefixOf(store, 'a'), prefix);
      assert.equal(await valueOf(api, 'a'), MARK);
      // Written as it should be now: the next one changes nothing.
      const after = await api.get(secrets, { name: 'a', namespace: 'default' });
      assert.equal(
        (await api.update(secrets, after)).metadata?.resourceVersion,
        after.metadata?.resourceVersion,
      );
      await stop();
    }
  });

  it('follows wildcards, the first entry that names a resource before later ones, custom resources too', async (t) => {
    const at = world(t),
      store = createMemoryStore({});
    t.after(() => store.close());
    const gcm = (name: string): object => ({ aesgcm: { keys: [{ name, secret: key(1) }] } });
    at.configure([
      { resources: ['configmaps', 'widgets.example.com'], providers: [gcm('named')] },
      { resources: ['*.'], providers: [gcm('core')] },
      { resources: ['secrets'], providers: [gcm('masked')] },
      { resources: ['*.*'], providers: [gcm('all')] },
    ]);
    const { api } = await at.start(store);
    await api.create(secrets, secret('a'));
    await api.create(configMaps, { metadata: { name: 'a', namespace: 'default' } });
    await api.create(customResourceDefinitions, {
      metadata: { name: 'widgets.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'widgets', kind: 'Widget', singular: 'widget', listKind: 'WidgetList' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    });
    const widgets = {
      group: 'example.com',
      version: 'v1',
      plural: 'widgets',
      kind: 'Widget',
      namespaced: true,
    };
    await until('the widget is there', async () =>
      api.create(widgets, { metadata: { name: 'w', namespace: 'default' } }).then(
        () => true,
        () => false,
      ),
    );
    const nameAt = async (path: string): Promise<string> =>
      /^k8s:enc:aesgcm:v1:([^:]+):/.exec((await store.get(path))!.value.toString('latin1'))?.[1] ?? '';
    assert.deepEqual(
      [await prefixOf(store, 'a'), await prefixOf(store, 'a', 'configmaps')],
      ['k8s:enc:aesgcm:v1:core:', 'k8s:enc:aesgcm:v1:named:'],
    );
    assert.deepEqual(
      await Promise.all(
        [
          '/registry/namespaces/default',
          '/registry/example.com/widgets/default/w',
          '/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com',
          '/registry/clusterroles/admin',
        ].map(nameAt),
      ),
      ['core', 'named', 'all', 'all'],
    );
  });

  it('says so where keys are missing, and lets nobody take the object for absent', async (t) => {
    const at = world(t),
      store = createMemoryStore({});
    t.after(() => store.close());
    const providers = (byte: number): object[] => [{ aesgcm: { keys: [{ name: 'k', secret: key(byte) }] } }];
    at.configure([{ resources: ['secrets'], providers: providers(1) }]);
    const first = await at.start(store);
    await first.api.create(secrets, secret('a'));
    await first.stop();
    at.configure([{ resources: ['secrets'], providers: providers(2) }]);
    const wrong = await at.start(store);
    const problem = 'cipher: message authentication failed',
      named = { name: 'a', namespace: 'default' };
    await assert.rejects(wrong.api.get(secrets, named), fails(problem));
    await assert.rejects(
      wrong.api.list(secrets),
      fails(`unable to transform key "/registry/secrets/default/a": ${problem}`),
    );
    await assert.rejects(
      wrong.api.list(secrets, { namespace: 'default', limit: 1 }),
      fails(`unable to transform key "/registry/secrets/default/a": ${problem}`),
    );
    await assert.rejects(wrong.api.update(secrets, secret('a')), fails(problem));
    await assert.rejects(wrong.api.patch(secrets, named, { type: 'merge', patch: {} }), fails(problem));
    await assert.rejects(wrong.api.delete(secrets, named), fails(problem));
    await assert.rejects(wrong.api.create(secrets, secret('a')), (error) =>
      isStatusError(error, 'AlreadyExists'),
    );
    assert.deepEqual((await wrong.api.list(secrets, { namespace: 'kube-system' })).items, []);
    assert.ok((await wrong.api.list(configMaps)).items.length > 0);
    await wrong.stop();
    const none = await at.start(store, { encrypted: false });
    await assert.rejects(
      none.api.get(secrets, named),
      fails('identity transformer tried to read encrypted data'),
    );
    await none.stop();
    at.configure([{ resources: ['secrets'], providers: [...providers(2), ...providers(1)] }]);
    assert.equal(await valueOf((await at.start(store)).api, 'a'), MARK);
  });

  it('follows its file: a new key writes at once, a bad file changes nothing, a key that comes back makes objects readable', async (t) => {
    const at = world(t),
      store = createMemoryStore({});
    t.after(() => store.close());
    const entry = (...bytes: number[]): Parameters<World['configure']>[0] => [
      {
        resources: ['secrets'],
        providers: [
          { secretbox: { keys: bytes.map((byte) => ({ name: `key${byte}`, secret: key(byte) })) } },
        ],
      },
    ];
    at.configure(entry(1));
    const first = await at.start(store);
    await first.api.create(secrets, secret('a'));
    await first.stop();
    at.configure(entry(2));
    const { api, get } = await at.start(store, { reload: true });
    const total = async (status: string): Promise<boolean> =>
      new RegExp(
        `apiserver_encryption_config_controller_automatic_reloads_total\\{apiserver_id_hash="sha256:[0-9a-f]+",status="${status}"\\} 1`,
      ).test((await get('/metrics')).text);
    await assert.rejects(
      api.get(secrets, { name: 'a', namespace: 'default' }),
      fails('no matching prefix found'),
    );
    writeFileSync(at.file, 'resources: []');
    await until('the bad file is counted', () => total('failure'));
    await api.create(secrets, secret('b'));
    assert.equal(await prefixOf(store, 'b'), 'k8s:enc:secretbox:v1:key2:');
    at.configure(entry(3, 2, 1));
    await until('the good file is used', () => total('success'));
    await until('the old object is readable', () =>
      valueOf(api, 'a').then(
        (value) => value === MARK,
        () => false,
      ),
    );
    for (const name of ['a', 'b']) await replace(api, name);
    assert.deepEqual(
      [await prefixOf(store, 'a'), await prefixOf(store, 'b')],
      Array(2).fill('k8s:enc:secretbox:v1:key3:'),
    );
  });
});

describe('a KMS v2 plugin', () => {
  async function plugged(
    t: TestContext,
  ): Promise<{ readonly at: World; readonly store: Store; readonly plugin: TestKmsPlugin }> {
    const at = world(t),
      store = createMemoryStore({}),
      plugin = new TestKmsPlugin(join(at.dir, 'kms.sock'));
    t.after(() => {
      plugin.stop();
      return store.close();
    });
    await plugin.start();
    at.configure([
      {
        resources: ['secrets'],
        providers: [
          { kms: { apiVersion: 'v2', name: 'vault', endpoint: plugin.endpoint, timeout: '1s' } },
          { identity: {} },
        ],
      },
    ]);
    return { at, store, plugin };
  }

  it('is asked once for many objects, and again for each start of a server', async (t) => {
    const { at, store, plugin } = await plugged(t);
    const first = await at.start(store);
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => first.api.create(secrets, secret(`s${index}`))),
    );
    for (let index = 0; index < 50; index++) assert.equal(await valueOf(first.api, `s${index}`), MARK);
    assert.deepEqual([plugin.calls.Encrypt, plugin.calls.Decrypt], [1, 0]);
    assert.equal(await prefixOf(store, 's7'), 'k8s:enc:kms:v2:vault:');
    assert.deepEqual(await first.get('/healthz/kms-providers'), { status: 200, text: 'ok' });
    await first.stop();
    const second = await at.start(store);
    assert.equal(await valueOf(second.api, 's49'), MARK);
    assert.deepEqual([plugin.calls.Encrypt, plugin.calls.Decrypt], [2, 1]);
    assert.match(
      (await second.get('/metrics')).text,
      /apiserver_envelope_encryption_kms_operations_latency_seconds_count\{grpc_status_code="OK",method_name="\/v2.KeyManagementService\/Decrypt",provider_name="vault"\} 1/,
    );
  });

  it('that changes its key makes what the old one wrote stale', async (t) => {
    const { at, store, plugin } = await plugged(t);
    const clock = new FakeClock();
    const encryption = await createEncryption({ file: at.file, reload: false, clock, log });
    t.after(() => encryption.close());
    const sealed = encryption.wrap(store);
    await sealed.put('/registry/secrets/default/a', Buffer.from(MARK));
    assert.equal(await sealed.isStale!('/registry/secrets/default/a'), false);
    plugin.rotate('key-2');
    await until(
      'the new key is noticed',
      () => sealed.isStale!('/registry/secrets/default/a'),
      () => clock.advance(10_000),
    );
    await sealed.put('/registry/secrets/default/b', Buffer.from(MARK));
    assert.equal(await sealed.isStale!('/registry/secrets/default/b'), false);
    plugin.forget('key-1');
    assert.equal(
      (await sealed.get('/registry/secrets/default/a'))?.value.toString(),
      MARK,
      'what was read before stays readable',
    );
    assert.match(
      encryption.metrics(),
      /apiserver_envelope_encryption_key_id_hash_total\{key_id_hash="sha256:[0-9a-f]{64}",provider_name="vault",transformation_type="to_storage"\} 1/,
    );
    assert.ok(!encryption.metrics().includes('key-2'));
  });

  it('that goes away lets reads and, for three minutes, writes go on; and all is well when it comes back', async (t) => {
    const { at, store, plugin } = await plugged(t);
    const clock = new FakeClock();
    const encryption = await createEncryption({ file: at.file, reload: false, clock, log });
    t.after(() => encryption.close());
    const sealed = encryption.wrap(store),
      healthy = (): boolean => encryption.healthChecks[0]!.check() === undefined;
    const write = (name: string): Promise<unknown> =>
      sealed.put(`/registry/secrets/default/${name}`, Buffer.from(MARK));
    await write('a');
    plugin.stop();
    await clock.advance(60_000);
    await until(
      'it is noticed',
      () => !healthy(),
      () => clock.advance(4_000),
    );
    await write('b');
    await clock.advance(180_000);
    await assert.rejects(write('c'), {
      name: 'TransformError',
      message:
        /the data key of key ID hash sha256:[0-9a-f]+ expired at .*KMS provider vault: Status: rpc error: code = \w+/,
    });
    assert.equal((await sealed.get('/registry/secrets/default/b'))?.value.toString(), MARK);
    await plugin.start();
    await until('it is well again', healthy, () => clock.advance(4_000));
    await write('c');
  });

  it('that is away when the server starts leaves its objects unreadable until it comes', async (t) => {
    const { at, store, plugin } = await plugged(t);
    const first = await at.start(store);
    await first.api.create(secrets, secret('a'));
    await first.stop();
    plugin.stop();
    const { api, get } = await at.start(store);
    await assert.rejects(
      api.get(secrets, { name: 'a', namespace: 'default' }),
      (error) =>
        isStatusError(error, 'InternalError') && /KMS provider vault: Decrypt: rpc error/.test(error.message),
    );
    await assert.rejects(
      api.create(secrets, secret('b')),
      (error) =>
        isStatusError(error, 'InternalError') && /KMS provider vault: no data key yet/.test(error.message),
    );
    assert.equal((await get('/healthz/kms-providers')).status, 500);
    await api.create(configMaps, { metadata: { name: 'open', namespace: 'default' } });
    await plugin.start();
    // A look at its health asks it again.
    await until('the object is readable', async () => {
      await get('/healthz/kms-providers');
      return valueOf(api, 'a').then(
        (value) => value === MARK,
        () => false,
      );
    });
    await api.create(secrets, secret('b'));
  });
});
