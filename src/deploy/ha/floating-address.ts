/** The floating address of a cluster's API servers, and what its routers must have in common. */
import { createHash, createHmac } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';
import { UserError } from '../data-dir.ts';

export interface FloatingAddress {
  readonly address: string;
  readonly prefix: number;
}

/** '10.0.0.100' or '10.0.0.100/24'. The default prefix is /32 or /128, as keepalived's. Throws a UserError. */
export function parseFloatingAddress(flag: string, text: string): FloatingAddress {
  const [address = '', prefixText, ...more] = text.split('/');
  const longest = isIPv6(address) ? 128 : 32;
  const prefix = prefixText === undefined ? longest : Number(prefixText);
  if (isIP(address) === 0 || more.length > 0 || !Number.isInteger(prefix) || prefix < 1 || prefix > longest)
    throw new UserError(
      `${flag} is "${text}"; it should be an IP address, for example 10.0.0.100 or 10.0.0.100/24.`,
    );
  return { address, prefix };
}

/** 1 to 255, from the address: two clusters on one LAN rarely have the same, and each machine of a cluster has. */
export function virtualRouterId({ address }: FloatingAddress): number {
  return 1 + (createHash('sha256').update(address).digest().readUInt32BE(0) % 255);
}

/** keepalived uses eight characters. Derived from the key file, so that every machine gets the same, without disclosing the key. */
export function routerPassword({ address }: FloatingAddress, key: Buffer): string {
  return createHmac('sha256', key).update(`keepalived ${address}`).digest('base64url').slice(0, 8);
}
