/**
 * The drill: proves that a backup can be restored. It is decrypted, every object is decoded and checked against its key, an API server without a listener is
 * started over the objects in memory, and what that serves is compared. Nothing is reached over the network: no webhooks are called (nothing that they admit is
 * written), extension API servers are left out.
 *
 *   decrypt ─► decode and check each object ─► store in memory, read again, digests compared ─► API server ─► counts, a sample, a watcher that has to list again
 */
import { DigestBuilder, differences, resourceName } from '#backup/digests.ts';
import { BackupError } from '#backup/errors.ts';
import type { BackupRecord, Manifest } from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import type { DrillResult } from '#backup/stored-backups.ts';
import { takeSnapshot } from '#backup/snapshot.ts';
import type { BackupTarget, BeforeStep } from '#backup/targets/target.ts';
import { allowAll } from '#apiserver/authz/authorizer.ts';
import { createApiServer } from '#apiserver/server.ts';
import { configMaps } from '#api/refs.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { storedResource } from '#resources/stored-resource.ts';
import { isoTime } from '#stdx/dates.ts';
import { errorMessage } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { decode } from './codec.ts';
import { ObjectValidation } from './validate-objects.ts';
import { identities } from '../all-in-one/identities.ts';

export interface DrillOptions {
  readonly target: BackupTarget;
  readonly name: string;
  readonly identities: readonly string[];
  readonly before?: BeforeStep | undefined;
}

/** What is put into the API server; of everything else only bytes pass by, so that memory is bounded whatever the backup has. */
const SERVED_BYTES_OF_RESOURCE = 4 * 1024 * 1024;
const SERVED_BYTES = 64 * 1024 * 1024;
/** Of each resource, read through the API. */
const SAMPLE = 3;
const WATCH_TIMEOUT_MS = 30_000;
const STEP = 1_000;

interface State {
  objects: number;
  served: number;
  readonly validation: ObjectValidation;
}

/** Never rejects: what goes wrong is the result. */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const startedMs = performance.now();
  const state: State = { objects: 0, served: 0, validation: new ObjectValidation(Date.now()) };
  const result = (rest: { readonly passed: boolean; readonly problem?: string }): DrillResult => ({
    time: isoTime(Date.now()),
    seconds: (performance.now() - startedMs) / 1000,
    objects: state.objects,
    served: state.served,
    invalid: state.validation.invalid,
    invalidObjects: state.validation.named,
    ...rest,
  });
  try {
    await drill(options, state);
    return result({ passed: true });
  } catch (error) {
    return result({ passed: false, problem: errorMessage(error) });
  }
}

async function drill(options: DrillOptions, state: State): Promise<void> {
  const { before = () => {} } = options;
  before('drill-decode');
  const loaded = await load(options, state);
  try {
    before('drill-read');
    await requireReadBack(loaded);
    before('drill-serve');
    await serve(loaded);
  } finally {
    await loaded.store.close();
  }
}

interface Loaded {
  readonly store: Store;
  readonly manifest: Manifest;
  /** Of what is in the store, as the server's JSON. */
  readonly digests: DigestBuilder;
  readonly counts: ReadonlyMap<string, number>;
  readonly sample: readonly BackupRecord[];
}

async function load(options: DrillOptions, state: State): Promise<Loaded> {
  let store: Store | undefined;
  const digests = new DigestBuilder();
  const counts = new Map<string, number>();
  const sample: BackupRecord[] = [];
  const room = new Room();
  const manifest = await openBackup({
    ...options,
    decode,
    onHeader: ({ revision }) =>
      void (store = createMemoryStore({ startRevision: revision + STEP, autoCompact: false })),
    async onObject(record) {
      state.objects++;
      const object = checked(record);
      state.validation.check(record.key, object);
      const name = resourceName(record.key);
      if (isExtension(object) || !room.take(name, record.value.length)) return;
      state.served++;
      digests.add(record);
      const count = (counts.get(name) ?? 0) + 1;
      counts.set(name, count);
      if (count <= SAMPLE && storedResource(record.key).builtin) sample.push(record);
      await store!.put(record.key, record.value);
    },
  });
  return { store: store!, manifest, digests, counts, sample };
}

/** How much of each resource, and of all, is served. */
class Room {
  readonly #bytes = new Map<string, number>();
  #all = 0;

