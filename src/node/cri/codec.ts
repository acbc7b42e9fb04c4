/**
 * Encodes and decodes the messages of CRI v1. The descriptor is the generated table of field numbers (#api/generated/cri-v1.json);
 * protobufjs does the wire format. Names are camelCase on our side (types.ts), enums their names, int64 numbers.
 */
import protobuf from 'protobufjs';
import { assert } from '#stdx/assert.ts';
import descriptor from '#api/generated/cri-v1.json' with { type: 'json' };
import { camelCase } from './field-names.ts';

interface MethodCodec {
  /** '/runtime.v1.RuntimeService/Version' */
  readonly path: string;
  /** 'Version' */
  readonly name: string;
  readonly serverStream: boolean;
  encode(request: object): Buffer;
  decode(bytes: Buffer): object;
  /** The server's side of the same method: a fake runtime in tests. */
  decodeRequest(bytes: Buffer): object;
  encodeResponse(response: object): Buffer;
}

const api = protobuf.Root.fromJSON(withCamelCaseFields(descriptor) as protobuf.INamespace).lookup(
  'runtime.v1',
) as protobuf.Namespace;
const methods = new Map(
  ['RuntimeService', 'ImageService'].flatMap(codecsOf).map((codec) => [codec.name, codec]),
);

export function methodCodec(name: string): MethodCodec {
  const codec = methods.get(name);
  assert(codec, `CRI has a method ${name}`);
  return codec;
}

/** Every method of both services, by its name on the wire. */
export function methodCodecs(): readonly MethodCodec[] {
  return [...methods.values()];
}

/** The descriptor with renamed fields; everything outside a 'fields' object is unchanged. */
function withCamelCaseFields(node: object): object {
  return Object.fromEntries(
    Object.entries(node).map(([key, value]: [string, unknown]) => {
      if (key === 'fields')
        return [
          key,
          Object.fromEntries(
            Object.entries(value as object).map(([name, field]) => [camelCase(name), field as unknown]),
          ),
        ];
      return [key, isPlain(value) && !Array.isArray(value) ? withCamelCaseFields(value) : value];
    }),
  );
}

function codecsOf(service: string): MethodCodec[] {
  return api.lookupService(service).methodsArray.map((method) => {
    const request = api.lookupType(method.requestType);
    const response = api.lookupType(method.responseType);
    return {
      path: `/runtime.v1.${service}/${method.name}`,
      name: method.name,
      serverStream: method.responseStream === true,
      encode: (message) => encode(request, message),
      decode: (bytes) => decode(response, bytes),
      decodeRequest: (bytes) => decode(request, bytes),
      encodeResponse: (message) => encode(response, message),
    };
  });
}

function encode(type: protobuf.Type, message: object): Buffer {
  return Buffer.from(type.encode(type.fromObject(message as Record<string, unknown>)).finish());
}

function decode(type: protobuf.Type, bytes: Buffer): object {
  const plain = type.toObject(type.decode(bytes), { longs: Number, enums: String, defaults: true });
  return withoutNulls(plain);
}

/** protobufjs writes null for a message field that was not sent; ours are absent. */
function withoutNulls(plain: Record<string, unknown>): Record<string, unknown> {
  for (const [key, value] of Object.entries(plain)) {
    if (value === null) delete plain[key];
    else if (Array.isArray(value)) value.forEach((item) => isPlain(item) && withoutNulls(item));
    else if (isPlain(value)) withoutNulls(value);
  }
  return plain;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Buffer.isBuffer(value);
}
