/**
 * Writing objects: what upstream's generic registry Store does. Takes objects of the storage version through defaulting, admission,
 * preparation and validation to the store, with optimistic concurrency, finalizers and graceful deletion. No HTTP in here.
 */
import { performance } from 'node:perf_hooks';
import { randomUUID } from 'node:crypto';
import { randomSuffix } from '#stdx/random.ts';
import { StatusError, statusErrors, type FieldError, fieldErrors } from '#machinery/errors.ts';
import { deepClone, jsonEqual } from '#machinery/json.ts';
import { sameButForTimes } from '#machinery/apply/managed-fields.ts';
import {
  validateObjectMeta,
  validateObjectMetaUpdate,
  validateStandardFinalizers,
} from '#machinery/metadata-validation.ts';
import type { GroupVersionKind, KubeObject, ObjectMeta, UserInfo } from '#machinery/object.ts';
import { serializeObject, withResourceVersion } from '#machinery/serialize.ts';
import type { HookContext } from '#resources/define.ts';
import { StoreError } from '#storage/store.ts';
import type { AdmissionAttributes, AdmissionOperation, Annotate } from '../admission/plugin.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import { refuseUnreadable } from '../watchcache/unreadable.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { Endpoint, VersionCodec } from './endpoints.ts';
import type { ServerCore } from '../context.ts';
import { dropRepeatedOwners } from './owner-references.ts';
import { ownChanged, ownNew, type Writer } from './field-manager.ts';
import { objectOf } from './transform.ts';

export type StoredEndpoint = Endpoint & { readonly cache: ResourceCache };

export interface WriteContext {
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** False for the server's own writes: no admission. */
  readonly admission: boolean;
  /** '' when none. */
  readonly subresource: string;
  /** Who is written down as the owner of changed fields. Default 'unknown'. */
  readonly manager?: string;
  /** The verb's options as JSON, for admission. */
  readonly options: Readonly<Record<string, unknown>>;
  warn(message: string): void;
  /** See AdmissionAttributes. */
  readonly annotate?: Annotate | undefined;
  readonly timeoutMs?: number | undefined;
  readonly onAbort?: AdmissionAttributes['onAbort'];
}

export interface Target {
  readonly namespace: string;
  readonly name: string;
}

/** What a write left: bytes of the storage version with resourceVersion. The object is shared: never change it. */
export interface Written {
  readonly object: KubeObject;
  readonly bytes: Buffer;
  readonly created: boolean;
}

export interface UpdateRequest {
  /**
   * Makes the new object of the current one (undefined when absent and creating is allowed). Called again after a conflict;
   * must answer a fresh object each time and leave the current one alone.
   */
  change(current: KubeObject | undefined): KubeObject | Promise<KubeObject>;
  /** In place of the resource's preparation and validation: for subresources that change one part. */
  readonly prepare?: (next: KubeObject, previous: KubeObject, context: HookContext) => void;
  /** What admission sees in place of the whole object, and may change: a Scale. */
  readonly face?: Face;
  /** false: what changes cannot make the object invalid. Metadata is checked all the same. */
  readonly validate?: false;
  readonly mayCreate?: boolean;
  /** Whose conflicts are the client's: with a resourceVersion in the new object. Else the change is tried again. */
  readonly mustHaveResourceVersion?: boolean;
  /** The object is what became of the stored one: its uid is validated rather than a precondition. */
  readonly patches?: true;
  /** A change of nothing but the times of owners is none: what was written back as it was read is not written. */
  readonly ignoresTimes?: true;
  /** managedFields are left as change() made them: by a server-side apply, or by what upstream keeps no account of (binding). */
  readonly applied?: boolean;
}

/** Another kind that shows a part of an object. */
export interface Face {
  readonly gvk: GroupVersionKind;
  /** A new object. */
  show(object: KubeObject): KubeObject;
  /** Puts what the face says into the object. */
  take(object: KubeObject, face: KubeObject): void;
}

/** progress: what is done once, whatever the number of attempts. */
interface CreateAttempt {
  readonly attributes: AdmissionAttributes;
  readonly context: WriteContext;
  readonly progress: { prepared: boolean; readonly hasVersion: boolean };
}
interface RemoveOptions {
  readonly key: string;
  readonly expected: number;
  readonly dryRun: boolean;
}
interface PutOptions {
  readonly key: string;
  readonly expected: number;
  readonly dryRun: boolean;
  readonly created: boolean;
  readonly entry?: CacheEntry;
  readonly ignoresTimes?: boolean;
}

/** Attempts of an update whose conflicts are not the client's business. */
const MAX_ATTEMPTS = 30;
const MAX_NAME_ATTEMPTS = 8;

export class Objects {
  readonly #core: ServerCore;
  /** For hooks. */
  readonly #find: HookContext['find'];

  constructor(core: ServerCore) {
    this.#core = core;
    this.#find = (resource, name) => core.internal.get(resource, name);
  }