  /** Once a resource has no room, none of its objects has: they are the first of its keys. */
  take(resource: string, bytes: number): boolean {
    const before = this.#bytes.get(resource) ?? 0;
    this.#bytes.set(resource, before + bytes);
    if (before + bytes > SERVED_BYTES_OF_RESOURCE || this.#all + bytes > SERVED_BYTES) return false;
    this.#all += bytes;
    return true;
  }
}

/** Throws where it is not the object of its key. */
function checked({ key, value }: BackupRecord): KubeObject {
  const { builtin, prefix } = storedResource(key);
  const object = JSON.parse(value.toString()) as KubeObject;
  if (!builtin) return object;
  const { name, namespace } = object.metadata ?? {};
  const expected = prefix + (namespace === undefined ? '' : `${namespace}/`) + (name ?? '');
  if (object.kind !== builtin.kind || (key !== expected && builtin.kind !== 'Event' && !isRenamed(key, name)))
    throw new BackupError('damaged', `${key} holds ${object.kind} ${namespace ?? ''}/${name}`);
  return object;
}

/** Keys of a few resources have more parts than namespace and name. */
function isRenamed(key: string, name: string | undefined): boolean {
  return name !== undefined && key.endsWith(`/${name}`);
}

/** An API server of others, which the drill may not ask. */
function isExtension({ kind, ...object }: KubeObject): boolean {
  const { service } = (object['spec'] ?? {}) as { service?: unknown };
  return kind === 'APIService' && service !== undefined && service !== null;
}

async function requireReadBack({ store, digests }: Loaded): Promise<void> {
  const found = new DigestBuilder();
  const { records } = await takeSnapshot(store);
  for await (const batch of records) for (const record of batch) found.add(record);
  const [different] = differences(digests.finish(), found.finish());
  if (different !== undefined) throw new BackupError('mismatch', `read back from the store, ${different}`);
}

async function serve(loaded: Loaded): Promise<void> {
  const server = await createApiServer({
    store: loaded.store,
    authentication: () => ({ authenticator: { authenticate: () => ({ user: identities.up }) } }),
    authorization: () => allowAll,
    bootstrapObjects: false,
    isEnabled: () => true,
  });
  const client = createClient(createDirectTransport(server.handler, { user: identities.up }), {
    userAgent: 'capstan-drill',
  });
  try {
    await server.ready();
    await requireCounts(client, loaded);
    await requireSample(client, loaded);
    await requireRelist(client, loaded.manifest);
  } finally {
    await client.close();
    await server.stop();
  }
}

async function requireCounts(client: Client, { counts, sample }: Loaded): Promise<void> {
  for (const key of new Map(sample.map((one) => [resourceName(one.key), one.key])).values()) {
    const { metadata, items } = await client.list(refOf(key), { limit: 1 });
    const served = items.length + (metadata?.remainingItemCount ?? 0);
    const stored = counts.get(resourceName(key)) ?? 0;
    if (served !== stored)
      throw new BackupError('mismatch', `the API server serves ${served} ${resourceName(key)} of ${stored}`);
  }
}

async function requireSample(client: Client, { sample }: Loaded): Promise<void> {
  for (const { key, value } of sample) {
    const { metadata = {} } = JSON.parse(value.toString()) as KubeObject;
    const ref = refOf(key);
    const found = await client.get(ref, {
      name: metadata.name ?? '',
      namespace: ref.namespaced ? metadata.namespace : undefined,
    });
    if (found.metadata.uid !== metadata.uid)
      throw new BackupError('mismatch', `the API server serves another object than ${key}`);
  }
}

function refOf(key: string): ResourceRef {
  const resource = storedResource(key).builtin!;
  const { group, version } = parseApiVersion(resource.storageApiVersion);
  return { group, version, plural: resource.plural, kind: resource.kind, namespaced: resource.namespaced };
}

/** A client of the backup's time is refused its watch, lists, and sees what is written then. */
async function requireRelist(client: Client, { revision }: Manifest): Promise<void> {
  const signal = AbortSignal.timeout(WATCH_TIMEOUT_MS);
  const isExpired = await watchOnce(client, { resourceVersion: String(revision), signal }).then(
    () => false,
    (error: unknown) => isStatusError(error) && error.status.code === 410,
  );
  if (!isExpired) throw new BackupError('mismatch', 'a watch from before the backup was not refused');
  const { metadata } = await client.list(configMaps);
  const watching = watchOnce(client, { resourceVersion: metadata?.resourceVersion ?? '', signal });
  await client.create(configMaps, { metadata: { name: 'capstan-drill', namespace: 'kube-system' } });
  if ((await watching) !== 'capstan-drill')
    throw new BackupError('mismatch', 'a watch did not see what was written after the restore');
}

async function watchOnce(
  client: Client,
  options: { readonly resourceVersion: string; readonly signal: AbortSignal },
): Promise<string | undefined> {
  for await (const { object } of client.watch(configMaps, options)) return object.metadata?.name;
  return undefined;
}
