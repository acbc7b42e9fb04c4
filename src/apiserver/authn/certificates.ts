/** Users by client certificate (CN = name, O = groups), and by the headers of an authenticating proxy that shows one of its own. */
import type { UserInfo } from '#machinery/object.ts';
import type { ApiRequest } from '../http.ts';
import type { Authenticated, Authenticator } from './authenticator.ts';
import { CREDENTIAL_ID } from './service-account.ts';

/** Users remembered by certificate; the oldest is forgotten first. */
const CACHE_LIMIT = 2048;

export class CertificateAuthenticator implements Authenticator {
  readonly #known = new Map<string, Authenticated>();

  /** Throws for a certificate that is not believed. */
  authenticate({ clientCertificate, clientCertificateError }: ApiRequest): Authenticated | undefined {
    if (clientCertificateError !== undefined) throw new Error(`x509: ${clientCertificateError}`);
    if (!clientCertificate || clientCertificate.commonName === '') return undefined;
    const known = this.#known.get(clientCertificate.fingerprint);
    if (known) return known;
    const fingerprint = clientCertificate.fingerprint.replaceAll(':', '').toLowerCase();
    const user: UserInfo = { name: clientCertificate.commonName, groups: clientCertificate.organizations, extra: { [CREDENTIAL_ID]: [`X509SHA256=${fingerprint}`] } };
    if (this.#known.size >= CACHE_LIMIT) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(clientCertificate.fingerprint, { user });
    return { user };
  }
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

/** Believes X-Remote-* headers from a peer with a front-proxy certificate, and from nobody else. */
export class RequestHeaderAuthenticator implements Authenticator {
  readonly #options: Required<RequestHeaderOptions>;

  constructor(options: RequestHeaderOptions) {
    this.#options = { usernameHeaders: ['x-remote-user'], uidHeaders: ['x-remote-uid'], groupHeaders: ['x-remote-group'], extraHeaderPrefixes: ['x-remote-extra-'], ...options };
  }

  /** Throws for a proxy whose name is not allowed: its headers must not be dropped silently. */
  authenticate({ headers, frontProxyCertificate }: ApiRequest): Authenticated | undefined {
    if (!frontProxyCertificate) return undefined;
    const { allowedNames, usernameHeaders, uidHeaders, groupHeaders } = this.#options;
    if (allowedNames.length > 0 && !allowedNames.includes(frontProxyCertificate.commonName)) {
      throw new Error(`x509: subject with cn=${frontProxyCertificate.commonName} is not in the allowed list`);
    }
    const first = (names: readonly string[]): string => names.map((name) => headers[name]?.trim() ?? '').find((value) => value !== '') ?? '';
    const name = first(usernameHeaders);
    if (name === '') return undefined;
    const uid = first(uidHeaders);
    const groups = groupHeaders.flatMap((header) => splitValues(headers[header]));
    const extra = this.#extraOf(headers);
    return { user: { name, groups, ...(uid ? { uid } : {}), ...(Object.keys(extra).length > 0 ? { extra } : {}) } };
  }

  #extraOf(headers: ApiRequest['headers']): Record<string, string[]> {
    const extra: Record<string, string[]> = {};
    for (const [header, value] of Object.entries(headers)) {
      const prefix = this.#options.extraHeaderPrefixes.find((candidate) => header.startsWith(candidate));
      if (prefix !== undefined) extra[decodeKey(header.slice(prefix.length))] = splitValues(value);
    }
    return extra;
  }
}

/** Repeated headers arrive joined by ', '. */
function splitValues(value: string | undefined): string[] {
  return (value ?? '').split(',').map((item) => item.trim()).filter((item) => item !== '');
}

function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
