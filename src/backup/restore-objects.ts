/**
 * Puts single objects of a backup back through the API, as any client would write them: admission, quotas and validation apply. They get new UIDs, so references to owners are
 * mended: to the owner that is there now by the same name, or removed where there is none. Status is the controllers' to write again.
 *
 *   owners before what they own:   absent ─► created      there, the same ─► unchanged      there, different ─► skipped | replaced | refused, by the policy
 */
import type { Client, ObjectName, ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject, type ObjectMeta, type Stored } from '#machinery/object.ts';
import { RESOURCES } from '#resources/registry.ts';
import { storedResource } from '#resources/stored-resource.ts';
import { errorMessage } from '#stdx/log.ts';
import { BackupError } from './errors.ts';
import type { BackupRecord } from './format.ts';
import { changedFields } from './object-diff.ts';

export type ConflictPolicy = 'skip' | 'replace' | 'fail';

interface Selected {
  readonly key: string;
  readonly object: KubeObject;
}

export interface Outcome {
  /** 'deployments.apps default/web' */
  readonly object: string;
  readonly action: 'created' | 'replaced' | 'unchanged' | 'skipped' | 'failed';
  readonly reason?: string | undefined;
  /** Fields that differ between what is there and the backup: 'spec.replicas: 2 -> 3'. */
  readonly changes?: readonly string[] | undefined;
}

interface Options {
  readonly api: Client;
  readonly conflict: ConflictPolicy;
  /** Nothing is written: what would be done. */
  readonly dryRun: boolean;
  readonly onOutcome: (outcome: Outcome) => void;
}

/** Which objects: all of a namespace, itself included, or one. */
interface Selection {
  readonly namespace?: string | undefined;
  /** 'deployments.apps/web', in the namespace where there is one. */
  readonly object?: string | undefined;
}

/** Objects of a namespace that are held at once. */
const MAX_BYTES = 512 * 1024 * 1024;
/** Made by controllers and servers from other objects, or of the moment. */
const DERIVED = new Set(['Event', 'Endpoints', 'EndpointSlice']);

/** Collects what a selection names while a backup is read. */
export class Selector {
  readonly selected: Selected[] = [];
  readonly #selection: Selection;
  #bytes = 0;

  constructor(selection: Selection) {
    this.#selection = selection;
  }

