/**
 * Keeps the addons of a cluster file applied: each is a Secret with manifests (component-helpers/addons.ts), which `capstan fleet apply` writes.
 *
 *   manifests ─► CRDs, namespaces, the rest by server-side apply ─► what left the manifests is pruned ─► condition Ready and an event
 *
 * The Secret is an ApplySet's parent (https://kep.k8s.io/3659): members carry its ID, and the kinds that it may hold are noted on it before the first of them is
 * applied, so a controller that was killed forgets nothing. Drift is found by watches of those kinds, and by a look every ten minutes. An addon with an
 * error prunes nothing, is tried again with a growing delay, and does not stop others.
 */
import type { Secret } from '#api/types.ts';
import type { Informer, ResourceRef } from '#client/client.ts';
import { customResourceDefinitions, secrets } from '#client/refs.ts';
import {
  ADDON_DATA_KEY,
  ADDON_FINALIZER,
  ADDON_NAMESPACE,
  ADDON_STATUS,
  ADDON_TOOLING,
  ADDON_TYPE,
  addonCondition,
  APPLYSET_GROUP_KINDS,
  APPLYSET_NAMESPACES,
  APPLYSET_PART_OF,
  APPLYSET_TOOLING,
  applySetId,
  type AddonCondition,
} from '#component-helpers/addons.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { objectKey, parseApiVersion, type KubeObject, type Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { discoverResources, resourceOfKind, type ServedResource } from '#client/discovery.ts';
import { inApplyOrder, parseManifests } from './manifests.ts';

const FIELD_MANAGER = 'capstan-addons';
/** Of an object without one, as kubectl applies it. */
const DEFAULT_NAMESPACE = 'default';
const LOOK_AGAIN_MS = 10 * 60_000;
/** Changes of an addon's objects in quick succession are one reconcile. */
const DRIFT_DELAY_MS = 500;
const PRUNE_POLL_MS = 1_000;
const ESTABLISHED_TIMEOUT_MS = 10_000;
const ESTABLISHED_POLL_MS = 100;
/** Of the errors of one addon in its condition. */
const MAXIMUM_ERRORS = 3;
/** The bound of an event's message. */
const MAXIMUM_MESSAGE = 1024;

