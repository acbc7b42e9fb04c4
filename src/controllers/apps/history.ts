/**
 * ControllerRevisions: the history of an owner's templates, for rollbacks and for finding a pod's template. Shared by DaemonSets
 * and StatefulSets. After upstream's pkg/controller/history.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ControllerRevision, PodTemplateSpec } from '#api/types.ts';
import type { LabelSelector } from '#machinery/labels.ts';
import { isStatusError } from '#machinery/errors.ts';
import { isJsonObject, setOwn, type JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ResourceRef } from '#client/client.ts';
import { controllerRevisions } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { findController, controllerReference } from '#component-helpers/owner-references.ts';
import { claim, controlledBy, orphans } from '../owners.ts';
import { byAge } from '../object-order.ts';
import { templateHash } from '../template-hash.ts';

export interface HistoryOptions {
  readonly context: ReconcileContext;
  readonly owner: KubeObject;
  readonly ownerResource: ResourceRef;
  readonly selector: LabelSelector;
  readonly template: PodTemplateSpec;
  readonly collisionCount: number | undefined;
  /** The label of pods and revisions that holds the hash. */
  readonly hashLabel: string;
}

/**
 * The data of a revision: a strategic merge patch that restores the owner's template; kubectl rollout undo applies it. Go clients
 * find the revision of a template by comparing serialized bytes, so fields are sorted by name.
 */
function dataOf(template: PodTemplateSpec): Record<string, unknown> {
  return { spec: { template: inOrderOfNames({ ...template, $patch: 'replace' }) } };
}

function inOrderOfNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrderOfNames);
  if (!isJsonObject(value)) return value;
  const sorted: JsonObject = {};
  for (const name of Object.keys(value).toSorted()) setOwn(sorted, name, inOrderOfNames(value[name]));
  return sorted;
}

/** Oldest first. */
export async function listRevisions({
  context,
  owner,
  ownerResource,
  selector,
}: HistoryOptions): Promise<ControllerRevision[]> {
  const informer = context.informer(controllerRevisions);
  const candidates = [...controlledBy(informer, owner), ...orphans(informer, owner.metadata!.namespace!)];
  const claimed = await claim(candidates, {
    api: context.api,
    resource: controllerRevisions,
    owner,
    ownerResource,
    selector,
  });
  return claimed.sort((a, b) => a.revision - b.revision || byAge(a, b));
}

interface History {
  readonly current: ControllerRevision;
  /** All others, oldest first. */
  readonly old: readonly ControllerRevision[];
}

export class RevisionCollision extends Error {
  override readonly name = 'RevisionCollision';
}

/**
 * The revision of the current template: found (and then made the newest) or created. Throws RevisionCollision when another object has
 * its name: the caller increments collisionCount and retries.
 */
export async function currentRevision(
  options: HistoryOptions,
  revisions: readonly ControllerRevision[],
): Promise<History> {
  const data = dataOf(options.template);
  const same = revisions.filter((revision) => isDeepStrictEqual(revision.data, data));
  const found = same.at(-1);
  const old = revisions.filter((revision) => revision !== found);
  const newest = Math.max(0, ...old.map(({ revision }) => revision));
  if (!found) return { current: await create(options, { data, revision: newest + 1 }), old };
  if (found.revision > newest) return { current: found, old };
  return {
    current: await options.context.api.update(controllerRevisions, { ...found, revision: newest + 1 }),
    old,
  };
}

async function create(
  { context, owner, ownerResource, template, collisionCount, hashLabel }: HistoryOptions,
  { data, revision }: { readonly data: Record<string, unknown>; readonly revision: number },
): Promise<ControllerRevision> {
  const { name: ownerName = '', namespace, annotations } = owner.metadata!;
  const hash = templateHash(template, collisionCount);
  const name = `${ownerName}-${hash}`;
  const labels = { ...template.metadata?.labels, [hashLabel]: hash };
  try {
    return await context.api.create(controllerRevisions, {
      metadata: {
        name,
        namespace: namespace!,
        labels,
        ...(annotations ? { annotations } : {}),
        ownerReferences: [controllerReference(owner, ownerResource)],
      },
      data,
      revision,
    });
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    const existing = await context.api.get(controllerRevisions, { name, namespace });
    if (findController(existing)?.uid === owner.metadata?.uid && isDeepStrictEqual(existing.data, data))
      return existing;
    throw new RevisionCollision(`controllerrevision ${namespace}/${name} is another one's`);
  }
}

/** Deletes the oldest unused revisions beyond the limit. */
export async function trimHistory(
  { api }: ReconcileContext,
  old: readonly ControllerRevision[],
  { limit, isLive }: { readonly limit: number; readonly isLive: (revision: ControllerRevision) => boolean },
): Promise<void> {
  const dead = old.filter((revision) => !isLive(revision));
  for (const { metadata } of dead.slice(0, Math.max(0, dead.length - limit))) {
    try {
      await api.delete(controllerRevisions, { name: metadata!.name!, namespace: metadata!.namespace });
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }
}
