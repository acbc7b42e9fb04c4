/** Turns the packages of the gRPC interfaces (CRI, device plugin, KMS) into descriptors that protobufjs' Root.fromJSON reads. Field names stay as on the wire description (snake_case). */
import type { ProtoField, ProtoPackage } from './source.ts';

interface Descriptor {
  fields?: Record<string, object>;
  methods?: Record<string, object>;
  values?: Record<string, number>;
  nested?: Record<string, Descriptor>;
}

export function grpcDescriptor(packageName: string, source: ProtoPackage): Descriptor {
  const nested: Record<string, Descriptor> = {};
  for (const [name, fields] of Object.entries(source.messages)) nested[name] = messageDescriptor(fields);
  for (const [name, values] of Object.entries(source.enums)) place(nested, name, { values: { ...values } });
  for (const [name, methods] of Object.entries(source.services ?? {})) {
    nested[name] = {
      methods: Object.fromEntries(
        methods.map(([method, clientStreams, requestType, serverStreams, responseType]) => [
          method,
          {
            requestType,
            responseType,
            ...(clientStreams && { requestStream: true }),
            ...(serverStreams && { responseStream: true }),
          },
        ]),
      ),
    };
  }
  return packageName
    .split('.')
    .reduceRight<Descriptor>((inner, segment) => ({ nested: { [segment]: inner } }), { nested });
}

function messageDescriptor(fields: readonly ProtoField[]): Descriptor {
  return {
    fields: Object.fromEntries(
      fields.map(([name, id, type, label]) => [name, fieldDescriptor({ id, type, label })]),
    ),
  };
}

function fieldDescriptor({ id, type, label }: { id: number; type: string; label: string }): object {
  const map = /^map<(\w+),\s*(.+)>$/.exec(type);
  if (map) return { keyType: map[1], type: map[2], id };
  return label === 'repeated' ? { rule: 'repeated', type, id } : { type, id };
}

/** 'SecurityProfile.ProfileType' is declared inside the message SecurityProfile. */
function place(types: Record<string, Descriptor>, path: string, descriptor: Descriptor): void {
  const [outer, inner] = path.split('.');
  if (inner === undefined) {
    types[path] = descriptor;
    return;
  }
  const parent = types[outer!];
  if (!parent) throw new Error(`No message ${outer} to hold ${path}`);
  parent.nested = { ...parent.nested, [inner]: descriptor };
}
