/** '192.0.2.1:443', '[2001:db8::1]:443', 'name:443'. */
export function formatHostPort(host: string, port: number | string): string {
  return `${bracketed(host)}:${port}`;
}

/** As a URL and a TLS server name have an IPv6 address. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
