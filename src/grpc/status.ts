/** gRPC's status codes as a closed union. */
import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';

export type GrpcCode =
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
  /** The server does not listen, went away, or is not ready for this call yet: try again later. */
  | 'unavailable'
  | 'data-loss'
  | 'unauthenticated';

const CODES: Readonly<Record<number, GrpcCode>> = {
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

/** What a failed call says; 'unknown' for errors that are not gRPC's. details: without gRPC's number in front. */
export function describeFailure(error: unknown): { readonly code: GrpcCode; readonly details: string } {
  const { code, details } = error as Partial<ServiceError>;
  if (typeof code === 'number') return { code: CODES[code] ?? 'unknown', details: details ?? String(error) };
  return { code: 'unknown', details: error instanceof Error ? error.message : String(error) };
}

/** As gRPC for Go prints it, which people search for: 'rpc error: code = FailedPrecondition desc = …'. */
export function describeRpcError(error: unknown): string {
  const { code, details } = describeFailure(error);
  const name = code
    .split('-')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
  return `rpc error: code = ${name} desc = ${details}`;
}
