/** resource.k8s.io conversion: v1beta1 has flat requests and devices, v1beta2 and v1 nest them ('exactly', no 'basic'). v1beta2 and v1 have the same shape. */
import { isJsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';

type Json = Record<string, any>;

const V1BETA1 = 'resource.k8s.io/v1beta1';
const EXACT_FIELDS = [
  'deviceClassName',
  'selectors',
  'allocationMode',
  'count',
  'adminAccess',
  'tolerations',
  'capacity',
] as const;

/** An applied configuration is not validated yet: items may be anything. */
function changeEach(items: readonly Json[], change: (item: Json) => Json): Json[] {
  return items.map((item) => (isJsonObject(item) ? change(item) : item));
}

function mapRequests(spec: Json | undefined, change: (request: Json) => Json): Json | undefined {
  const requests = spec?.['devices']?.requests as Json[] | undefined;
  return Array.isArray(requests)
    ? { ...spec, devices: { ...spec!['devices'], requests: changeEach(requests, change) } }
    : spec;
}

function flatten(request: Json): Json {
  const { exactly, ...rest } = request;
  return exactly ? { ...rest, ...exactly } : request;
}

function nest(request: Json): Json {
  if (request['exactly'] || request['firstAvailable']?.length) return request;
  const exactly: Json = {},
    rest: Json = { ...request };
  for (const field of EXACT_FIELDS) {
    if (rest[field] === undefined) continue;
    exactly[field] = rest[field];
    delete rest[field];
  }
  return { ...rest, exactly };
}

function convertRequests(spec: Json | undefined, toApiVersion: string): Json | undefined {
  return mapRequests(spec, toApiVersion === V1BETA1 ? flatten : nest);
}

export function convertClaim(object: KubeObject, toApiVersion: string): KubeObject {
  const spec = convertRequests(object['spec'] as Json | undefined, toApiVersion);
  return { ...object, apiVersion: toApiVersion, ...(spec ? { spec } : {}) };
}

export function convertClaimTemplate(object: KubeObject, toApiVersion: string): KubeObject {
  const outer = object['spec'] as Json | undefined,
    spec = convertRequests(outer?.['spec'], toApiVersion);
  return { ...object, apiVersion: toApiVersion, ...(spec ? { spec: { ...outer, spec } } : {}) };
}

export function convertSlice(object: KubeObject, toApiVersion: string): KubeObject {
  const spec = object['spec'] as Json | undefined,
    devices = spec?.['devices'] as Json[] | undefined;
  if (!Array.isArray(devices)) return { ...object, apiVersion: toApiVersion };
  const change =
    toApiVersion === V1BETA1
      ? ({ name, ...basic }: Json): Json => ({ name, basic: basic['basic'] ?? basic })
      : ({ name, basic, ...rest }: Json): Json => ({ name, ...rest, ...basic });
  return { ...object, apiVersion: toApiVersion, spec: { ...spec, devices: changeEach(devices, change) } };
}
