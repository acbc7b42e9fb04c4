/**
 * Writes of objects: upstream's generic registry Store. Takes objects of the storage version through defaulting, admission, preparation and
 * validation to the store, with optimistic concurrency, finalizers and graceful deletion. Independent of HTTP.
 *
 *   create: metadata ─► defaults ─► managedFields ─► admit ─► begin hook ─► prepare, validate ─► validating admission ─► put
 *   update: change(current) ─► the same, with the stored object beside it; tried again after a conflict that is not the client's
 *   delete: preconditions ─► admission ─► plan (deletion.ts) ─► mark and / or remove
 */
import type { Clock } from '#stdx/clock.ts';
import { Turn } from '#stdx/turn.ts';
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import type { KubeObject, ObjectMeta } from '#machinery/object.ts';
import type { AdmissionChain } from '../admission/chain.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';
import { refuseUnreadable } from '../watchcache/unreadable.ts';
import { checkPreconditions, deletesDuringUpdate, planDeletion, type DeleteRequest } from './deletion.ts';
import type { Endpoint } from './endpoints.ts';
import {
  alreadyExists,
  isOutcomeUnknown,
  isStoreConflict,
  nameOf,
  resourceVersionOnCreate,
  uidOfAbsent,
  uidPrecondition,
} from './errors.ts';
import { ownChanged, ownNew, type Writer } from './field-manager.ts';
import type { Begun } from './hooks.ts';
import { beginMetadata, continueMetadata, generateName } from './metadata.ts';
import { ObjectWriter, removedObject, type ObjectWriterParts, type Written } from './object-writer.ts';
import { dropRepeatedOwners } from './owner-references.ts';
import { objectOf } from './transform.ts';
import { prepareAndValidate, validateMeta, validateNew } from './validation.ts';
import type { Change, StoredEndpoint, Target, WriteRequest } from './write-request.ts';

/** removed: the object is deleted; else it is marked and waits for finalizers or its grace period. */
interface Deleted {
  readonly object: KubeObject;
  readonly bytes: Buffer;
  readonly removed: boolean;
}

interface RegistryStoreParts extends ObjectWriterParts {
  readonly admission: AdmissionChain;
  readonly clock: Clock;
}

/** An update in progress: the stored object and the new one. */
interface Update {
  readonly request: WriteRequest;
  readonly change: Change;
  readonly entry: CacheEntry;
  readonly next: KubeObject;
  readonly previous: KubeObject;
}

/** A create in progress; prepared: a retry with another generated name does not prepare again. */
interface Create {
  readonly request: WriteRequest;
  readonly hadResourceVersion: boolean;
  prepared: boolean;
}

/** Attempts of an update or delete whose conflicts are not the client's. */
const MAX_ATTEMPTS = 30;
const MAX_NAME_ATTEMPTS = 8;

export class RegistryStore {
  readonly #admission: AdmissionChain;
  readonly #clock: Clock;
  readonly #writer: ObjectWriter;
  readonly #cache: WatchCache;

  constructor({ admission, clock, ...parts }: RegistryStoreParts) {
    this.#admission = admission;
    this.#clock = clock;
    this.#cache = parts.cache;
    this.#writer = new ObjectWriter(parts);
  }

