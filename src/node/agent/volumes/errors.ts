/** A volume that cannot be set up now; the pod's FailedMount event shows the text after the volume's name. */
export class VolumeError extends Error {
  override readonly name = 'VolumeError';
}
