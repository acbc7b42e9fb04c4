/**
 * Custom resources of one API server: follows CustomResourceDefinitions, updates their status, and serves their resources. A client that sees a
 * definition established can use it at once, since the served endpoints change in the same step that delivers the event of that status.
 *
 *   created --names accepted--> Established, served --delete--> Terminating (no creates) --all objects gone--> finalizer off, gone
 */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual, type JsonObject } from '#machinery/json.ts';
import { formatApiVersion, parseApiVersion, type GroupVersion, type KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { customDefinitionName } from '#openapi/custom-resources.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '#api/types.ts';
import type { Store } from '#storage/store.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';
import type { ServedEndpoints, Endpoint } from '../registry/endpoints.ts';
import type { InternalApi, ModifyOptions } from '../registry/loopback-client.ts';
import type { RegistryStore } from '../registry/store.ts';
import { WriteRequest, type StoredEndpoint } from '../registry/write-request.ts';
import { createConverter } from './conversion-webhook.ts';
import { decodeCustom, envelopeSchema } from './coerce.ts';
import { customResource, customStoragePrefix, createStructural } from './custom-resource.ts';
import { CLEANUP, setTerminating, type Terminating } from '#resources/apiextensions/termination.ts';
import { listViolations } from '#resources/apiextensions/definition-checks.ts';
import { simplePath, valueAt } from './json-path.ts';
import { statusOf } from './names.ts';
import { toObjectSchema } from './object-schema.ts';
import type { Structural } from '#machinery/structural.ts';
import { createConversion, createCodec, type Versions } from './version-codec.ts';

const DEFINITIONS = { group: 'apiextensions.k8s.io', resource: 'customresourcedefinitions' };
const DEFINITIONS_PREFIX = '/registry/apiextensions.k8s.io/customresourcedefinitions/';
const RETRY_MS = 500;
/** Objects of a definition under deletion that are deleted at once. */
const DELETIONS_AT_ONCE = 16;

interface CustomResourcesOptions {
  readonly store: Store;
  readonly cache: WatchCache;
  readonly servedEndpoints: ServedEndpoints;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Served {
  readonly uid: string;
  readonly fingerprint: string;
  readonly prefix: string;
  readonly cache: ResourceCache;
  readonly endpoints: readonly Endpoint[];
  /** Of the storage version, served or not: what objects are deleted by. */ readonly keeper: StoredEndpoint;
}

export class CustomResources {
  readonly #options: CustomResourcesOptions;
  #internal!: InternalApi;
  #registry!: RegistryStore;
  readonly #served = new Map<string, Served>();
  readonly #pending = new Set<string>();
  readonly #leaving = new Map<string, () => void>();
  #working: Promise<void> | undefined;
  #unwatch: (() => void) | undefined;
  #stopped = false;

  constructor(options: CustomResourcesOptions) {
    this.#options = options;
  }

  /** Before the cache is filled: it is to hold the objects of the definitions that exist. */
  async prepare(): Promise<void> {
    const { store, cache } = this.#options;
    const { items } = await store.list(DEFINITIONS_PREFIX);
    for (const { value, unreadable } of items) {
      if (unreadable !== undefined) continue;
      const definition = JSON.parse(value.toString()) as CustomResourceDefinition;
      if (isConditionTrue(definition.status?.conditions, 'Established'))
        cache.add(customStoragePrefix(definition), { fieldsOf: fieldsOfMetadata });
    }
  }

  start({ internal, registry }: { readonly internal: InternalApi; readonly registry: RegistryStore }): void {
    if (!this.#options.servedEndpoints.byGroup(DEFINITIONS.group, DEFINITIONS.resource)) return;
    this.#internal = internal;
    this.#registry = registry;
    this.#unwatch = internal.watch(DEFINITIONS, {
      added: (object) => this.#take(object as CustomResourceDefinition),
      updated: (object) => this.#take(object as CustomResourceDefinition),
      deleted: (object) => this.#gone(object as CustomResourceDefinition),
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unwatch?.();
    for (const leave of this.#leaving.values()) leave();
    await this.#working;
  }

  #take(definition: CustomResourceDefinition): void {
    if (isConditionTrue(definition.status?.conditions, 'Established')) this.#serve(definition);
    this.#enqueue(definition.metadata!.name!);
  }

  #gone(definition: CustomResourceDefinition): void {
    const name = definition.metadata!.name!;
    const served = this.#served.get(name);
    this.#leaving.get(name)?.();
    this.#leaving.delete(name);
    if (served) {
      this.#served.delete(name);
      this.#options.servedEndpoints.serve(
        { group: definition.spec.group, resource: definition.spec.names.plural },
        { endpoints: [] },
      );
      this.#options.cache.remove(served.prefix);
    }
    // Names that are free now may be waited for.
    for (const other of this.#definitions())
      if (
        other.spec.group === definition.spec.group &&
        !isConditionTrue(other.status?.conditions, 'NamesAccepted')
      )
        this.#enqueue(other.metadata!.name!);
  }

  #definitions(): CustomResourceDefinition[] {
    return this.#internal.list(DEFINITIONS) as CustomResourceDefinition[];
  }

  // --------------------------------------------------------------------------------------------------------------- serving

  #serve(definition: CustomResourceDefinition): void {
    const name = definition.metadata!.name!,
      uid = definition.metadata?.uid ?? '';
    const fingerprint = JSON.stringify([
      uid,
      definition.spec,
      definition.status?.acceptedNames,
      definition.status?.storedVersions,
      isConditionTrue(definition.status?.conditions, 'Terminating'),
    ]);
    const before = this.#served.get(name);
    if (before?.fingerprint === fingerprint) return;
    const { servedEndpoints, cache, log } = this.#options;
    const prefix = customStoragePrefix(definition);
    const stored = cache.add(prefix, { fieldsOf: fieldsOfMetadata });
    try {
      const all = this.#endpoints(definition, stored);
      const endpoints = all.filter(({ gvk }) =>
        definition.spec.versions.some((version) => version.served && version.name === gvk.version),
      );
      const keeper = { ...all[0]!, codec: undefined } as StoredEndpoint;
      servedEndpoints.serve(
        { group: definition.spec.group, resource: definition.spec.names.plural },
        {
          endpoints,
          stored: endpoints.find(({ apiVersion, resource }) => resource.storageApiVersion === apiVersion),
        },
      );
      this.#served.set(name, { uid, fingerprint, prefix, cache: stored, endpoints, keeper });
      // As upstream: watches of the old schema end, their clients come back.
      if (before && before.endpoints.length > 0) stored.endWatches();
    } catch (error) {
      log.error('a custom resource cannot be served', { definition: name, error: errorMessage(error) });
    }
  }

  /** Of every version, the storage version first. */
  #endpoints(definition: CustomResourceDefinition, cache: ResourceCache): Endpoint[] {
    const { spec } = definition;
    const nodes = new Map(
      spec.versions.map((version) => [
        version.name,
        createStructural(version, { preservesAll: spec.preserveUnknownFields === true }),
      ]),
    );
    return spec.versions
      .toSorted((left, right) => Number(right.storage) - Number(left.storage))
      .map((version) => this.#endpoint(definition, version, { cache, nodes }));
  }

  #endpoint(
    definition: CustomResourceDefinition,
    version: CustomResourceDefinitionVersion,
    { cache, nodes }: { readonly cache: ResourceCache; readonly nodes: ReadonlyMap<string, Structural> },
  ): Endpoint {
    const { spec } = definition;
    const node = nodes.get(version.name)!;
    const resource = customResource(definition, version, node);
    const [served] = resource.versions;
    const { group } = spec;
    const gvk = { group, version: version.name, kind: resource.kind };
    const apiVersion = formatApiVersion(gvk);
    const name = customDefinitionName(gvk);
    const envelope = envelopeSchema(name);
    const fields = (version.selectableFields ?? []).map(({ jsonPath }) => ({
      field: jsonPath.slice(1),
      path: simplePath(jsonPath) ?? [],
    }));
    const versions: Versions = {
      nodeOf: (wanted) => nodes.get(wanted),
      storageApiVersion: resource.storageApiVersion,
      convert:
        spec.conversion?.strategy === 'Webhook'
          ? createConverter(definition, { internal: this.#internal })
          : undefined,
    };
    const codec = isAlwaysCurrent(definition, version)
      ? undefined
      : createCodec(versions, apiVersion, (entry) => cache.parsed.of(entry));
    const convert = createConversion(versions);
    const schemas = new Map<string, ObjectSchema>();
    const schemaIn = ({ group: of, version: wanted }: GroupVersion): ObjectSchema | undefined => {
      const known = schemas.get(wanted),
        other = nodes.get(wanted);
      if (of !== group || known || !other) return of === group ? known : undefined;
      const made = toObjectSchema(other, customDefinitionName({ ...gvk, version: wanted }));
      schemas.set(wanted, made);
      return made;
    };
    return {
      resource,
      served: served!,
      isBuiltin: false,
      deprecation: resource.behaviour.deprecation,
      gvk,
      gvr: { group, version: version.name, resource: resource.plural },
      apiVersion,
      // Hooks see the served version; what differs from it in the store is the codec's business.
      storageGvk: gvk,
      isStorageVersion: true,
      codec,
      fromVersion: (object) => convert(object, apiVersion),
      kindVersions: { schemaOf: (wanted) => schemaIn(parseApiVersion(wanted)), convert },
      schema: schemaIn(gvk),
      decode: (value, mode) => decodeCustom(value, { node, envelope, mode }),
      verbs: new Set(VERBS),
      cache,
      groupResource: { group, resource: resource.plural },
      selectableFields: new Set([
        'metadata.name',
        ...(resource.namespaced ? ['metadata.namespace'] : []),
        ...fields.map(({ field }) => field),
      ]),
      fieldsOf: (object) => ({
        ...fieldsOfMetadata(object),
        ...Object.fromEntries(fields.map(({ field, path }) => [field, textOf(valueAt(object, path))])),
      }),
      ...(definition.status?.acceptedNames?.listKind && {
        listKind: definition.status.acceptedNames.listKind,
      }),
      publishedSchema: spec.preserveUnknownFields
        ? undefined
        : (version.schema?.openAPIV3Schema as JsonObject | undefined),
    };
  }

  // ------------------------------------------------------------------------------------------------------------ controller

  #enqueue(name: string): void {
    this.#pending.add(name);
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    // The current event is still being delivered to others.
    await Promise.resolve();
    for (const name of this.#pending) {
      if (this.#stopped) break;
      this.#pending.delete(name);
      try {
        await this.#reconcile(name);
      } catch (error) {
        if (this.#stopped) break;
        this.#options.log.warn('error syncing a custom resource definition, retrying', {
          definition: name,
          error: errorMessage(error),
        });
        this.#options.clock.after(RETRY_MS, () => {
          if (!this.#stopped) this.#enqueue(name);
        });
      }
    }
    this.#working = undefined;
  }

  async #reconcile(name: string): Promise<void> {
    const definition = this.#internal.get(DEFINITIONS, { name }) as CustomResourceDefinition | undefined;
    if (!definition) return;
    const nowMs = this.#options.clock.now();
    const violations = listViolations(definition);
    const status = statusOf(definition, { others: this.#definitions(), violations, nowMs });
    if (!deepEqual(status, definition.status))
      await this.#modify(
        name,
        (current) =>
          void (current.status = statusOf(current, { others: this.#definitions(), violations, nowMs })),
        { subresource: 'status' },
      );
    if (definition.metadata?.deletionTimestamp && definition.metadata.finalizers?.includes(CLEANUP))
      await this.#cleanUp(definition);
  }

  async #modify(
    name: string,
    change: (definition: CustomResourceDefinition) => void,
    options?: ModifyOptions,
  ): Promise<void> {
    try {
      await this.#internal.modify(
        DEFINITIONS,
        { name },
        (object) => change(object as CustomResourceDefinition),
        options,
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }

  #setTerminating(name: string, condition: Terminating): Promise<void> {
    return this.#modify(
      name,
      (definition) => setTerminating(definition, condition, this.#options.clock.now()),
      { subresource: 'status' },
    );
  }

  /** Deletes the objects, then removes the finalizer. Called again each time one of the objects is deleted. */
  async #cleanUp(definition: CustomResourceDefinition): Promise<void> {
    const name = definition.metadata!.name!;
    if (terminatingReason(definition) !== 'InstanceDeletionInProgress')
      await this.#setTerminating(name, {
        status: 'True',
        reason: 'InstanceDeletionInProgress',
        message: 'CustomResource deletion is in progress',
      });
    const served = this.#served.get(name);
    if (served) {
      await this.#deleteObjects(served);
      if (served.cache.entries.size > 0) {
        // Their finalizers are others' to take off.
        this.#follow(name, served.cache);
        return;
      }
    }
    await this.#setTerminating(name, {
      status: 'False',
      reason: 'InstanceDeletionCompleted',
      message: 'removed all instances',
    });
    await this.#modify(
      name,
      ({ metadata }) => {
        metadata!.finalizers = (metadata!.finalizers ?? []).filter((finalizer) => finalizer !== CLEANUP);
      },
      { unvalidated: true },
    );
  }

  async #deleteObjects({ cache, keeper }: Served): Promise<void> {
    const queue = cache.entries.list('').values();
    const work = async (): Promise<void> => {
      for (const entry of queue) {
        const { name = '', namespace = '' } = cache.parsed.of(entry).metadata ?? {};
        try {
          const request = new WriteRequest({
            endpoint: keeper,
            target: { name, namespace },
            user: { name: 'system:apiserver', groups: ['system:masters'] },
            internal: this.#internal,
            admitted: false,
          });
          await this.#registry.delete(keeper, {}, request);
        } catch (error) {
          if (!isStatusError(error, 'NotFound')) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: DELETIONS_AT_ONCE }, work));
  }

  #follow(name: string, cache: ResourceCache): void {
    if (this.#leaving.has(name)) return;
    const subscribe = (): void =>
      void this.#leaving.set(
        name,
        cache.subscribe({
          keyPrefix: cache.prefix,
          deliver: ({ current }) => {
            if (!current && cache.entries.size === 0) this.#enqueue(name);
          },
          reset: () => {
            this.#leaving.delete(name);
            if (!this.#stopped) this.#enqueue(name);
          },
        }),
      );
    subscribe();
  }
}

const VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'];

/** Every object was written with this schema and version: stored bytes can be sent unchanged. */
function isAlwaysCurrent(
  { metadata, spec, status }: CustomResourceDefinition,
  version: CustomResourceDefinitionVersion,
): boolean {
  return (
    version.storage &&
    metadata?.generation === 1 &&
    spec.versions.length >= 1 &&
    (status?.storedVersions ?? []).every((stored) => stored === version.name)
  );
}

function terminatingReason({ status }: CustomResourceDefinition): string | undefined {
  return status?.conditions?.find(({ type }) => type === 'Terminating')?.reason;
}

function fieldsOfMetadata({ metadata }: KubeObject): Record<string, string> {
  return { 'metadata.name': metadata?.name ?? '', 'metadata.namespace': metadata?.namespace ?? '' };
}

function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : typeof value === 'object' ? '' : String(value);
}
