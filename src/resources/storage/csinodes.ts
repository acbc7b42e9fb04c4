/** CSINode: the drivers of one node. */
import type { CSINode } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const NODE_ID_MAX_BYTES = 256;
const DRIVERS = SPEC.child('drivers');

export const csinodes = defineResource<CSINode>({
  group: 'storage.k8s.io',
  plural: 'csinodes',
  allowUnconditionalUpdate: false,
  prepareForCreate: emptyAsNull,
  prepareForUpdate: emptyAsNull,
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    next.spec?.drivers?.forEach((driver) => {
      const old = previous.spec?.drivers?.find(({ name }) => name === driver.name);
      const { allocatable: _a, ...rest } = driver;
      if (!old) return;
      const { allocatable: _b, ...before } = old;
      if (!semanticEqual(rest, before)) errors.invalid(DRIVERS, driver, 'field is immutable');
    });
    return [...validate(next), ...errors.list];
  },
  table: {
    columns: columns('Name', 'Drivers:integer', 'Age'),
    row: (node, context) => [nameOf(node), node.spec?.drivers?.length ?? 0, formatAge(node, context)],
  },
});

/** Both are always written, as null when they are empty. */
function emptyAsNull(node: CSINode): void {
  const written = node as { spec?: { drivers: { topologyKeys?: string[] | null }[] | null } };
  const spec = (written.spec ??= { drivers: null });
  if (!spec.drivers?.length) spec.drivers = null;
  else for (const driver of spec.drivers) if (!driver.topologyKeys?.length) driver.topologyKeys = null;
}

function validate(node: CSINode): Errors['list'] {
  const errors = new Errors(),
    names = new Set<string>();
  node.spec?.drivers?.forEach((driver, i) => {
    const at = DRIVERS.index(i);
    checkDriverName(driver.name, at.child('name'), errors);
    if (!driver.nodeID) errors.required(at.child('nodeID'));
    else if (Buffer.byteLength(driver.nodeID) > NODE_ID_MAX_BYTES)
      errors.invalid(at.child('nodeID'), driver.nodeID, `must be ${NODE_ID_MAX_BYTES} characters or less`);
    if (driver.allocatable?.count !== undefined && driver.allocatable.count < 0)
      errors.invalid(
        at.child('allocatable').child('count'),
        driver.allocatable.count,
        'must be greater than or equal to 0',
      );
    if (names.has(driver.name)) errors.duplicate(at.child('name'), driver.name);
    names.add(driver.name);
    const keys = new Set<string>();
    driver.topologyKeys?.forEach((key) => {
      if (!key) errors.required(at);
      if (keys.has(key)) errors.duplicate(at, key);
      keys.add(key);
      errors.invalidEach(at, key, validateQualifiedName(key));
    });
  });
  return errors.list;
}
