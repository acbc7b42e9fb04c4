/** Converts errors of Node, LMDB and the system about the disk to StoreErrors. */
import { errorMessage } from '#stdx/log.ts';
import { StoreError, type StoreErrorCode } from '../store.ts';

/** Node's codes, and LMDB's: a positive errno of the system, or a negative number of its own. */
const CODES: Readonly<Record<string, StoreErrorCode>> = {
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EROFS: 'read-only',
  EACCES: 'read-only',
  EPERM: 'read-only',
  28: 'no-space',
  122: 'no-space',
  30: 'read-only',
  13: 'read-only',
  1: 'read-only',
  [-30797]: 'corrupt',
  [-30796]: 'corrupt',
  [-30793]: 'corrupt',
  [-30794]: 'version',
};

const SAYS: Partial<Record<StoreErrorCode, string>> = {
  'no-space': 'no space left on the disk',
  'read-only': 'it may not be written',
};

/** `what` is the failed operation: "Cannot write to store /x". */
export function diskError(what: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const code = CODES[String((error as { code?: unknown } | undefined)?.code)] ?? 'io';
  return new StoreError(code, `${what}: ${SAYS[code] ?? errorMessage(error)}`, { cause: error });
}
