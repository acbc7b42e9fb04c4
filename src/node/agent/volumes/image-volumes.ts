/** Image volumes: the image of each, and the mounts of a container. Pure. */
import type { Container, EphemeralContainer, ImageVolumeSource, Pod } from '#api/types.ts';

interface ImageVolume {
  readonly name: string;
  readonly source: ImageVolumeSource;
}

/** References of the images that the pod's volumes are. */
export function imagesOfVolumes({ spec }: Pod): string[] {
  return (spec?.volumes ?? []).flatMap(({ image }) => (image?.reference ? [image.reference] : []));
}

/** Those that this container mounts. */
export function listImageVolumes({ spec }: Pod, container: Container | EphemeralContainer): ImageVolume[] {
  const wanted = new Set((container.volumeMounts ?? []).map(({ name }) => name));
  return (spec?.volumes ?? []).flatMap(({ name, image }) =>
    image && wanted.has(name) ? [{ name, source: image }] : [],
  );
}
