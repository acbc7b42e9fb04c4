/** DeviceTaintRule. */
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkLabel, checkPoolName, checkTaint } from './device-checks.ts';
import { age, formatTime } from '#machinery/time.ts';
import { checkConditionList } from '../checks.ts';
import { bumpGeneration, keepAllButStatusAndMetadata, keepField, startGeneration } from '../strategy.ts';
import type { KubeObject } from '#machinery/object.ts';

const CONDITIONS_MAX = 8;

interface Spec {
  taint?: { key?: string; value?: string; effect?: string; timeAdded?: string };
  deviceSelector?: { driver?: string; pool?: string; device?: string };
}

export const devicetaintrules = defineResource({
  group: 'resource.k8s.io',
  plural: 'devicetaintrules',
  written: { status: { without: ['spec', 'metadata'] } },
  applyDefaults: () => {},
  prepareForCreate: (rule, { nowMs }) => {
    rule['status'] = {};
    addTime(rule, nowMs);
    startGeneration(rule);
  },
  prepareForUpdate: (next, previous, { nowMs }) => {
    keepField(next, previous, 'status');
    addTime(next, nowMs);
    bumpGeneration(next, previous);
  },
  validate: (rule) => {
    const errors = new Errors(),
      { taint = {}, deviceSelector = {} } = specOf(rule),
      at = SPEC.child('deviceSelector');
    if (deviceSelector.driver !== undefined)
      checkDriverName(deviceSelector.driver, at.child('driver'), errors);
    if (deviceSelector.pool !== undefined) checkPoolName(deviceSelector.pool, at.child('pool'), errors);
    if (deviceSelector.device !== undefined) checkLabel(deviceSelector.device, at.child('device'), errors);
    checkTaint(taint, SPEC.child('taint'), errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatusAndMetadata,
    validateUpdate: (next) => {
      const errors = new Errors(),
        { conditions } = (next['status'] ?? {}) as {
          readonly conditions?: Parameters<typeof checkConditionList>[0];
        };
      checkConditionList(conditions, STATUS.child('conditions'), errors);
      if ((conditions?.length ?? 0) > CONDITIONS_MAX)
        errors.tooMany(STATUS.child('conditions'), conditions!.length, CONDITIONS_MAX);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Key', 'Value', 'Effect', 'TimeAdded', 'Age'),
    row: (rule, context) => {
      const { key = '', value = '', effect = '', timeAdded } = specOf(rule).taint ?? {};
      return [
        nameOf(rule),
        key,
        value,
        effect,
        timeAdded === undefined ? '<unknown>' : age(timeAdded, context.nowMs),
        formatAge(rule, context),
      ];
    },
  },
});

/** Sets timeAdded of a taint without it. */
function addTime(rule: KubeObject, nowMs: number): void {
  const { taint } = specOf(rule);
  if (taint) taint.timeAdded ??= formatTime(nowMs);
}

function specOf(rule: KubeObject): Spec {
  return (rule['spec'] ?? {}) as Spec;
}
