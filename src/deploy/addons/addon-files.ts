/** The `addons:` of a cluster file: manifests of files, directories or the file itself, as objects. Whether the API takes them is not looked at here. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { ConfigError } from '#machinery/config/read.ts';
import { listOf, opaque, struct, text } from '#machinery/config/schema.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { parseYamlDocuments } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import { isDnsName } from '../config/endpoint.ts';

export interface Addon {
  readonly name: string;
  /** In the order of the files' names and of their documents. */
  readonly objects: readonly JsonObject[];
}

export interface AddonSection {
  readonly name?: string;
  /** A file or a directory. */
  readonly path?: string;
  readonly manifests?: readonly unknown[];
}

/** Of a file's `addons:`. */
export const ADDON_SECTIONS = listOf(struct('Addon', { name: text, path: text, manifests: listOf(opaque) }));

const MAXIMUM_ADDONS = 100;
const MAXIMUM_FILES = 1000;
const MAXIMUM_OBJECTS = 2000;
/** Of an addon's objects as JSON: what a Secret of the API takes, less its own fields. */
const MAXIMUM_ADDON_BYTES = 1_000_000;
/** Room for a prefix in the Secret's name. */
const MAXIMUM_NAME_LENGTH = 200;
const EXTENSIONS = ['.yaml', '.yml', '.json'];

/** Throws a ConfigError. */
export function readAddons(sections: readonly AddonSection[], dir: string): readonly Addon[] {
  if (sections.length > MAXIMUM_ADDONS)
    throw new ConfigError(`addons: Too many: ${sections.length}: must have at most ${MAXIMUM_ADDONS} items`);
  const names = new Set<string>();
  return sections.map((section, index) => {
    const at = `addons[${index}]`;
    const { name = '' } = section;
    if (name === '') throw new ConfigError(`${at}.name: Required value`);
    if (!isDnsName(name) || name.length > MAXIMUM_NAME_LENGTH)
      throw new ConfigError(
        `${at}.name: Invalid value: ${JSON.stringify(name)}: must be a lowercase RFC 1123 subdomain of at most ${MAXIMUM_NAME_LENGTH} characters`,
      );
    if (names.has(name)) throw new ConfigError(`${at}.name: Duplicate value: ${JSON.stringify(name)}`);
    names.add(name);
    return addonOf(section, { name, at, dir });
  });
}

function addonOf(
  { path, manifests }: AddonSection,
  { name, at, dir }: { readonly name: string; readonly at: string; readonly dir: string },
): Addon {
  if ((path === undefined) === (manifests === undefined))
    throw new ConfigError(`${at}: Required value: one of path and manifests`);
  const objects =
    path === undefined
      ? objectsIn(manifests ?? [], `${at}.manifests`)
      : filesOf(resolve(dir, path), `${at}.path`).flatMap((file) => objectsIn(documentsOf(file), file));
  if (objects.length === 0) throw new ConfigError(`${at}: Required value: at least one object`);
  if (objects.length > MAXIMUM_OBJECTS)
    throw new ConfigError(`${at}: Too many: ${objects.length}: must have at most ${MAXIMUM_OBJECTS} objects`);
  requireDifferent(objects, at);
  const bytes = Buffer.byteLength(JSON.stringify(objects));
  if (bytes > MAXIMUM_ADDON_BYTES)
    throw new ConfigError(
      `${at}: Too long: ${bytes} bytes as JSON: must have at most ${MAXIMUM_ADDON_BYTES}; divide it into several addons`,
    );
  return { name, objects };
}

/** Below a directory, by name; links are followed once. */
function filesOf(path: string, at: string): readonly string[] {
  const files: string[] = [];
  const collect = (one: string): void => {
    if (!statSync(one).isDirectory()) files.push(one);
    else
      for (const entry of readdirSync(one).toSorted()) {
        const child = join(one, entry);
        if (statSync(child).isDirectory() || EXTENSIONS.includes(extname(entry))) collect(child);
        if (files.length > MAXIMUM_FILES)
          throw new ConfigError(`${at}: Too many: ${path} has more than ${MAXIMUM_FILES} files`);
      }
  };
  try {
    collect(path);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${at}: ${path} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
  if (files.length === 0)
    throw new ConfigError(`${at}: ${path} has no file that ends with ${EXTENSIONS.join(', ')}`);
  return files;
}

function documentsOf(file: string): readonly unknown[] {
  try {
    const documents = parseYamlDocuments(readFileSync(file, 'utf8'));
    const problem = documents.flatMap(({ problems }) => problems)[0];
    if (problem !== undefined) throw new ConfigError(problem);
    return documents.map(({ value }) => value);
  } catch (error) {
    throw new ConfigError(`${file}: ${errorMessage(error).split('\n')[0]}`, { cause: error });
  }
}

/** Lists are taken apart. */
function objectsIn(values: readonly unknown[], at: string): JsonObject[] {
  return values.flatMap((value, index) => {
    const path = `${at} (object ${index + 1})`;
    if (!isJsonObject(value)) throw new ConfigError(`${path}: it holds no object`);
    if (value['kind'] === 'List' && value['apiVersion'] === 'v1')
      return objectsIn(Array.isArray(value['items']) ? value['items'] : [], path);
    for (const field of ['apiVersion', 'kind'])
      if (typeof value[field] !== 'string' || value[field] === '')
        throw new ConfigError(`${path}: ${field}: Required value`);
    const name = isJsonObject(value['metadata']) ? value['metadata']['name'] : undefined;
    if (typeof name !== 'string' || name === '')
      throw new ConfigError(`${path}: metadata.name: Required value: what is reconciled needs a name`);
    return [value];
  });
}

function requireDifferent(objects: readonly JsonObject[], at: string): void {
  const seen = new Set<string>();
  for (const { apiVersion, kind, metadata } of objects) {
    const { namespace = '', name } = metadata as { namespace?: string; name: string };
    const group = String(apiVersion).includes('/') ? String(apiVersion).split('/')[0] : '';
    const id = JSON.stringify([group, kind, namespace, name]);
    if (seen.has(id))
      throw new ConfigError(`${at}: Duplicate value: ${String(kind)} ${namespace && `${namespace}/`}${name}`);
    seen.add(id);
  }
}
