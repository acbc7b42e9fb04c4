/**
 * Declares a component's flags: one table, one entry a flag. Help, command line options, shell completion, /flagz, the types of given and parsed values,
 * and the settings all derive from the table. Independent of components and of the command line library.
 *
 *   text ──take──► given (what the command line hands over) ──read──► value (typed, with defaults) ──to──► settings
 */
import { UserError } from '#deploy/data-dir.ts';
import { parseDurationMs, parseFlagNumber, oneOf, parseYesOrNo } from './values.ts';

/** Settings: what `to` returns a part of; its groups are one level deep, and each member of a group may be absent. */
export interface Flag<
  Value = unknown,
  Given = unknown,
  Settings = unknown,
  Defaulted extends boolean = boolean,
> {
  /** As --help shows it: '<n>'. '[true|false]' may be left out, which means true. */
  readonly placeholder: string;
  readonly help: string;
  /** Used when the flag is absent. */
  readonly default?: Given | undefined;
  /** Displayed in place of the default, where that depends on something else or is the server's. */
  readonly defaultText?: string | undefined;
  readonly choices?: readonly string[] | undefined;
  /** Accepted for compatibility only: not in help, without a value. */
  readonly hidden?: boolean | undefined;
  /** Why `up --apiserver-arg` refuses it: `up` decides it itself. */
  readonly decidedByUp?: string | undefined;
  /** Upstream's component has no such flag. */
  readonly own?: boolean | undefined;
  /** Of a hidden flag: the reason, and the only accepted value, if any. */
  readonly refusal?: { readonly why: string; readonly accepts: string | undefined } | undefined;
  readonly isDefaulted: Defaulted;
  /** flag: '--name'. before: of a flag that is given several times. Throws a UserError. */
  take(flag: string, text: string, before?: Given): Given;
  /** Throws a UserError. */
  read(flag: string, given: Given): Value;
  to?(value: Value): Settings;
}

/** Keys are names without dashes, in the order of --help. */
export type FlagTable = Readonly<Record<string, Flag>>;

type CamelCase<Name extends string> = Name extends `${infer First}-${infer Rest}`
  ? `${First}${Capitalize<CamelCase<Rest>>}`
  : Name;

/** As the command line hands them over: all optional. */
export type GivenFlags<Table extends FlagTable> = {
  readonly [Name in keyof Table & string as CamelCase<Name>]?: Exclude<
    Parameters<Table[Name]['take']>[2],
    undefined
  >;
};

/** Read and typed; only flags with a default are always there. */
export type FlagValues<Table extends FlagTable> = {
  readonly [Name in keyof Table & string as CamelCase<Name>]: Table[Name]['isDefaulted'] extends true
    ? ReturnType<Table[Name]['read']>
    : ReturnType<Table[Name]['read']> | undefined;
};

interface Options<Value, Given, Settings> {
  readonly help: string;
  readonly placeholder?: string;
  readonly defaultText?: string;
  /** Target setting. A flag without it is read by code that combines several flags. */
  readonly to?: (value: Value) => Settings;
  readonly default?: Given;
  readonly decidedByUp?: string;
  readonly own?: boolean;
  readonly hidden?: boolean;
}

type Declared<Value, Given, Settings, O> = Flag<
  Value,
  Given,
  Settings,
  O extends { readonly default: unknown } ? true : false
>;

interface Kind<Value, Given> {
  readonly placeholder: string;
  readonly choices?: readonly string[];
  take(flag: string, text: string, before?: Given): Given;
  read(flag: string, given: Given): Value;
}

function declare<Value, Given, Settings, O extends Options<Value, Given, Settings>>(
  kind: Kind<Value, Given>,
  options: O,
): Declared<Value, Given, Settings, O> {
  return { ...kind, ...options, isDefaulted: options.default !== undefined } as unknown as Declared<
    Value,
    Given,
    Settings,
    O
  >;
}

/** No limits: as given. */
const TEXT: Kind<string, string> = {
  placeholder: '<text>',
  take: (_, text) => text,
  read: (_, text) => text,
};

const LIST: Kind<readonly string[], readonly string[]> = {
  placeholder: '<names>',
  take: (_, text, before = []) => [...before, ...wordsOf(text)],
  read: (_, words) => words,
};

function path(placeholder: string, noun: string): Kind<string, string> {
  const read = (flag: string, text: string): string => {
    if (text === '') throw new UserError(`${flag} is empty; it should name a ${noun}.`);
    return text;
  };
  return { placeholder, take: read, read };
}

