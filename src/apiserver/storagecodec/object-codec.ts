/**
 * Converts one resource's objects between the API server's bytes (JSON of its storage version, see machinery/serialize.ts) and those that upstream
 * keeps in etcd: the magic bytes k8s\0 and protobuf in upstream's storage version for built-in kinds, JSON for the kinds of the extension and
 * aggregation servers and for custom resources. Decodes both, in any version of the group.
 */
import { schemaForKind } from '#api/schemas.ts';
import {
  decodeEnvelope,
  decodeObject,
  encodeObject,
  encodeObjectFaithfully,
  isProtobuf,
  ProtobufError,
} from '#machinery/codec/protobuf.ts';
import { formatApiVersion, parseApiVersion, type KubeObject } from '#machinery/object.ts';
import type { MajorMinor } from '#machinery/effective-version.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { parseSerialized, serializeObject } from '#machinery/serialize.ts';
import { upstreamStorageVersion } from '#resources/storage-version.ts';
import type { Resource } from '#resources/resource.ts';
import { definitionFromV1beta1 } from './definition-v1beta1.ts';

/** Bytes that cannot be read; its message says why. */
export class StoredFormError extends Error {}

interface Encoded {
  readonly bytes: Buffer;
  /** decode() makes an equal object of them. False also where that is not known. */
  readonly isFaithful: boolean;
}

export interface ObjectCodec {
  /** From the server's JSON. */
  encode(json: Buffer): Buffer;
  /** Likewise; object: what the JSON encodes, with defaults. It is not changed. */
  encodeObject(object: KubeObject, json: Buffer): Encoded;
  /** To the server's JSON. Throws a StoredFormError. */
  decode(stored: Buffer): Buffer;
  /** Whether encode() would make bytes of the same form. */
  isCurrent(stored: Buffer): boolean;
}

const OLD_DEFINITIONS = 'apiextensions.k8s.io/v1beta1';
/** Upstream keeps these in JSON: their servers know no protobuf. */
const JSON_GROUPS: ReadonlySet<string> = new Set(['apiextensions.k8s.io', 'apiregistration.k8s.io']);

/** minCompatibility: the oldest server that has to read what encode() makes. Default: as upstream stores it without flags. */
export function codecOf(resource: Resource | undefined, minCompatibility?: MajorMinor): ObjectCodec {
  if (!resource) return new JsonCodec(undefined);
  return JSON_GROUPS.has(resource.group)
    ? new JsonCodec(resource)
    : new ProtobufCodec(resource, minCompatibility);
}

/** resource: undefined for a custom one, whose versions are its definition's affair. */
class JsonCodec implements ObjectCodec {
  readonly #resource: Resource | undefined;

  constructor(resource: Resource | undefined) {
    this.#resource = resource;
  }

  encode(json: Buffer): Buffer {
    return json;
  }

  encodeObject({ apiVersion }: KubeObject, json: Buffer): Encoded {
    return { bytes: json, isFaithful: !this.#resource || apiVersion === this.#resource.storageApiVersion };
  }

  decode(stored: Buffer): Buffer {
    // Objects outside the registry, such as port ranges, are not decoded here.
    if (!this.#resource && isProtobuf(stored)) return stored;
    return serializeObject(toStorageVersion(parse(stored), this.#resource));
  }

  isCurrent(stored: Buffer): boolean {
    return !isProtobuf(stored);
  }
}

class ProtobufCodec implements ObjectCodec {
  readonly #resource: Resource;
  /** In etcd. */
  readonly #apiVersion: string;
  readonly #schema: ObjectSchema;

  constructor(resource: Resource, minCompatibility: MajorMinor | undefined) {
    this.#resource = resource;
    this.#apiVersion = upstreamStorageVersion(resource, minCompatibility);
    this.#schema = schemaForKind({ ...parseApiVersion(this.#apiVersion), kind: resource.kind })!;
  }

  encode(json: Buffer): Buffer {
    const object = this.#resource.convert(parseSerialized(json), this.#apiVersion);
    return encodeObject(object, this.#schema);
  }

  encodeObject(object: KubeObject, json: Buffer): Encoded {
    const { kind, storageApiVersion } = this.#resource;
    const isOfBoth = object.apiVersion === this.#apiVersion && this.#apiVersion === storageApiVersion;
    if (isOfBoth && object.kind === kind) return encodeObjectFaithfully(object, this.#schema);
    return { bytes: this.encode(json), isFaithful: false };
  }

  decode(stored: Buffer): Buffer {
    return serializeObject(toStorageVersion(parse(stored), this.#resource));
  }

  isCurrent(stored: Buffer): boolean {
    return isProtobuf(stored) && decodeEnvelope(stored).apiVersion === this.#apiVersion;
  }
}

/** What servers keep beside the objects that they serve, all of core v1: which ports are taken, which servers live. */
export class KindCodec implements ObjectCodec {
  readonly #schema: ObjectSchema;

  constructor(kind: string) {
    this.#schema = schemaForKind({ group: '', version: 'v1', kind })!;
  }

  encode(json: Buffer): Buffer {
    return encodeObject(parseSerialized(json), this.#schema);
  }

  encodeObject(_object: KubeObject, json: Buffer): Encoded {
    return { bytes: this.encode(json), isFaithful: false };
  }

  decode(stored: Buffer): Buffer {
    return serializeObject(parse(stored));
  }

  isCurrent(stored: Buffer): boolean {
    return isProtobuf(stored);
  }
}

function parse(stored: Buffer): KubeObject {
  try {
    if (isProtobuf(stored)) return decodeObject(stored, { schemaFor: schemaForKind });
    return parseSerialized(stored);
  } catch (error) {
    if (!(error instanceof ProtobufError) && !(error instanceof SyntaxError)) throw error;
    throw new StoredFormError(`no object can be decoded from the stored bytes: ${error.message}`, {
      cause: error,
    });
  }
}

/** Defaults as well: fields that the writer did not know yet. */
function toStorageVersion(object: KubeObject, resource: Resource | undefined): KubeObject {
  if (!resource) return object;
  const { group } = parseApiVersion(object.apiVersion ?? '');
  const wanted = parseApiVersion(resource.storageApiVersion);
  if (group !== wanted.group && group !== resource.group)
    throw new StoredFormError(
      `${object.apiVersion ?? ''} ${object.kind ?? ''} is stored where ${formatApiVersion(wanted)} should be`,
    );
  const current = object.apiVersion === OLD_DEFINITIONS ? definitionFromV1beta1(object) : object;
  const converted = resource.convert(current, resource.storageApiVersion);
  resource.applyDefaults(converted);
  return converted;
}