  /** object: of the storage version; this function mutates it. applied: managedFields are complete. */
  async create(
    endpoint: StoredEndpoint,
    object: KubeObject,
    { request, applied = false }: { readonly request: WriteRequest; readonly applied?: boolean },
  ): Promise<Written> {
    const { resource } = endpoint;
    const turn = new Turn();
    const meta = (object.metadata ??= {});
    const hadResourceVersion = isGiven(meta.resourceVersion);
    const nowMs = this.#clock.now();
    beginMetadata(meta, { namespace: resource.namespaced ? request.target.namespace : undefined, nowMs });
    resource.applyDefaults(object);
    dropRepeatedOwners(meta, request.warn);
    if (turn.isLong) await turn.pause();
    const owning = applied ? undefined : ownNew(endpoint, object, this.#owner(request));
    if (owning) await owning;
    if (turn.isLong) await turn.pause();
    request.begin({ operation: 'CREATE', nowMs, object, oldObject: undefined, name: meta.name ?? '' });
    if (request.admitted && this.#admission.mayChange(request)) {
      const waiting = this.#admission.admit(request);
      if (waiting) await waiting;
      resource.applyDefaults(object);
      dropRepeatedOwners(object.metadata, request.warn, { afterAdmission: true });
      if (turn.isLong) await turn.pause();
    }
    const generates = !meta.name && !!meta.generateName;
    // Retries use copies that share nothing.
    if (generates && meta.labels) meta.labels = { ...meta.labels };
    const create: Create = { request, hadResourceVersion, prepared: false };
    for (let attempt = 1; ; attempt++) {
      if (generates) meta.name = generateName(meta.generateName!);
      try {
        return await inTransaction(endpoint.hooks?.beginCreate?.(object, request), () =>
          this.#storeNew(endpoint, object, create),
        );
      } catch (error) {
        if (!isStoreConflict(error)) throw error;
        if (!generates || attempt >= MAX_NAME_ATTEMPTS) throw alreadyExists(endpoint, meta);
      }
    }
  }

  async #storeNew(endpoint: StoredEndpoint, object: KubeObject, create: Create): Promise<Written> {
    const { request } = create;
    const meta = object.metadata!;
    const turn = new Turn();
    this.#prepareNew(endpoint, object, create);
    if (turn.isLong) await turn.pause();
    if (request.admitted) {
      const waiting = this.#admission.validate(request);
      if (waiting) await waiting;
    }
    if (turn.isLong) await turn.pause();
    if (create.hadResourceVersion && !request.dryRun) throw resourceVersionOnCreate();
    // Some kinds are given their name only while they are prepared.
    const key = endpoint.cache.key({ namespace: meta.namespace ?? '', name: meta.name ?? '' });
    request.isDecided = true;
    try {
      return await this.#writer.put(endpoint, object, {
        key,
        expected: 0,
        dryRun: request.dryRun,
        by: request,
        created: true,
      });
    } catch (error) {
      // Quota stays charged where the object may have been stored.
      if (request.admitted && !this.#mayBeStored(error)) await this.#admission.undo(request);
      throw error;
    }
  }

  #prepareNew(endpoint: StoredEndpoint, object: KubeObject, create: Create): void {
    const { request } = create;
    const { resource } = endpoint;
    const isFirst = !create.prepared;
    create.prepared = true;
    if (isFirst) resource.prepareForCreate(object, request);
    const errors = isFirst ? validateNew(endpoint, object, request) : validateMeta(endpoint, object);
    if (errors.length > 0)
      throw statusErrors.invalid({ ...endpoint.storageGvk, name: object.metadata?.name ?? '' }, errors);
    if (isFirst) for (const warning of resource.warnings(object, undefined)) request.warn(warning);
  }

  async update(endpoint: StoredEndpoint, change: Change, request: WriteRequest): Promise<Written> {
    const { cache } = endpoint;
    const { target } = request;
    const key = cache.key(target);
    for (let attempt = 1; ; attempt++) {
      const entry = cache.entries.get(key) ?? (await this.#late(endpoint, key));
      if (!entry) {
        refuseUnreadable(cache, key);
        if (!change.mayCreate) throw statusErrors.notFound(nameOf(endpoint, target.name));
        return this.#createByUpdate(endpoint, change, request);
      }
      try {
        return await this.#updateOnce(endpoint, change, { entry, request });
      } catch (error) {
        if (!isStoreConflict(error)) throw error;
        if (error.current === undefined && !change.mayCreate)
          throw statusErrors.notFound(nameOf(endpoint, target.name));
        if (attempt >= MAX_ATTEMPTS) throw statusErrors.conflict(nameOf(endpoint, target.name));
        await this.#cache.caughtUp();
      }
    }
  }

  /** What another server may have created. */
  async #late({ cache }: StoredEndpoint, key: string): Promise<CacheEntry | undefined> {
    if (!this.#cache.isShared) return undefined;
    await this.#cache.caughtUp();
    return cache.entries.get(key);
  }

  async #createByUpdate(endpoint: StoredEndpoint, change: Change, request: WriteRequest): Promise<Written> {
    const { target } = request;
    const object = await change.change(undefined);
    const wanted = object.metadata?.uid;
    if (wanted) throw uidOfAbsent(endpoint, { target, wanted, patches: change.patches ?? false });
    // A resourceVersion is no precondition of an object that is absent.
    delete object.metadata?.resourceVersion;
    return this.create(endpoint, object, {
      request: request.with({ subresource: '' }),
      applied: change.applied ?? false,
    });
  }

  async #updateOnce(
    endpoint: StoredEndpoint,
    change: Change,
    { entry, request }: { readonly entry: CacheEntry; readonly request: WriteRequest },
  ): Promise<Written> {
    const { resource } = endpoint;
    const { target } = request;
    const turn = new Turn();
    const converting = endpoint.codec?.ready([entry]);
    if (converting) await converting;
    const previous = objectOf(endpoint, entry);
    const changed = change.change(previous);
    const next = changed instanceof Promise ? await changed : changed;
    if (turn.isLong) await turn.pause();
    const meta = (next.metadata ??= {});
    requireVersion(endpoint, { meta, previous: previous.metadata, target, change });
    continueMetadata(meta, {
      previous: previous.metadata,
      name: target.name,
      namespace: resource.namespaced ? target.namespace : undefined,
    });
    resource.applyDefaults(next);
    dropRepeatedOwners(meta, request.warn);
    const owning = change.applied
      ? undefined
      : ownChanged(endpoint, { next, previous }, this.#owner(request));
    if (owning) await owning;
    if (turn.isLong) await turn.pause();
    const update: Update = { request, change, entry, next, previous };
    const admitting = this.#admitUpdate(endpoint, update);
    if (admitting) await admitting;
    if (turn.isLong) await turn.pause();
    // A subresource reserves nothing.
    const transaction =
      request.subresource === ''
        ? endpoint.hooks?.beginUpdate?.({ next, previous, dryRun: request.dryRun })
        : undefined;
    return inTransaction(transaction, () => this.#storeNext(endpoint, update));
  }

  /** Undefined when nothing has to be waited for. */
  #admitUpdate(
    { resource }: StoredEndpoint,
    { request, change: { face }, next, previous }: Update,
  ): Promise<void> | undefined {
    request.begin({
      operation: 'UPDATE',
      nowMs: this.#clock.now(),
      object: face ? face.show(next) : next,
      oldObject: face ? face.show(previous) : previous,
      gvk: face?.gvk,
    });
    if (!request.admitted) return undefined;
    const admitted = (): void => {
      face?.take(next, request.object!);
      resource.applyDefaults(next);
    };
    const waiting = this.#admission.admit(request);
    if (waiting) return waiting.then(admitted);
    admitted();
    return undefined;
  }

  async #storeNext(endpoint: StoredEndpoint, update: Update): Promise<Written> {
    const { request, change, next, previous } = update;
    const turn = new Turn();
    const errors = prepareAndValidate(endpoint, { next, previous, hooks: request, change });
    if (errors.length > 0)
      throw statusErrors.invalid({ ...endpoint.storageGvk, name: request.target.name }, errors);
    if (request.subresource !== 'status')
      for (const warning of endpoint.resource.warnings(next, previous)) request.warn(warning);
    if (turn.isLong) await turn.pause();
    if (request.admitted) {
      const waiting = this.#admission.validate(request);
      if (waiting) await waiting;
    }
    if (turn.isLong) await turn.pause();
    try {
      return await this.#putOrRemove(endpoint, update);
    } catch (error) {
      // Quota stays charged where the object may have been stored.
      if (request.admitted && !this.#mayBeStored(error)) await this.#admission.undo(request);
      throw error;
    }
  }

  async #putOrRemove(
    endpoint: StoredEndpoint,
    { request, change, entry, next, previous }: Update,
  ): Promise<Written> {
    const { dryRun } = request;
    const at = { key: entry.key, expected: entry.revision, dryRun, by: request };
    if (!deletesDuringUpdate(endpoint, { next, previous }))
      return this.#writer.put(endpoint, next, {
        ...at,
        created: false,
        entry,
        ignoresTimes: change.ignoresTimes ?? false,
      });
    const removed = await this.#writer.removeWithUpdate(endpoint, next, at);
    if (!dryRun) await endpoint.hooks?.afterDelete?.(next);
    return removed;
  }

  async delete(endpoint: StoredEndpoint, deletion: DeleteRequest, request: WriteRequest): Promise<Deleted> {
    const { target } = request;
    const key = endpoint.cache.key(target);
    for (let attempt = 1; ; attempt++) {
      const entry = endpoint.cache.entries.get(key) ?? (await this.#late(endpoint, key));
      if (!entry) refuseUnreadable(endpoint.cache, key);
      if (!entry) throw statusErrors.notFound(nameOf(endpoint, target.name));
      try {
        return await this.#deleteOnce(endpoint, deletion, { entry, request });
      } catch (error) {
        if (!isStoreConflict(error)) throw error;
        if (attempt >= MAX_ATTEMPTS) throw statusErrors.conflict(nameOf(endpoint, target.name));
        await this.#cache.caughtUp();
      }
    }
  }

  async #deleteOnce(
    endpoint: StoredEndpoint,
    deletion: DeleteRequest,
    { entry, request }: { readonly entry: CacheEntry; readonly request: WriteRequest },
  ): Promise<Deleted> {
    const converting = endpoint.codec?.ready([entry]);
    if (converting) await converting;
    const previous = objectOf(endpoint, entry);
    checkPreconditions(endpoint, { meta: previous.metadata, request: deletion });
    const nowMs = this.#clock.now();
    request.begin({ operation: 'DELETE', nowMs, object: undefined, oldObject: previous });
    if (request.admitted) {
      await this.#admission.admit(request);
      await this.#admission.validate(request);
    }
    const { dryRun } = request;
    const { key, revision: expected } = entry;
    const plan = planDeletion(endpoint, { previous, request: deletion, nowMs: this.#clock.now() });
    if (plan.kind === 'nothing') return { object: previous, bytes: entry.bytes, removed: false };
    if (plan.kind === 'remove') {
      const revision = await this.#writer.remove(endpoint, previous, { key, expected, dryRun, by: request });
      if (!dryRun) await endpoint.hooks?.afterDelete?.(previous);
      return { ...removedObject(previous, revision), removed: true };
    }
    const put = { key, expected, dryRun, by: request, created: false, entry };
    const marked = await this.#writer.put(endpoint, plan.next, put);
    if (plan.kind === 'mark') return { object: marked.object, bytes: marked.bytes, removed: false };
    const removed = await this.#writer.removeMarked(endpoint, marked.object, {
      key,
      expected: dryRun ? expected : Number(marked.object.metadata!.resourceVersion),
      dryRun,
      by: request,
    });
    return { ...removed, removed: true };
  }

  /** The embedded store knows the outcome of its writes. */
  #mayBeStored(error: unknown): boolean {
    return this.#cache.isShared && isOutcomeUnknown(error);
  }

  #owner({ manager, subresource }: WriteRequest): Writer {
    return { manager, subresource, nowMs: this.#clock.now() };
  }
}

