/** Status errors of connected subresources that the general table has not: upstream's texts for what a node, pod or service answers. */
import { StatusError, statusErrors } from '#machinery/errors.ts';

/** Upstream lets plain Go errors through as 500 without a reason. */
export function plainError(message: string, cause?: unknown): StatusError {
  return new StatusError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, code: 500 }, cause);
}

export function dialingError(error: unknown): StatusError {
  return plainError(`error dialing backend: ${describe(error)}`, error);
}

export function proxyError(error: unknown): StatusError {
  return statusErrors.unavailable(`error trying to reach service: ${describe(error)}`);
}

interface ConnectError { readonly code?: string; readonly address?: string; readonly port?: number; readonly hostname?: string; readonly message?: string }

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'i/o timeout',
  ECONNRESET: 'read: connection reset by peer',
};

/** As Go's net package says it, which is what clients of upstream know. */
export function describe(error: unknown): string {
  const { code, address, port, hostname, message } = error as ConnectError;
  const cause = CAUSES[code ?? ''];
  if (cause && address !== undefined) return `dial tcp ${address.includes(':') ? `[${address}]` : address}:${port}: ${cause}`;
  if (code === 'ENOTFOUND') return `dial tcp: lookup ${hostname}: no such host`;
  return message ?? String(error);
}
