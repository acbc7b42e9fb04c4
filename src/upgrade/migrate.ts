/**
 * Storage versions around the raise: which resources are stored in another one afterwards, by their hash in discovery, and writing their objects anew.
 * An update without a change is stored where the stored form is an old one, and is nothing otherwise; so it may be done again at any time.
 */
import type { Client, ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeList, KubeObject } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { retrying } from './retry.ts';

const PAGE = 200;

interface Discovered {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs?: readonly string[];
  readonly storageVersionHash?: string;
}

interface StoredKind {
  readonly ref: ResourceRef;
  readonly hash: string;
}

/** 'deployments.apps' → hash, of what can be listed and updated. */
export async function storageHashes(api: Client): Promise<Readonly<Record<string, string>>> {
  const kinds = await storedKinds(api);
  return Object.fromEntries(Array.from(kinds, ([name, { hash }]) => [name, hash]));
}

/** Names of the resources whose storage version is another one now. */
export async function changedKinds(
  api: Client,
  before: Readonly<Record<string, string>>,
): Promise<readonly StoredKind[]> {
  const kinds = await storedKinds(api);
  return Array.from(kinds)
    .filter(([name, { hash }]) => before[name] !== undefined && before[name] !== hash)
    .map(([, kind]) => kind);
}

interface Rewriting {
  readonly api: Client;
  readonly clock: Clock;
  /** Called before each page; tests end the process there. */
  readonly before?: ((step: string) => void) | undefined;
}

/**
 * How many objects were written. One that changes meanwhile was stored in the new version by that. Each request is repeated by itself: a cluster with many objects
 * takes longer than one wait for an API server.
 */
export async function rewriteAll({ api, clock, before }: Rewriting, { ref }: StoredKind): Promise<number> {
  let written = 0;
  let token: string | undefined;
  do {
    const after = token;
    const page = await retrying(clock, () => listPage(api, { ref, token: after }));
    before?.(`migrate page of ${ref.plural}`);
    for (const object of page.items) written += await retrying(clock, () => rewrite(api, { ref, object }));
    token = page.metadata?.continue || undefined;
  } while (token !== undefined);
  return written;
}

/**
 * Where the store has forgotten the version of the first page, as after five minutes: the rest as it is now. What was written meanwhile is in the new form
 * anyway.
 */
async function listPage(
  api: Client,
  { ref, token }: { readonly ref: ResourceRef; readonly token: string | undefined },
): Promise<KubeList> {
  const from = (start: string | undefined): Promise<KubeList> =>
    api.list(ref, { limit: PAGE, ...(start === undefined ? {} : { continue: start }) });
  try {
    return await from(token);
  } catch (error) {
    const rest = isStatusError(error, 'Expired') ? error.status.metadata['continue'] : undefined;
    if (typeof rest !== 'string') throw error;
    return await from(rest);
  }
}

async function rewrite(
  api: Client,
  { ref, object }: { readonly ref: ResourceRef; readonly object: KubeObject },
): Promise<number> {
  try {
    await api.update(ref, object);
    return 1;
  } catch (error) {
    if (isStatusError(error, 'Conflict') || isStatusError(error, 'NotFound')) return 0;
    throw error;
  }
}

/** By name and group; of several versions the first one that is served, which is preferred. */
export async function storedKinds(api: Client): Promise<ReadonlyMap<string, StoredKind>> {
  const found = new Map<string, StoredKind>();
  const { groups = [] } = await getJson<{ groups?: { name: string; versions: { version: string }[] }[] }>(
    api,
    '/apis',
  );
  const versions = [
    { group: '', version: 'v1' },
    ...groups.flatMap(({ name, versions: all }) => all.map(({ version }) => ({ group: name, version }))),
  ];
  for (const { group, version } of versions) {
    const path = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    const { resources = [] } = await getJson<{ resources?: Discovered[] }>(api, path);
    for (const { name, kind, namespaced, verbs = [], storageVersionHash: hash } of resources) {
      const key = group === '' ? name : `${name}.${group}`;
      if (!hash || found.has(key) || !verbs.includes('update') || !verbs.includes('list')) continue;
      found.set(key, { ref: { group, version, plural: name, kind, namespaced }, hash });
    }
  }
  return found;
}

/** A group that is not available now is left out: it is of an extension API server. */
async function getJson<T>(api: Client, path: string): Promise<Partial<T>> {
  const response = await api.transport.request({ method: 'GET', path });
  const text = (await response.bytes()).toString();
  return response.status === 200 ? (JSON.parse(text) as T) : {};
}
