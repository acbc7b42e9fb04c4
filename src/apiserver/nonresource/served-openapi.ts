/**
 * The published OpenAPI documents adapted to this server: its version, without disabled features. The published ones include CBOR and the kubelet's
 * logs. Pure.
 */
import type { OpenapiV3Document } from '#openapi/v3.ts';

export interface ServedFeatures {
  readonly cbor: boolean;
  readonly version: string;
}

const CBOR: ReadonlySet<string> = new Set([
  'application/cbor',
  'application/cbor-seq',
  'application/apply-patch+cbor',
]);
const UNSERVED_PATH = '/logs/';
/** Of v3's index. */
export const UNSERVED_DOCUMENT = 'logs';

type Fields = Record<string, unknown>;

export function servedV3(document: OpenapiV3Document, features: ServedFeatures): OpenapiV3Document {
  return {
    ...document,
    info: { ...document.info, version: features.version },
    paths: features.cbor
      ? document.paths
      : (eachOperation(document.paths as Fields, withoutCborContent) as OpenapiV3Document['paths']),
  };
}

export function servedV2<D extends { readonly paths: Readonly<Record<string, object>> }>(
  document: D,
  features: ServedFeatures,
): D {
  const paths = Object.fromEntries(
    Object.entries(document.paths as Fields).filter(([path]) => !path.startsWith(UNSERVED_PATH)),
  );
  const { info } = document as D & { readonly info?: object };
  return {
    ...document,
    ...(info ? { info: { ...info, version: features.version } } : {}),
    paths: features.cbor ? paths : eachOperation(paths, withoutCborLists),
  };
}

/** A path has parameters and extensions beside its operations. */
function eachOperation(paths: Fields, change: (operation: Fields) => Fields): Fields {
  return mapValues(paths, (item) =>
    mapValues(item as Fields, (value, key) =>
      key === 'parameters' || key.startsWith('x-') ? value : change(value as Fields),
    ),
  );
}

function withoutCborContent(operation: Fields): Fields {
  const { requestBody, responses } = operation as {
    readonly requestBody?: Fields;
    readonly responses?: Fields;
  };
  return {
    ...operation,
    ...(requestBody ? { requestBody: withoutCbor(requestBody) } : {}),
    ...(responses ? { responses: mapValues(responses, (answer) => withoutCbor(answer as Fields)) } : {}),
  };
}

function withoutCbor(part: Fields): Fields {
  const content = part['content'] as Fields | undefined;
  return content
    ? { ...part, content: Object.fromEntries(Object.entries(content).filter(([type]) => !CBOR.has(type))) }
    : part;
}

function withoutCborLists(operation: Fields): Fields {
  const lists = (['consumes', 'produces'] as const).filter((name) => Array.isArray(operation[name]));
  return {
    ...operation,
    ...Object.fromEntries(
      lists.map((name) => [name, (operation[name] as string[]).filter((type) => !CBOR.has(type))]),
    ),
  };
}

function mapValues(fields: Fields, change: (value: unknown, key: string) => unknown): Fields {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, change(value, key)]));
}
