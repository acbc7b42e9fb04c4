/**
 * Encodes and decodes the messages of CRI v1. The descriptor is the generated table of field numbers (#api/generated/cri-v1.json).
 * Names are camelCase on our side (types.ts), enums their names, int64 numbers.
 */
import type protobuf from 'protobufjs';
import { assert } from '#stdx/assert.ts';
import descriptor from '#api/generated/cri-v1.json' with { type: 'json' };
import { isPlain, serviceCodecs, type MethodCodec } from '#grpc/codec.ts';
import { camelCase } from './field-names.ts';

const methods = new Map(
  serviceCodecs(withCamelCaseFields(descriptor) as protobuf.INamespace, {
    packageName: 'runtime.v1',
    services: ['RuntimeService', 'ImageService'],
  }).map((codec) => [codec.name, codec]),
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
