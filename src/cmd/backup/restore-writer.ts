/** Writes the objects of a backup into a store, and compares what it reads again. */
import { DigestBuilder, differences } from '#backup/digests.ts';
import { BackupError } from '#backup/errors.ts';
import type { BackupRecord } from '#backup/format.ts';
import { takeSnapshot } from '#backup/snapshot.ts';
import type { Store } from '#storage/store.ts';
import type { LostNodes } from './lost-nodes.ts';

/** Writes in flight, and the bytes of their objects. */
const WRITING = 512;
const WRITING_BYTES = 8 * 1024 * 1024;

/** Puts in the order of keys, a bounded number and size in flight: the next objects are decoded while a commit is written. */
export class Writer {
  /** Of the objects as they were given, which has defaults that the stored bytes may lack. */
  readonly digests = new DigestBuilder();
  readonly #store: Store;
  readonly #lost: LostNodes;
  count = 0;
  readonly #flying: { readonly put: Promise<unknown>; readonly bytes: number }[] = [];
  #bytes = 0;

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
    this.#flying.push({ put, bytes: value.length });
    this.#bytes += value.length;
    if (this.#flying.length >= WRITING || this.#bytes >= WRITING_BYTES) await this.#until(WRITING / 2);
  }

  async finish(): Promise<void> {
    await this.#until(0);
  }

  /** At most so many are left, and half of the bytes. */
  async #until(left: number): Promise<void> {
    while (this.#flying.length > left || this.#bytes > WRITING_BYTES / 2) {
      const { put, bytes } = this.#flying.shift()!;
      this.#bytes -= bytes;
      await put;
    }
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
