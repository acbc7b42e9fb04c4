/** --config FILE: a component's configuration file as flags. A flag on the command line takes precedence, as upstream's. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UserError } from '#deploy/data-dir.ts';
import {
  applyFields,
  type AppliedFields,
  type ConfigFields,
  type SetFlag,
} from '#machinery/config/fields.ts';
import { ConfigError, readConfig } from '#machinery/config/read.ts';
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
  const { config } = given as { readonly config?: string };
  if (config === undefined) return { flags: given, warnings: [] };
  try {
    const { flags, problems, warnings } = readApplied(config, file);
    if (problems.length > 0)
      throw new ConfigError(problems.map(({ path, text }) => `${path} ${text}`).join('; '));
    const fromFile = flags.map((set) => [flagKey(set.flag), valueOf(table, { set, config })]);
    return {
      flags: { ...Object.fromEntries(fromFile), ...given },
      warnings: warnings.map((warning) => `--config ${config}: ${warning}`),
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new UserError(`--config ${config}: ${error.message}.`, error);
  }
}

/** For /configz: the kind's fields with the values in effect. Those that nothing acts on are left out. */
export function effectiveConfig<Table extends FlagTable>(
  table: Table,
  flags: GivenFlags<Table>,
  fields: ConfigFields,
): Record<string, unknown> {
  const values = Object.entries(fields).map(([name, field]): [string, unknown] => {
    if ('fields' in field) return [name, effectiveConfig(table, flags, field.fields)];
    if (field.only !== undefined) return [name, field.holds];
    // A value in another notation is given as a flag.
    if (field.flag === undefined || field.words) return [name, undefined];
    return [
      name,
      (flags as Readonly<Record<string, unknown>>)[flagKey(field.flag)] ?? table[field.flag]?.default,
    ];
  });
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

export function warnAll(warnings: readonly string[], log: Logger): void {
  for (const warning of warnings) log.warn(warning);
}

function readApplied(path: string, { kind, fields }: ConfigFile): AppliedFields {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`--config ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
  return applyFields(readConfig<object>(content, [kind]), fields);
}

/** Checked under the field's name. Relative paths start at the file's folder. */
function valueOf(
  table: FlagTable,
  { set, config }: { readonly set: SetFlag; readonly config: string },
): unknown {
  const flag = table[set.flag];
  if (!flag) throw new Error(`${set.path} stands for --${set.flag}, which the component does not have`);
  const isPath = ['<file>', '<dir>'].includes(flag.placeholder);
  const value = isPath ? resolve(dirname(config), String(set.value)) : set.value;
  flag.read(`--config ${config}: ${set.path}`, value);
  return value;
}
