/** A volume that cannot be set up now; the text is what the pod's FailedMount event says behind the volume's name. */
export class VolumeError extends Error {
  override readonly name = 'VolumeError';
}