  /** object: of the storage version; it becomes this function's. */
  async create(
    endpoint: StoredEndpoint,
    object: KubeObject,
    {
      target,
      context,
      applied = false,
    }: { readonly target: Target; readonly context: WriteContext; readonly applied?: boolean },
  ): Promise<Written> {
    const { resource } = endpoint;
    const meta = (object.metadata ??= {});
    const hasVersion =
      meta.resourceVersion !== undefined && meta.resourceVersion !== '' && meta.resourceVersion !== '0';
    beginMetadata(meta, { endpoint, target, nowMs: this.#core.clock.now() });
    resource.applyDefaults(object);
    dropRepeatedOwners(meta, context.warn);
    const owning = applied ? undefined : ownNew(endpoint, object, this.#writer(context));
    if (owning) await owning;
    const attributes = this.#attributes({
      operation: 'CREATE',
      endpoint,
      target: { namespace: target.namespace, name: meta.name ?? '' },
      context,
      object,
      oldObject: undefined,
    });
    if (context.admission && this.#core.admission.mayChange(attributes)) {
      const waiting = this.#core.admission.admit(attributes);
      if (waiting) await waiting;
      resource.applyDefaults(object);
      dropRepeatedOwners(object.metadata!, context.warn, { afterAdmission: true });
    }
    const generates = !meta.name && !!meta.generateName;
    // What is tried again is made of copies: what two parts shared until then they do not share any more.
    if (generates && meta.labels) meta.labels = { ...meta.labels };
    const progress = { prepared: false, hasVersion };
    for (let attempt = 1; ; attempt++) {
      if (generates) meta.name = generateName(meta.generateName!);
      try {
        return await this.#createOnce(endpoint, object, { attributes, context, progress });
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (!generates || attempt >= MAX_NAME_ATTEMPTS) throw alreadyExists(endpoint, meta);
      }
    }
  }

  async #createOnce(
    endpoint: StoredEndpoint,
    object: KubeObject,
    { attributes, context, progress }: CreateAttempt,
  ): Promise<Written> {
    const allocation = this.#core.services.forCreate(endpoint, object, { dryRun: context.dryRun });
    try {
      const written = await this.#storeNew(endpoint, object, { attributes, context, progress });
      allocation?.commit();
      return written;
    } catch (error) {
      allocation?.release();
      throw error;
    }
  }

