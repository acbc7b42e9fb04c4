/** The ?timeout= parameter of a request and its maximum. */
import { statusErrors } from '#machinery/errors.ts';
import { GoDurationError, parseGoDuration } from '#machinery/go-duration.ts';

/** Upstream's --request-timeout. */
export const DEFAULT_REQUEST_TIMEOUT_MS = 60_000;

/** The value of ?timeout=, up to the server's own limit. Throws 400. */
export function requestTimeoutMs(asked: string, limitMs: number): number {
  try {
    const wantedMs = Number(parseGoDuration(asked) / 1_000_000n);
    return wantedMs <= 0 || wantedMs > limitMs ? limitMs : wantedMs;
  } catch (error) {
    if (!(error instanceof GoDurationError)) throw error;
    throw statusErrors.badRequest(`invalid timeout specified in the request URL - ${error.message}`);
  }
}
