/** Status errors of connect subresources that the general table lacks: upstream's texts for responses of nodes, pods and services. */
import { StatusError, statusErrors } from '#machinery/errors.ts';
import { formatHostPort } from '#stdx/host-port.ts';

/** Upstream lets plain Go errors through as 500 without a reason. */
export function plainError(message: string, cause?: unknown): StatusError {
  return new StatusError(
    { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, code: 500 },
    cause,
  );
}

export function dialingError(error: unknown): StatusError {
  return plainError(`error dialing backend: ${describe(error)}`, error);
}

export function proxyError(error: unknown): StatusError {
  return statusErrors.unavailable(`error trying to reach service: ${describe(error)}`);
}

interface ConnectError {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
  readonly hostname?: string;
  readonly message?: string;
  /** Of a certificate that is for other names. */
  readonly cert?: { readonly subjectaltname?: string };
  readonly host?: string;
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'i/o timeout',
  ECONNRESET: 'read: connection reset by peer',
};

const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
]);

/** The verification error of the peer's certificate, in Go's words. */
function certificateProblem({ code = '', cert, host = '' }: ConnectError): string | undefined {
  if (UNKNOWN_AUTHORITY.has(code)) return 'certificate signed by unknown authority';
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return 'certificate has expired or is not yet valid';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `certificate is valid for ${cert?.subjectaltname?.replaceAll(/(DNS|IP Address):/g, '') || 'no names'}, not ${host}`;
  return undefined;
}

/** As Go's net and tls packages say it, which is what clients of upstream know. */
export function describe(error: unknown): string {
  const { code, address, port, hostname, message } = error as ConnectError;
  const cause = CAUSES[code ?? ''];
  if (cause && address !== undefined) return `dial tcp ${formatHostPort(address, String(port))}: ${cause}`;
  if (code === 'ENOTFOUND') return `dial tcp: lookup ${hostname}: no such host`;
  const problem = certificateProblem(error as ConnectError);
  if (problem !== undefined) return `tls: failed to verify certificate: x509: ${problem}`;
  if (message?.includes('wrong version number'))
    return 'tls: first record does not look like a TLS handshake';
  // EOF: closed before a response.
  if (code === 'ECONNRESET') return message === 'socket hang up' ? 'EOF' : cause!;
  return message ?? String(error);
}