  async #storeNew(
    endpoint: StoredEndpoint,
    object: KubeObject,
    { attributes, context, progress }: CreateAttempt,
  ): Promise<Written> {
    const { resource } = endpoint,
      meta = object.metadata!;
    const hooks = this.#hooks(context);
    if (!progress.prepared) {
      progress.prepared = true;
      resource.prepareForCreate(object, hooks);
      const errors = validateNew(endpoint, object, hooks);
      if (errors.length > 0)
        throw statusErrors.invalid({ ...endpoint.storageGvk, name: meta.name ?? '' }, errors);
      for (const warning of resource.warnings(object, undefined)) context.warn(warning);
    } else {
      const errors = validateMeta(endpoint, object);
      if (errors.length > 0)
        throw statusErrors.invalid({ ...endpoint.storageGvk, name: meta.name ?? '' }, errors);
    }
    if (context.admission) {
      const waiting = this.#core.admission.validate(attributes);
      if (waiting) await waiting;
    }
    if (progress.hasVersion && !context.dryRun) throw hasVersionAlready();
    // Some kinds are given their name only now.
    const key = endpoint.cache.key({ namespace: meta.namespace ?? '', name: meta.name ?? '' });
    try {
      return await this.#put(endpoint, object, { key, expected: 0, dryRun: context.dryRun, created: true });
    } catch (error) {
      if (context.admission) await this.#core.admission.undo(attributes);
      throw error;
    }
  }

  async update(
    endpoint: StoredEndpoint,
    request: UpdateRequest,
    { target, context }: { readonly target: Target; readonly context: WriteContext },
  ): Promise<Written> {
    const { cache } = endpoint;
    const key = cache.key(target);
    for (let attempt = 1; ; attempt++) {
      const entry = cache.entries.get(key);
      if (!entry) {
        refuseUnreadable(cache, key);
        if (!request.mayCreate) throw statusErrors.notFound(nameOf(endpoint, target.name));
        const object = await request.change(undefined);
        if (object.metadata?.uid)
          throw uidOfNone(endpoint, {
            target,
            wanted: object.metadata.uid,
            patches: request.patches ?? false,
          });
        // Which version it should be of is not asked where there is none.
        delete object.metadata?.resourceVersion;
        return this.create(endpoint, object, {
          target,
          context: { ...context, subresource: '' },
          applied: request.applied ?? false,
        });
      }
      try {
        return await this.#updateOnce(endpoint, request, { entry, target, context });
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (error.current === undefined && !request.mayCreate)
          throw statusErrors.notFound(nameOf(endpoint, target.name));
        if (attempt >= MAX_ATTEMPTS) throw statusErrors.conflict(nameOf(endpoint, target.name));
      }
    }
  }

  async #updateOnce(
    endpoint: StoredEndpoint,
    request: UpdateRequest,
    {
      entry,
      target,
      context,
    }: { readonly entry: CacheEntry; readonly target: Target; readonly context: WriteContext },
  ): Promise<Written> {
    const { resource } = endpoint;
    const converting = endpoint.codec?.ready([entry]);
    if (converting) await converting;
    const previous = objectOf(endpoint, entry);
    const changed = request.change(previous);
    const next = changed instanceof Promise ? await changed : changed;
    const meta = (next.metadata ??= {});
    this.#checkVersion(endpoint, {
      meta,
      previous,
      target,
      mustHave: request.mustHaveResourceVersion ?? false,
      patches: request.patches ?? false,
    });
    continueMetadata(meta, { previous: previous.metadata!, target, namespaced: resource.namespaced });
    resource.applyDefaults(next);
    dropRepeatedOwners(meta, context.warn);
    const owning = request.applied
      ? undefined
      : ownChanged(endpoint, { next, previous }, this.#writer(context));
    if (owning) await owning;
    const { face } = request;
    const attributes = this.#attributes({
      operation: 'UPDATE',
      endpoint,
      target,
      context,
      object: face ? face.show(next) : next,
      oldObject: face ? face.show(previous) : previous,
      ...(face ? { gvk: face.gvk } : {}),
    });
    if (context.admission) {
      const waiting = this.#core.admission.admit(attributes);
      if (waiting) await waiting;
      face?.take(next, attributes.object!);
      resource.applyDefaults(next);
    }
    // Of a subresource nothing is allocated.
    const allocation =
      context.subresource === ''
        ? this.#core.services.forUpdate(endpoint, { next, previous, dryRun: context.dryRun })
        : undefined;
    try {
      const written = await this.#storeNext(endpoint, request, {
        next,
        previous,
        entry,
        target,
        context,
        attributes,
      });
      allocation?.commit();
      return written;
    } catch (error) {
      allocation?.release();
      throw error;
    }
  }

  async #storeNext(
    endpoint: StoredEndpoint,
    request: UpdateRequest,
    {
      next,
      previous,
      entry,
      target,
      context,
      attributes,
    }: {
      readonly next: KubeObject;
      readonly previous: KubeObject;
      readonly entry: CacheEntry;
      readonly target: Target;
      readonly context: WriteContext;
      readonly attributes: AdmissionAttributes;
    },
  ): Promise<Written> {
    const { resource } = endpoint;
    const hooks = this.#hooks(context);
    const errors = prepareAndValidate(endpoint, { next, previous, hooks, request });
    if (errors.length > 0) throw statusErrors.invalid({ ...endpoint.storageGvk, name: target.name }, errors);
    if (context.subresource !== 'status')
      for (const warning of resource.warnings(next, previous)) context.warn(warning);
    if (context.admission) {
      const waiting = this.#core.admission.validate(attributes);
      if (waiting) await waiting;
    }
    try {
      const goes = deletesDuringUpdate(next, previous);
      const written = goes
        ? await this.#removeWithUpdate(endpoint, next, {
            key: entry.key,
            expected: entry.revision,
            dryRun: context.dryRun,
          })
        : await this.#put(endpoint, next, {
            key: entry.key,
            expected: entry.revision,
            dryRun: context.dryRun,
            created: false,
            entry,
            ignoresTimes: request.ignoresTimes ?? false,
          });
      if (goes) this.#core.services.released(endpoint, next, { dryRun: context.dryRun });
      return written;
    } catch (error) {
      if (context.admission) await this.#core.admission.undo(attributes);
      throw error;
    }
  }

  #writer({ manager = 'unknown', subresource }: WriteContext): Writer {
    return { manager, subresource, nowMs: this.#core.clock.now() };
  }

  #checkVersion(
    endpoint: StoredEndpoint,
    {
      meta,
      previous,
      target,
      mustHave,
      patches,
    }: {
      readonly meta: ObjectMeta;
      readonly previous: KubeObject;
      readonly target: Target;
      readonly mustHave: boolean;
      readonly patches: boolean;
    },
  ): void {
    const uid = previous.metadata!.uid ?? '';
    if (meta.uid && meta.uid !== uid && !patches)
      throw uidPrecondition(endpoint, { target, wanted: meta.uid, found: uid });
    const wanted = meta.resourceVersion;
    if (wanted === undefined || wanted === '' || wanted === '0') {
      const unconditional = endpoint.resource.behaviour.allowUnconditionalUpdate ?? true;
      if (mustHave && !unconditional) {
        // The store says so, which knows no kinds.
        throw statusErrors.invalid(
          { group: endpoint.gvr.group, kind: endpoint.gvr.resource, name: target.name },
          [fieldErrors.invalid('metadata.resourceVersion', 0, 'must be specified for an update')],
        );
      }
    } else if (wanted !== previous.metadata!.resourceVersion) {
      if (!/^[0-9]+$/.test(wanted))
        throw statusErrors.badRequest(`strconv.ParseUint: parsing ${JSON.stringify(wanted)}: invalid syntax`);
      throw statusErrors.conflict(nameOf(endpoint, target.name));
    }
  }

  /** Writes the object, which is not changed any more after this, unless it is stored just so already. */
  async #put(endpoint: StoredEndpoint, object: KubeObject, options: PutOptions): Promise<Written> {
    const { store, cache } = this.#core;
    const { key, expected, dryRun, created, entry } = options;
    if (endpoint.codec) return this.#putConverted(endpoint, object, { ...options, codec: endpoint.codec });
    delete object.metadata!.resourceVersion;
    const value = serializeObject(object);
    if (entry) {
      const unchanged = withResourceVersion(value, String(entry.revision));
      if (unchanged.equals(entry.bytes) && (dryRun || !(await this.#isStale(key))))
        return { object: endpoint.cache.parsed.of(entry), bytes: entry.bytes, created };
      // The same fields in another order, or with other times, are as long.
      if (unchanged.length === entry.bytes.length) {
        const before = endpoint.cache.parsed.of(entry);
        const isSame = options.ignoresTimes ? sameButForTimes : jsonEqual;
        if (
          isSame(
            { ...object, metadata: { ...object.metadata, resourceVersion: String(entry.revision) } },
            before,
          ) &&
          (dryRun || !(await this.#isStale(key)))
        )
          return { object: before, bytes: entry.bytes, created };
      }
    }
    if (dryRun && entry) object.metadata!.resourceVersion = String(entry.revision);
    if (dryRun)
      return { object, bytes: entry ? withResourceVersion(value, String(entry.revision)) : value, created };
    const ttlSeconds = endpoint.resource.behaviour.ttlSeconds;
    cache.handOver(value, object);
    const timing = this.#core.metrics.store.of(endpoint.groupResource, expected === 0 ? 'create' : 'update'),
      begunMs = performance.now();
    try {
      const stored = await store.put(
        key,
        value,
        ttlSeconds === undefined ? { expected } : { expected, ttlSeconds },
      );
      timing.succeeded(begunMs);
      const current = endpoint.cache.entries.get(key);
      const bytes =
        current?.revision === stored.modRevision
          ? current.bytes
          : withResourceVersion(value, String(stored.modRevision));
      object.metadata!.resourceVersion = String(stored.modRevision);
      return { object, bytes, created };
    } catch (error) {
      timing.failed(begunMs);
      throw error;
    } finally {
      cache.forget(value);
    }
  }

  /** An object that changes nothing is written all the same where its stored form is an old one: with a key that was replaced, say. */
  async #isStale(key: string): Promise<boolean> {
    return (await this.#core.store.isStale?.(key)) ?? false;
  }

  /** As #put, with the stored form made by a codec; answers the object in its own version. */
  async #putConverted(
    endpoint: StoredEndpoint,
    object: KubeObject,
    { codec, ...options }: PutOptions & { readonly codec: VersionCodec },
  ): Promise<Written> {
    delete object.metadata!.resourceVersion;
    const stored = await codec.write(object);
    const written = await this.#put(
      { ...endpoint, codec: undefined },
      stored === object ? deepClone(object) : stored,
      options,
    );
    const { resourceVersion } = written.object.metadata ?? {};
    const seen = codec.readBack(written.object, object);
    if (resourceVersion !== undefined) seen.metadata = { ...seen.metadata, resourceVersion };
    return {
      object: seen,
      get bytes() {
        return Buffer.from(JSON.stringify(seen));
      },
      created: written.created,
    };
  }

  /** Answers the revision of the removal; without removing anything, the one expected. */
  async #remove(
    endpoint: StoredEndpoint,
    last: KubeObject,
    { key, expected, dryRun }: RemoveOptions,
  ): Promise<number> {
    if (dryRun) return expected;
    const timing = this.#core.metrics.store.of(endpoint.groupResource, 'delete'),
      begunMs = performance.now();
    try {
      const { revision } = await this.#core.store.delete(key, { expected });
      timing.succeeded(begunMs);
      return revision;
    } catch (error) {
      timing.failed(begunMs);
      if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
      throw statusErrors.notFound(nameOf(endpoint, last.metadata?.name ?? ''));
    }
  }

  /** An update that takes what held an object: it is answered as of the version that was updated, as its new one was never stored. */
  async #removeWithUpdate(
    endpoint: StoredEndpoint,
    next: KubeObject,
    options: RemoveOptions,
  ): Promise<Written> {
    await this.#remove(endpoint, next, options);
    return removedObject(next, options.expected);
  }

  /** Removes what was marked as being deleted at that revision, though it may have been written since. It is gone, or another by that name is there, afterwards. */
  async #removeMarked(
    endpoint: StoredEndpoint,
    marked: KubeObject,
    options: RemoveOptions,
  ): Promise<Written> {
    let { expected } = options;
    for (;;) {
      try {
        return removedObject(marked, await this.#remove(endpoint, marked, { ...options, expected }));
      } catch (error) {
        if (!isConflict(error)) throw error;
        const entry = endpoint.cache.entries.get(options.key);
        if (!entry || endpoint.cache.parsed.of(entry).metadata?.uid !== marked.metadata?.uid)
          return removedObject(marked, expected);
        expected = entry.revision;
      }
    }
  }

  async delete(
    endpoint: StoredEndpoint,
    request: DeleteRequest,
    { target, context }: { readonly target: Target; readonly context: WriteContext },
  ): Promise<Deleted> {
    const key = endpoint.cache.key(target);
    for (let attempt = 1; ; attempt++) {
      const entry = endpoint.cache.entries.get(key);
      if (!entry) refuseUnreadable(endpoint.cache, key);
      if (!entry) throw statusErrors.notFound(nameOf(endpoint, target.name));
      try {
        return await this.#deleteOnce(endpoint, request, { entry, target, context });
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (attempt >= MAX_ATTEMPTS) throw statusErrors.conflict(nameOf(endpoint, target.name));
      }
    }
  }

  async #deleteOnce(
    endpoint: StoredEndpoint,
    request: DeleteRequest,
    {
      entry,
      target,
      context,
    }: { readonly entry: CacheEntry; readonly target: Target; readonly context: WriteContext },
  ): Promise<Deleted> {
    const converting = endpoint.codec?.ready([entry]);
    if (converting) await converting;
    const previous = objectOf(endpoint, entry);
    checkPreconditions(endpoint, { meta: previous.metadata!, request });
    if (context.admission) {
      const attributes = this.#attributes({
        operation: 'DELETE',
        endpoint,
        target,
        context,
        object: undefined,
        oldObject: previous,
      });
      await this.#core.admission.admit(attributes);
      await this.#core.admission.validate(attributes);
    }
    const plan = planDeletion(endpoint, { previous, request, nowMs: this.#core.clock.now() });
    if (plan.kind === 'nothing') return { object: previous, bytes: entry.bytes, removed: false };
    const { dryRun } = context,
      { key, revision: expected } = entry;
    if (plan.kind === 'remove') {
      const removed = removedObject(
        previous,
        await this.#remove(endpoint, previous, { key, expected, dryRun }),
      );
      this.#core.services.released(endpoint, previous, { dryRun });
      return { ...removed, removed: true };
    }
    const marked = await this.#put(endpoint, plan.next, { key, expected, dryRun, created: false, entry });
    if (plan.kind === 'mark') return { object: marked.object, bytes: marked.bytes, removed: false };
    const removed = await this.#removeMarked(endpoint, marked.object, {
      key,
      expected: dryRun ? expected : Number(marked.object.metadata!.resourceVersion),
      dryRun,
    });
    return { ...removed, removed: true };
  }

  #hooks({ user, dryRun, subresource, warn }: WriteContext): HookContext {
    return {
      user,
      nowMs: this.#core.clock.now(),
      dryRun,
      warn,
      find: this.#find,
      ...(subresource === '' ? {} : { subresource }),
    };
  }

  #attributes({
    operation,
    endpoint,
    target,
    context,
    object,
    oldObject,
    gvk = endpoint.gvk,
  }: {
    readonly operation: AdmissionOperation;
    readonly endpoint: Endpoint;
    readonly target: Target;
    readonly context: WriteContext;
    readonly object: KubeObject | undefined;
    readonly oldObject: KubeObject | undefined;
    readonly gvk?: GroupVersionKind;
  }): AdmissionAttributes {
    const { user, dryRun, options, subresource } = context;
    return {
      operation,
      gvr: endpoint.gvr,
      gvk,
      namespace:
        endpoint.resource.plural === 'namespaces' && endpoint.resource.group === ''
          ? target.name
          : target.namespace,
      name: target.name,
      subresource,
      object,
      oldObject,
      user,
      dryRun,
      options,
      warn: (message) => context.warn(message),
      annotate: context.annotate,
      timeoutMs: context.timeoutMs,
      onAbort: context.onAbort,
      internal: this.#core.internal,
    };
  }
}

