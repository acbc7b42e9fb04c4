/** HOST:PORT, with the brackets of IPv6 addresses. */
import { isIP } from 'node:net';

interface HostPort {
  readonly host: string;
  /** Absent where the text has none. */
  readonly port?: number;
}

export function hostPort(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Undefined: it is neither an IP address nor a DNS name, with or without a port. */
export function parseHostPort(text: string): HostPort | undefined {
  if (isIP(text) === 6) return { host: text };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || (port !== undefined && (port < 1 || port > 65_535))) return undefined;
  if (bracketed !== undefined && isIP(bracketed) !== 6) return undefined;
  if (isIP(host) === 0 && !isDnsName(host)) return undefined;
  return port === undefined ? { host } : { host, port };
}

/** RFC 1123 subdomain. */
export function isDnsName(text: string): boolean {
  return (
    text.length <= 253 &&
    text.split('.').every((label) => label.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(label))
  );
}
