/**
 * Parses YAML bodies to JSON data as Go's YAML 1.1 library does: yes/no/on/off are booleans, 0777 is octal, timestamps and 1:30
 * stay strings. Aliases are expanded within a bound. For writing YAML see stringifyYaml, which is the library's.
 */
import type { Document, DocumentOptions, LineCounter, ParseOptions, SchemaOptions, Tags } from 'yaml';
import { isStatusError, statusErrors } from './errors.ts';
import { countFields, parseJsonCounted, tooDeep } from './json.ts';
import { expandYaml, YamlDataError, YamlNumberError, type RepeatedKey } from './yaml-expand.ts';
import { yaml } from './yaml-package.ts';

export interface ParsedYaml {
  readonly value: unknown;
  /** Errors of strict decoding: duplicate keys in one map (the last one wins). */
  readonly problems: string[];
}

/** Maximum number of values that aliases and merge keys may add beyond the size of the text. */
const MAXIMUM_ALIASED_VALUES = 100_000;
/** Maximum number of reported duplicate keys. */
const MAXIMUM_PROBLEMS = 100;

const UNWANTED_TAGS = new Set(['timestamp', 'binary', 'omap', 'pairs', 'set', 'intTime', 'floatTime']);

const OPTIONS: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.1',
  schema: 'yaml-1.1',
  merge: true,
  uniqueKeys: false,
  strict: true,
  prettyErrors: false,
  logLevel: 'silent',
  customTags: (tags: Tags): Tags =>
    tags
      .filter((tag) =>
        typeof tag === 'string'
          ? !UNWANTED_TAGS.has(tag)
          : !(
              tag.tag === 'tag:yaml.org,2002:timestamp' ||
              ('format' in tag && tag.format === 'TIME') ||
              UNWANTED_TAGS.has(tag.tag.slice(tag.tag.lastIndexOf(':') + 1))
            ),
      )
      .map(withDigits),
};

/** A lone dot or sign is a string, not a number. */
function withDigits(tag: Tags[number]): Tags[number] {
  if (
    typeof tag === 'string' ||
    tag.tag !== 'tag:yaml.org,2002:float' ||
    !('test' in tag) ||
    !tag.test?.test('.')
  )
    return tag;
  return { ...tag, test: new RegExp(`(?=.*[0-9])(?:${tag.test.source})`, tag.test.flags) };
}

/** As upstream, the first document of a body, whatever follows it. Throws StatusError 400. */
export function parseYamlBody(text: string): ParsedYaml {
  return parsePlainJson(text) ?? parse(text, { most: 1 })[0] ?? { value: null, problems: [] };
}

/** The only document of a file. Throws StatusError 400. */
export function parseYaml(text: string): ParsedYaml {
  const json = parsePlainJson(text);
  if (json) return json;
  const [first, ...others] = parse(text);
  if (!first) return { value: null, problems: [] };
  if (others.length > 0)
    throw statusErrors.badRequest(
      'error converting YAML to JSON: yaml: the body holds more than one document',
    );
  return first;
}

/** Most YAML bodies are JSON, which parses ten times faster. undefined: it is not JSON, or has duplicate keys, which the YAML parser reports. */
export function parsePlainJson(text: string): ParsedYaml | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const { value, fields } = parseJsonCounted(text);
    return countFields(value) === fields ? { value, problems: [] } : undefined;
  } catch (error) {
    if (!isStatusError(error, 'BadRequest')) throw error;
    return undefined;
  }
}

/** All documents of a file, without empty ones. Throws StatusError 400. */
export function parseYamlDocuments(text: string): ParsedYaml[] {
  return parse(text).filter(({ value }) => value !== null);
}

/** YAML of JSON data, as `kubectl get -o yaml` writes it: two spaces, long strings not folded. */
export function stringifyYaml(value: unknown): string {
  return yaml().stringify(value, {
    version: '1.1',
    lineWidth: 0,
    indentSeq: false,
    aliasDuplicateObjects: false,
    defaultStringType: 'PLAIN',
  });
}

/** most: maximum number of documents; the rest is not parsed. */
function parse(text: string, { most = Infinity }: { readonly most?: number } = {}): ParsedYaml[] {
  const lines = new (yaml().LineCounter)();
  try {
    return Array.from(take(documentsOf(text, lines), most), (document) =>
      toJson(document, { lines, textLength: text.length }),
    );
  } catch (error) {
    if (error instanceof Fault && /call stack/.test(error.message)) throw tooDeep();
    if (error instanceof Fault)
      throw unreadable(`line ${lines.linePos(error.offset).line}: ${error.message}`);
    if (error instanceof RangeError) throw tooDeep();
    throw error;
  }
}

function* take<T>(items: Iterable<T>, most: number): Generator<T> {
  let left = most;
  for (const item of items) {
    if (left-- <= 0) return;
    yield item;
    if (left === 0) return;
  }
}

/** Only the first error of a text: the rest could contain millions more. */
class Fault extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

type Report = (
  source: number | readonly [number, number] | { readonly offset: number },
  code: string,
  message: string,
  warning?: boolean,
) => void;

/** As the package's parseAllDocuments, but stops at the first error. */
function documentsOf(text: string, lines: LineCounter): Iterable<Document.Parsed> {
  const { Composer, Parser } = yaml();
  const composer = new Composer({ ...OPTIONS, lineCounter: lines } as DocumentOptions &
    ParseOptions &
    SchemaOptions);
  const reporter = composer as unknown as { onError: Report };
  const gather = reporter.onError;
  reporter.onError = (source, code, message, warning) => {
    if (warning) return gather(source, code, message, warning);
    throw new Fault(
      message,
      typeof source === 'number' ? source : 'offset' in source ? source.offset : source[0],
    );
  };
  return composer.compose(new Parser(lines.addNewLine).parse(text)) as Iterable<Document.Parsed>;
}

function toJson(
  document: Document.Parsed,
  { lines, textLength }: { readonly lines: LineCounter; readonly textLength: number },
): ParsedYaml {
  const fault = document.errors[0];
  if (fault && /call stack/.test(fault.message)) throw tooDeep();
  if (fault) throw unreadable(`line ${lines.linePos(fault.pos[0]).line}: ${fault.message}`);
  try {
    const { value, repeated } = expandYaml(document, textLength + MAXIMUM_ALIASED_VALUES);
    return { value, problems: listProblems(repeated, lines) };
  } catch (error) {
    if (error instanceof YamlDataError)
      throw unreadable(
        error.offset === undefined
          ? error.message
          : `line ${lines.linePos(error.offset).line}: ${error.message}`,
      );
    if (error instanceof YamlNumberError)
      throw statusErrors.badRequest(
        `error converting YAML to JSON: json: unsupported value: ${error.message}`,
      );
    throw error;
  }
}

function unreadable(why: string): Error {
  return statusErrors.badRequest(`error converting YAML to JSON: yaml: ${why}`);
}

function listProblems(repeated: readonly RepeatedKey[], lines: LineCounter): string[] {
  if (repeated.length === 0) return [];
  const found = repeated
    .slice(0, MAXIMUM_PROBLEMS)
    .map(
      ({ key, offset }) =>
        `  line ${lines.linePos(offset).line}: key ${JSON.stringify(key)} already set in map`,
    );
  return [`yaml: unmarshal errors:\n${found.join('\n')}`];
}