// -------------------------------------------------------------------------------------------------------------- metadata

function nameOf(
  endpoint: Endpoint,
  name: string,
): { readonly group: string; readonly resource: string; readonly name: string } {
  return { ...endpoint.groupResource, name };
}

/** What is gone, as it was last. */
function removedObject(last: KubeObject, revision: number): Written {
  const resourceVersion = String(revision);
  return {
    object: { ...last, metadata: { ...last.metadata, resourceVersion } },
    bytes: withResourceVersion(serializeObject(last), resourceVersion),
    created: false,
  };
}

function isConflict(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === 'conflict';
}

/** The server's part of a new object's metadata. */
function beginMetadata(
  meta: ObjectMeta,
  {
    endpoint,
    target,
    nowMs,
  }: { readonly endpoint: Endpoint; readonly target: Target; readonly nowMs: number },
): void {
  delete meta.resourceVersion;
  delete meta.selfLink;
  delete meta.deletionTimestamp;
  delete meta.deletionGracePeriodSeconds;
  if (endpoint.resource.namespaced) meta.namespace = target.namespace;
  else delete meta.namespace;
  meta.uid = randomUUID();
  meta.creationTimestamp = rfc3339(nowMs);
}

/** What the server keeps of the stored metadata, whatever the client sent. */
function continueMetadata(
  meta: ObjectMeta,
  {
    previous,
    target,
    namespaced,
  }: { readonly previous: ObjectMeta; readonly target: Target; readonly namespaced: boolean },
): void {
  meta.name = target.name;
  if (previous.resourceVersion !== undefined) meta.resourceVersion = previous.resourceVersion;
  if (namespaced) meta.namespace = target.namespace;
  else delete meta.namespace;
  if (!meta.uid && previous.uid !== undefined) meta.uid = previous.uid;
  if (previous.creationTimestamp !== undefined) meta.creationTimestamp = previous.creationTimestamp;
  if (previous.generation === undefined) delete meta.generation;
  else meta.generation = previous.generation;
  // Of those that are not being deleted, nobody may say that they are: validation refuses it.
  if (previous.deletionTimestamp !== undefined) {
    meta.deletionTimestamp = previous.deletionTimestamp;
    if (previous.deletionGracePeriodSeconds !== undefined)
      meta.deletionGracePeriodSeconds = previous.deletionGracePeriodSeconds;
  }
  delete meta.selfLink;
}

