/** Objects to bytes and bytes to objects, in every encoding served: JSON, YAML, protobuf. */
import {
  cannotBeHandled,
  decodeObject,
  strictProblems,
  whyUndecodable,
  type Decoded,
  type DecodeMode,
} from '#machinery/decode.ts';
import { assert } from '#stdx/assert.ts';
import { fieldErrors, isStatusError, statusErrors } from '#machinery/errors.ts';
import { isJsonObject, MAXIMUM_VALUES, parseJsonCounted, requireFewValues } from '#machinery/json.ts';
import {
  decodeObject as decodeProtobuf,
  encodeObject as encodeProtobuf,
  ProtobufError,
} from '#machinery/codec/protobuf.ts';
import {
  formatApiVersion,
  parseApiVersion,
  type GroupVersionKind,
  type KubeObject,
} from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import type { ParsedYaml } from '#machinery/yaml.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { YamlReading } from './yaml-reader.ts';
import { MEDIA_TYPES, type Encoding } from './negotiation.ts';
import { yaml } from '#machinery/yaml-package.ts';

interface Encoded {
  readonly body: Buffer;
  readonly contentType: string;
}

/** apiVersion: of an object that does not say its own. Kinds without wire form (custom resources) are not acceptable in protobuf. */
export function encodeObject(
  object: KubeObject,
  encoding: Encoding,
  options: { readonly pretty?: boolean; readonly apiVersion?: string } = {},
): Encoded {
  if (encoding === 'yaml')
    return {
      body: Buffer.from(
        yaml().stringify(object, { lineWidth: 0, version: '1.1', aliasDuplicateObjects: false }),
      ),
      contentType: MEDIA_TYPES.yaml,
    };
  if (encoding === 'protobuf') {
    const schema = schemaForKind({
      ...parseApiVersion(object.apiVersion ?? options.apiVersion ?? ''),
      kind: object.kind ?? '',
    });
    if (!schema) throw statusErrors.notAcceptable([MEDIA_TYPES.json, MEDIA_TYPES.yaml]);
    return { body: encodeProtobuf(object, schema), contentType: MEDIA_TYPES.protobuf };
  }
  const text = options.pretty ? `${JSON.stringify(object, undefined, 2)}\n` : JSON.stringify(object);
  return { body: Buffer.from(text), contentType: MEDIA_TYPES.json };
}

export interface DecodeTarget {
  readonly gvk: GroupVersionKind;
  readonly schema: ObjectSchema;
  /** Other accepted kinds: a Scale or an Eviction of an older version. */
  readonly alsoAccepted?: readonly GroupVersionKind[];
  /** Error messages do not include values. */
  readonly confidential?: boolean | undefined;
  /** Options of a verb: any version is accepted, and errors do not name the kind. */
  readonly isOptions?: boolean;
  /** In place of decoding by the schema. */
  readonly decode?: ((value: unknown, mode: DecodeMode) => Decoded) | undefined;
}

export interface DecodeRequest {
  readonly bytes: Buffer;
  readonly encoding: Encoding;
  readonly mode: DecodeMode;
  /** Of a body in YAML, which was read before. */
  readonly yaml?: YamlReading | undefined;
  warn(message: string): void;
}

/** The object a body holds, with its kind and apiVersion set; 400 in upstream's words when it is none or another. */
export function decodeBody(target: DecodeTarget, request: DecodeRequest): KubeObject {
  const { bytes, encoding } = request;
  if (encoding === 'protobuf') return decodeTyped(target, fromProtobuf(target, bytes), request);
  if (encoding === 'yaml') {
    const { value, problems } = fromYaml(target, request);
    return decodeTyped(target, withReadableKind(target, { value, bytes }), { ...request, problems });
  }
  const text = bytes.toString();
  const { value, fields } = fromJson(target, { bytes, text });
  return decodeTyped(target, withReadableKind(target, { value, bytes }), {
    ...request,
    json: { text, fields },
  });
}

