/**
 * The strict reader of configuration files: YAML or JSON, dispatched by apiVersion and kind; unknown and duplicate fields, values of
 * another type, other kinds and further documents are rejected with upstream's messages. Validation of values and defaults
 * are up to each kind. The caller adds its flag and file name to the message.
 */
import { errorMessage } from '#stdx/log.ts';
import { decodeObject, whyUndecodable } from '../decode.ts';
import { isJsonObject, type JsonObject } from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { parseYaml, type ParsedYaml } from '../yaml.ts';
import { objectSchema, text } from './schema.ts';

interface ConfigKind {
  readonly group: string;
  /** The preferred version, which messages recommend. */
  readonly versions: readonly [string, ...string[]];
  readonly kind: string;
  /** With apiVersion and kind. */
  readonly schema: ObjectSchema;
}

/** An invalid file. The message is one sentence, without the file's name. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Far larger than any configuration, including embedded certificates. */
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

/** The same for a section inside another file that has a kind of its own. */
export function decodeConfig<T>(
  value: unknown,
  kinds: readonly ConfigKind[],
  problems: readonly string[] = [],
): T {
  const object = objectOf(value);
  return decodeStrictly<T>(object, kindOf(object, kinds).schema, problems);
}

/** For a section without a kind. */
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

/** For formats whose own reader ignores unknown fields: they are reported, and wrong types are errors. Throws ConfigError. */
export function decodeLeniently<T>(
  value: unknown,
  schema: ObjectSchema,
): { readonly object: T; readonly unknown: readonly string[] } {
  try {
    const { object, problems } = decodeObject(schema, objectOf(value), 'warn');
    return { object: object as T, unknown: problems };
  } catch (error) {
    throw new ConfigError(whyUndecodable(error) ?? errorMessage(error), { cause: error });
  }
}

/** Parses any text. Throws ConfigError when it is not YAML, empty, or has more than one document. */
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