let stampedSecond = -1;
let stamp = '';

/** '2006-01-02T15:04:05Z'. */
export function rfc3339(nowMs: number): string {
  const second = Math.floor(nowMs / 1000);
  if (second !== stampedSecond) {
    stampedSecond = second;
    stamp = `${new Date(second * 1000).toISOString().slice(0, 19)}Z`;
  }
  return stamp;
}

const NAME_RANDOM_LENGTH = 5;
const NAME_MAX_BASE_LENGTH = 63 - NAME_RANDOM_LENGTH;

export function generateName(base: string): string {
  return base.slice(0, NAME_MAX_BASE_LENGTH) + randomSuffix(NAME_RANDOM_LENGTH);
}

/** Says whether it is worth trying again: where a name may be made up anew, and where the name will be free soon. */
function alreadyExists(
  endpoint: StoredEndpoint,
  { name = '', namespace = '', generateName: base }: ObjectMeta,
): StatusError {
  const { status } = statusErrors.alreadyExists(nameOf(endpoint, name));
  if (base) {
    status.message += ', the server was not able to generate a unique name for the object';
    status.details = { ...status.details, retryAfterSeconds: 1 };
  }
  const entry = endpoint.cache.entries.get(endpoint.cache.key({ namespace, name }));
  if (entry && endpoint.cache.parsed.of(entry).metadata?.deletionTimestamp !== undefined)
    status.message = `object is being deleted: ${status.message}`;
  return new StatusError(status);
}

