/** Warnings for addresses and ranges that are valid in old fields only, with upstream's messages. Validation rejects invalid ones. */
import { formatCIDR, formatIP, parseCIDR, parseIP } from '#machinery/ip.ts';

/** A fast check for canonical addresses, without parsing. */
const PLAIN_IPV4 = /^(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})$/;

export function addressWarnings(value: string, path: string): string[] {
  if (PLAIN_IPV4.test(value)) return [];
  const address = parseIP(value);
  if (!address) return [];
  const canonical = formatIP(address),
    [given, wanted] = [JSON.stringify(value), JSON.stringify(canonical)];
  if (address.leadingZeros || address.mapped)
    return [`${path}: non-standard IP address ${given} is invalid: use ${wanted}`];
  return canonical === value
    ? []
    : [`${path}: IPv6 address ${given} should be in RFC 5952 canonical format (${wanted})`];
}

export function rangeWarnings(value: string, path: string): string[] {
  const block = parseCIDR(value);
  if (!block) return [];
  const { address, network, prefixLength } = block,
    range = formatCIDR(block),
    given = JSON.stringify(value),
    list: string[] = [];
  if (address.bits !== network)
    list.push(
      `${path}: CIDR value ${given} is ambiguous in this context (should be ${JSON.stringify(range)} or ${JSON.stringify(`${formatIP(address)}/${address.family === 4 ? 32 : 128}`)}?)`,
    );
  if (address.leadingZeros || address.mapped || /\/0[0-9]/.test(value))
    list.push(`${path}: non-standard CIDR value ${given} is invalid: use ${JSON.stringify(range)}`);
  else if (address.family === 6) {
    const canonical = `${formatIP(address)}/${prefixLength}`;
    if (canonical !== value)
      list.push(
        `${path}: IPv6 CIDR value ${given} should be in RFC 5952 canonical format (${JSON.stringify(canonical)})`,
      );
  }
  return list;
}
