/**
 * Mounts an image's files read-only, for image volumes. CRI before containerd 2.1 has no such call, so containerd's own client creates a view of the
 * image's layers and mounts it. The image must exist and stay: see ImageGarbageCollector's alsoUsed.
 */
import { run } from '../containerd/run.ts';
import { ImageError } from './errors.ts';

interface ImageMountTarget {
  readonly ctr: string;
  /** containerd's socket. */
  readonly address: string;
  readonly snapshotter: string;
}

/** Of pods' volumes, as the node agent is given them. */
export interface ImageMounts {
  /** The directory must be there. Throws ImageError. */
  mountImage(image: string, directory: string): Promise<void>;
  /** Idempotent. Throws ImageError. */
  unmountImage(directory: string): Promise<void>;
}

export function createImageMounts(target: () => ImageMountTarget): ImageMounts {
  const ctr = async (words: readonly string[]): Promise<void> => {
    const of = target();
    const { code, stderr } = await run([
      of.ctr,
      '--address',
      of.address,
      '--namespace',
      'k8s.io',
      'images',
      ...words,
    ]);
    if (code !== 0 && !(words[0] === 'unmount' && /not found/.test(stderr)))
      throw new ImageError('mount-failed', `ctr images ${words.join(' ')}: ${stderr.trim()}`);
  };
  return {
    mountImage: (image, directory) => ctr(['mount', '--snapshotter', target().snapshotter, image, directory]),
    // The view is named after the directory.
    unmountImage: (directory) => ctr(['unmount', '--rm', '--snapshotter', target().snapshotter, directory]),
  };
}
