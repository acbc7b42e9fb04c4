/**
 * The child process of the lmdb driver's crash tests: writes continuously, and prints acknowledged writes. `node lmdb-writer.ts DIR`.
 * Each line is `KEY REVISION VALUE`, written as soon as the promise resolves.
 */
import { writeSync } from 'node:fs';
import { openLmdbStore } from './lmdb.ts';

const store = await openLmdbStore({ dir: process.argv[2]!, autoCompact: { keepRevisions: 1000 } });
writeSync(1, `open ${store.revision} -\n`);
let count = 0;
await Promise.all(
  Array.from({ length: 16 }, async (_, writer) => {
    for (;;) {
      const key = `/w${writer}/${count % 50}`;
      const value = `${process.pid}-${count++}`;
      const padded = Buffer.alloc(20 + ((count * 37) % 3000), ' ');
      padded.write(value);
      if (count % 10 === 0 && (await store.get(key))) {
        const { revision } = await store.delete(key);
        writeSync(1, `${key} ${revision} -\n`);
      } else {
        const { modRevision } = await store.put(key, padded);
        writeSync(1, `${key} ${modRevision} ${value}\n`);
      }
    }
  }),
);
