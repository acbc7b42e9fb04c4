/** DeviceTaintRule. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import type { KubeObject } from '#machinery/object.ts';

const EFFECTS = ['NoExecute', 'NoSchedule', 'None'];

interface Spec { taint?: { key?: string; value?: string; effect?: string; timeAdded?: string } }

export const devicetaintrules = defineResource({
  group: 'resource.k8s.io',
  plural: 'devicetaintrules',
  applyDefaults: () => {},
  validate: (rule) => {
    const errors = new Errors(), { taint } = specOf(rule), path = SPEC.child('taint');
    if (!taint?.key) errors.required(path.child('key'));
    if (!taint?.effect) errors.required(path.child('effect'));
    else if (!EFFECTS.includes(taint.effect)) errors.notSupported(path.child('effect'), taint.effect, EFFECTS);
    return errors.list;
  },
  table: { columns: columns('Name', 'Age'), row: (rule, context) => [nameOf(rule), ageOf(rule, context)] },
});

function specOf(rule: KubeObject): Spec {
  return (rule['spec'] ?? {}) as Spec;
}
