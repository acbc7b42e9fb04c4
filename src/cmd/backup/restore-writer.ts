/** Writes the objects of a backup into a store, and compares what it reads again. */
import { DigestBuilder, differences } from '#backup/digests.ts';
import { BackupError } from '#backup/errors.ts';
import type { BackupRecord } from '#backup/format.ts';
import { takeSnapshot } from '#backup/snapshot.ts';
import type { Store } from '#storage/store.ts';
import type { LostNodes } from './lost-nodes.ts';

/** Writes in flight. */
const WRITING = 256;

/** Puts in the order of keys, a bounded number in flight. */
export class Writer {
  /** Of the objects as they were given, which has defaults that the stored bytes may lack. */
  readonly digests = new DigestBuilder();
  readonly #store: Store;
  readonly #lost: LostNodes;
  count = 0;
  #flying: Promise<unknown>[] = [];

  constructor(store: Store, lost: LostNodes) {
    this.#store = store;
    this.#lost = lost;
  }

  async write({ key, value, ttlSeconds }: BackupRecord): Promise<void> {
    if (this.#lost.takes({ key, value })) return;
    this.count++;
    this.digests.add({ key, value });
    const put = this.#store.put(
      key,
      value,
      ttlSeconds === undefined ? {} : { ttlSeconds: Math.max(1, ttlSeconds) },
    );
    put.catch(() => {});
    this.#flying.push(put);
    if (this.#flying.length >= WRITING) await this.finish();
  }

  async finish(): Promise<void> {
    const flying = this.#flying;
    this.#flying = [];
    await Promise.all(flying);
  }
}

/** As it is read again. Events may have expired meanwhile. */
export async function requireSame(store: Store, { digests }: Writer): Promise<void> {
  const found = new DigestBuilder();
  const snapshot = await takeSnapshot(store);
  for await (const batch of snapshot.records) for (const record of batch) found.add(record);
  const different = differences(digests.finish(), found.finish()).filter(
    (line) => !line.startsWith('events:'),
  );
  if (different.length > 0)
    throw new BackupError('mismatch', `what was written differs from the backup: ${different[0]}`);
}
