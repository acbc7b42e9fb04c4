/**
 * Compiles CEL device selectors (DeviceClass, ResourceClaim, ResourceClaimTemplate) when objects are written: expressions that do not
 * compile are rejected with their path, stored ones are kept. After upstream's dynamic-resource-allocation/cel.
 */
import type { DeviceClass, ResourceClaimTemplate } from '#api/types.ts';
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { compiled } from '#cel/on-demand.ts';
import { toStructural } from '#machinery/structural.ts';
import { upstreamType } from '#cel/errors.ts';
import type { Variables } from '#cel/expression.ts';

const anything = { 'x-kubernetes-int-or-string': true };
/** By domain, then by name. */
const byDomain = { type: 'object', additionalProperties: { type: 'object', additionalProperties: anything } };
const DEVICE: Variables = {
  device: toStructural({
    type: 'object',
    properties: {
      driver: { type: 'string' },
      allowMultipleAllocations: { type: 'boolean' },
      attributes: byDomain,
      capacity: byDomain,
    },
  }),
};

interface Selector {
  readonly cel?: { readonly expression?: string };
}
interface Request {
  readonly selectors?: readonly Selector[];
  readonly exactly?: Request;
  readonly firstAvailable?: readonly Request[];
}
interface Place {
  readonly path: string;
  readonly expression: string;
}
function inClaim(spec: unknown, path: string): Place[] {
  const { devices } = (spec ?? {}) as { devices?: { requests?: readonly Request[] | null } };
  return (devices?.requests ?? []).flatMap((request, i) => {
    const at = `${path}.devices.requests[${i}]`;
    return [
      ...inSelectors(request.exactly?.selectors, `${at}.exactly.selectors`),
      ...(request.firstAvailable ?? []).flatMap(({ selectors }, j) =>
        inSelectors(selectors, `${at}.firstAvailable[${j}].selectors`),
      ),
    ];
  });
}

function inSelectors(selectors: readonly Selector[] | undefined, path: string): Place[] {
  return (selectors ?? []).flatMap(({ cel }, i) =>
    cel ? [{ path: `${path}[${i}].cel.expression`, expression: cel.expression ?? '' }] : [],
  );
}

export function selectorsOfClass({ spec }: DeviceClass): Place[] {
  return inSelectors(spec?.selectors, 'spec.selectors');
}

export function selectorsOfClaim({ spec }: KubeObject): Place[] {
  return inClaim(spec, 'spec');
}

export function selectorsOfTemplate({ spec }: ResourceClaimTemplate): Place[] {
  return inClaim(spec?.spec, 'spec.spec');
}

/** Earlier errors plus those of selectors that do not compile. previous: errors of the old object; unchanged selectors are kept. */
export function withSelectorErrors(
  errors: FieldError[],
  selectors: readonly Place[],
  previous: readonly Place[] = [],
): FieldError[] {
  // Expressions that are too long are not compiled.
  if (errors.some(({ type }) => type === 'FieldValueTooLong' || type === 'FieldValueTooMany')) return errors;
  const known = new Set(previous.map(({ expression }) => expression));
  const found = selectors
    .filter(({ expression }) => !known.has(expression))
    .flatMap(({ path, expression }) => problemOf(path, expression) ?? []);
  return [...errors, ...found];
}

function problemOf(path: string, source: string): FieldError | undefined {
  const result = compiled(source, { variables: DEVICE, binds: true });
  if (result instanceof Error) return fieldErrors.invalid(path, source, result.message);
  if (result.type !== 'bool' && result.type !== 'dyn')
    return fieldErrors.invalid(
      path,
      source,
      `must evaluate to bool or the unknown type, not ${upstreamType(result.type)}`,
    );
  return result.maxCost(deviceSizes) > MAX_COST
    ? fieldErrors.forbidden(path, 'too complex, exceeds cost limit')
    : undefined;
}

const MAX_COST = 1_000_000;
const MAX_DRIVER = 63,
  MAX_DOMAIN = 63,
  MAX_ID = 32,
  MAX_VALUE = 64,
  MAX_ENTRIES = 32;

/** The size of a device by the API's limits: domains, their attributes or capacities, and names. */
function deviceSizes([variable, field, ...rest]: readonly string[]): number | undefined {
  if (variable !== 'device') return undefined;
  switch (field) {
    case undefined:
      return 0;
    case 'driver':
      return rest.length === 0 ? MAX_DRIVER : undefined;
    case 'allowMultipleAllocations':
      return rest.length === 0 ? 1 : undefined;
    case 'attributes':
    case 'capacity':
      return mapSizes(rest, field);
    default:
      return undefined;
  }
}

/** Attributes may be selected by qualified or plain name; capacities are not declared. */
function mapSizes(
  [domain, id, ...rest]: readonly string[],
  field: 'attributes' | 'capacity',
): number | undefined {
  if (domain === undefined) return MAX_ENTRIES;
  if (domain === '@keys') return id === undefined ? MAX_DOMAIN : undefined;
  if (domain !== '@values') return undefined;
  if (id === undefined) return MAX_ENTRIES;
  if (id === '@keys') return rest.length === 0 ? MAX_ID : undefined;
  if (field === 'capacity') return id === '@values' && rest.length === 0 ? 0 : undefined;
  return rest.length === 0 ? MAX_VALUE : undefined;
}
