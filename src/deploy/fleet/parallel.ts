/** Runs work on items, some at a time. */

/** Results in the order of the items; the first failure rejects. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  { limit, run }: { readonly limit: number; run(item: Item): Promise<Result> },
): Promise<Result[]> {
  const results: Result[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}