  take({ key, value }: BackupRecord): void {
    const { namespace, object: wanted } = this.#selection;
    if (!mayMatch(key, this.#selection)) return;
    const object = JSON.parse(value.toString()) as KubeObject;
    const { metadata = {} } = object;
    const inNamespace =
      metadata.namespace === namespace ||
      (wanted === undefined && object.kind === 'Namespace' && metadata.name === namespace);
    if (!inNamespace || (wanted !== undefined && `${resourceText(key)}/${metadata.name}` !== wanted)) return;
    this.#bytes += value.length;
    if (this.#bytes > MAX_BYTES)
      throw new BackupError(
        'refused',
        `the namespace has more than ${MAX_BYTES} bytes of objects: restore the cluster`,
      );
    this.selected.push({ key, object });
  }
}

/** Before anything is parsed. */
function mayMatch(key: string, { namespace, object }: Selection): boolean {
  const name = object?.slice(object.indexOf('/'));
  if (name !== undefined && !key.endsWith(name)) return false;
  return namespace === undefined || key.includes(`/${namespace}/`) || key.endsWith(`/${namespace}`);
}

/** One outcome an object, in the order in which they are written. */
export async function restoreObjects(selected: readonly Selected[], options: Options): Promise<void> {
  const uids = new Map<string, string | undefined>();
  for (const one of ownersFirst(selected)) {
    const object = `${resourceText(one.key)} ${nameText(one.object.metadata ?? {})}`;
    const reason = whyNot(one.object);
    if (reason !== undefined) {
      options.onOutcome({ object, action: 'skipped', reason });
      continue;
    }
    try {
      options.onOutcome({ object, ...(await restoreOne(one, { ...options, uids })) });
    } catch (error) {
      options.onOutcome({ object, action: 'failed', reason: errorMessage(error) });
    }
  }
}

function whyNot({ kind = '', metadata = {} }: KubeObject): string | undefined {
  if (DERIVED.has(kind)) return 'it is derived from other objects';
  if (metadata.deletionTimestamp !== undefined) return 'it was being deleted';
  if (kind === 'Pod' && metadata.ownerReferences?.some(({ controller }) => controller))
    return 'its controller makes it';
  return undefined;
}

/** Namespaces, then whatever has no owner among the selected, and so on; what is left of a circle goes last. */
function ownersFirst(selected: readonly Selected[]): Selected[] {
  const left = new Set(selected);
  const uids = new Set(selected.map(({ object }) => object.metadata?.uid));
  const ordered: Selected[] = [];
  const place = (ready: readonly Selected[]): void => {
    for (const one of ready) {
      left.delete(one);
      uids.delete(one.object.metadata?.uid);
      ordered.push(one);
    }
  };
  place(selected.filter(({ object }) => object.kind === 'Namespace'));
  while (left.size > 0) {
    const ready = [...left].filter(
      ({ object }) => !object.metadata?.ownerReferences?.some(({ uid }) => uids.has(uid)),
    );
    place(ready.length > 0 ? ready : [...left]);
  }
  return ordered;
}

interface One extends Options {
  /** From the backup's UIDs to today's; undefined: there is none. */
  readonly uids: Map<string, string | undefined>;
}

async function restoreOne({ key, object }: Selected, options: One): Promise<Omit<Outcome, 'object'>> {
  const { api, conflict, dryRun, uids } = options;
  const ref = refOf(key, object);
  const wanted = await cleaned(object, options);
  const uid = object.metadata?.uid ?? '';
  const current = await find(api, ref, nameOf(object, ref));
  if (!current) {
    if (dryRun) return { action: 'created' };
    const created = await create(api, { ref, wanted });
    uids.set(uid, created.metadata.uid);
    return { action: 'created' };
  }
  uids.set(uid, current.metadata.uid);
  const changes = changedFields(comparable(current), comparable(wanted));
  if (changes.length === 0) return { action: 'unchanged' };
  if (conflict === 'fail') return { action: 'failed', reason: 'it exists and differs', changes };
  if (conflict === 'skip') return { action: 'skipped', reason: 'it exists and differs', changes };
  const { resourceVersion, uid: present } = current.metadata;
  if (!dryRun)
    await api.update(ref, { ...wanted, metadata: { ...wanted.metadata, resourceVersion, uid: present } });
  return { action: 'replaced', changes };
}

/** Where its cluster IP was given to another Service since, it gets a new one. */
async function create(
  api: Client,
  { ref, wanted }: { readonly ref: ResourceRef; readonly wanted: KubeObject },
): Promise<Stored> {
  try {
    return await api.create(ref, wanted);
  } catch (error) {
    const { clusterIP, clusterIPs: _, ...spec } = (wanted['spec'] ?? {}) as Record<string, unknown>;
    if (ref.kind !== 'Service' || !isStatusError(error) || clusterIP === undefined || clusterIP === 'None')
      throw error;
    if (!/already allocated|not in the valid range|clusterIP/.test(error.message)) throw error;
    return api.create(ref, { ...wanted, spec });
  }
}

async function find(api: Client, ref: ResourceRef, name: ObjectName): Promise<Stored | undefined> {
  try {
    return await api.get(ref, name);
  } catch (error) {
    if (isStatusError(error) && error.status.code === 404) return undefined;
    throw error;
  }
}

/** As a client would write it. */
async function cleaned({ status: _, ...object }: KubeObject, options: One): Promise<KubeObject> {
  const { name, namespace, labels, annotations, finalizers, ownerReferences } = object.metadata ?? {};
  const owners = await mendedOwners(ownerReferences ?? [], { ...options, namespace });
  const metadata: ObjectMeta = {
    ...(name === undefined ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels ? { labels } : {}),
    ...(annotations ? { annotations } : {}),
    ...(finalizers ? { finalizers } : {}),
    ...(owners.length > 0 ? { ownerReferences: owners } : {}),
  };
  return { ...object, metadata };
}

type OwnerReferences = NonNullable<ObjectMeta['ownerReferences']>;

async function mendedOwners(
  references: OwnerReferences,
  { api, uids, namespace }: One & { readonly namespace: string | undefined },
): Promise<OwnerReferences> {
  const mended: OwnerReferences = [];
  for (const reference of references) {
    if (!uids.has(reference.uid)) uids.set(reference.uid, await ownerUID(api, { ...reference, namespace }));
    const uid = uids.get(reference.uid);
    if (uid !== undefined) mended.push({ ...reference, uid });
  }
  return mended;
}

/** Of the object that has the owner's name today. */
async function ownerUID(
  api: Client,
  {
    apiVersion,
    kind,
    name,
    namespace,
  }: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly namespace: string | undefined;
  },
): Promise<string | undefined> {
  const { group, version } = parseApiVersion(apiVersion);
  const resource = RESOURCES.find((one) => one.group === group && one.kind === kind && !one.virtual);
  if (!resource) return undefined;
  const { plural, namespaced } = resource;
  const ref = { group, version, plural, kind, namespaced };
  return (await find(api, ref, { name, namespace: namespaced ? namespace : undefined }))?.metadata.uid;
}

function comparable({ metadata, status: _, ...rest }: KubeObject): object {
  const { labels, annotations, ownerReferences } = metadata ?? {};
  return { ...rest, metadata: { labels, annotations, ownerReferences } };
}

function refOf(key: string, { apiVersion = '', kind = '', metadata }: KubeObject): ResourceRef {
  const { builtin, resource } = storedResource(key);
  const { group, version } = parseApiVersion(apiVersion);
  const plural = builtin?.plural ?? resource?.resource ?? '';
  return {
    group,
    version,
    plural,
    kind,
    namespaced: builtin?.namespaced ?? metadata?.namespace !== undefined,
  };
}

function nameOf({ metadata = {} }: KubeObject, { namespaced }: ResourceRef): ObjectName {
  return { name: metadata.name ?? '', namespace: namespaced ? metadata.namespace : undefined };
}

function nameText({ namespace, name = '' }: ObjectMeta): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function resourceText(key: string): string {
  const { resource } = storedResource(key);
  if (!resource) return '';
  return resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
}
