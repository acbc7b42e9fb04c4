/** Errors of the container runtime: gRPC's status codes as a closed union, translated only here. */
import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';

type CriErrorCode =
  | 'cancelled'
  | 'unknown'
  | 'invalid-argument'
  | 'deadline-exceeded'
  | 'not-found'
  | 'already-exists'
  | 'permission-denied'
  | 'resource-exhausted'
  | 'failed-precondition'
  | 'aborted'
  | 'out-of-range'
  | 'unimplemented'
  | 'internal'
  /** The runtime does not listen, went away, or is not ready for this call yet: try again later. */
  | 'unavailable'
  | 'data-loss'
  | 'unauthenticated';

export class CriError extends Error {
  readonly code: CriErrorCode;
  /** 'RunPodSandbox' */
  readonly method: string;
  /** The runtime's own text, without gRPC's number in front of it. */
  readonly details: string;

  constructor(of: {
    readonly code: CriErrorCode;
    readonly method: string;
    readonly details: string;
    readonly cause?: unknown;
  }) {
    super(`${of.method}: ${of.details} (${of.code})`, { cause: of.cause });
    this.name = 'CriError';
    this.code = of.code;
    this.method = of.method;
    this.details = of.details;
  }
}

const CODES: Readonly<Record<number, CriErrorCode>> = {
  [status.CANCELLED]: 'cancelled',
  [status.UNKNOWN]: 'unknown',
  [status.INVALID_ARGUMENT]: 'invalid-argument',
  [status.DEADLINE_EXCEEDED]: 'deadline-exceeded',
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'already-exists',
  [status.PERMISSION_DENIED]: 'permission-denied',
  [status.RESOURCE_EXHAUSTED]: 'resource-exhausted',
  [status.FAILED_PRECONDITION]: 'failed-precondition',
  [status.ABORTED]: 'aborted',
  [status.OUT_OF_RANGE]: 'out-of-range',
  [status.UNIMPLEMENTED]: 'unimplemented',
  [status.INTERNAL]: 'internal',
  [status.UNAVAILABLE]: 'unavailable',
  [status.DATA_LOSS]: 'data-loss',
  [status.UNAUTHENTICATED]: 'unauthenticated',
};

export function toCriError(method: string, error: unknown): CriError {
  if (error instanceof CriError) return error;
  const { code, details } = error as Partial<ServiceError>;
  if (typeof code === 'number')
    return new CriError({
      code: CODES[code] ?? 'unknown',
      method,
      details: details ?? String(error),
      cause: error,
    });
  return new CriError({
    code: 'unknown',
    method,
    details: error instanceof Error ? error.message : String(error),
    cause: error,
  });
}

/** True for a CriError, of this code where one is given. */
export function isCriError(error: unknown, code?: CriErrorCode): error is CriError {
  return error instanceof CriError && (code === undefined || error.code === code);
}
