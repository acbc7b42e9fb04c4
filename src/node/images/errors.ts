/** Errors of images on a node. */

type ImageErrorCode =
  | 'invalid-name'
  /** The file is missing or may not be read. */
  | 'not-readable'
  /** The file is no image archive, or not a whole one. */
  | 'not-an-image'
  | 'truncated'
  /** The requested image is missing: another architecture, a name that the archive lacks. */
  | 'unsupported'
  /** The runtime refused it, or its tool is missing. */
  | 'import-failed'
  | 'mount-failed'
  | 'tool-missing';

export class ImageError extends Error {
  readonly code: ImageErrorCode;
  constructor(code: ImageErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ImageError';
    this.code = code;
  }
}
