/** Server-owned metadata: set on a new object, preserved by an update. */
import { randomUUID } from 'node:crypto';
import { randomSuffix } from '#stdx/random.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';

const NAME_RANDOM_LENGTH = 5;
const NAME_MAX_BASE_LENGTH = 63 - NAME_RANDOM_LENGTH;

/** namespace: undefined for cluster-scoped kinds. */
export function beginMetadata(
  meta: ObjectMeta,
  { namespace, nowMs }: { readonly namespace: string | undefined; readonly nowMs: number },
): void {
  delete meta.resourceVersion;
  delete meta.selfLink;
  delete meta.deletionTimestamp;
  delete meta.deletionGracePeriodSeconds;
  setNamespace(meta, namespace);
  meta.uid = randomUUID();
  meta.creationTimestamp = formatTime(nowMs);
}

interface Continued {
  readonly previous: ObjectMeta;
  readonly name: string;
  /** undefined for cluster-scoped kinds. */
  readonly namespace: string | undefined;
}

/** Restores server-owned fields from the stored metadata. */
export function continueMetadata(meta: ObjectMeta, { previous, name, namespace }: Continued): void {
  meta.name = name;
  if (previous.resourceVersion !== undefined) meta.resourceVersion = previous.resourceVersion;
  setNamespace(meta, namespace);
  if (!meta.uid && previous.uid !== undefined) meta.uid = previous.uid;
  if (previous.creationTimestamp !== undefined) meta.creationTimestamp = previous.creationTimestamp;
  if (previous.generation === undefined) delete meta.generation;
  else meta.generation = previous.generation;
  // An update cannot mark an object as being deleted: validation refuses that.
  if (previous.deletionTimestamp !== undefined) {
    meta.deletionTimestamp = previous.deletionTimestamp;
    if (previous.deletionGracePeriodSeconds !== undefined)
      meta.deletionGracePeriodSeconds = previous.deletionGracePeriodSeconds;
  }
  delete meta.selfLink;
}

function setNamespace(meta: ObjectMeta, namespace: string | undefined): void {
  if (namespace === undefined) delete meta.namespace;
  else meta.namespace = namespace;
}

export function generateName(base: string): string {
  return base.slice(0, NAME_MAX_BASE_LENGTH) + randomSuffix(NAME_RANDOM_LENGTH);
}
