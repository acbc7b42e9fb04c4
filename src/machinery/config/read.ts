/**
 * The one strict reader of configuration files: YAML or JSON, dispatched by apiVersion and kind; unknown and repeated fields, values of
 * another type, other kinds and further documents are refused in upstream's words. What values may be is each kind's own matter; defaults
 * are filled in there, too. A caller puts its flag and file name before the message.
 */
import { errorMessage } from '#stdx/log.ts';
import { decodeObject, whyUndecodable } from '../decode.ts';
import { isJsonObject, type JsonObject } from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { parseYaml, type ParsedYaml } from '../yaml.ts';
import { objectSchema, text } from './schema.ts';

interface ConfigKind {
  readonly group: string;
  /** The one to use first: messages recommend it. */
  readonly versions: readonly [string, ...string[]];
  readonly kind: string;
  /** With apiVersion and kind. */
  readonly schema: ObjectSchema;
}

/** A file that cannot be used. The message is one sentence, without the file's name. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Far more than any configuration; certificates in it included. */
export const MAXIMUM_CONFIG_LENGTH = 8 * 2 ** 20;

export function configKind(
  { group, versions, kind }: Omit<ConfigKind, 'schema'>,
  fields: Readonly<Record<string, ValueSchema>>,
): ConfigKind {
  return { group, versions, kind, schema: objectSchema(kind, { apiVersion: text, kind: text, ...fields }) };
}

/** Reads one document of one of the kinds. T is the caller's type for what the schemas describe. Throws ConfigError. */
export function readConfig<T>(content: string, kinds: readonly ConfigKind[]): T {
  const { value, problems } = parseConfig(content);
  return decodeConfig<T>(value, kinds, problems);
}

/** The same for a value inside another file: a section with a kind of its own. */
export function decodeConfig<T>(
  value: unknown,
  kinds: readonly ConfigKind[],
  problems: readonly string[] = [],
): T {
  const object = objectOf(value);
  return decodeStrictly<T>(object, kindOf(object, kinds).schema, problems);
}

/** Of a section that has no kind. */
export function decodeStrictly<T>(value: unknown, schema: ObjectSchema, problems: readonly string[] = []): T {
  let decoded: ReturnType<typeof decodeObject>;
  try {
    decoded = decodeObject(schema, objectOf(value), 'strict');
  } catch (error) {
    throw new ConfigError(whyUndecodable(error) ?? errorMessage(error), { cause: error });
  }
  const strict = [...problems, ...decoded.problems];
  if (strict.length > 0) throw new ConfigError(`strict decoding error: ${strict.join(', ')}`);
  return decoded.object as T;
}

/** The text as data, whatever it describes. Throws ConfigError for what is no YAML, empty, or more than one document. */
export function parseConfig(content: string): ParsedYaml {
  if (content.length > MAXIMUM_CONFIG_LENGTH)
    throw new ConfigError(
      `it has ${content.length} characters; it should have at most ${MAXIMUM_CONFIG_LENGTH}`,
    );
  if (content.trim() === '') throw new ConfigError('the file is empty');
  try {
    return parseYaml(content);
  } catch (error) {
    throw new ConfigError(`it is not valid YAML: ${errorMessage(error).split('\n')[0] ?? ''}`, {
      cause: error,
    });
  }
}

function objectOf(value: unknown): JsonObject {
  if (!isJsonObject(value)) throw new ConfigError('it holds no object');
  return value;
}

function kindOf({ apiVersion, kind }: JsonObject, kinds: readonly ConfigKind[]): ConfigKind {
  if (typeof kind !== 'string' || kind === '') throw new ConfigError("Object 'Kind' is missing");
  if (typeof apiVersion !== 'string' || apiVersion === '')
    throw new ConfigError("Object 'apiVersion' is missing");
  const found = kinds.find(
    (one) =>
      one.kind === kind && one.versions.some((version) => apiVersion === groupVersion(one.group, version)),
  );
  if (found) return found;
  const wanted = kinds.map((one) => `${one.kind} of ${groupVersion(one.group, one.versions[0])}`);
  throw new ConfigError(
    `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}; it should be ${wanted.join(' or ')}`,
  );
}

function groupVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}