export const addonController = defineController({
  name: 'addon-controller',
  watches: [
    watch(secrets, {
      select: { namespace: ADDON_NAMESPACE, fieldSelector: `type=${ADDON_TYPE}` },
      // Its own notes on the Secret are no news.
      changed: (secret, before) =>
        !deepEqual(secret.data, before.data) ||
        secret.metadata.deletionTimestamp !== before.metadata.deletionTimestamp,
    }),
  ],
  workers: 2,
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const secret = await readSecret(context);
  if (!secret) return;
  if (secret.metadata.deletionTimestamp) return remove(secret, context);
  const problems: string[] = [];
  let applied: Applied | undefined;
  try {
    applied = await applyAddon(secret, { context, problems });
  } catch (error) {
    problems.push(errorMessage(error));
  }
  await writeStatus(secret, { context, applied, problems });
  if (problems.length > 0) throw new Error(`addon ${secret.metadata.name}: ${shortened(problems)}`);
  return { requeueAfterMs: LOOK_AGAIN_MS };
}

/** Undefined: it is gone, or no addon. */
async function readSecret({ key, api }: ReconcileContext): Promise<Stored<Secret> | undefined> {
  try {
    const secret = await api.get(secrets, nameOfKey(key));
    return secret.type === ADDON_TYPE ? secret : undefined;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

interface Applied {
  readonly objects: number;
  readonly pruned: number;
}

interface Applying {
  readonly context: ReconcileContext;
  /** What could not be applied, one sentence each. */
  readonly problems: string[];
}

async function applyAddon(
  secret: Stored<Secret>,
  { context, problems }: Applying,
): Promise<Applied | undefined> {
  const objects = inApplyOrder(
    parseManifests(Buffer.from(secret.data?.[ADDON_DATA_KEY] ?? '', 'base64').toString()),
  );
  const id = applySetId(secret.metadata.name);
  const before = groupKindsOf(secret);
  const kinds = new Set(objects.map(groupKindOf));
  await noteKinds(secret, { context, kinds: new Set([...before, ...kinds]) });
  let { resources } = await discoverResources(context.api);
  const wanted = new Set<string>();
  const used = new Set<string>();
  for (const object of objects) {
    context.signal.throwIfAborted();
    try {
      let resource = resourceOfKind(resources, refOf(object));
      if (!resource) {
        // Its definition may have been applied a moment ago.
        ({ resources } = await discoverResources(context.api));
        resource = resourceOfKind(resources, refOf(object));
      }
      if (!resource)
        throw new Error(`no matches for kind "${object.kind}" in version "${object.apiVersion}"`);
      followDrift(resource, { context, id });
      if (resource.namespaced) used.add(object.metadata?.namespace ?? DEFAULT_NAMESPACE);
      wanted.add(await applyOne(object, { resource, id, context }));
    } catch (error) {
      problems.push(`${object.kind} ${objectKey(object)}: ${errorMessage(error)}`);
    }
  }
  // As kubectl: what could not be applied may be what an object was renamed to.
  if (problems.length > 0) return undefined;
  const { removed, left } = await prune({ context, id, kinds: before, resources, keep: wanted });
  await noteKinds(secret, { context, kinds: new Set([...kinds, ...left]), namespaces: used });
  return { objects: objects.length, pruned: removed };
}

interface ApplyOne {
  readonly resource: ServedResource;
  readonly id: string;
  readonly context: ReconcileContext;
}

/** Its identity, for prune. */
async function applyOne(object: KubeObject, { resource, id, context }: ApplyOne): Promise<string> {
  const { api } = context;
  const { name = '', namespace = DEFAULT_NAMESPACE, labels } = object.metadata ?? {};
  const at = resource.namespaced ? { name, namespace } : { name };
  const metadata = { ...object.metadata, ...at, labels: { ...labels, [APPLYSET_PART_OF]: id } };
  const stored = await api.patch(resource, at, {
    type: 'apply',
    patch: { ...object, metadata },
    fieldManager: FIELD_MANAGER,
    force: true,
  });
  if (
    resource.plural === customResourceDefinitions.plural &&
    resource.group === customResourceDefinitions.group
  )
    await waitUntilEstablished(name, context);
  return identityOf(resource, stored);
}

async function waitUntilEstablished(name: string, { api, clock }: ReconcileContext): Promise<void> {
  const deadline = clock.monotonic() + ESTABLISHED_TIMEOUT_MS;
  for (;;) {
    const { status } = await api.get(customResourceDefinitions, { name });
    if (status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True')) return;
    if (clock.monotonic() > deadline)
      throw new Error(`it is not established after ${ESTABLISHED_TIMEOUT_MS / 1000} s`);
    await clock.sleep(ESTABLISHED_POLL_MS);
  }
}

interface Pruning {
  readonly context: ReconcileContext;
  readonly id: string;
  /** 'Deployment.apps' each. */
  readonly kinds: ReadonlySet<string>;
  readonly resources: readonly ServedResource[];
  /** Identities that stay. */
  readonly keep: ReadonlySet<string>;
}

/** left: kinds that still have a member which should be gone. */
async function prune({
  context: { api },
  id,
  kinds,
  resources,
  keep,
}: Pruning): Promise<{ readonly removed: number; readonly left: readonly string[] }> {
  let removed = 0;
  const left: string[] = [];
  for (const kind of kinds) {
    const resource = resources.find((one) => `${one.kind}${one.group && `.${one.group}`}` === kind);
    // Its definition is gone, and its objects with it.
    if (!resource) continue;
    const { items } = await api.listMetadata(resource, { labelSelector: `${APPLYSET_PART_OF}=${id}` });
    const extra = items.filter((item) => !keep.has(identityOf(resource, item)));
    if (extra.length > 0) left.push(kind);
    for (const { metadata } of extra) {
      if (metadata.deletionTimestamp) continue;
      removed++;
      await api
        .delete(
          resource,
          { name: metadata.name, ...(resource.namespaced ? { namespace: metadata.namespace } : {}) },
          { propagationPolicy: 'Background', preconditions: { uid: metadata.uid } },
        )
        .catch((error: unknown) => {
          if (!isStatusError(error, 'NotFound')) throw error;
        });
    }
  }
  return { removed, left };
}

/** Namespaces and definitions go last, so that what they hold ends in order. */
async function remove(secret: Stored<Secret>, context: ReconcileContext): Promise<ReconcileResult> {
  const { api } = context;
  const { name, namespace, finalizers = [] } = secret.metadata;
  if (!finalizers.includes(ADDON_FINALIZER)) return;
  const { resources } = await discoverResources(api);
  const id = applySetId(name);
  const kinds = [...groupKindsOf(secret)];
  const isLast = (kind: string): boolean =>
    kind === 'Namespace' || kind === 'CustomResourceDefinition.apiextensions.k8s.io';
  for (const some of [kinds.filter((kind) => !isLast(kind)), kinds.filter(isLast)]) {
    const { left } = await prune({ context, id, kinds: new Set(some), resources, keep: new Set() });
    if (left.length > 0) return { requeueAfterMs: PRUNE_POLL_MS };
  }
  await api.patch(
    secrets,
    { name, namespace },
    {
      type: 'merge',
      patch: {
        metadata: {
          resourceVersion: secret.metadata.resourceVersion,
          finalizers: finalizers.filter((one) => one !== ADDON_FINALIZER),
        },
      },
    },
  );
}

function groupKindsOf({ metadata }: Stored<Secret>): ReadonlySet<string> {
  return new Set(metadata.annotations?.[APPLYSET_GROUP_KINDS]?.split(',').filter(Boolean));
}

interface Noted {
  readonly context: ReconcileContext;
  readonly kinds: ReadonlySet<string>;
  /** Of its members, for other tools; undefined: as before. */
  readonly namespaces?: ReadonlySet<string> | undefined;
}

async function noteKinds(
  secret: Stored<Secret>,
  { context: { api }, kinds, namespaces }: Noted,
): Promise<void> {
  const { name, namespace } = secret.metadata;
  const live = await api.get(secrets, { name, namespace });
  const { annotations = {}, finalizers = [], resourceVersion } = live.metadata;
  const noted: Record<string, string> = {
    [APPLYSET_GROUP_KINDS]: [...kinds].toSorted().join(),
    [APPLYSET_TOOLING]: ADDON_TOOLING,
    ...(namespaces && {
      [APPLYSET_NAMESPACES]: [...namespaces]
        .filter((one) => one !== ADDON_NAMESPACE)
        .toSorted()
        .join(),
    }),
  };
  const isNoted = Object.entries(noted).every(([key, value]) => annotations[key] === value);
  if (isNoted && finalizers.includes(ADDON_FINALIZER)) return;
  const metadata = {
    resourceVersion,
    annotations: noted,
    finalizers: [...new Set([...finalizers, ADDON_FINALIZER])],
  };
  await api.patch(secrets, { name, namespace }, { type: 'merge', patch: { metadata } });
}

interface Written extends Applying {
  readonly applied: Applied | undefined;
}

/** The condition and an event, where it differs from before. */
async function writeStatus(
  secret: Stored<Secret>,
  { context: { api, clock, events }, applied, problems }: Written,
): Promise<void> {
  const before = addonCondition(secret.metadata.annotations);
  const status = problems.length === 0 ? 'True' : 'False';
  const message = applied ? `${applied.objects} objects are applied` : shortened(problems);
  const reason = applied ? 'Applied' : 'ApplyFailed';
  if (applied && applied.pruned > 0)
    events.event(secret, { type: 'Normal', reason: 'Pruned', message: `Deleted ${applied.pruned} objects` });
  if (before?.status === status && before.message === message) return;
  events.event(secret, { type: applied ? 'Normal' : 'Warning', reason, message });
  const condition: AddonCondition = {
    type: 'Ready',
    status,
    reason,
    message,
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : formatTime(clock.now()),
  };
  const { name, namespace } = secret.metadata;
  await api.patch(
    secrets,
    { name, namespace },
    {
      type: 'merge',
      patch: { metadata: { annotations: { [ADDON_STATUS]: JSON.stringify({ conditions: [condition] }) } } },
    },
  );
}

function shortened(problems: readonly string[]): string {
  const more = problems.length > MAXIMUM_ERRORS ? `; and ${problems.length - MAXIMUM_ERRORS} more` : '';
  return `${problems.slice(0, MAXIMUM_ERRORS).join('; ')}${more}`.slice(0, MAXIMUM_MESSAGE);
}

/** One watch for each kind in use, of members of any addon. It stays until the controller stops. */
function followDrift(
  resource: ServedResource,
  { context, id }: { readonly context: ReconcileContext; readonly id: string },
): void {
  const { memory, shared, signal, key, enqueue } = context;
  memory.set(`key ${id}`, key);
  const name = `watch ${resource.group}/${resource.plural}`;
  if (memory.has(name)) return;
  const { group, version, plural, kind, namespaced } = resource;
  const ref: ResourceRef = { group, version, plural, kind, namespaced };
  const informer: Informer<KubeObject> = shared.informer(ref, { labelSelector: APPLYSET_PART_OF });
  memory.set(name, informer);
  const look = ({ metadata }: Stored<KubeObject>): void => {
    const addon = memory.get(`key ${metadata.labels?.[APPLYSET_PART_OF]}`);
    if (typeof addon === 'string') enqueue(addon, DRIFT_DELAY_MS);
  };
  const unsubscribe = informer.subscribe({
    updated: (object, previous) => {
      if (!isStatusOnly(object, previous)) look(object);
    },
    deleted: look,
  });
  signal.addEventListener('abort', unsubscribe, { once: true });
}

function isStatusOnly(
  { metadata: now }: Stored<KubeObject>,
  { metadata: before }: Stored<KubeObject>,
): boolean {
  return (
    now.generation !== undefined &&
    now.generation === before.generation &&
    deepEqual(now.labels, before.labels) &&
    deepEqual(now.annotations, before.annotations)
  );
}

function refOf({ apiVersion = '', kind = '' }: KubeObject): { apiVersion: string; kind: string } {
  return { apiVersion, kind };
}

/** 'Deployment.apps', as the specification of ApplySets writes it. */
function groupKindOf({ apiVersion = '', kind = '' }: KubeObject): string {
  const { group } = parseApiVersion(apiVersion);
  return `${kind}${group && `.${group}`}`;
}

function identityOf({ group, plural }: ResourceRef, { metadata }: KubeObject): string {
  return `${group}/${plural} ${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}

function nameOfKey(key: string): { readonly namespace: string; readonly name: string } {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name };
}
