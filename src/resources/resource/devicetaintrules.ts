/** DeviceTaintRule. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { checkLabel, checkPoolName, checkTaint } from './device-checks.ts';
import type { KubeObject } from '#machinery/object.ts';

interface Spec { taint?: { key?: string; value?: string; effect?: string; timeAdded?: string }; deviceSelector?: { driver?: string; pool?: string; device?: string } }

export const devicetaintrules = defineResource({
  group: 'resource.k8s.io',
  plural: 'devicetaintrules',
  written: { status: { without: ['spec', 'metadata'] } },
  applyDefaults: () => {},
  validate: (rule) => {
    const errors = new Errors(), { taint = {}, deviceSelector = {} } = specOf(rule), at = SPEC.child('deviceSelector');
    if (deviceSelector.driver !== undefined) checkDriverName(deviceSelector.driver, at.child('driver'), errors);
    if (deviceSelector.pool !== undefined) checkPoolName(deviceSelector.pool, at.child('pool'), errors);
    if (deviceSelector.device !== undefined) checkLabel(deviceSelector.device, at.child('device'), errors);
    checkTaint(taint, SPEC.child('taint'), errors);
    return errors.list;
  },
  table: { columns: columns('Name', 'Age'), row: (rule, context) => [nameOf(rule), ageOf(rule, context)] },
});

function specOf(rule: KubeObject): Spec {
  return (rule['spec'] ?? {}) as Spec;
}
