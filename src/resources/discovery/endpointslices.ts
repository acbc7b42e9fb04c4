/** EndpointSlice. */
import type { Endpoint, EndpointSlice } from '#api/types.ts';
import { isIPv6 } from 'node:net';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import {
  checkDnsLabel,
  checkDnsSubdomain,
  checkEnum,
  checkImmutable,
  checkIP,
  checkLabelValue,
  checkNonSpecialIP,
  checkOptionalEnum,
  checkQualifiedName,
  invalidJoined,
  PROTOCOLS,
} from '../checks.ts';
import { addressWarnings } from '../address-warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { bumpGeneration, semanticEqual, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const ADDRESS_TYPES = ['FQDN', 'IPv4', 'IPv6'];
const ENDPOINTS_MAX = 1000;
const ADDRESSES_MAX = 100;
const PORTS_MAX = 20000;
const TOPOLOGY_MAX = 16;
const HINTS_MAX = 8;
const SHOWN_MAX = 3;
const ENDPOINTS = Path.root('endpoints');
const PORTS = Path.root('ports');

export const endpointslices = defineResource<EndpointSlice>({
  group: 'discovery.k8s.io',
  plural: 'endpointslices',
  applyDefaults: (slice) => {
    for (const port of slice.ports ?? []) {
      port.name ??= '';
      port.protocol ??= 'TCP';
    }
  },
  prepareForCreate: (slice) => {
    startGeneration(slice);
    emptyAsNull(slice);
    dropTopology(slice);
  },
  prepareForUpdate: (next, previous) => {
    emptyAsNull(next);
    bumpGeneration(next, previous, ['endpoints', 'ports', 'addressType']);
    // Labels identify the service for consumers, so they count too.
    const before = previous.metadata?.generation ?? 0;
    if (
      next.metadata?.generation === before &&
      !semanticEqual(next.metadata.labels, previous.metadata?.labels)
    )
      next.metadata.generation = before + 1;
    if (!semanticEqual(topologies(next), topologies(previous))) dropTopology(next);
  },
  validate: (slice) => {
    const errors = new Errors();
    checkEnum(slice.addressType, ADDRESS_TYPES, Path.root(''), 'addressType', errors);
    checkPorts(slice, errors);
    checkEndpoints(slice, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkEnum(next.addressType, ADDRESS_TYPES, Path.root(''), 'addressType', errors);
    checkPorts(next, errors);
    // Stored values are accepted.
    if (!semanticEqual(next.endpoints, previous.endpoints)) checkEndpoints(next, errors);
    checkImmutable(next.addressType, previous.addressType, Path.root('addressType'), errors);
    return errors.list;
  },
  warnings: (slice, previous) => {
    if (slice.addressType === 'FQDN')
      return previous ? [] : ['spec.addressType: FQDN endpoints are deprecated'];
    if (previous && previous.metadata?.generation === slice.metadata?.generation) return [];
    return (slice.endpoints ?? []).flatMap(({ addresses = [] }, i) =>
      addresses.flatMap((address, j) => addressWarnings(address, `endpoints[${i}].addresses[${j}]`)),
    );
  },
  table: {
    columns: columns('Name', 'AddressType', 'Ports', 'Endpoints', 'Age'),
    row: (slice, context) => [
      nameOf(slice),
      slice.addressType ?? '',
      formatPorts(slice),
      formatEndpoints(slice),
      formatAge(slice, context),
    ],
  },
});

/** Both are always written, as null when they are empty. */
function emptyAsNull(slice: EndpointSlice): void {
  const lists = slice as { endpoints: unknown[] | null; ports: unknown[] | null };
  if (!slice.endpoints?.length) lists.endpoints = null;
  if (!slice.ports?.length) lists.ports = null;
}

/** The topology of the older version: nodeName has a field in this version, the rest is dropped. */
function dropTopology({ endpoints }: EndpointSlice): void {
  for (const endpoint of endpoints ?? []) {
    const node = endpoint.deprecatedTopology?.['kubernetes.io/hostname'];
    if (node !== undefined) endpoint.nodeName ??= node;
    delete endpoint.deprecatedTopology;
  }
}

function topologies({ endpoints }: EndpointSlice): unknown[] {
  return (endpoints ?? []).map(({ deprecatedTopology }) => deprecatedTopology);
}

function checkEndpoints(slice: EndpointSlice, errors: Errors): void {
  const list = slice.endpoints ?? [];
  if (list.length > ENDPOINTS_MAX) {
    errors.tooMany(ENDPOINTS, list.length, ENDPOINTS_MAX);
    return;
  }
  for (let i = 0; i < list.length; i++)
    checkEndpoint(list[i]!, slice.addressType, ENDPOINTS.index(i), errors);
}

function checkEndpoint(endpoint: Endpoint, type: string, at: Path, errors: Errors): void {
  const addresses = endpoint.addresses ?? [],
    path = at.child('addresses');
  if (addresses.length === 0) errors.required(path, 'must contain at least 1 address');
  else if (addresses.length > ADDRESSES_MAX) errors.tooMany(path, addresses.length, ADDRESSES_MAX);
  for (let i = 0; i < addresses.length; i++) checkAddress(addresses[i]!, type, path.index(i), errors);
  if (endpoint.nodeName !== undefined) checkDnsSubdomain(endpoint.nodeName, at, 'nodeName', errors);
  if (endpoint.hostname !== undefined) checkDnsLabel(endpoint.hostname, at, 'hostname', errors);
  const topology = Object.entries(endpoint.deprecatedTopology ?? {});
  if (topology.length > TOPOLOGY_MAX)
    errors.tooMany(at.child('deprecatedTopology'), topology.length, TOPOLOGY_MAX);
  for (const [key, value] of topology) {
    checkQualifiedName(key, at.child('deprecatedTopology'), errors);
    checkLabelValue(value, at.child('deprecatedTopology'), errors);
  }
  checkHints(endpoint.hints?.forZones, at.child('hints').child('forZones'), errors, (name, where) =>
    checkLabelValue(name, where, errors),
  );
  checkHints(endpoint.hints?.forNodes, at.child('hints').child('forNodes'), errors, (name, where) =>
    errors.invalidEach(where, name, validateDNS1123Subdomain(name)),
  );
}

function checkHints(
  hints: readonly { name: string }[] | undefined,
  path: Path,
  errors: Errors,
  check: (name: string, path: Path) => void,
): void {
  if (!hints) return;
  if (hints.length > HINTS_MAX) {
    errors.tooMany(path, hints.length, HINTS_MAX);
    return;
  }
  const names = new Set<string>();
  hints.forEach(({ name }, i) => {
    const at = path.index(i).child('name');
    if (names.has(name)) errors.duplicate(at, name);
    names.add(name);
    check(name, at);
  });
}

/** Only the first problem. */
function checkFullDomainName(address: string, path: Path, errors: Errors): void {
  if (address === '') {
    errors.required(path);
    return;
  }
  const name = address.replace(/\.$/, ''),
    labels = name.split('.'),
    problems = validateDNS1123Subdomain(name);
  if (problems.length > 0) {
    invalidJoined(path, name, problems, errors);
    return;
  }
  if (labels.length < 2) {
    errors.invalid(path, name, 'should be a domain with at least two segments separated by dots');
    return;
  }
  const bad = labels.find((label) => validateDNS1123Label(label).length > 0);
  if (bad !== undefined) invalidJoined(path, bad, validateDNS1123Label(bad), errors);
}

function checkAddress(address: string, type: string, path: Path, errors: Errors): void {
  if (type === 'FQDN') {
    checkFullDomainName(address, path, errors);
    return;
  }
  // Other types are not validated.
  if (type !== 'IPv4' && type !== 'IPv6') return;
  if (!checkIP(address, path, errors)) return;
  if (type === 'IPv4' && isIPv6(address)) errors.invalid(path, address, 'must be an IPv4 address');
  if (type === 'IPv6' && !isIPv6(address)) errors.invalid(path, address, 'must be an IPv6 address');
  checkNonSpecialIP(address, path, errors);
}

function checkPorts(slice: EndpointSlice, errors: Errors): void {
  const ports = slice.ports ?? [],
    names = new Set<string>();
  if (ports.length > PORTS_MAX) {
    errors.tooMany(PORTS, ports.length, PORTS_MAX);
    return;
  }
  ports.forEach((port, i) => {
    const at = PORTS.index(i),
      name = port.name ?? '';
    if (name !== '') checkDnsLabel(name, at, 'name', errors);
    if (names.has(name)) errors.duplicate(at.child('name'), name);
    names.add(name);
    checkOptionalEnum(port.protocol, PROTOCOLS, at, 'protocol', errors);
    if (port.appProtocol !== undefined) checkQualifiedName(port.appProtocol, at.child('appProtocol'), errors);
  });
}

function formatPorts(slice: EndpointSlice): string {
  const ports = (slice.ports ?? []).map(({ port, name }) =>
    port !== undefined ? String(port) : name || '*',
  );
  return some(ports, '<unset>');
}

function formatEndpoints(slice: EndpointSlice): string {
  return some(
    (slice.endpoints ?? []).flatMap(({ addresses = [] }) => addresses),
    '<unset>',
  );
}

function some(items: readonly string[], none: string): string {
  if (items.length === 0) return none;
  return items.length > SHOWN_MAX
    ? `${items.slice(0, SHOWN_MAX).join(',')} + ${items.length - SHOWN_MAX} more...`
    : items.join(',');
}
