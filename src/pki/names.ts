/** Whom a certificate is for: distinguished names (RFC 5280, 4.1.2.4) and subject alternative names (4.2.1.6), written and read. */
import { isIP } from 'node:net';
import { assert } from '#stdx/assert.ts';
import { DerError, directoryString, implicit, oid, readAll, readOne, sequence, set, TAG } from './der.ts';

export interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export interface AltNames {
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly emailAddresses?: readonly string[];
  readonly uris?: readonly string[];
}

/** The largest that are in use have some hundreds. */
export const MAX_ALT_NAMES = 1000;

const COMMON_NAME = oid('2.5.4.3');
const ORGANIZATION = oid('2.5.4.10');

/** Organizations before the common name, as Go's pkix.Name orders a subject; each its own RDN. */
export function encodeName(subject: Subject): Buffer {
  const organizations = (subject.organizations ?? []).map((name) =>
    set(sequence(ORGANIZATION, directoryString(name))),
  );
  return sequence(...organizations, set(sequence(COMMON_NAME, directoryString(subject.commonName))));
}

/** Everything that a name has of these two attributes, in its order. Throws DerError. */
export function readName(name: Buffer): { readonly commonNames: string[]; readonly organizations: string[] } {
  const commonNames: string[] = [];
  const organizations: string[] = [];
  for (const pair of readAll(readOne(name).content).flatMap(({ content }) => readAll(content))) {
    const [type, value] = readAll(pair.content);
    if (!type || !value) throw new DerError('a name attribute has a type and a value');
    const text =
      value.tag === TAG.bmpString && value.content.length % 2 === 0
        ? Buffer.from(value.content).swap16().toString('utf16le')
        : value.content.toString('utf8');
    if (type.whole.equals(COMMON_NAME)) commonNames.push(text);
    if (type.whole.equals(ORGANIZATION)) organizations.push(text);
  }
  return { commonNames, organizations };
}

const CONTEXT = 0x80;
const GENERAL_NAME = { email: 1, dns: 2, uri: 6, ip: 7 } as const;

/** GeneralNames; undefined for none. More than a certificate may have are a caller's error. */
export function encodeAltNames(names: AltNames): Buffer | undefined {
  const of = (kind: number, values: readonly string[] | undefined): Buffer[] =>
    (values ?? []).map((value) => implicit(kind, Buffer.from(value, 'latin1')));
  const all = [
    ...of(GENERAL_NAME.dns, names.dnsNames),
    ...of(GENERAL_NAME.email, names.emailAddresses),
    ...names.ipAddresses.map((address) => implicit(GENERAL_NAME.ip, ipBytes(address))),
    ...of(GENERAL_NAME.uri, names.uris),
  ];
  assert(all.length <= MAX_ALT_NAMES, `a certificate may have ${MAX_ALT_NAMES} names, not ${all.length}`);
  return all.length > 0 ? sequence(...all) : undefined;
}

/** From GeneralNames; kinds that Kubernetes does not use are left out. Throws DerError, also for more than 1000 names. */
export function readAltNames(names: Buffer): Required<AltNames> {
  const values = readAll(readOne(names).content);
  if (values.length > MAX_ALT_NAMES)
    throw new DerError(`more than ${MAX_ALT_NAMES} subject alternative names`);
  const of = (kind: number): Buffer[] =>
    values.flatMap(({ tag, content }) => (tag === (CONTEXT | kind) ? [content] : []));
  const text = (kind: number): string[] => of(kind).map((content) => content.toString('latin1'));
  return {
    dnsNames: text(GENERAL_NAME.dns),
    ipAddresses: of(GENERAL_NAME.ip).map(formatIp),
    emailAddresses: text(GENERAL_NAME.email),
    uris: text(GENERAL_NAME.uri),
  };
}

export const NO_ALT_NAMES: Required<AltNames> = {
  dnsNames: [],
  ipAddresses: [],
  emailAddresses: [],
  uris: [],
};

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  assert(isIP(address) === 6, `${JSON.stringify(address)} is no IP address`);
  const [head = '', tail] = address.replace(/%.*$/, '').split('::');
  const left = ipv6Groups(head);
  const right = tail === undefined ? [] : ipv6Groups(tail);
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0);
  return Buffer.from([...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]));
}

function ipv6Groups(text: string): number[] {
  return text
    .split(':')
    .filter(Boolean)
    .flatMap((group) => {
      if (!group.includes('.')) return [Number.parseInt(group, 16)];
      const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
      return [(a << 8) | b, (c << 8) | d];
    });
}

/** RFC 5952, which is how a URL writes it. */
function formatIp(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new DerError(`cannot parse IP address of length ${bytes.length}`);
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/** One spelling for each address; other texts as they are. */
export function canonicalIp(address: string): string {
  return isIP(address) === 0 ? address : formatIp(ipBytes(address));
}

/** DNS names and IP addresses apart, each once, empty ones left out. */
export function splitAltNames(names: readonly string[]): AltNames {
  const unique = [...new Set(names.filter((name) => name !== ''))];
  return {
    dnsNames: unique.filter((name) => isIP(name) === 0),
    ipAddresses: unique.filter((name) => isIP(name) !== 0),
  };
}
