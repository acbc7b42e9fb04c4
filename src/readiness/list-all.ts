/** Lists a resource page by page, up to a bound: a check of a huge cluster says that it has not seen all of it. */
import type { Client, ResourceRef } from '#client/client.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';

const PAGE = 500;
const MAXIMUM = 20_000;

interface Listed<T> {
  readonly items: readonly T[];
  /** There are more than were read. */
  readonly truncated: boolean;
}

export function listAll<T extends KubeObject>(api: Client, ref: ResourceRef<T>): Promise<Listed<Stored<T>>> {
  return pages((more) => api.list(ref, { limit: PAGE, ...more }));
}

export function listAllMetadata(api: Client, ref: ResourceRef): Promise<Listed<Stored>> {
  return pages((more) => api.listMetadata(ref, { limit: PAGE, ...more }));
}

async function pages<T>(
  read: (more: { readonly continue?: string }) => Promise<{
    readonly items: readonly T[];
    readonly metadata?: { readonly continue?: string };
  }>,
): Promise<Listed<T>> {
  const items: T[] = [];
  let token: string | undefined;
  do {
    const page = await read(token === undefined ? {} : { continue: token });
    items.push(...page.items);
    token = page.metadata?.continue || undefined;
  } while (token !== undefined && items.length < MAXIMUM);
  return { items, truncated: token !== undefined };
}