function wordsOf(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

interface Range {
  readonly min?: number;
  readonly max?: number;
}

/** The kinds of flags of a component. Settings: the type of what its flags go to. */
export function flagKinds<Settings extends object = object>() {
  return {
    text: <O extends Options<string, string, Settings>>(options: O) =>
      declare<string, string, Settings, O>(TEXT, options),

    /** Completed as a path; `up --apiserver-arg` makes it absolute. */
    file: <O extends Options<string, string, Settings>>(options: O) =>
      declare<string, string, Settings, O>(path('<file>', 'file'), options),

    dir: <O extends Options<string, string, Settings>>(options: O) =>
      declare<string, string, Settings, O>(path('<dir>', 'directory'), options),

    /** 'a,b', given once or several times. */
    list: <O extends Options<readonly string[], readonly string[], Settings>>(options: O) =>
      declare<readonly string[], readonly string[], Settings, O>(LIST, options),

    /** Given several times; each value may hold commas. */
    repeated: <O extends Options<readonly string[], readonly string[], Settings>>(options: O) =>
      declare<readonly string[], readonly string[], Settings, O>(
        { ...LIST, take: (_, text, before = []) => [...before, text] },
        options,
      ),

    number: <O extends Options<number, number | string, Settings> & Range & { readonly whole?: boolean }>(
      options: O,
    ) => {
      const { min = 0, max = Number.MAX_SAFE_INTEGER, whole = true } = options;
      const read = (flag: string, given: number | string): number =>
        parseFlagNumber(flag, given, { min, max, whole })!;
      return declare<number, number | string, Settings, O>({ placeholder: '<n>', take: read, read }, options);
    },

    /** Written as Go does ('1h30m'), read as milliseconds. */
    duration: <O extends Options<number, string, Settings>>(options: O) => {
      const read = (flag: string, text: string): number => parseDurationMs(flag, text)!;
      const take = (flag: string, text: string): string => {
        read(flag, text);
        return text;
      };
      return declare<number, string, Settings, O>({ placeholder: '<duration>', take, read }, options);
    },

    /** --flag, --flag=true, --flag=false. */
    boolean: <O extends Options<boolean, boolean | string, Settings>>(options: O) => {
      const read = (flag: string, given: boolean | string): boolean => parseYesOrNo(flag, given)!;
      return declare<boolean, boolean | string, Settings, O>(
        { placeholder: '[true|false]', take: read, read },
        options,
      );
    },

    /** One of a few words. */
    choice: <const Choice extends string, O extends Options<Choice, string, Settings>>(
      choices: readonly Choice[],
      options: O,
    ) =>
      declare<Choice, string, Settings, O>(
        {
          placeholder: '<word>',
          choices,
          take: (_, text) => text,
          read: (flag, text) => oneOf(flag, text, choices)!,
        },
        options,
      ),
  };
}

/** An unsupported upstream flag. accepts: the one value that describes the actual behavior. */
export function refused(
  why: string,
  { accepts }: { readonly accepts?: string } = {},
): Flag<string, string, never, false> {
  return compatible({ why, accepts }, (flag, text) => {
    if (text !== accepts) throw new UserError(`${flag} is refused: ${why}.`);
  });
}

/** Several of them, for one reason. */
export function refusedFlags<const Name extends string>(
  why: string,
  names: readonly Name[],
): Readonly<Record<Name, Flag<string, string, never, false>>> {
  return Object.fromEntries(names.map((name) => [name, refused(why)])) as Record<
    Name,
    Flag<string, string, never, false>
  >;
}

/** An upstream flag that has one possible value here. */
export function fixed(value: string, why: string): Flag<string, string, never, false> {
  return compatible({ why, accepts: value }, (flag, text) => {
    if (text !== value) throw new UserError(`${flag} is "${text}"; it can only be ${value}: ${why}.`);
  });
}

function compatible(
  refusal: NonNullable<Flag['refusal']>,
  check: (flag: string, text: string) => void,
): Flag<string, string, never, false> {
  const read = (flag: string, text: string): string => {
    check(flag, text);
    return text;
  };
  return { placeholder: '[value]', help: '', hidden: true, refusal, isDefaulted: false, take: read, read };
}

/** 'goaway-chance' → 'goawayChance' */
export function flagKey(name: string): string {
  return name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Throws a UserError for the first value that is wrong. Keys that the table does not have are left alone. */
export function readFlags<Table extends FlagTable>(
  table: Table,
  given: GivenFlags<Table>,
): FlagValues<Table> {
  return Object.fromEntries(
    listEntries(table, given).map(({ name, flag, value }) => [flagKey(name), flag.read(`--${name}`, value)]),
  ) as FlagValues<Table>;
}

/** Settings assigned by `to`, merged. Settings must be the type that the kinds of the table were made for; groups are merged one level deep. Throws a UserError. */
export function collectSettings<Settings extends object>(table: FlagTable, given: object): Settings {
  const settings: Record<string, unknown> = {};
  for (const { name, flag, value } of listEntries(table, given)) {
    const read = flag.read(`--${name}`, value);
    const part = flag.to?.(read) ?? {};
    for (const [key, set] of Object.entries(part as object)) {
      const before = settings[key];
      settings[key] = isGroup(before) && isGroup(set) ? { ...before, ...set } : set;
    }
  }
  return settings as Settings;
}

/** As shown by /flagz: the given value, else the default of the table. */
export function shownFlags(table: FlagTable, given: object): Record<string, string> {
  return Object.fromEntries(
    listEntries(table, given).map(({ name, value }) => [
      name,
      Array.isArray(value) ? `[${value.join(',')}]` : String(value),
    ]),
  );
}

function listEntries(
  table: FlagTable,
  given: object,
): { readonly name: string; readonly flag: Flag; readonly value: unknown }[] {
  return Object.entries(table).flatMap(([name, flag]) => {
    const value = (given as Readonly<Record<string, unknown>>)[flagKey(name)] ?? flag.default;
    return value === undefined ? [] : [{ name, flag, value }];
  });
}

function isGroup(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
