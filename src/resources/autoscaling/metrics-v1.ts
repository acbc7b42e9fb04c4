/**
 * Metrics and behavior of a HorizontalPodAutoscaler in the annotation formats of autoscaling/v1: metrics are flat (targetValue,
 * currentAverageValue, …), and behavior uses the field names of upstream's internal types ('ScaleUp'), which are parsed case-insensitively.
 */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

/** The fields of a metric, in serialisation order. */
const PARTS = ['object', 'pods', 'resource', 'containerResource', 'external'] as const;
type Part = (typeof PARTS)[number];

/** Omits absent fields. */
function given(fields: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  );
}

function objectAt(value: unknown, name: string): JsonObject {
  const inner = isJsonObject(value) ? value[name] : undefined;
  return isJsonObject(inner) ? inner : {};
}

function reference(value: unknown): JsonObject {
  const { kind = '', name = '', apiVersion } = isJsonObject(value) ? value : {};
  return given({ kind, name, apiVersion });
}

/** v2 → v1. sort: 'target' for a spec, 'current' for a status, which always has a value. */
function flattened(part: Part, source: JsonObject, sort: 'target' | 'current'): JsonObject {
  const metric = objectAt(source, 'metric'),
    { value, averageValue, averageUtilization } = objectAt(source, sort);
  const isStatus = sort === 'current';
  switch (part) {
    case 'object':
      return given({
        target: reference(source['describedObject']),
        metricName: metric['name'] ?? '',
        [`${sort}Value`]: value ?? '0',
        selector: metric['selector'],
        averageValue,
      });
    case 'pods':
      return given({
        metricName: metric['name'] ?? '',
        [`${sort}AverageValue`]: averageValue ?? '0',
        selector: metric['selector'],
      });
    case 'external':
      return given({
        metricName: metric['name'] ?? '',
        metricSelector: metric['selector'],
        [`${sort}Value`]: isStatus ? (value ?? '0') : value,
        [`${sort}AverageValue`]: averageValue,
      });
    default:
      return given({
        name: source['name'] ?? '',
        [`${sort}AverageUtilization`]: averageUtilization,
        [`${sort}AverageValue`]: isStatus ? (averageValue ?? '0') : averageValue,
        container: part === 'containerResource' ? (source['container'] ?? '') : undefined,
      });
  }
}

/** v1 → v2. */
function nested(part: Part, source: JsonObject, sort: 'target' | 'current'): JsonObject {
  const isStatus = sort === 'current';
  const value = source[`${sort}Value`],
    averageValue = source[part === 'object' ? 'averageValue' : `${sort}AverageValue`],
    averageUtilization = source[`${sort}AverageUtilization`];
  const measure = (type: string, values: JsonObject): JsonObject =>
    given(isStatus ? values : { type, ...values });
  const metric = given({
    name: source['metricName'] ?? '',
    selector: source[part === 'external' ? 'metricSelector' : 'selector'],
  });
  switch (part) {
    case 'object': {
      const isAverage = averageValue !== undefined && !isStatus;
      return {
        describedObject: reference(source['target']),
        [sort]: measure(isAverage ? 'AverageValue' : 'Value', {
          value: isAverage && isZero(value) ? undefined : (value ?? '0'),
          averageValue,
        }),
        metric,
      };
    }
    case 'pods':
      return { metric, [sort]: measure('AverageValue', { averageValue: averageValue ?? '0' }) };
    case 'external':
      return {
        metric,
        [sort]: measure(value === undefined ? 'AverageValue' : 'Value', {
          value: isStatus ? (value ?? '0') : value,
          averageValue,
        }),
      };
    default:
      return {
        name: source['name'] ?? '',
        ...(part === 'containerResource' ? { container: source['container'] ?? '' } : {}),
        [sort]: measure(averageUtilization === undefined ? 'AverageValue' : 'Utilization', {
          averageValue: isStatus ? (averageValue ?? '0') : averageValue,
          averageUtilization,
        }),
      };
  }
}

/** Nothing, or a zero quantity. */
function isZero(value: unknown): boolean {
  return value === undefined || /^[+-]?0*\.?0*[A-Za-z]*$/.test(String(value));
}

type Change = (part: Part, source: JsonObject, sort: 'target' | 'current') => JsonObject;

function changed(metric: unknown, sort: 'target' | 'current', change: Change): JsonObject {
  const source = isJsonObject(metric) ? metric : {},
    result: JsonObject = { type: source['type'] ?? '' };
  for (const part of PARTS) {
    const inner = source[part];
    if (isJsonObject(inner)) result[part] = change(part, inner, sort);
  }
  return result;
}

export function metricToV1(metric: unknown, sort: 'target' | 'current'): JsonObject {
  return changed(metric, sort, flattened);
}

export function metricFromV1(metric: unknown, sort: 'target' | 'current'): JsonObject {
  return changed(metric, sort, nested);
}

interface Names {
  readonly [name: string]: Names | null;
}

const RULES: Names = {
  StabilizationWindowSeconds: null,
  SelectPolicy: null,
  Policies: { Type: null, Value: null, PeriodSeconds: null },
  Tolerance: null,
};
const BEHAVIOR: Names = { ScaleUp: RULES, ScaleDown: RULES };

/** All fields, including unset ones. */
export function behaviorToV1(behavior: unknown): JsonObject {
  return withNames(behavior, BEHAVIOR) as JsonObject;
}

function withNames(value: unknown, names: Names): unknown {
  if (Array.isArray(value)) return value.map((item) => withNames(item, names));
  if (!isJsonObject(value)) return null;
  return Object.fromEntries(
    Object.entries(names).map(([name, inner]) => {
      const own = value[lowered(name)];
      return [name, inner === null || own === undefined ? (own ?? null) : withNames(own, inner)];
    }),
  );
}

/** undefined: no field is set. */
export function behaviorFromV1(behavior: unknown): JsonObject | undefined {
  const found = withoutNames(behavior, BEHAVIOR);
  return isJsonObject(found) && Object.keys(found).length > 0 ? found : undefined;
}

function withoutNames(value: unknown, names: Names): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutNames(item, names));
  if (!isJsonObject(value)) return value;
  const result: JsonObject = {};
  for (const [name, inner] of Object.entries(names)) {
    const key = Object.keys(value).find((one) => one.toLowerCase() === name.toLowerCase());
    const own = key === undefined ? undefined : value[key];
    if (own !== undefined && own !== null)
      result[lowered(name)] = inner === null ? own : withoutNames(own, inner);
  }
  return result;
}

function lowered(name: string): string {
  return name[0]!.toLowerCase() + name.slice(1);
}
