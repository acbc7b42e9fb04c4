/**
 * Image garbage collection, after upstream's image GC manager: when the images' file system is fuller than a high mark, unused images
 * go, the longest unused first, until it is below a low mark. Images in use by any container, pinned ones and the sandbox image stay.
 */
import { statfs } from 'node:fs/promises';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import type { Image } from '../cri/types.ts';
import { normalizeReference } from './reference.ts';
import { SANDBOX_IMAGE } from './sandbox-image.ts';

export interface ImageGarbageThresholds {
  /** Percent of the file system; upstream's defaults 85 and 80. */
  readonly highThresholdPercent?: number;
  readonly lowThresholdPercent?: number;
  /** Images seen for a shorter time stay: 2 min. */
  readonly minAgeMs?: number;
  /** Images unused for longer go although there is room; 0: never. */
  readonly maxAgeMs?: number;
}

interface ImageGarbageOptions extends ImageGarbageThresholds {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** References of images in use by others than containers. */
  readonly alsoUsed?: () => readonly string[];
  /** The file system of a path: statfs by default. */
  readonly usage?: (path: string) => Promise<FileSystemUsage>;
}

interface FileSystemUsage {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

interface ImageRecord {
  readonly image: Image;
  readonly firstDetected: number;
  lastUsed: number;
}

export class ImageGarbageCollector {
  readonly #options: Required<ImageGarbageOptions>;
  readonly #records = new Map<string, ImageRecord>();

  constructor(options: ImageGarbageOptions) {
    this.#options = {
      highThresholdPercent: 85,
      lowThresholdPercent: 80,
      minAgeMs: 120_000,
      maxAgeMs: 0,
      alsoUsed: () => [],
      usage: fileSystemUsage,
      ...options,
    };
  }

  /** Images by when they were last used, the longest unused first. Call it now and then: unused time counts from calls. */
  async list(): Promise<
    readonly { readonly image: Image; readonly inUse: boolean; readonly lastUsed: number }[]
  > {
    const now = this.#options.clock.now();
    const inUse = await this.#detect(now);
    return [...this.#records.values()]
      .map(({ image, lastUsed }) => ({ image, lastUsed, inUse: inUse.has(image.id) }))
      .sort((one, other) => one.lastUsed - other.lastUsed);
  }

  /** Call every 5 minutes. Does nothing below the high mark. Rejects when the runtime cannot tell. */
  async collect(): Promise<{ readonly freedBytes: number; readonly wantedBytes: number }> {
    const { imageFilesystems } = await this.#options.cri.imageFsInfo({});
    const mountpoint = imageFilesystems[0]?.fsId?.mountpoint;
    if (!mountpoint) throw new Error('the runtime does not say where its images are');
    const { capacityBytes, availableBytes } = await this.#options.usage(mountpoint);
    if (capacityBytes === 0) throw new Error(`the images' file system ${mountpoint} has no capacity`);
    const usedPercent = 100 - Math.floor((availableBytes * 100) / capacityBytes);
    await this.#removeOld();
    if (usedPercent < this.#options.highThresholdPercent) return { freedBytes: 0, wantedBytes: 0 };
    const wantedBytes =
      Math.floor((capacityBytes * (100 - this.#options.lowThresholdPercent)) / 100) - availableBytes;
    this.#options.log.info('image file system above the high threshold: removing unused images', {
      usedPercent,
      wantedBytes,
    });
    return { freedBytes: await this.free(wantedBytes), wantedBytes };
  }

  /** Removes unused images until so many bytes are free; Infinity removes all unused. */
  async free(bytes: number): Promise<number> {
    const { clock, minAgeMs } = this.#options;
    const start = clock.now();
    const inUse = await this.#detect(start);
    const candidates = this.#unused(inUse);
    let freed = 0;
    for (const record of candidates) {
      if (freed >= bytes) break;
      // Used while we were looking, or just pulled for a pod that starts now.
      if (record.lastUsed >= start || start - record.firstDetected < minAgeMs) continue;
      freed += await this.#remove(record);
    }
    return freed;
  }

  #unused(inUse: ReadonlySet<string>): ImageRecord[] {
    return [...this.#records.values()]
      .filter(({ image }) => !inUse.has(image.id) && !isKept(image))
      .sort((one, other) => one.lastUsed - other.lastUsed || one.firstDetected - other.firstDetected);
  }

  /** Those unused for longer than maxAgeMs, counted from when this agent first saw them. */
  async #removeOld(): Promise<void> {
    const { clock, maxAgeMs } = this.#options;
    const now = clock.now();
    const inUse = await this.#detect(now);
    if (maxAgeMs === 0) return;
    for (const record of this.#unused(inUse))
      if (now - Math.max(record.lastUsed, record.firstDetected) > maxAgeMs) await this.#remove(record);
  }

  /** The freed bytes. */
  async #remove({ image }: ImageRecord): Promise<number> {
    const { cri, log } = this.#options;
    try {
      await cri.removeImage({ image: { image: image.id } });
      this.#records.delete(image.id);
      log.info('removed an unused image', { image: image.repoTags[0] ?? image.id, bytes: image.size });
      return image.size;
    } catch (error) {
      log.warn('error removing an unused image', { image: image.id, error: errorMessage(error) });
      return 0;
    }
  }

  /** The ids in use. */
  async #detect(now: number): Promise<ReadonlySet<string>> {
    const { cri } = this.#options;
    const [{ images }, { containers }] = await Promise.all([cri.listImages({}), cri.listContainers({})]);
    const others = this.#options.alsoUsed().map((reference) => normalizeReference(reference) ?? reference);
    const used = new Set([
      ...others,
      ...containers.flatMap(({ imageRef, imageId, image }) => [imageRef, imageId, image?.image ?? '']),
    ]);
    const inUse = new Set(
      images
        .filter((image) => [image.id, ...image.repoTags, ...image.repoDigests].some((name) => used.has(name)))
        .map(({ id }) => id),
    );
    for (const image of images) {
      const record = this.#records.get(image.id) ?? { image, firstDetected: now, lastUsed: 0 };
      this.#records.set(image.id, {
        image,
        firstDetected: record.firstDetected,
        lastUsed: inUse.has(image.id) ? now : record.lastUsed,
      });
    }
    const present = new Set(images.map(({ id }) => id));
    for (const id of this.#records.keys()) if (!present.has(id)) this.#records.delete(id);
    return inUse;
  }
}

function isKept(image: Image): boolean {
  return image.pinned || image.repoTags.includes(SANDBOX_IMAGE);
}

async function fileSystemUsage(path: string): Promise<FileSystemUsage> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail };
}