/** Commits the transaction's reservations when the work succeeds, else releases them. */
async function inTransaction<T>(begun: Begun, work: () => Promise<T>): Promise<T> {
  const transaction = begun instanceof Promise ? await begun : begun;
  if (!transaction) return work();
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await transaction.release(error);
    throw error;
  }
  const committing = transaction.commit();
  if (committing) await committing;
  return result;
}

function isGiven(resourceVersion: string | undefined): resourceVersion is string {
  return resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== '0';
}

interface VersionCheck {
  readonly meta: ObjectMeta;
  readonly previous: ObjectMeta;
  readonly target: Target;
  readonly change: Change;
}

/** The uid and resourceVersion of the new object as preconditions on the stored one. */
function requireVersion(endpoint: StoredEndpoint, { meta, previous, target, change }: VersionCheck): void {
  const uid = previous.uid ?? '';
  if (meta.uid && meta.uid !== uid && !change.patches)
    throw uidPrecondition(endpoint, { target, wanted: meta.uid, found: uid });
  if (!isGiven(meta.resourceVersion)) {
    if (change.mustHaveResourceVersion) requireUnconditional(endpoint, target);
    return;
  }
  if (meta.resourceVersion === previous.resourceVersion) return;
  if (!/^[0-9]+$/.test(meta.resourceVersion))
    throw statusErrors.badRequest(
      `strconv.ParseUint: parsing ${JSON.stringify(meta.resourceVersion)}: invalid syntax`,
    );
  throw statusErrors.conflict(nameOf(endpoint, target.name));
}

/** Upstream's store reports this, which knows no kinds: the resource stands in place of the kind. */
function requireUnconditional({ resource, gvr }: Endpoint, { name }: Target): void {
  if (resource.behaviour.allowUnconditionalUpdate ?? true) return;
  throw statusErrors.invalid({ group: gvr.group, kind: gvr.resource, name }, [
    fieldErrors.invalid('metadata.resourceVersion', 0, 'must be specified for an update'),
  ]);
}
