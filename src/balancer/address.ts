/** Where an API server listens: an IP address or a name, and a port; and how both are written. */
import { isIP, isIPv6 } from 'node:net';

export interface Address {
  /** An IP address without brackets, or a DNS name (of seeds, until it is resolved). */
  readonly host: string;
  readonly port: number;
}

const DNS_NAME =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?$/i;
const DEFAULT_SERVER_PORT = 6443;

/** '10.0.0.1:6443', '[fd00::1]:6443': the identity of a server. */
export function formatAddress({ host, port }: Address): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** 'HOST:PORT', '[IPv6]:PORT', or a host alone, where the port is 6443. Undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed && !isIPv6(bracketed[1]!)) return undefined;
  const found = bracketed ?? (isIPv6(text) ? [text, text] : /^([^:]+)(?::(\d{1,5}))?$/.exec(text));
  if (!found) return undefined;
  const host = found[1]!;
  const port = found[2] === undefined ? DEFAULT_SERVER_PORT : Number(found[2]);
  const isHost = isIP(host) !== 0 || (DNS_NAME.test(host) && !/^[\d.]+$/.test(host));
  return isHost && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}