/** How upstream shows the structure that it reads a body's kind with. */
const KIND_STRUCTURE =
  'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }';

/**
 * Kind and version are read first: errors about them come before errors of the type. null is an object without fields. Custom resources have no
 * type.
 */
function withReadableKind(
  target: DecodeTarget,
  { value, bytes }: { readonly value: unknown; readonly bytes: Buffer },
): unknown {
  if (target.decode) return withGivenKind(target, { value, bytes });
  if (value === null || value === undefined) return {};
  const unreadable = (why: string): Error =>
    unrecognized(target, {
      why: `couldn't get version/kind; json parse error: json: cannot unmarshal ${why}`,
      bytes,
    });
  if (!isJsonObject(value)) throw unreadable(`${jsonTypeOf(value)} into Go value of type ${KIND_STRUCTURE}`);
  for (const field of ['apiVersion', 'kind']) {
    const given = value[field];
    if (given !== undefined && given !== null && typeof given !== 'string')
      throw unreadable(`${jsonTypeOf(given)} into Go struct field .${field} of type string`);
  }
  const { apiVersion } = value as KubeObject;
  if (typeof apiVersion === 'string' && apiVersion.indexOf('/') !== apiVersion.lastIndexOf('/'))
    throw unrecognized(target, { why: `unexpected GroupVersion string: ${apiVersion}`, bytes });
  return value;
}

/** The kind of a custom resource has no type of its own and must be given. */
function withGivenKind(
  target: DecodeTarget,
  { value, bytes }: { readonly value: unknown; readonly bytes: Buffer },
): unknown {
  if (isJsonObject(value) && !value['kind'] && !target.isOptions)
    throw unrecognized(target, { why: `Object 'Kind' is missing in '${bytes.toString()}'`, bytes });
  return value;
}

function jsonTypeOf(value: unknown): string {
  return Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value;
}

function unrecognized(
  { gvk, isOptions }: DecodeTarget,
  { why, bytes }: { readonly why: string; readonly bytes: Buffer },
): Error {
  return statusErrors.badRequest(
    isOptions
      ? why
      : `the object provided is unrecognized (must be of type ${gvk.kind}): ${why} (${summary(bytes)})`,
  );
}

interface TypedRequest {
  readonly mode: DecodeMode;
  /** The JSON text from which the value was parsed, and its number of fields. */
  readonly json?: { readonly text: string; readonly fields: number };
  /** What strictness already had against its text. */
  readonly problems?: readonly string[];
  warn(message: string): void;
}

/** A value that came some other way (a patch's result) as an object of the type. */
export function decodeTyped(
  target: DecodeTarget,
  value: unknown,
  { mode, warn, json, problems: textual = [] }: TypedRequest,
): KubeObject {
  if (!isJsonObject(value))
    throw cannotBeHandled(target.schema, value, 'json: cannot unmarshal into Go value');
  const found = checkKind(target, value as KubeObject);
  if (target.isOptions) return optionsOf(target.schema, value, mode);
  const schema = found === target.gvk ? target.schema : (schemaForKind(found) ?? target.schema);
  const decoded =
    target.decode && schema === target.schema
      ? target.decode(value, mode)
      : decodeObject(schema, value, mode);
  decoded.object.kind = found.kind;
  decoded.object.apiVersion = formatApiVersion(found);
  if (mode !== 'ignore') {
    const problems =
      json === undefined
        ? [...textual, ...decoded.problems]
        : strictProblems(decoded, {
            ...json,
            schema: target.decode && schema === target.schema ? undefined : schema,
          });
    if (problems.length > 0) {
      if (mode === 'strict')
        throw cannotBeHandled(schema, value, `strict decoding error: ${problems.join(', ')}`);
      for (const problem of problems)
        for (const line of problem.includes('\n') ? problem.split('\n').slice(1) : [problem])
          warn(line.trim());
    }
  }
  return decoded.object;
}

