import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import { ImageGarbageCollector } from './garbage.ts';

const HOUR_MS = 3_600_000;

test('images unused for longer than their maximum age go although there is room; those in use stay', async () => {
  let images = ['old', 'used'].map((id) => ({
    id,
    repoTags: [`${id}:1`],
    repoDigests: [],
    size: 10,
    pinned: false,
  }));
  const cri = {
    listImages: async () => ({ images }),
    listContainers: async () => ({ containers: [{ imageRef: 'used', imageId: 'used' }] }),
    imageFsInfo: async () => ({ imageFilesystems: [{ fsId: { mountpoint: '/' } }] }),
    removeImage: async ({ image }: { readonly image: { readonly image: string } }) => {
      images = images.filter(({ id }) => id !== image.image);
      return {};
    },
  } as unknown as CriClient;
  let nowMs = 0;
  const gc = new ImageGarbageCollector({
    cri,
    clock: { ...realClock, now: () => nowMs },
    log: silentLogger,
    maxAgeMs: HOUR_MS,
    usage: async () => ({ capacityBytes: 1000, availableBytes: 900 }),
  });
  await gc.collect();
  nowMs = HOUR_MS;
  await gc.collect();
  assert.deepEqual(
    images.map(({ id }) => id),
    ['old', 'used'],
    'not older than an hour yet',
  );
  nowMs += 1;
  await gc.collect();
  assert.deepEqual(
    images.map(({ id }) => id),
    ['used'],
  );
});