/** An object is to be made by an update, but the client knows it by a uid. */
function uidOfNone(
  endpoint: StoredEndpoint,
  {
    target,
    wanted,
    patches,
  }: { readonly target: Target; readonly wanted: string; readonly patches: boolean },
): Error {
  if (!patches) return uidPrecondition(endpoint, { target, wanted, found: '' });
  return statusErrors.conflict(
    nameOf(endpoint, target.name),
    `uid mismatch: the provided object specified uid ${wanted}, and no existing object was found`,
  );
}

interface UidPrecondition {
  readonly target: Target;
  readonly wanted: string;
  readonly found: string;
}

/** In the words of the store, which upstream passes on. */
function uidPrecondition(endpoint: StoredEndpoint, { target, wanted, found }: UidPrecondition): Error {
  return statusErrors.conflict(
    nameOf(endpoint, target.name),
    `StorageError: invalid object, Code: 4, Key: ${endpoint.cache.key(target)}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${found}`,
  );
}

// ------------------------------------------------------------------------------------------------------------ validation

/** What the store says of an object that it is not to store anew, in upstream's words; without storing, nobody says it. */
function hasVersionAlready(): StatusError {
  return statusErrors.badRequest('resourceVersion should not be set on objects to be created');
}

function validateNew(endpoint: Endpoint, object: KubeObject, hooks: HookContext): FieldError[] {
  const { resource } = endpoint;
  if (!resource.behaviour.metadataLast)
    return [...validateMeta(endpoint, object), ...resource.validate(object, hooks)];
  const own = resource.validate(object, hooks);
  return own.length > 0 ? own : validateMeta(endpoint, object);
}

