/** Migrations against a real API server; checks the stored bytes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import type { StorageVersionMigration } from '#api/generated/types/storagemigration-v1beta1.ts';
import type { CustomResourceConversion, CustomResourceDefinition } from '#api/types.ts';
import { servingFrom } from '#cmd/apiserver/flags/serving.ts';
import type { KubeObject } from '#machinery/object.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ResourceRef } from '#client/client.ts';
import { customResourceDefinitions, secrets, storageVersionMigrations } from '#client/refs.ts';
import { diskAway, keptStore, memoryStore, rawValues } from '#testing/kept-store.ts';
import type { TestApiOptions } from '#testing/start-test-api.ts';
import { startWebhookPeer } from '#testing/webhook-peer.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { storageVersionMigratorController } from './storage-version-migrator-controller.ts';

const serving = servingFrom({
  featureGates: 'StorageVersionMigrator=true',
  runtimeConfig: 'storagemigration.k8s.io/v1beta1=true',
});
const SUCCEEDED = [
  'Running=False MigrationCompleted: Migration completed',
  'Succeeded=True StorageVersionMigrationSucceeded: ',
];

interface Made {
  readonly world: TestWorld;
  stop(): Promise<void>;
}

async function start(
  t: TestContext,
  {
    store = memoryStore(),
    encryption,
  }: { readonly store?: NonNullable<TestApiOptions['store']>; readonly encryption?: string } = {},
): Promise<Made> {
  const world = await startTestWorld([storageVersionMigratorController], {
    serving,
    store,
    ...(encryption === undefined ? {} : { settings: { encryption: { file: encryption, reload: false } } }),
  });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= world.stop());
  t.after(stop);
  return { world, stop };
}

function begin(
  { api }: TestWorld,
  name: string,
  resource: { readonly group: string; readonly resource: string },
): Promise<unknown> {
  return api.create(storageVersionMigrations, { metadata: { name }, spec: { resource } });
}

function ended(world: TestWorld, name: string): Promise<StorageVersionMigration> {
  return world.until(`${name} ends`, async () => {
    const migration = await world.api.get(storageVersionMigrations, { name });
    return (
      migration.status?.conditions?.some(({ type, status }) => type === 'Running' && status === 'False') &&
      migration
    );
  });
}

function conditionsOf({ status }: StorageVersionMigration): string[] {
  return (status?.conditions ?? []).map(
    ({ type, status: is, reason, message }) => `${type}=${is} ${reason}: ${message}`,
  );
}

// ------------------------------------------------------------------------------------------------------- another version

const WIDGETS = 'widgets.example.com';
const WIDGETS_PREFIX = '/registry/example.com/widgets/';
const widgets = (version: string): ResourceRef => ({
  group: 'example.com',
  version,
  plural: 'widgets',
  kind: 'Widget',
  namespaced: true,
});

async function defineWidgets(world: TestWorld, conversion: CustomResourceConversion): Promise<void> {
  const { api } = world;
  const version = (name: string, storage: boolean): object => ({
    name,
    served: true,
    storage,
    schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
  });
  const names = { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' };
  await api.create(customResourceDefinitions, {
    metadata: { name: WIDGETS },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names,
      conversion,
      versions: [version('v1', true), version('v2', false)],
    },
  } as CustomResourceDefinition);
  await world.until('served', async () =>
    (await api.get(customResourceDefinitions, { name: WIDGETS })).status?.conditions?.some(
      ({ type, status }) => type === 'Established' && status === 'True',
    ),
  );
}

for (const strategy of ['None', 'Webhook']) {
  it(`stores custom resources in the current storage version, and updates the definition's status: conversion ${strategy}`, async (t) => {
    const store = memoryStore(),
      { world } = await start(t, { store }),
      { api } = world;
    const peer = await startWebhookPeer(({ body }) => {
      const { request } = body as {
        request: { uid: string; desiredAPIVersion: string; objects: KubeObject[] };
      };
      return {
        body: {
          apiVersion: 'apiextensions.k8s.io/v1',
          kind: 'ConversionReview',
          response: {
            uid: request.uid,
            result: { status: 'Success' },
            convertedObjects: request.objects.map((object) => ({
              ...object,
              apiVersion: request.desiredAPIVersion,
            })),
          },
        },
      };
    });
    t.after(() => peer.stop());
    await defineWidgets(
      world,
      strategy === 'None'
        ? { strategy }
        : {
            strategy,
            webhook: {
              conversionReviewVersions: ['v1'],
              clientConfig: { url: peer.url, caBundle: Buffer.from(peer.caPem).toString('base64') },
            },
          },
    );
    for (let i = 0; i < 3; i++)
      await api.create(widgets('v1'), {
        apiVersion: 'example.com/v1',
        kind: 'Widget',
        metadata: { name: `w${i}`, namespace: 'default' },
        spec: { size: i },
      } as KubeObject);
    const definition = await api.get(customResourceDefinitions, { name: WIDGETS });
    for (const version of definition.spec.versions) version.storage = version.name === 'v2';
    assert.deepEqual((await api.update(customResourceDefinitions, definition)).status?.storedVersions, [
      'v1',
      'v2',
    ]);
    for (const text of await rawValues(store, WIDGETS_PREFIX))
      assert.match(text, /"apiVersion":"example.com\/v1"/);
    const before = await api.get(widgets('v1'), { name: 'w1', namespace: 'default' });

    await begin(world, 'widgets', { group: 'example.com', resource: 'widgets' });
    assert.deepEqual(conditionsOf(await ended(world, 'widgets')), SUCCEEDED);
    const texts = await rawValues(store, WIDGETS_PREFIX);
    assert.equal(texts.length, 3);
    for (const text of texts) assert.match(text, /"apiVersion":"example.com\/v2"/);
    const after = await api.get(widgets('v1'), { name: 'w1', namespace: 'default' });
    assert.notEqual(after.metadata.resourceVersion, before.metadata.resourceVersion);
    assert.deepEqual(
      { ...after, metadata: { ...after.metadata, resourceVersion: '' } },
      { ...before, metadata: { ...before.metadata, resourceVersion: '' } },
    );
    const { spec, status } = await api.get(customResourceDefinitions, { name: WIDGETS });
    assert.deepEqual(status?.storedVersions, ['v2']);
    const { reason, message } = status!.conditions!.find(({ type }) => type === 'StorageMigrating')!;
    assert.deepEqual(
      [reason, message],
      ['MigrationSucceeded', 'The migration has succeeded and the stored versions have been updated'],
    );
    const without = await api.patch(
      customResourceDefinitions,
      { name: WIDGETS },
      { type: 'merge', patch: { spec: { versions: spec.versions.filter(({ name }) => name === 'v2') } } },
    );
    assert.equal(without.spec.versions.length, 1);
  });
}

it('keeps storedVersions when the definition changed during the migration', async (t) => {
  let changes = false;
  const store = memoryStore(),
    { world } = await start(t, {
      store: keptStore(store, async (key) => {
        if (!changes || !key.startsWith(WIDGETS_PREFIX)) return;
        changes = false;
        await storeIn('v1');
      }),
    });
  const { api } = world;
  const storeIn = async (name: string): Promise<void> => {
    const definition = await api.get(customResourceDefinitions, { name: WIDGETS });
    for (const version of definition.spec.versions) version.storage = version.name === name;
    await api.update(customResourceDefinitions, definition);
  };
  await defineWidgets(world, { strategy: 'None' });
  await api.create(widgets('v1'), {
    apiVersion: 'example.com/v1',
    kind: 'Widget',
    metadata: { name: 'w', namespace: 'default' },
  });
  await storeIn('v2');
  changes = true;
  await begin(world, 'widgets', { group: 'example.com', resource: 'widgets' });
  assert.deepEqual(conditionsOf(await ended(world, 'widgets')), SUCCEEDED);
  const { status } = await api.get(customResourceDefinitions, { name: WIDGETS });
  assert.equal(
    status!.conditions!.find(({ type }) => type === 'StorageMigrating')!.message,
    'The migration has succeeded but the stored versions have not been updated due to a generation mismatch',
  );
  assert.deepEqual(status!.storedVersions, ['v1', 'v2']);
});

// ----------------------------------------------------------------------------------------------------------- another key

const MANY = 1_100;
const key = (byte: number): object => ({
  name: `key${byte}`,
  secret: Buffer.alloc(32, byte).toString('base64'),
});

it('encrypts with the new key, across pages and a restart, and handles concurrent changes', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-migration-')),
    encryption = join(dir, 'encryption.yaml');
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const configure = (...bytes: number[]): void =>
    writeFileSync(
      encryption,
      JSON.stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'EncryptionConfiguration',
        resources: [{ resources: ['secrets'], providers: [{ aesgcm: { keys: bytes.map(key) } }] }],
      }),
    );
  const store = memoryStore(),
    prefix = '/registry/secrets/default/';
  const encryptedWith = async (byte: number): Promise<number> =>
    (await rawValues(store, prefix)).filter((text) => text.startsWith(`k8s:enc:aesgcm:v1:key${byte}:`))
      .length;
  const name = (i: number): string => `s${String(i).padStart(4, '0')}`;
  configure(1);
  const first = await start(t, { store: keptStore(store), encryption });
  await Promise.all(
    Array.from({ length: MANY }, (_, i) =>
      first.world.api.create(secrets, {
        metadata: { name: name(i), namespace: 'default' },
        stringData: { a: 'b' },
      }),
    ),
  );
  await first.stop();
  assert.equal(await encryptedWith(1), MANY);

  configure(2, 1);
  let rewritten = 0;
  // During the first page, two objects of later pages change; during the second, the disk fails, then the server stops.
  const WRITABLE = 700;
  const interrupted: Made = await start(t, {
    encryption,
    store: keptStore(store, async (at) => {
      if (!at.startsWith(prefix)) return;
      rewritten++;
      if (rewritten > WRITABLE) throw diskAway();
      if (rewritten !== 10) return;
      await interrupted.world.api.delete(secrets, { name: name(20), namespace: 'default' });
      await interrupted.world.api.patch(
        secrets,
        { name: name(21), namespace: 'default' },
        { type: 'merge', patch: { metadata: { labels: { changed: 'yes' } } } },
      );
    }),
  });
  await begin(interrupted.world, 'secrets', { group: '', resource: 'secrets' });
  await interrupted.world.until('it tries again', () => rewritten > WRITABLE + 3);
  assert.deepEqual(
    conditionsOf(await interrupted.world.api.get(storageVersionMigrations, { name: 'secrets' })),
    ['Running=True MigrationRunning: The migration is running'],
  );
  await interrupted.stop();
  assert.equal(await encryptedWith(2), WRITABLE);

  const last = await start(t, {
    store: keptStore(store, (at) => {
      if (at.startsWith(prefix)) rewritten++;
    }),
    encryption,
  });
  assert.deepEqual(conditionsOf(await ended(last.world, 'secrets')), SUCCEEDED);
  assert.equal(await encryptedWith(2), MANY - 1);
  assert.equal(
    (await last.world.api.get(secrets, { name: name(21), namespace: 'default' })).metadata?.labels?.[
      'changed'
    ],
    'yes',
  );
  await assert.rejects(last.world.api.get(secrets, { name: name(20), namespace: 'default' }), (error) =>
    isStatusError(error, 'NotFound'),
  );
  const before = rewritten;
  await begin(last.world, 'again', { group: '', resource: 'secrets' });
  assert.deepEqual(conditionsOf(await ended(last.world, 'again')), SUCCEEDED);
  assert.equal(rewritten, before, 'what is stored as it should be is not written');
});

// --------------------------------------------------------------------------------------------------------------- failures

it('reports why it failed; runs one migration of a resource at a time', async (t) => {
  const { world } = await start(t);
  await world.api.create(customResourceDefinitions, {
    metadata: { name: 'gadgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Cluster',
      names: { plural: 'gadgets', kind: 'Gadget' },
      versions: [
        { name: 'v1', served: false, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
      ],
    },
  } as CustomResourceDefinition);
  const cases: readonly (readonly [name: string, group: string, resource: string, message: string])[] = [
    [
      'no-verbs',
      '',
      'bindings',
      'resource "/v1, Resource=bindings" does not support discovery operations: [update patch list]',
    ],
    ['nothing', 'nowhere.example.com', 'things', 'resource does not exist in discovery'],
    ['not-served', 'example.com', 'gadgets', 'resource does not exist in discovery'],
  ];
  for (const [name, group, resource] of cases) await begin(world, name, { group, resource });
  await begin(world, 'not-served-2', { group: 'example.com', resource: 'gadgets' });
  await world.until(
    'the first runs',
    async () =>
      conditionsOf(await world.api.get(storageVersionMigrations, { name: 'not-served' })).length > 0,
  );
  assert.deepEqual(
    conditionsOf(await world.api.get(storageVersionMigrations, { name: 'not-served-2' })),
    [],
    'the second waits',
  );
  await world.pass(61_000);
  for (const [name, , , message] of cases)
    assert.deepEqual(
      conditionsOf(await ended(world, name)),
      [
        'Running=False MigrationCompleted: Migration completed',
        `Failed=True StorageVersionMigrationFailed: ${message}`,
      ],
      name,
    );
  await ended(world, 'not-served-2');
  const { status } = await world.api.get(customResourceDefinitions, { name: 'gadgets.example.com' });
  assert.equal(
    status?.conditions?.find(({ type }) => type === 'StorageMigrating')?.reason,
    'MigrationFailed',
  );
});
