/**
 * Kubernetes' CEL functions beside the standard ones: strings, regular expressions (in linear time), lists, sets, URLs, IP addresses, CIDRs,
 * quantities, formats, versions. Other functions do not compile.
 */
import { RE2JS } from 're2js';
import {
  cidrContains,
  formatCIDR,
  formatIP,
  parseCIDR,
  parseIP,
  type CIDRBlock,
  type IPAddress,
} from '#machinery/ip.ts';
import {
  validateDNS1035Label,
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validateLabelValue,
  validateQualifiedName,
} from '#machinery/names.ts';
import { parseQuantity, Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { STRING_FORMATS } from '#machinery/formats.ts';
import { traversal, type Meter } from './budget.ts';
import { CONSTRUCTION_FUNCTIONS } from './construction.ts';
import { Optional, UnsignedInt } from './datatypes.ts';
import { equalValues, textOf } from './equality.ts';
import { EvaluationError } from './errors.ts';
import { Library } from './functions.ts';
import { checkOrdered, compareOrdered } from './order.ts';
import { Semver } from './semver.ts';
import { CONVERSIONS, OPTIONALS, SIZES, TEXTS, typeFunctions } from './standard.ts';
import { TIMES } from './times.ts';

/** Values of the library's own types. */
class CelIP {
  readonly address: IPAddress;
  constructor(address: IPAddress) {
    this.address = address;
  }

  equals(other: CelIP): boolean {
    return formatIP(this.address) === formatIP(other.address);
  }
}
class CelCIDR {
  readonly block: CIDRBlock;
  constructor(block: CIDRBlock) {
    this.block = block;
  }

  equals(other: CelCIDR): boolean {
    return formatCIDR(this.block) === formatCIDR(other.block);
  }
}
class CelQuantity {
  readonly value: Quantity;
  constructor(value: Quantity) {
    this.value = value;
  }

  equals(other: CelQuantity): boolean {
    return this.value.equals(other.value);
  }
}
class CelURL {
  readonly url: URL;
  readonly text: string;
  constructor(url: URL, text: string) {
    this.url = url;
    this.text = text;
  }

  equals(other: CelURL): boolean {
    return this.url.href === other.url.href;
  }
}
class CelFormat {
  readonly name: string;
  readonly check: (text: string) => string[];
  constructor(name: string, check: (text: string) => string[]) {
    this.name = name;
    this.check = check;
  }

  equals(other: CelFormat): boolean {
    return this.name === other.name;
  }
}
let plain: Library | undefined, constructing: Library | undefined;

/** The library of all expressions; of those that may make objects and patches, theirs: see construction.ts. */
export function kubernetesLibrary(constructs: boolean): Library {
  plain ??= makeLibrary();
  return constructs
    ? (constructing ??= new Library(plain).add({ functions: CONSTRUCTION_FUNCTIONS }))
    : plain;
}

const opaque = (name: string, ctor: new (...args: never[]) => unknown) => ({
  name,
  is: (value: unknown) => value instanceof ctor,
});

function makeLibrary(): Library {
  const library = new Library().add({
    types: [
      opaque('kubernetes.URL', CelURL),
      opaque('net.IP', CelIP),
      opaque('net.CIDR', CelCIDR),
      opaque('kubernetes.Quantity', CelQuantity),
      opaque('kubernetes.NamedFormat', CelFormat),
      { name: 'kubernetes.Semver', is: (value) => value instanceof Semver },
    ],
  });
  for (const functions of [CONVERSIONS, SIZES, TEXTS, TIMES, OPTIONALS]) library.add({ functions });
  library.add({ functions: typeFunctions((value) => library.typeNameOf(value)) });
  const add: Add = (signature, handler) => void library.add({ functions: { [signature]: handler } });
  for (const part of [
    addStrings,
    addRegularExpressions,
    addLists,
    addListExtensions,
    addSets,
    addUrls,
    addAddresses,
    addQuantities,
    addFormats,
    addVersions,
  ])
    part(add);
  return library;
}

/** Adds a function: see functions.ts. */
type Add = (signature: string, handler: (...args: never[]) => unknown) => void;

function fail(message: string): never {
  throw new EvaluationError(message);
}

// --------------------------------------------------------------------------------------------------------------- strings

function addStrings(add: Add): void {
  add('string.charAt(int): string', (text: string, at: bigint) => {
    const characters = Array.from(text);
    if (at < 0n || at > BigInt(characters.length)) fail(`index out of range: ${at}`);
    return characters[Number(at)] ?? '';
  });
  add('string.replace(string, string): string', (text: string, from: string, to: string) =>
    text.replaceAll(from, () => to),
  );
  add(
    'string.replace(string, string, int): string',
    (text: string, from: string, to: string, times: bigint) =>
      replaceSome(text, { from, to, times: Number(times) }),
  );
  add('string.format(list<dyn>): string', (template: string, args: readonly unknown[]) =>
    format(template, args),
  );
  add('strings.quote(string): string', (text: string) => quoted(text));
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** As a literal; invalid characters become the replacement character. */
function quoted(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return `"${text.toWellFormed().replaceAll(/[\u0007\b\f\n\r\t\v\\"]/g, (character) => ESCAPES[character]!)}"`;
}

function replaceSome(
  text: string,
  { from, to, times }: { readonly from: string; readonly to: string; readonly times: number },
): string {
  if (times < 0) return text.replaceAll(from, () => to);
  let done = 0;
  return text.replaceAll(from, (found) => (done++ < times ? to : found));
}

function format(template: string, args: readonly unknown[]): string {
  let next = 0;
  return template.replaceAll(
    /%(?:\.(\d+))?([a-zA-Z%])/g,
    (_, precision: string | undefined, verb: string) => {
      if (verb === '%') return '%';
      if (next >= args.length) fail(`index ${next} out of range`);
      const value = args[next++];
      switch (verb) {
        case 's':
          return textOf(value);
        case 'd':
          return typeof value === 'bigint' || value instanceof UnsignedInt
            ? String(value)
            : fail('integer clause can only be used on integers');
        case 'f':
          return Number(value).toFixed(precision === undefined ? 6 : Number(precision));
        case 'e':
          return Number(value)
            .toExponential(precision === undefined ? 6 : Number(precision))
            .replace(/e([+-])(\d)$/, 'e$10$2');
        case 'b':
          return typeof value === 'boolean' ? (value ? '1' : '0') : BigInt(value as bigint).toString(2);
        case 'o':
          return BigInt(value as bigint).toString(8);
        case 'x':
          return typeof value === 'string'
            ? Buffer.from(value).toString('hex')
            : BigInt(value as bigint).toString(16);
        case 'X':
          return (
            typeof value === 'string'
              ? Buffer.from(value).toString('hex')
              : BigInt(value as bigint).toString(16)
          ).toUpperCase();
        default:
          return fail(
            `could not parse formatting clause: unrecognized formatting clause ${JSON.stringify(verb)}`,
          );
      }
    },
  );
}

/** Compiled patterns, up to this many; rules use few and the same ones. */
const MAX_PATTERNS = 500;
const patterns = new Map<string, RE2JS>();

export function compiledPattern(pattern: string): RE2JS {
  let compiled = patterns.get(pattern);
  if (!compiled) {
    try {
      compiled = RE2JS.compile(pattern);
    } catch (error) {
      fail(`error parsing regexp: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (patterns.size >= MAX_PATTERNS) patterns.clear();
    patterns.set(pattern, compiled!);
  }
  return compiled!;
}

function addRegularExpressions(add: Add): void {
  const search = (text: string, pattern: string, meter: Meter): RE2JS => {
    meter.charge(traversal(text.length + 1) * Math.ceil(pattern.length * 0.25));
    return compiledPattern(pattern);
  };
  const findAll = (
    text: string,
    pattern: string,
    { most, meter }: { readonly most: number; readonly meter: Meter },
  ): string[] => {
    const matcher = search(text, pattern, meter).matcher(text),
      found: string[] = [];
    while ((most < 0 || found.length < most) && matcher.find()) found.push(matcher.group() ?? '');
    return found;
  };
  add(`string.matches(string): bool`, (text: string, pattern: string, meter: Meter) =>
    search(text, pattern, meter).matcher(text).find(),
  );
  add(`matches(string, string): bool`, (text: string, pattern: string, meter: Meter) =>
    search(text, pattern, meter).matcher(text).find(),
  );
  add(
    'string.find(string): string',
    (text: string, pattern: string, meter: Meter) => findAll(text, pattern, { most: 1, meter })[0] ?? '',
  );
  add('string.findAll(string): list<string>', (text: string, pattern: string, meter: Meter) =>
    findAll(text, pattern, { most: -1, meter }),
  );
  add(
    'string.findAll(string, int): list<string>',
    (text: string, pattern: string, most: bigint, meter: Meter) =>
      findAll(text, pattern, { most: Number(most), meter }),
  );
}

// ----------------------------------------------------------------------------------------------------------------- lists

function addLists(add: Add): void {
  const passing =
    <R>(work: (list: readonly unknown[], rest: { readonly item: unknown; readonly meter: Meter }) => R) =>
    (list: readonly unknown[], ...args: readonly unknown[]): R => {
      const meter = args.at(-1) as Meter;
      meter.charge(list.length);
      return work(list, { item: args[0], meter });
    };
  const nonEmpty = (list: readonly unknown[], name: string): readonly unknown[] =>
    list.length === 0 ? fail(`${name} called on empty list`) : list;
  add(
    'list<dyn>.isSorted(): bool',
    passing((list) => list.every((item, i) => i === 0 || compareOrdered(list[i - 1], item) <= 0)),
  );
  for (const type of ['int', 'double']) {
    const zero: unknown = type === 'int' ? 0n : 0;
    add(
      `list<${type}>.sum(): ${type}`,
      passing((list) => list.reduce((sum, item) => (sum as number) + (item as number), zero)),
    );
  }
  for (const type of ['int', 'double', 'string', 'bool']) {
    add(
      `list<${type}>.min(): ${type}`,
      passing((list) =>
        nonEmpty(list, 'min').reduce((best, item) => (compareOrdered(item, best) < 0 ? item : best)),
      ),
    );
    add(
      `list<${type}>.max(): ${type}`,
      passing((list) =>
        nonEmpty(list, 'max').reduce((best, item) => (compareOrdered(item, best) > 0 ? item : best)),
      ),
    );
  }
  add(
    'list<A>.indexOf(A): int',
    passing((list, { item, meter }) =>
      BigInt(list.findIndex((candidate) => equalValues(candidate, item, meter))),
    ),
  );
  add(
    'list<A>.lastIndexOf(A): int',
    passing((list, { item, meter }) =>
      BigInt(list.findLastIndex((candidate) => equalValues(candidate, item, meter))),
    ),
  );
}

const MAX_RANGE = 1_000_000n;

/** cel-go's ext.Lists. */
function addListExtensions(add: Add): void {
  add('list<A>.reverse(): list<A>', (list: readonly unknown[]) => list.toReversed());
  add('list<A>.slice(int, int): list<A>', (list: readonly unknown[], from: bigint, to: bigint) => {
    if (from < 0n || to < 0n) fail(`cannot slice(${from}, ${to}), negative indexes not supported`);
    if (from > to) fail(`cannot slice(${from}, ${to}), start index must be less than or equal to end index`);
    if (to > BigInt(list.length)) fail(`cannot slice(${from}, ${to}), list is length ${list.length}`);
    return list.slice(Number(from), Number(to));
  });
  const flatten = (list: readonly unknown[], depth: number): unknown[] =>
    list.flatMap((item) => (Array.isArray(item) && depth > 0 ? flatten(item, depth - 1) : [item]));
  add('list<dyn>.flatten(): list<dyn>', (list: readonly unknown[]) => flatten(list, 1));
  add('list<dyn>.flatten(int): list<dyn>', (list: readonly unknown[], depth: bigint) =>
    depth < 0n ? fail('level must be non-negative') : flatten(list, Number(depth)),
  );
  add('list<A>.distinct(): list<A>', (list: readonly unknown[], meter: Meter) => {
    const plain = new Set<unknown>(),
      kept: unknown[] = [];
    for (const item of list) {
      if (typeof item === 'object' && item !== null) {
        meter.charge(kept.length);
        if (kept.some((known) => equalValues(known, item, meter))) continue;
      } else if (plain.has(item)) continue;
      else plain.add(item);
      kept.push(item);
    }
    return kept;
  });
  add('list<A>.sort(): list<A>', (list: readonly unknown[], meter: Meter) => {
    checkOrdered(list, meter);
    return list.toSorted(compareOrdered);
  });
  add('list<A>.first(): optional<A>', (list: readonly unknown[]) =>
    list.length > 0 ? Optional.of(list[0]) : Optional.none(),
  );
  add('list<A>.last(): optional<A>', (list: readonly unknown[]) =>
    list.length > 0 ? Optional.of(list.at(-1)) : Optional.none(),
  );
  add('lists.range(int): list<int>', (end: bigint, meter: Meter) => {
    if (end > MAX_RANGE) fail(`lists.range(${end}) is longer than ${MAX_RANGE}`);
    const length = Number(end < 0n ? 0n : end);
    meter.charge(length);
    return Array.from({ length }, (_item, i) => BigInt(i));
  });
}

function addVersions(add: Add): void {
  const parse = (text: string, normalize = false): Semver =>
    Semver.parse(text, normalize) ??
    fail(`Invalid character(s) or no Major.Minor.Patch elements found in version ${JSON.stringify(text)}`);
  add('semver(string): kubernetes.Semver', (text: string) => parse(text));
  add('semver(string, bool): kubernetes.Semver', (text: string, normalize: boolean) =>
    parse(text, normalize),
  );
  add('isSemver(string): bool', (text: string) => Semver.parse(text) !== undefined);
  add(
    'isSemver(string, bool): bool',
    (text: string, normalize: boolean) => Semver.parse(text, normalize) !== undefined,
  );
  for (const part of ['major', 'minor', 'patch'] as const)
    add(`kubernetes.Semver.${part}(): int`, (version: Semver) => version[part]);
  add(
    'kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool',
    (left: Semver, right: Semver) => left.compare(right) > 0,
  );
  add(
    'kubernetes.Semver.isLessThan(kubernetes.Semver): bool',
    (left: Semver, right: Semver) => left.compare(right) < 0,
  );
  add('kubernetes.Semver.compareTo(kubernetes.Semver): int', (left: Semver, right: Semver) =>
    BigInt(left.compare(right)),
  );
}

function addSets(add: Add): void {
  const contains = (list: readonly unknown[], items: readonly unknown[], meter: Meter): boolean => {
    meter.charge(list.length * items.length);
    return items.every((item) => list.some((candidate) => equalValues(candidate, item, meter)));
  };
  add('sets.contains(list<A>, list<A>): bool', contains);
  add(
    'sets.equivalent(list<A>, list<A>): bool',
    (list: readonly unknown[], other: readonly unknown[], meter: Meter) =>
      contains(list, other, meter) && contains(other, list, meter),
  );
  add(
    'sets.intersects(list<A>, list<A>): bool',
    (list: readonly unknown[], other: readonly unknown[], meter: Meter) => {
      meter.charge(list.length * other.length);
      return list.some((item) => other.some((candidate) => equalValues(candidate, item, meter)));
    },
  );
}

// ------------------------------------------------------------------------------------------------------------------ URLs

function parseUrl(text: string): CelURL | undefined {
  if (text.startsWith('/') && URL.canParse(text, 'path://x'))
    return new CelURL(new URL(text, 'path://x'), text);
  return URL.canParse(text) ? new CelURL(new URL(text), text) : undefined;
}

function addUrls(add: Add): void {
  const isPath = ({ text }: CelURL): boolean => text.startsWith('/');
  add(
    'url(string): kubernetes.URL',
    (text: string) =>
      parseUrl(text) ??
      fail(
        `URL parse error during conversion from string: parse ${JSON.stringify(text)}: invalid URI for request`,
      ),
  );
  add('isURL(string): bool', (text: string) => parseUrl(text) !== undefined);
  add('kubernetes.URL.getScheme(): string', (url: CelURL) =>
    isPath(url) ? '' : url.url.protocol.slice(0, -1),
  );
  add('kubernetes.URL.getHost(): string', (url: CelURL) => (isPath(url) ? '' : hostOf(url).host));
  add('kubernetes.URL.getHostname(): string', (url: CelURL) =>
    isPath(url) ? '' : url.url.hostname.replace(/^\[|\]$/g, ''),
  );
  add('kubernetes.URL.getPort(): string', (url: CelURL) => (isPath(url) ? '' : hostOf(url).port));
  add('kubernetes.URL.getEscapedPath(): string', ({ url, text }: CelURL) =>
    url.pathname === '/' && !/^[^?#]*[^/:]\/($|[?#])/.test(text) && !text.startsWith('/') ? '' : url.pathname,
  );
  add('kubernetes.URL.getQuery(): map<string, list<string>>', ({ url }: CelURL) => {
    const query = new Map<string, string[]>();
    for (const [key, value] of url.searchParams) query.set(key, [...(query.get(key) ?? []), value]);
    return query;
  });
}

/** As written: the platform's URL drops default ports. */
function hostOf({ text, url }: CelURL): { readonly host: string; readonly port: string } {
  const authority = /^[^:]+:\/\/(?:[^@/?#]*@)?([^/?#]*)/.exec(text)?.[1] ?? url.host;
  return { host: authority, port: /:(\d+)$/.exec(authority)?.[1] ?? '' };
}

// ------------------------------------------------------------------------------------------------------------- addresses

function strictIP(text: string): IPAddress | undefined {
  const address = parseIP(text);
  return address?.mapped || address?.leadingZeros ? undefined : address;
}

function addAddresses(add: Add): void {
  const ipOf = (text: string): CelIP =>
    new CelIP(
      strictIP(text) ??
        fail(
          `IP Address ${JSON.stringify(text)} parse error during conversion from string: invalid IP address`,
        ),
    );
  const cidrOf = (text: string): CelCIDR =>
    new CelCIDR(
      parseCIDR(text) ??
        fail(`CIDR ${JSON.stringify(text)} parse error during conversion from string: invalid CIDR`),
    );
  const within =
    (...blocks: string[]) =>
    ({ address }: CelIP): boolean =>
      blocks.some((block) => cidrContains(parseCIDR(block)!, address));
  add('ip(string): net.IP', ipOf);
  add('isIP(string): bool', (text: string) => strictIP(text) !== undefined);
  add('ip.isCanonical(string): bool', (text: string) => formatIP(ipOf(text).address) === text);
  add('string(net.IP): string', ({ address }: CelIP) => formatIP(address));
  add('net.IP.family(): int', ({ address }: CelIP) => BigInt(address.family));
  add('net.IP.isUnspecified(): bool', within('0.0.0.0/32', '::/128'));
  add('net.IP.isLoopback(): bool', within('127.0.0.0/8', '::1/128'));
  add('net.IP.isLinkLocalMulticast(): bool', within('224.0.0.0/24', 'ff02::/16'));
  add('net.IP.isLinkLocalUnicast(): bool', within('169.254.0.0/16', 'fe80::/10'));
  const notGlobal = within(
    '0.0.0.0/32',
    '255.255.255.255/32',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '224.0.0.0/4',
    '::/128',
    '::1/128',
    'fe80::/10',
    'ff00::/8',
  );
  add('net.IP.isGlobalUnicast(): bool', (ip: CelIP) => !notGlobal(ip));
  add('cidr(string): net.CIDR', cidrOf);
  add('isCIDR(string): bool', (text: string) => parseCIDR(text) !== undefined);
  add('string(net.CIDR): string', ({ block }: CelCIDR) => formatCIDR(block));
  add('net.CIDR.containsIP(net.IP): bool', ({ block }: CelCIDR, { address }: CelIP) =>
    cidrContains(block, address),
  );
  add('net.CIDR.containsIP(string): bool', ({ block }: CelCIDR, text: string) =>
    cidrContains(block, ipOf(text).address),
  );
  const containsCIDR = (outer: CIDRBlock, inner: CIDRBlock): boolean =>
    outer.prefixLength <= inner.prefixLength && cidrContains(outer, inner.address);
  add('net.CIDR.containsCIDR(net.CIDR): bool', (outer: CelCIDR, inner: CelCIDR) =>
    containsCIDR(outer.block, inner.block),
  );
  add('net.CIDR.containsCIDR(string): bool', (outer: CelCIDR, text: string) =>
    containsCIDR(outer.block, cidrOf(text).block),
  );
  add('net.CIDR.ip(): net.IP', ({ block }: CelCIDR) => new CelIP(block.address));
  add(
    'net.CIDR.masked(): net.CIDR',
    ({ block }: CelCIDR) => new CelCIDR({ ...block, address: { ...block.address, bits: block.network } }),
  );
  add('net.CIDR.prefixLength(): int', ({ block }: CelCIDR) => BigInt(block.prefixLength));
}

// ------------------------------------------------------------------------------------------------------------ quantities

function addQuantities(add: Add): void {
  const compare = (left: CelQuantity, right: CelQuantity): number => left.value.compare(right.value);
  const ofInt = (value: bigint): Quantity => parseQuantity(String(value));
  add('quantity(string): kubernetes.Quantity', (text: string) => {
    return new CelQuantity(
      tryParseQuantity(text) ??
        fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    );
  });
  add('isQuantity(string): bool', (text: string) => tryParseQuantity(text) !== undefined);
  add('sign(kubernetes.Quantity): int', ({ value }: CelQuantity) => BigInt(value.sign));
  add('kubernetes.Quantity.isInteger(): bool', ({ value }: CelQuantity) => integerOf(value) !== undefined);
  add(
    'kubernetes.Quantity.asInteger(): int',
    ({ value }: CelQuantity) => integerOf(value) ?? fail('cannot convert value to integer'),
  );
  add('kubernetes.Quantity.asApproximateFloat(): double', ({ value }: CelQuantity) => approximate(value));
  add(
    'kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool',
    (left: CelQuantity, right: CelQuantity) => compare(left, right) < 0,
  );
  add(
    'kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool',
    (left: CelQuantity, right: CelQuantity) => compare(left, right) > 0,
  );
  add('kubernetes.Quantity.compareTo(kubernetes.Quantity): int', (left: CelQuantity, right: CelQuantity) =>
    BigInt(Math.sign(compare(left, right))),
  );
  add(
    'kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity',
    (left: CelQuantity, right: CelQuantity) => new CelQuantity(left.value.add(right.value)),
  );
  add(
    'kubernetes.Quantity.add(int): kubernetes.Quantity',
    (left: CelQuantity, right: bigint) => new CelQuantity(left.value.add(ofInt(right))),
  );
  add(
    'kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity',
    (left: CelQuantity, right: CelQuantity) => new CelQuantity(left.value.sub(right.value)),
  );
  add(
    'kubernetes.Quantity.sub(int): kubernetes.Quantity',
    (left: CelQuantity, right: bigint) => new CelQuantity(left.value.sub(ofInt(right))),
  );
}

const INT64_MAX = 2n ** 63n - 1n;

function integerOf(value: Quantity): bigint | undefined {
  const whole = value.scaledValue(0);
  return Quantity.of(whole).equals(value) && whole <= INT64_MAX && whole >= -INT64_MAX - 1n
    ? whole
    : undefined;
}

function approximate(value: Quantity): number {
  return Number(value.scaledValue(-9)) / 1e9;
}

// --------------------------------------------------------------------------------------------------------------- formats

const prefixed =
  (check: (text: string) => string[]) =>
  (text: string): string[] =>
    check(text.endsWith('-') ? `${text.slice(0, -1)}a` : text);
const known =
  (name: string) =>
  (text: string): string[] =>
    STRING_FORMATS[name]!(text) ? [] : [`invalid ${name}`];

const FORMATS: Readonly<Record<string, (text: string) => string[]>> = {
  dns1123Label: validateDNS1123Label,
  dns1123Subdomain: validateDNS1123Subdomain,
  dns1035Label: validateDNS1035Label,
  qualifiedName: validateQualifiedName,
  dns1123LabelPrefix: prefixed(validateDNS1123Label),
  dns1123SubdomainPrefix: prefixed(validateDNS1123Subdomain),
  dns1035LabelPrefix: prefixed(validateDNS1035Label),
  labelValue: validateLabelValue,
  uri: known('uri'),
  uuid: known('uuid'),
  byte: known('byte'),
  date: known('date'),
  datetime: known('datetime'),
};

function addFormats(add: Add): void {
  for (const [name, check] of Object.entries(FORMATS))
    add(`format.${name}(): kubernetes.NamedFormat`, () => new CelFormat(name, check));
  add('format.named(string): optional<kubernetes.NamedFormat>', (name: string) =>
    Object.hasOwn(FORMATS, name) ? Optional.of(new CelFormat(name, FORMATS[name]!)) : Optional.none(),
  );
  add(
    'kubernetes.NamedFormat.validate(string): optional<list<string>>',
    ({ check }: CelFormat, text: string) => {
      const problems = check(text);
      return problems.length === 0 ? Optional.none() : Optional.of(problems);
    },
  );
}