function validateMeta(endpoint: Endpoint, object: KubeObject): FieldError[] {
  const { namespaced, behaviour } = endpoint.resource;
  const errors = validateObjectMeta(object.metadata!, { namespaced, nameRule: behaviour.nameRule });
  return [...errors, ...finalizerErrors(endpoint, object.metadata!)];
}

/** Groups whose kinds take any qualified name as a finalizer. */
const ANY_FINALIZER = new Set([
  'coordination.k8s.io',
  'node.k8s.io',
  'policy',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
]);

/** The other built-in ones take, of names without a domain, only those that the server knows. */
function finalizerErrors({ isBuiltin, gvk, resource }: Endpoint, { finalizers }: ObjectMeta): FieldError[] {
  return !finalizers || !isBuiltin || resource.behaviour.metadataLast || ANY_FINALIZER.has(gvk.group)
    ? []
    : validateStandardFinalizers(finalizers, 'metadata.finalizers');
}

function prepareAndValidate(
  endpoint: Endpoint,
  {
    next,
    previous,
    hooks,
    request: { prepare, validate },
  }: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly hooks: HookContext;
    readonly request: UpdateRequest;
  },
): FieldError[] {
  const { resource } = endpoint;
  const isStatus = hooks.subresource === 'status';
  if (prepare) prepare(next, previous, hooks);
  else if (isStatus) resource.prepareForStatusUpdate(next, previous, hooks);
  else resource.prepareForUpdate(next, previous, hooks);
  const errors = [
    ...validateObjectMetaUpdate(next.metadata!, previous.metadata!),
    ...finalizerErrors(endpoint, next.metadata!),
  ];
  if (validate === false) return errors;
  const own = isStatus
    ? resource.validateStatusUpdate(next, previous, hooks)
    : resource.validateUpdate(next, previous, hooks);
  return own.length === 0 ? errors : [...errors, ...own];
}

// -------------------------------------------------------------------------------------------------------------- deletion

export interface DeleteRequest {
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly orphanDependents?: boolean | undefined;
  readonly preconditions?:
    | { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined }
    | undefined;
}

/** removed: it is gone; else it was marked and waits for finalizers or its grace period. */
export interface Deleted {
  readonly object: KubeObject;
  readonly bytes: Buffer;
  readonly removed: boolean;
}

const ORPHAN = 'orphan';
const FOREGROUND = 'foregroundDeletion';

/** mark-and-remove: what has a grace period, of no length, is seen with it before it goes. */
type DeletionPlan =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'remove' }
  | { readonly kind: 'mark' | 'mark-and-remove'; readonly next: KubeObject };

