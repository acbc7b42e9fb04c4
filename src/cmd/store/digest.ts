/** A store's contents as one hash, independent of the driver and of the objects' stored encoding; and unreadable entries. */
import { createHash } from 'node:crypto';
import { canonicalAt } from '#apiserver/storagecodec/codec-store.ts';
import { storedResource } from '#resources/stored-resource.ts';
import type { Revision, Store, StoredValue } from '#storage/store.ts';

export const ROOT = '/registry/';
const PAGE = 1000;
/** Keys of running servers, which expire with them: not part of the cluster's state. */
const PASSING = /^\/registry\/(masterleases\/|peerserverleases\/|capstan\.)/;

/** They end by themselves, also between two readings. */
const EXPIRING = /^\/registry\/events\//;

export interface Contents {
  readonly revision: Revision;
  /** Of all but events. */
  readonly digest: string;
  /** In the order of the last write of each. */
  readonly keys: readonly { readonly key: string; readonly revision: Revision }[];
  /** By 'deployments.apps'. */
  readonly counts: ReadonlyMap<string, number>;
  readonly unreadable: readonly { readonly key: string; readonly problem: string }[];
}

/** store: as the API server sees it. All at one revision. */
export async function readContents(store: Store): Promise<Contents> {
  const hash = createHash('sha256');
  const keys: { key: string; revision: Revision }[] = [];
  const counts = new Map<string, number>();
  const unreadable: { key: string; problem: string }[] = [];
  const revision = await visitAll(store, (item) => {
    const problem = addTo(hash, item);
    if (problem !== undefined) unreadable.push({ key: item.key, problem });
    keys.push({ key: item.key, revision: item.modRevision });
    const name = resourceName(item.key);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  });
  keys.sort((a, b) => a.revision - b.revision);
  return { revision, digest: hash.digest('hex'), keys, counts, unreadable };
}

/** Existing keys, and the revision at which they were read. */
export async function visitAll(store: Store, visit: (item: StoredValue) => void): Promise<Revision> {
  let revision: Revision | undefined;
  let startKey = ROOT;
  for (;;) {
    const at = revision === undefined ? {} : { revision };
    const page = await store.list(ROOT, { limit: PAGE, startKey, ...at });
    revision = page.revision;
    for (const item of page.items) if (!PASSING.test(item.key)) visit(item);
    if (!page.more) return revision;
    startKey = `${page.items.at(-1)!.key}\0`;
  }
}

/** The error, where it cannot be read. */
function addTo(
  hash: ReturnType<typeof createHash>,
  { key, value, unreadable }: StoredValue,
): string | undefined {
  if (unreadable !== undefined) return unreadable;
  try {
    const text = sorted(JSON.parse(canonicalAt(key, value).toString()));
    if (!EXPIRING.test(key)) hash.update(`${key}\0${text}\n`);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function sorted(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) =>
    one !== null && typeof one === 'object' && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  );
}

function resourceName(key: string): string {
  const { prefix, resource } = storedResource(key);
  if (!resource) return prefix;
  return resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
}