function optionsOf(schema: ObjectSchema, value: object, mode: DecodeMode): KubeObject {
  try {
    return decodeObject(schema, value, mode).object;
  } catch (error) {
    const said = whyUndecodable(error);
    throw said === undefined ? error : statusErrors.badRequest(said);
  }
}

function checkKind(
  { gvk, schema, alsoAccepted = [], decode, isOptions }: DecodeTarget,
  value: KubeObject,
): GroupVersionKind {
  const kind = typeof value.kind === 'string' && value.kind !== '' ? value.kind : gvk.kind;
  const expected = formatApiVersion(gvk);
  // Custom resources share one type and must state their version.
  const apiVersion =
    typeof value.apiVersion === 'string' && value.apiVersion !== ''
      ? value.apiVersion
      : decode && !isOptions
        ? ''
        : expected;
  if (kind === gvk.kind && (apiVersion === expected || isOptions)) return gvk;
  if (isOptions)
    throw statusErrors.badRequest(
      `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)} in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"`,
    );
  const other = alsoAccepted.find(
    (accepted) => accepted.kind === kind && formatApiVersion(accepted) === apiVersion,
  );
  if (other) return other;
  // Custom resources are known by their version; the kind is a value to them.
  if (decode && apiVersion === expected)
    throw statusErrors.invalid({ ...gvk, kind, name: String(value.metadata?.name ?? '') }, [
      fieldErrors.invalid('kind', kind, `must be ${gvk.kind}`),
    ]);
  if (decode)
    throw statusErrors.badRequest(
      `the API version in the data (${apiVersion}) does not match the expected API version (${expected})`,
    );
  const given = { ...parseApiVersion(apiVersion), kind };
  if (!schemaForKind(given)) {
    throw cannotBeHandled(
      schema,
      value,
      `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)} in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`,
    );
  }
  if (kind !== gvk.kind) {
    const internal = gvk.group === '' ? 'core' : gvk.group.split('.')[0];
    throw cannotBeHandled(
      schema,
      value,
      `converting (${given.version}.${kind}) to (${internal}.${gvk.kind}): unknown conversion`,
    );
  }
  throw statusErrors.badRequest(
    `the API version in the data (${apiVersion}) does not match the expected API version (${expected})`,
  );
}

function fromJson(
  target: DecodeTarget,
  { bytes, text }: { readonly bytes: Buffer; readonly text: string },
): { readonly value: unknown; readonly fields: number } {
  try {
    return parseJsonCounted(text);
  } catch (error) {
    if (!isStatusError(error, 'BadRequest')) throw error;
    throw unrecognized(target, {
      why: `couldn't get version/kind; json parse error: ${error.message}`,
      bytes,
    });
  }
}

function fromYaml(target: DecodeTarget, { bytes, yaml: read }: DecodeRequest): ParsedYaml {
  assert(read, 'a YAML body is read before it is decoded');
  try {
    return read();
  } catch (error) {
    if (!isStatusError(error, 'BadRequest')) throw error;
    // Without a setting, bodies are converted.
    throw unrecognized(target, { why: error.message.replace(/^error converting YAML to JSON: /, ''), bytes });
  }
}

function fromProtobuf(target: DecodeTarget, bytes: Buffer): unknown {
  try {
    const value = decodeProtobuf(bytes, { schemaFor: schemaForKind, defaultKind: target.gvk });
    if (bytes.length > MAXIMUM_VALUES) requireFewValues(value);
    return value;
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    throw unrecognized(target, { why: error.message, bytes });
  }
}

const SUMMARY_BYTES = 30;

function summary(bytes: Buffer): string {
  if (bytes.length === 0) return '<empty>';
  const rest = bytes.length > SUMMARY_BYTES ? ' ...' : '';
  const head = bytes.subarray(0, SUMMARY_BYTES);
  return (bytes[0] === 0x7b ? head.toString() : head.toString('hex')) + rest;
}
