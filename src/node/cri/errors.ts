/** Errors of the container runtime: translated only here. */
import { describeFailure, type GrpcCode } from '#grpc/status.ts';

export class CriError extends Error {
  readonly code: GrpcCode;
  /** 'RunPodSandbox' */
  readonly method: string;
  /** The runtime's own text, without gRPC's number in front of it. */
  readonly details: string;

  constructor(of: {
    readonly code: GrpcCode;
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

export function toCriError(method: string, error: unknown): CriError {
  if (error instanceof CriError) return error;
  return new CriError({ ...describeFailure(error), method, cause: error });
}

/** True for a CriError, of this code where one is given. */
export function isCriError(error: unknown, code?: GrpcCode): error is CriError {
  return error instanceof CriError && (code === undefined || error.code === code);
}
