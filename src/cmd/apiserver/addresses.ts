/** Where an API server is reached: the address it advertises, as upstream chooses it, and the names in its serving certificate. */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import { validateDNS1123Subdomain, validateWildcardDNS1123Subdomain } from '#machinery/names.ts';
import { isGlobalUnicast } from '#node/host-address.ts';

export function isUnspecified(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

interface AdvertiseOptions {
  readonly bindAddress: string;
  /** --advertise-address */
  readonly given?: string | undefined;
  /** By the default route. */
  readonly hostAddress: string | undefined;
  /** Of this machine, in the system's order. */
  readonly machine: readonly string[];
}

/** undefined: none reachable by others. A server on loopback only has none, so the machine's address does not help. */
export function advertiseAddress({
  bindAddress,
  given,
  hostAddress,
  machine,
}: AdvertiseOptions): string | undefined {
  if (given !== undefined) return given;
  if (isLoopback(bindAddress)) return undefined;
  if (!isUnspecified(bindAddress)) return bindAddress;
  const usable = machine.filter(isGlobalUnicast);
  return hostAddress ?? usable.find((address) => isIP(address) === 4) ?? usable[0];
}

export function machineAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map(({ address }) => address);
}

/** Addresses for the serving certificate. Who listens on all addresses is reached by each. */
export function servedAddresses(
  bindAddress: string,
  { advertised, machine }: { readonly advertised: readonly string[]; readonly machine: readonly string[] },
): string[] {
  if (!isUnspecified(bindAddress)) return [...new Set([bindAddress, ...advertised])];
  const own = machine.filter(
    (address) => isGlobalUnicast(address) && (bindAddress === '::' || isIP(address) === 4),
  );
  return [...new Set([...advertised, ...own])];
}

export function requireAddress(flag: string, text: string): void {
  if (isIP(text) === 0) throw new UserError(`${flag} is "${text}"; it should be an IP address.`);
}

/** Endpoints of the kubernetes Service may be no other ones. */
export function requireAdvertisable(flag: string, text: string): void {
  requireAddress(flag, text);
  if (!isGlobalUnicast(text) && !isLoopback(text))
    throw new UserError(
      `${flag} is "${text}"; it should be an address of this machine that others reach, for example 192.0.2.7.`,
    );
}

/** As kubeadm: addresses, names of DNS, and such with a wildcard in front. */
export function requireSubjectNames(flag: string, names: readonly string[]): void {
  const wrong = names.find(
    (name) =>
      isIP(name) === 0 &&
      validateDNS1123Subdomain(name).length > 0 &&
      validateWildcardDNS1123Subdomain(name).length > 0,
  );
  if (wrong !== undefined)
    throw new UserError(`${flag} has "${wrong}"; it should be a DNS name or an IP address.`);
}
