/** Codecs of gRPC protocols that are written down as data: the parts of protocols that are spoken here. Fields are [name, number, type, label]. */
import { messageCodec, serviceCodecs, type MessageCodec, type MethodCodec } from './codec.ts';

type Field = readonly [name: string, id: number, type: string, label?: 'repeated'];
export type Messages = Readonly<Record<string, readonly Field[]>>;
type Methods = Readonly<Record<string, readonly [request: string, response: string, label?: 'stream']>>;
export type Services = Readonly<Record<string, Methods>>;

/** The type of a field that maps strings to strings. */
export const TEXTS = 'map<string,string>';

interface Protocol {
  readonly messages: Messages;
  /** Values in the order of their numbers, from 0. */
  readonly enums?: Readonly<Record<string, readonly string[]>>;
  readonly services: Services;
}

interface ProtocolCodecs {
  /** By the method's name. */
  readonly methods: ReadonlyMap<string, MethodCodec>;
  /** Of a message that is sent or kept by itself. */
  message(name: string): MessageCodec;
}

/** packageName: 'csi.v1'. */
export function describeProtocol(
  packageName: string,
  { messages, enums = {}, services }: Protocol,
): ProtocolCodecs {
  const nested: Record<string, object> = {};
  for (const [name, fields] of Object.entries(messages))
    nested[name] = { fields: Object.fromEntries(fields.map(describeField)) };
  for (const [name, values] of Object.entries(enums))
    nested[name] = { values: Object.fromEntries(values.map((value, number) => [value, number])) };
  for (const [name, methods] of Object.entries(services))
    nested[name] = { methods: Object.fromEntries(Object.entries(methods).map(describeMethod)) };
  const descriptor = packageName
    .split('.')
    .reduceRight<object>((inner, segment) => ({ nested: { [segment]: inner } }), { nested });
  const codecs = serviceCodecs(descriptor, { packageName, services: Object.keys(services) });
  return {
    methods: new Map(codecs.map((codec) => [codec.name, codec])),
    message: (name) => messageCodec(descriptor, `${packageName}.${name}`),
  };
}

function describeMethod([name, [requestType, responseType, label]]: [string, Methods[string]]): [
  string,
  object,
] {
  return [name, { requestType, responseType, ...(label === 'stream' ? { responseStream: true } : {}) }];
}

function describeField([name, id, type, label]: Field): [string, object] {
  const map = /^map<(\w+),(.+)>$/.exec(type);
  if (map) return [name, { keyType: map[1], type: map[2], id }];
  return [name, label === 'repeated' ? { rule: 'repeated', type, id } : { type, id }];
}
