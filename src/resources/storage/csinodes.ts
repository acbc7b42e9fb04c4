/** CSINode: the drivers of one node. */
import type { CSINode } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, Path, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { semanticEqual } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

const NODE_ID_MAX = 192;
const DRIVERS = SPEC.child('drivers');

export const csinodes = defineResource<CSINode>({
  group: 'storage.k8s.io',
  plural: 'csinodes',
  allowUnconditionalUpdate: false,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    next.spec?.drivers?.forEach((driver) => {
      const old = previous.spec?.drivers?.find(({ name }) => name === driver.name);
      const { allocatable: _a, ...rest } = driver;
      if (!old) return;
      const { allocatable: _b, ...before } = old;
      if (!semanticEqual(rest, before)) errors.invalid(Path.root('CSINodeDriver'), driver, 'field is immutable');
    });
    return [...errors.list, ...validate(next)];
  },
  table: { columns: columns('Name', 'Drivers:integer', 'Age'), row: (node, context) => [nameOf(node), node.spec?.drivers?.length ?? 0, ageOf(node, context)] },
});

function validate(node: CSINode): Errors['list'] {
  const errors = new Errors(), names = new Set<string>();
  node.spec?.drivers?.forEach((driver, i) => {
    const at = DRIVERS.index(i);
    checkDriverName(driver.name, at.child('name'), errors);
    if (!driver.nodeID) errors.required(at.child('nodeID'));
    else if (driver.nodeID.length > NODE_ID_MAX) errors.invalid(at.child('nodeID'), driver.nodeID, `must be ${NODE_ID_MAX} characters or less`);
    if (driver.allocatable?.count !== undefined && driver.allocatable.count < 0) errors.invalid(at.child('allocatable').child('count'), driver.allocatable.count, 'must be greater than or equal to 0');
    if (names.has(driver.name)) errors.duplicate(at.child('name'), driver.name);
    names.add(driver.name);
    const keys = new Set<string>();
    driver.topologyKeys?.forEach((key) => {
      const path = at.child('topologyKeys');
      if (!key) errors.required(path);
      if (keys.has(key)) errors.duplicate(path, key);
      keys.add(key);
      errors.invalidEach(path, key, validateQualifiedName(key));
    });
  });
  return errors.list;
}