function checkPreconditions(
  endpoint: Endpoint,
  { meta, request: { preconditions } }: { readonly meta: ObjectMeta; readonly request: DeleteRequest },
): void {
  if (!preconditions) return;
  // Upstream names the kind here.
  const of = { group: endpoint.gvk.group, resource: endpoint.gvk.kind, name: meta.name ?? '' };
  const { uid, resourceVersion } = preconditions;
  if (uid !== undefined && uid !== meta.uid) {
    throw statusErrors.conflict(
      of,
      `the UID in the precondition (${uid}) does not match the UID in record (${meta.uid ?? ''}). The object might have been deleted and then recreated`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== meta.resourceVersion) {
    throw statusErrors.conflict(
      of,
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${meta.resourceVersion ?? ''}). The object might have been modified`,
    );
  }
}

interface PlanOptions {
  readonly previous: KubeObject;
  readonly request: DeleteRequest;
  readonly nowMs: number;
}

function planDeletion(endpoint: Endpoint, { previous, request, nowMs }: PlanOptions): DeletionPlan {
  const next = deepClone(previous);
  const meta = next.metadata!;
  const { beginDeletion } = endpoint.resource.behaviour;
  if (beginDeletion && meta.deletionTimestamp === undefined) {
    meta.deletionTimestamp = rfc3339(nowMs);
    beginDeletion(next, nowMs);
    return { kind: 'mark', next };
  }
  const grace = markGraceful(endpoint, { next, request, nowMs });
  if (grace === 'pending') return { kind: 'nothing' };
  const finalizers = deletionFinalizers(endpoint, previous.metadata!, request);
  const finalizersChange =
    finalizers.length !== (meta.finalizers ?? []).length ||
    finalizers.some((finalizer, i) => finalizer !== meta.finalizers![i]);
  if (finalizers.length > 0) meta.finalizers = finalizers;
  else delete meta.finalizers;
  const held = finalizers.length > 0 || holdsItself(endpoint, next);
  if (grace === 'marked' && (meta.deletionGracePeriodSeconds ?? 0) > 0) return { kind: 'mark', next };
  if (!held) return grace === 'marked' ? { kind: 'mark-and-remove', next } : { kind: 'remove' };
  const already = previous.metadata!.deletionTimestamp !== undefined;
  if (grace !== 'marked') markDeleting(endpoint, meta, nowMs);
  if (isNamespace(endpoint))
    next['status'] = { ...(next['status'] as object | undefined), phase: 'Terminating' };
  return already &&
    !finalizersChange &&
    grace !== 'marked' &&
    meta.deletionGracePeriodSeconds === previous.metadata!.deletionGracePeriodSeconds
    ? { kind: 'nothing' }
    : { kind: 'mark', next };
}

/** Sets the end of the grace period on resources that have one. 'pending' = it is running and nothing shortens it. */
function markGraceful(
  endpoint: Endpoint,
  {
    next,
    request,
    nowMs,
  }: { readonly next: KubeObject; readonly request: DeleteRequest; readonly nowMs: number },
): 'none' | 'marked' | 'pending' {
  const gracePeriodOf = endpoint.resource.behaviour.gracefulDelete;
  if (!gracePeriodOf) return 'none';
  const meta = next.metadata!;
  const { gracePeriodSeconds } = request;
  if (meta.deletionTimestamp !== undefined) {
    const current = meta.deletionGracePeriodSeconds ?? 0;
    if (current === 0) return 'none';
    if (gracePeriodSeconds === undefined || Math.max(gracePeriodSeconds, 0) >= current) return 'pending';
    meta.deletionTimestamp = rfc3339(
      Date.parse(meta.deletionTimestamp) + (gracePeriodSeconds - current) * 1000,
    );
    meta.deletionGracePeriodSeconds = gracePeriodSeconds;
    return 'marked';
  }
  const seconds = gracePeriodOf(next, gracePeriodSeconds);
  meta.deletionTimestamp = rfc3339(nowMs + seconds * 1000);
  meta.deletionGracePeriodSeconds = seconds;
  if ((meta.generation ?? 0) > 0) meta.generation = meta.generation! + 1;
  return 'marked';
}

function markDeleting(endpoint: Endpoint, meta: ObjectMeta, nowMs: number): void {
  if (meta.deletionTimestamp === undefined && (meta.generation ?? 0) > 0)
    meta.generation = meta.generation! + 1;
  meta.deletionTimestamp ??= rfc3339(nowMs);
  // Namespaces are marked by a way of their own, which knows no such period.
  if (!isNamespace(endpoint)) meta.deletionGracePeriodSeconds = 0;
}

function deletionFinalizers(
  endpoint: Endpoint,
  { finalizers = [] }: ObjectMeta,
  request: DeleteRequest,
): string[] {
  const wanted = propagation(endpoint, finalizers, request);
  const kept = finalizers.filter((finalizer) => finalizer !== ORPHAN && finalizer !== FOREGROUND);
  return wanted === 'Orphan' ? [...kept, ORPHAN] : wanted === 'Foreground' ? [...kept, FOREGROUND] : kept;
}

function propagation(
  endpoint: Endpoint,
  finalizers: readonly string[],
  { propagationPolicy, orphanDependents }: DeleteRequest,
): string {
  const { defaultPropagation } = endpoint.resource.behaviour;
  if (defaultPropagation === 'unsupported') return 'Background';
  if (orphanDependents !== undefined) return orphanDependents ? 'Orphan' : 'Background';
  if (propagationPolicy !== undefined) return propagationPolicy;
  if (finalizers.includes(ORPHAN)) return 'Orphan';
  if (finalizers.includes(FOREGROUND)) return 'Foreground';
  return defaultPropagation === 'orphan' ? 'Orphan' : 'Background';
}

function isNamespace({ resource }: Endpoint): boolean {
  return resource.group === '' && resource.plural === 'namespaces';
}

/** A namespace stays until its spec.finalizers are gone too. */
function holdsItself(endpoint: Endpoint, object: KubeObject): boolean {
  return (
    isNamespace(endpoint) &&
    ((object['spec'] as { finalizers?: unknown[] } | undefined)?.finalizers?.length ?? 0) > 0
  );
}

/** The last finalizer of an object under deletion goes with this update: the object goes too. */
function deletesDuringUpdate(next: KubeObject, previous: KubeObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds } = previous.metadata!;
  if (
    deletionTimestamp === undefined ||
    (deletionGracePeriodSeconds ?? 0) !== 0 ||
    (next.metadata?.deletionGracePeriodSeconds ?? 0) !== 0
  )
    return false;
  if ((next.metadata?.finalizers?.length ?? 0) > 0) return false;
  return (
    next.kind !== 'Namespace' ||
    next.apiVersion !== 'v1' ||
    ((next['spec'] as { finalizers?: unknown[] } | undefined)?.finalizers?.length ?? 0) === 0
  );
}
