/**
 * --config FILE: a component's configuration file as flags, and --config-dir DIR, drop-ins that are merged over it. A flag on the command line takes
 * precedence, as upstream's.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UserError } from '#deploy/data-dir.ts';
import { applyFields, type ConfigFields, type SetFlag } from '#machinery/config/fields.ts';
import { ConfigError, readConfig } from '#machinery/config/read.ts';
import { formatGoDuration, parseGoDuration } from '#machinery/go-duration.ts';
import { isJsonObject } from '#machinery/json.ts';
import { applyMergePatch } from '#machinery/patch/merge-patch.ts';
import type { ValueSchema } from '#machinery/schema.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { flagKey, type FlagTable, type GivenFlags } from './define.ts';

interface ConfigFile {
  readonly kind: Parameters<typeof readConfig>[1][number];
  readonly fields: ConfigFields;
}

interface WithConfig<Flags> {
  readonly flags: Flags;
  /** One sentence each. */
  readonly warnings: readonly string[];
}

/** The flags over those of the file of --config; unchanged without --config. Throws a UserError that names the file and the field. */
export function withConfigFile<Table extends FlagTable>(
  table: Table,
  given: GivenFlags<Table>,
  file: ConfigFile,
): WithConfig<GivenFlags<Table>> {
  const { config, configDir } = given as { readonly config?: string; readonly configDir?: string };
  if (config === undefined && configDir === undefined) return { flags: given, warnings: [] };
  const sources = [
    ...(config === undefined ? [] : [{ path: config, name: `--config ${config}` }]),
    ...dropIns(configDir).map((path) => ({ path, name: `--config-dir: ${path}` })),
  ];
  const objects = sources.map(({ path, name }) =>
    withName(name, () => readObject(path, { file, name, table })),
  );
  const merged = objects.reduce<object>((before, object) => applyMergePatch(before, object) as object, {});
  // Several files: a field's own file is not known after the merge.
  const name = sources.length === 1 ? sources[0]!.name : `--config ${config} with --config-dir ${configDir}`;
  return withName(name, () => {
    const { flags, problems, warnings } = applyFields(merged, file.fields);
    if (problems.length > 0)
      throw new ConfigError(problems.map(({ path, text }) => `${path} ${text}`).join('; '));
    const fromFile = flags.map((set) => [flagKey(set.flag), valueOf(table, { set, name })]);
    return {
      flags: { ...Object.fromEntries(fromFile), ...given },
      warnings: warnings.map((warning) => `${name}: ${warning}`),
    };
  });
}

/** Far more than anybody merges. */
const MAX_DROP_INS = 1_000;

/** As upstream: the *.conf files of the directory and of those below it, in the order of their paths; others are ignored. */
function dropIns(dir: string | undefined): string[] {
  if (dir === undefined) return [];
  try {
    const files = readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && entry.name.endsWith('.conf'))
      .map((entry) => join(entry.parentPath, entry.name))
      .toSorted();
    if (files.length <= MAX_DROP_INS) return files;
    throw new Error(`it has ${files.length} files; it should have at most ${MAX_DROP_INS}`);
  } catch (error) {
    throw new UserError(`--config-dir ${dir} cannot be read: ${errorMessage(error)}.`, error);
  }
}

function withName<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new UserError(`${name}: ${error.message}.`, error);
  }
}

/** For /configz: the kind's fields with the values in effect, in the notation of the kind. Those that nothing acts on are left out. */
export function effectiveConfig<Table extends FlagTable>(
  table: Table,
  flags: GivenFlags<Table>,
  fields: ConfigFields,
): Record<string, unknown> {
  const values = Object.entries(fields).map(([name, field]): [string, unknown] => {
    if ('fields' in field) return [name, effectiveConfig(table, flags, field.fields)];
    if (field.only !== undefined) return [name, field.holds];
    if (field.flag === undefined) return [name, undefined];
    const given = (flags as Readonly<Record<string, unknown>>)[flagKey(field.flag)];
    const { default: byDefault, defaultText } = table[field.flag] ?? {};
    if (!field.words) return [name, goText(given ?? byDefault, field.schema)];
    // Of a flag whose value stands for a map or a list the default's text is in the same notation.
    const text = given ?? byDefault ?? defaultText;
    return [name, typeof text === 'string' ? field.shows?.(text) : undefined];
  });
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

/** Durations as Go writes them: '5m' is '5m0s'. */
function goText(value: unknown, schema: ValueSchema): unknown {
  return typeof value === 'string' && schema.kind === 'scalar' && schema.type === 'duration'
    ? formatGoDuration(parseGoDuration(value))
    : value;
}

export function warnAll(warnings: readonly string[], log: Logger): void {
  for (const warning of warnings) log.warn(warning);
}

/** Relative paths start at the file's folder. */
function readObject(
  path: string,
  { file, name, table }: { readonly file: ConfigFile; readonly name: string; readonly table: FlagTable },
): object {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${name} cannot be read: ${errorMessage(error)}.`, error);
  }
  return resolvePaths(readConfig<object>(content, [file.kind]), {
    fields: file.fields,
    folder: dirname(path),
    table,
  });
}

function resolvePaths(
  object: object,
  at: { readonly fields: ConfigFields; readonly folder: string; readonly table: FlagTable },
): object {
  const values = Object.entries(object).map(([name, value]: [string, unknown]) => {
    const field = at.fields[name];
    if (field && 'fields' in field)
      return [name, isJsonObject(value) ? resolvePaths(value, { ...at, fields: field.fields }) : value];
    const flag = field?.flag === undefined ? undefined : at.table[field.flag];
    const isPath = ['<file>', '<dir>'].includes(flag?.placeholder ?? '');
    return [name, isPath && typeof value === 'string' && value !== '' ? resolve(at.folder, value) : value];
  });
  return Object.fromEntries(values) as object;
}

/** Checked under the field's name. */
function valueOf(table: FlagTable, { set, name }: { readonly set: SetFlag; readonly name: string }): unknown {
  const flag = table[set.flag];
  if (!flag) throw new Error(`${set.path} stands for --${set.flag}, which the component does not have`);
  flag.read(`${name}: ${set.path}`, set.value);
  return set.value;
}
