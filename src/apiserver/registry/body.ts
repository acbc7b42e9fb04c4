/** Bodies of writes: read, decoded strictly in the endpoint's version, and converted to the one that is stored. */
import { Turn } from '#stdx/turn.ts';
import { decodeObject } from '#machinery/decode.ts';
import { isJsonObject } from '#machinery/json.ts';
import { formatApiVersion, type GroupVersionKind, type KubeObject } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { RequestContext } from '../context.ts';
import { decodeBody, type DecodeRequest } from '../http/codecs.ts';
import { readYaml } from '../http/yaml-reader.ts';
import { encodingOfContentType, unsupportedMediaType, type Encoding } from '../http/negotiation.ts';
import type { Endpoint } from './endpoints.ts';
import type { MutationOptions } from './verb-options.ts';

/** Upstream's limit on request bodies. */
export const MAX_BODY_BYTES = 3 * 1024 * 1024;

export function bodyEncoding({ request }: RequestContext): Encoding {
  const encoding = encodingOfContentType(request.headers['content-type']);
  if (!encoding) throw unsupportedMediaType();
  return encoding;
}

/** What decodeBody needs of a body. */
type Body = Pick<DecodeRequest, 'bytes' | 'encoding' | 'yaml'>;

export async function readBody(context: RequestContext): Promise<Body> {
  const encoding = bodyEncoding(context);
  return readBytes(await context.request.body(MAX_BODY_BYTES), encoding);
}

export async function readBytes(bytes: Buffer, encoding: Encoding): Promise<Body> {
  return encoding === 'yaml'
    ? { bytes, encoding, yaml: await readYaml(bytes.toString()) }
    : { bytes, encoding };
}

type DecodedEndpoint = Pick<Endpoint, 'gvk' | 'schema' | 'decode' | 'isStorageVersion' | 'resource'>;

/** The body as an object of the endpoint's kind and version. */
export async function readObject(
  endpoint: DecodedEndpoint,
  context: RequestContext,
  mode: MutationOptions['fieldValidation'],
): Promise<KubeObject> {
  return decodeObjectBody(endpoint, context, { body: await readBody(context), mode });
}

/** Each call makes an object of its own. */
export async function decodeObjectBody(
  endpoint: DecodedEndpoint,
  context: RequestContext,
  { body, mode }: { readonly body: Body; readonly mode: MutationOptions['fieldValidation'] },
): Promise<KubeObject> {
  const turn = new Turn();
  const object = decodeBody(
    { gvk: endpoint.gvk, schema: endpoint.schema!, decode: endpoint.decode },
    { ...body, mode, warn: (message) => void context.warnings.push(message) },
  );
  context.audit?.received(object, findDefaults(endpoint));
  if (turn.isLong) await turn.pause();
  return object;
}

/** Known for the version that is stored: other versions are completed after their conversion. */
export function findDefaults({
  isStorageVersion,
  resource,
}: Pick<Endpoint, 'isStorageVersion' | 'resource'>): ((object: KubeObject) => void) | undefined {
  return isStorageVersion ? (object) => resource.applyDefaults(object) : undefined;
}

/** In the version that is stored, with the zero values that this version always writes, which the other one may not have. */
export function toStorage(endpoint: Endpoint, object: KubeObject): KubeObject {
  if (endpoint.isStorageVersion) return object;
  const converted = endpoint.resource.convert(object, formatApiVersion(endpoint.storageGvk));
  const schema = schemaForKind(endpoint.storageGvk);
  return schema ? (decodeObject(schema, converted, 'ignore').object as KubeObject) : converted;
}

/** A body of any kind, for subresources that take their own. */
export async function readKind(
  gvk: GroupVersionKind,
  context: RequestContext,
  options: {
    readonly mode: MutationOptions['fieldValidation'];
    readonly alsoAccepted?: readonly GroupVersionKind[];
  },
): Promise<KubeObject> {
  const body = await readBody(context);
  const object = decodeBody(
    { gvk, schema: schemaForKind(gvk)!, alsoAccepted: options.alsoAccepted ?? [] },
    { ...body, mode: options.mode, warn: (message) => void context.warnings.push(message) },
  );
  if (!isJsonObject(object.metadata)) object.metadata = {};
  context.audit?.received(object);
  return object;
}
