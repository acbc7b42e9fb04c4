/** Errors of the backup room. Each message is one sentence for the administrator, without a full stop. */

/**
 * damaged: cut, altered, or not a backup · newer: of a later format · wrong-key: for other recipients · missing: no such backup ·
 * exists: the name is taken · refused: the location refuses us for good (403, no such bucket) · no-space: the disk or the bucket is full ·
 * unavailable: the location cannot be reached, after all retries · busy: another one is being made · mismatch: the content differs from what its manifest says.
 */
export type BackupErrorCode =
  | 'damaged'
  | 'newer'
  | 'wrong-key'
  | 'missing'
  | 'exists'
  | 'refused'
  | 'no-space'
  | 'unavailable'
  | 'busy'
  | 'mismatch';

export class BackupError extends Error {
  readonly code: BackupErrorCode;

  constructor(code: BackupErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'BackupError';
    this.code = code;
  }
}
