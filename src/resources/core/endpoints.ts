/** Endpoints, the predecessor of EndpointSlices. */
import type { EndpointAddress, EndpointPort, Endpoints } from '#api/types.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import {
  checkDnsLabel,
  checkDnsSubdomain,
  checkEnum,
  checkIP,
  checkNonSpecialIP,
  checkPortNumber,
  checkQualifiedName,
  PROTOCOLS,
} from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const SUBSETS = Path.root('subsets');
const SHOWN_MAX = 3;

export const endpoints = defineResource<Endpoints>({
  group: '',
  plural: 'endpoints',
  allowCreateOnUpdate: true,
  applyDefaults: (object) => {
    for (const subset of object.subsets ?? []) for (const port of subset.ports ?? []) port.protocol ||= 'TCP';
  },
  validate: (object) => {
    const errors = new Errors();
    object.subsets?.forEach((subset, i) => {
      const at = SUBSETS.index(i),
        { addresses = [], notReadyAddresses = [], ports = [] } = subset;
      if (addresses.length === 0 && notReadyAddresses.length === 0)
        errors.required(at, 'must specify `addresses` or `notReadyAddresses`');
      addresses.forEach((address, j) => checkAddress(address, at.child('addresses').index(j), errors));
      notReadyAddresses.forEach((address, j) =>
        checkAddress(address, at.child('notReadyAddresses').index(j), errors),
      );
      ports.forEach((port, j) => checkPort(port, at.child('ports').index(j), errors, ports.length > 1));
    });
    return errors.list;
  },
  deprecation: 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
  table: {
    columns: columns('Name', 'Endpoints', 'Age'),
    row: (object, context) => [nameOf(object), formatEndpoints(object), formatAge(object, context)],
  },
});

function checkAddress(address: EndpointAddress, at: Path, errors: Errors): void {
  checkIP(address.ip, at.child('ip'), errors);
  if (address.hostname) checkDnsLabel(address.hostname, at, 'hostname', errors);
  if (address.nodeName !== undefined) checkDnsSubdomain(address.nodeName, at, 'nodeName', errors);
  checkNonSpecialIP(address.ip ?? '', at.child('ip'), errors);
}

function checkPort(port: EndpointPort, at: Path, errors: Errors, requireName: boolean): void {
  if (port.name) checkDnsLabel(port.name, at, 'name', errors);
  else if (requireName) errors.required(at.child('name'));
  checkPortNumber(port.port, at, 'port', errors);
  checkEnum(port.protocol, PROTOCOLS, at, 'protocol', errors);
  if (port.appProtocol !== undefined) checkQualifiedName(port.appProtocol, at.child('appProtocol'), errors);
}

function formatEndpoints(object: Endpoints): string {
  const shown: string[] = [];
  let count = 0;
  for (const { addresses = [], ports = [] } of object.subsets ?? []) {
    for (const { ip } of addresses) {
      const targets = ports.length === 0 ? [ip] : ports.map(({ port }) => formatHostPort(ip, port));
      for (const target of targets) if (++count <= SHOWN_MAX) shown.push(target);
    }
  }
  if (count === 0) return '<none>';
  return count > SHOWN_MAX ? `${shown.join(',')} + ${count - SHOWN_MAX} more...` : shown.join(',');
}
