/**
 * A record merged with its discovery data, as used by the API server. Every hook has a value here, that of the record or the
 * generic one of strategy.ts.
 */
import { assert } from '#stdx/assert.ts';
import { decodeObject } from '#machinery/decode.ts';
import type { FieldError } from '#machinery/errors.ts';
import { formatApiVersion, parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { builtinResources, parseStability, type ResourceFacts, type Stability } from '#api/resources.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { HookContext, ResourceBehaviour, ScaleSubresource, TableDefinition } from './define.ts';
import {
  bumpGeneration,
  keepAllButStatus,
  keepField,
  keepMetadata,
  metaOf,
  startGeneration,
} from './strategy.ts';
import { GENERIC_TABLE } from './tables.ts';

export interface ServedSubresource {
  /** 'status', 'scale', 'binding', … */
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

export interface ServedVersion {
  readonly version: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly verbs: readonly string[];
  readonly subresources: ReadonlyMap<string, ServedSubresource>;
  /** Alpha and beta versions are off unless switched on by runtime configuration. */
  readonly stability: Stability;
  /** Upstream's storage version hash in discovery, with which clients detect storage migration; undefined for kinds that are not stored. */
  readonly storageVersionHash: string | undefined;
  /** DELETE returns the deleted object; otherwise a Status. */
  readonly returnsDeleted: boolean;
}

export interface Resource {
  readonly group: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  /** In order of preference. */
  readonly versions: readonly ServedVersion[];
  /** The storage version, which hooks use: 'v1', 'autoscaling/v2'; core 'v1' also for events.k8s.io, which shares the core's objects. */
  readonly storageApiVersion: string;
  /** The key prefix in etcd, as upstream's: '/registry/services/specs/'. Then '<namespace>/' for namespaced ones, then the name. */
  readonly storagePrefix: string;
  readonly hasStatus: boolean;
  readonly scale: ScaleSubresource<KubeObject> | undefined;
  readonly virtual: boolean;
  readonly behaviour: ResourceBehaviour;
  readonly table: TableDefinition<KubeObject>;

  applyDefaults(object: KubeObject): void;
  prepareForCreate(object: KubeObject, context: HookContext): void;
  prepareForUpdate(next: KubeObject, previous: KubeObject, context: HookContext): void;
  /** For writes to /status. */
  prepareForStatusUpdate(next: KubeObject, previous: KubeObject, context: HookContext): void;
  validate(object: KubeObject, context: HookContext): FieldError[];
  validateUpdate(next: KubeObject, previous: KubeObject, context: HookContext): FieldError[];
  validateStatusUpdate(next: KubeObject, previous: KubeObject, context: HookContext): FieldError[];
  warnings(object: KubeObject, previous: KubeObject | undefined): string[];
  /** Converts the object to another served apiVersion; the same object when only its apiVersion differs (which is then set on a copy). */
  convert(object: KubeObject, toApiVersion: string): KubeObject;
  served(version: string): ServedVersion | undefined;
}

/** Upstream's storage names that differ from the plural. */
const STORAGE_NAMES: Readonly<Record<string, string>> = {
  '/replicationcontrollers': 'controllers',
  '/endpoints': 'services/endpoints',
  '/nodes': 'minions',
  '/services': 'services/specs',
  'networking.k8s.io/ingresses': 'ingress',
  // Those of the extension and aggregation servers include the group.
  'apiextensions.k8s.io/customresourcedefinitions': 'apiextensions.k8s.io/customresourcedefinitions',
  'apiregistration.k8s.io/apiservices': 'apiregistration.k8s.io/apiservices',
};

const NO_ERRORS: FieldError[] = [];
const NO_WARNINGS: string[] = [];

export function buildResource(behaviour: ResourceBehaviour): Resource {
  const { group, plural } = behaviour;
  const facts = builtinResources.filter((fact) => fact.group === group && fact.plural === plural);
  const first = facts[0];
  assert(first !== undefined, `no discovery facts for ${group}/${plural}`);
  const versions = facts.map(servedVersion);
  const hasStatus = versions.some((served) => served.subresources.has('status'));
  const storageApiVersion = storageVersionOf(behaviour, versions);
  const storagePrefix = `/registry/${STORAGE_NAMES[`${group}/${plural}`] ?? plural}/`;
  return {
    group,
    plural,
    versions,
    hasStatus,
    storageApiVersion,
    storagePrefix,
    behaviour,
    singular: first.singular,
    kind: first.kind,
    namespaced: first.namespaced,
    shortNames: first.shortNames ?? [],
    categories: first.categories ?? [],
    scale: behaviour.scale,
    virtual: behaviour.virtual ?? false,
    table: behaviour.table ?? GENERIC_TABLE,
    applyDefaults: behaviour.applyDefaults ?? nothing,
    prepareForCreate: behaviour.prepareForCreate ?? ((object) => genericCreate(object, hasStatus)),
    prepareForUpdate:
      behaviour.prepareForUpdate ?? ((next, previous) => genericUpdate(next, previous, hasStatus)),
    prepareForStatusUpdate:
      behaviour.status?.prepareForUpdate ??
      (behaviour.written?.['status']?.without?.includes('metadata')
        ? statusUpdateAlone
        : genericStatusUpdate),
    validate: behaviour.validate ?? (() => NO_ERRORS),
    validateUpdate:
      behaviour.validateUpdate ??
      ((next, _previous, context) => behaviour.validate?.(next, context) ?? NO_ERRORS),
    validateStatusUpdate: behaviour.status?.validateUpdate ?? (() => NO_ERRORS),
    warnings: behaviour.warnings ?? (() => NO_WARNINGS),
    convert: (object, toApiVersion) => convert(behaviour, object, toApiVersion),
    served: (version) => versions.find((candidate) => candidate.version === version),
  };
}

function nothing(): void {}

function servedVersion(fact: ResourceFacts): ServedVersion {
  return {
    version: fact.version,
    apiVersion: formatApiVersion(fact),
    kind: fact.kind,
    verbs: fact.verbs,
    subresources: new Map(
      (fact.subresources ?? []).map((sub) => [
        sub.name,
        {
          name: sub.name,
          group: sub.group ?? fact.group,
          version: sub.version ?? fact.version,
          kind: sub.kind,
          verbs: sub.verbs,
        },
      ]),
    ),
    stability: parseStability(fact.version),
    storageVersionHash: fact.storageVersionHash,
    returnsDeleted: fact.returnsDeleted ?? false,
  };
}

/** The newest of the most stable versions, which discovery prefers too; the record may override it. */
function storageVersionOf(behaviour: ResourceBehaviour, versions: readonly ServedVersion[]): string {
  if (behaviour.storedAs !== undefined) return behaviour.storedAs;
  const rank = { stable: 2, beta: 1, alpha: 0 };
  return versions.reduce((best, served) => (rank[served.stability] > rank[best.stability] ? served : best))
    .apiVersion;
}

function convert(behaviour: ResourceBehaviour, object: KubeObject, toApiVersion: string): KubeObject {
  if (object.apiVersion === toApiVersion) return object;
  return behaviour.convert?.(object, toApiVersion) ?? { ...object, apiVersion: toApiVersion };
}

function genericCreate(object: KubeObject, hasStatus: boolean): void {
  if (hasStatus) {
    const status = blankStatus(object);
    if (status) object['status'] = status;
    else delete object['status'];
  }
  if (object['spec'] !== undefined) startGeneration(object);
}

/** The status that decoding the object again would add: most kinds always show one, some only when there is one. */
function blankStatus({ apiVersion = '', kind = '' }: KubeObject): object | undefined {
  const field = schemaForKind({ ...parseApiVersion(apiVersion), kind })?.byName.get('status');
  return field?.value.kind === 'object' && field.zero === 'written'
    ? decodeObject(field.value.type(), {}, 'ignore').object
    : undefined;
}

function genericUpdate(next: KubeObject, previous: KubeObject, hasStatus: boolean): void {
  if (hasStatus) keepField(next, previous, 'status');
  if (next['spec'] !== undefined) bumpGeneration(next, previous);
}

/** For writes of the status: restores all other fields, including metadata. */
function statusUpdateAlone(next: KubeObject, previous: KubeObject): void {
  genericStatusUpdate(next, previous);
  keepMetadata(next, previous);
}

function genericStatusUpdate(next: KubeObject, previous: KubeObject): void {
  keepAllButStatus(next, previous);
  const generation = previous.metadata?.generation;
  if (generation !== undefined) metaOf(next).generation = generation;
}
