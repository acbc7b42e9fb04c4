/** Codecs of the methods of gRPC services that are described as data. protobufjs does the wire format: enums are their names, 64-bit integers numbers. */
import protobuf from 'protobufjs';

export interface MethodCodec {
  /** '/runtime.v1.RuntimeService/Version' */
  readonly path: string;
  /** 'Version' */
  readonly name: string;
  readonly serverStream: boolean;
  encode(request: object): Buffer;
  decode(bytes: Buffer): object;
  /** The server's side of the same method, for fakes in tests. */
  decodeRequest(bytes: Buffer): object;
  encodeResponse(response: object): Buffer;
}

export interface MessageCodec {
  encode(message: object): Buffer;
  decode(bytes: Buffer): object;
}

/** path: 'v1beta1.ContainerAllocateResponse' */
export function messageCodec(descriptor: protobuf.INamespace, path: string): MessageCodec {
  const type = protobuf.Root.fromJSON(descriptor).lookupType(path);
  return { encode: (message) => encode(type, message), decode: (bytes) => decode(type, bytes) };
}

/** packageName: 'runtime.v1'. Of all methods of these services. */
export function serviceCodecs(
  descriptor: protobuf.INamespace,
  { packageName, services }: { readonly packageName: string; readonly services: readonly string[] },
): MethodCodec[] {
  const api = protobuf.Root.fromJSON(descriptor).lookup(packageName) as protobuf.Namespace;
  return services.flatMap((service) =>
    api.lookupService(service).methodsArray.map((method) => {
      const request = api.lookupType(method.requestType);
      const response = api.lookupType(method.responseType);
      return {
        path: `/${packageName}.${service}/${method.name}`,
        name: method.name,
        serverStream: method.responseStream === true,
        encode: (message) => encode(request, message),
        decode: (bytes) => decode(response, bytes),
        decodeRequest: (bytes) => decode(request, bytes),
        encodeResponse: (message) => encode(response, message),
      };
    }),
  );
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

export function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Buffer.isBuffer(value);
}
