/**
 * Users by client certificate (CN = name, O = groups, 1.3.6.1.4.1.57683.2 = UID), by a node's certificate that has expired, and by the headers of an
 * authenticating proxy that shows one of its own.
 */
import { EXPIRED_AT, EXPIRED_NODES, expiredNodeUser } from '#component-helpers/expired-node.ts';
import { decodePercent } from '#stdx/percent.ts';
import type { UserInfo } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { ApiRequest } from '../http/request.ts';
import type { Authenticated, Authenticator } from './authenticator.ts';
import { CREDENTIAL_ID } from './service-account.ts';

/** Users remembered by certificate; the oldest is forgotten first. */
const CACHE_LIMIT = 2048;

/** A connection outlives its certificate, so validity is checked at each request. Throws x509's error. */
function requireValid(notAfterMs: number | undefined, nowMs: number): void {
  if (notAfterMs === undefined || nowMs <= notAfterMs) return;
  const [current, end] = [nowMs, notAfterMs].map(formatTime);
  throw new Error(
    `x509: certificate has expired or is not yet valid: current time ${current} is after ${end}`,
  );
}

export class CertificateAuthenticator implements Authenticator {
  readonly #nowMs: () => number;
  readonly #known = new Map<string, Authenticated>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Throws for an untrusted certificate. */
  authenticate({ clientCertificate, clientCertificateError }: ApiRequest): Authenticated | undefined {
    if (clientCertificateError !== undefined) throw new Error(`x509: ${clientCertificateError}`);
    if (!clientCertificate || clientCertificate.commonName === '') return undefined;
    requireValid(clientCertificate.notAfterMs, this.#nowMs());
    const known = this.#known.get(clientCertificate.fingerprint);
    if (known) return known;
    const user: UserInfo = {
      name: clientCertificate.commonName,
      groups: clientCertificate.organizations,
      ...(clientCertificate.uid ? { uid: clientCertificate.uid } : {}),
      extra: { [CREDENTIAL_ID]: [credentialId(clientCertificate.fingerprint)] },
    };
    if (this.#known.size >= CACHE_LIMIT) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(clientCertificate.fingerprint, { user });
    return { user };
  }
}

/**
 * The user capstan:expired-node:NAME for a node's certificate that has expired, for graceMs: a node that was off past its certificate's end asks for another
 * one as that user, which has no other permission.
 */
export class ExpiredNodeAuthenticator implements Authenticator {
  readonly #graceMs: number;
  readonly #nowMs: () => number;

  constructor({ graceMs, nowMs }: { readonly graceMs: number; readonly nowMs: () => number }) {
    this.#graceMs = graceMs;
    this.#nowMs = nowMs;
  }

  authenticate({ expiredNode }: ApiRequest): Authenticated | undefined {
    if (!expiredNode || this.#nowMs() >= expiredNode.notAfterMs + this.#graceMs) return undefined;
    const { nodeName, notAfterMs, fingerprint } = expiredNode;
    return {
      user: {
        name: expiredNodeUser(nodeName),
        groups: [EXPIRED_NODES],
        extra: { [CREDENTIAL_ID]: [credentialId(fingerprint)], [EXPIRED_AT]: [formatTime(notAfterMs)] },
      },
    };
  }
}

function credentialId(fingerprint: string): string {
  return `X509SHA256=${fingerprint.replaceAll(':', '').toLowerCase()}`;
}

export interface RequestHeaderOptions {
  /** Names the proxy's certificate may have; empty = any that chains to the front-proxy CA. */
  readonly allowedNames: readonly string[];
  /** Lower case. Defaults: upstream's usual X-Remote-* names. */
  readonly usernameHeaders?: readonly string[];
  readonly uidHeaders?: readonly string[];
  readonly groupHeaders?: readonly string[];
  readonly extraHeaderPrefixes?: readonly string[];
}

/** Trusts X-Remote-* headers only from a peer with a front-proxy certificate. */
export class RequestHeaderAuthenticator implements Authenticator {
  readonly #options: Required<RequestHeaderOptions>;
  readonly #nowMs: () => number;

  constructor(options: RequestHeaderOptions, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#options = {
      usernameHeaders: ['x-remote-user'],
      uidHeaders: ['x-remote-uid'],
      groupHeaders: ['x-remote-group'],
      extraHeaderPrefixes: ['x-remote-extra-'],
      ...options,
    };
  }

  /** Throws for a proxy whose name is not allowed: its headers must not be dropped silently. */
  authenticate(request: ApiRequest): Authenticated | undefined {
    const { frontProxyCertificate } = request;
    if (!frontProxyCertificate) return undefined;
    requireValid(frontProxyCertificate.notAfterMs, this.#nowMs());
    const { allowedNames, usernameHeaders, uidHeaders, groupHeaders } = this.#options;
    if (allowedNames.length > 0 && !allowedNames.includes(frontProxyCertificate.commonName)) {
      throw new Error(`x509: subject with cn=${frontProxyCertificate.commonName} is not in the allowed list`);
    }
    const first = (names: readonly string[]): string =>
      names.map((name) => valuesOf(request, name)[0] ?? '').find((value) => value !== '') ?? '';
    const name = first(usernameHeaders);
    if (name === '') return undefined;
    const uid = first(uidHeaders);
    const groups = groupHeaders.flatMap((header) => valuesOf(request, header));
    const extra = this.#extraOf(request);
    return {
      user: { name, groups, ...(uid ? { uid } : {}), ...(Object.keys(extra).length > 0 ? { extra } : {}) },
    };
  }

  #extraOf(request: ApiRequest): Record<string, string[]> {
    const extra: Record<string, string[]> = {};
    for (const header of Object.keys(request.headers)) {
      const prefix = this.#options.extraHeaderPrefixes.find((candidate) => header.startsWith(candidate));
      if (prefix !== undefined) extra[decodePercent(header.slice(prefix.length))] = valuesOf(request, header);
    }
    return extra;
  }
}

/** Line by line as they came, so that a comma within a group's name makes no two groups of it; else joined by ', '. UTF-8, as proxies write it. */
function valuesOf(request: ApiRequest, name: string): string[] {
  const lines = request.headerValues?.(name) ?? (request.headers[name] ?? '').split(',');
  return lines.map((value) => fromUtf8(value.trim())).filter((value) => value !== '');
}

/** Header values are handed on byte by byte. */
function fromUtf8(value: string): string {
  // oxlint-disable-next-line no-control-regex
  return /[\x80-\xff]/.test(value) && !/[^\x00-\xff]/.test(value)
    ? Buffer.from(value, 'latin1').toString()
    : value;
}
