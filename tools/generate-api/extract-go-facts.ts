/**
 * Extracts from a checkout of upstream's Go types the facts that neither OpenAPI nor the protobuf tables hold: whether absence differs
 * from the zero value (a pointer), whether JSON omits the zero value, which structs are embedded, and the values of string enumerations.
 * Only names, numbers and flags are kept. Run by hand for a new Kubernetes release:
 *   node tools/generate-api/extract-go-facts.ts <directory>   writes tools/generate-api/go-facts.json
 * The directory holds the modules api, apimachinery, apiextensions-apiserver and kube-aggregator side by side.
 *
 * A type is one string of fields 'jsonName=number' followed by flags: '*' pointer, '-' omitempty, '0' omitzero; '^Type=number' is an
 * embedded struct; '+' stands for apiVersion and kind. goTypes are what Go calls a field's type where that is a name for a text, number, list or map.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { goName, importsOf, namedTypes, type GoName } from './go-names.ts';

interface PackageFacts {
  readonly types: Record<string, string>;
  readonly enums: Record<string, string[]>;
  /** 'Type.field' → enumeration. */
  readonly enumFields: Record<string, string>;
  /** 'Type.field' → 'v1.Protocol', '[]v1.FinalizerName'. */
  readonly goTypes: Record<string, string>;
}

function definitionPrefix(modulePath: string): string {
  return `io.k8s.${modulePath.replaceAll('/', '.')}`;
}

function structFields(body: string): { type: string; tag: string }[] {
  return [...body.matchAll(/^\t(?:\w+[ \t]+)?([^\s/`][^`\n]*?)[ \t]*`([^`\n]*)`/gm)].map((match) => ({
    type: match[1]!,
    tag: match[2]!,
  }));
}

function tagValue(tag: string, key: string): string | undefined {
  return new RegExp(`(?:^|\\s)${key}:"([^"]*)"`).exec(tag)?.[1];
}

/** Adds to what is found of fields. */
interface FieldTables {
  readonly candidates: Record<string, string>;
  readonly goTypes: Record<string, string>;
  readonly nameOf: (type: string) => GoName;
}

function structFacts(typeName: string, body: string, { candidates, goTypes, nameOf }: FieldTables): string {
  const facts: string[] = [];
  for (const { type, tag } of structFields(body)) {
    const json = tagValue(tag, 'json');
    if (json === undefined || json === '-') continue;
    const number = /^\w+,(\d+)/.exec(tagValue(tag, 'protobuf') ?? '')?.[1] ?? '';
    const [jsonName, ...options] = json.split(',');
    if (jsonName === '') {
      facts.push(type.endsWith('TypeMeta') ? '+' : `^${type}=${number}`);
      continue;
    }
    const flags =
      (type.startsWith('*') ? '*' : '') +
      (options.includes('omitempty') ? '-' : '') +
      (options.includes('omitzero') ? '0' : '');
    facts.push(`${jsonName}=${number}${flags}`);
    candidates[`${typeName}.${jsonName}`] = type.replace(/^(\*|\[\]|map\[\w+\])/, '');
    const name = nameOf(type);
    if (name.isNamed) goTypes[`${typeName}.${jsonName}`] = name.text;
  }
  return facts.join(' ');
}

/** Values are written 'Name Type = "value"', 'Name = Type("value")' or, of the core package's constants, 'Name = Type(v1.Other)'. */
function enumValues(
  text: string,
  { enums, core }: { readonly enums: Record<string, string[]>; readonly core: CoreFacts },
): void {
  for (const match of text.matchAll(/\/\/ \+enum\n(?:\/\/.*\n)*type (\w+) string/g)) enums[match[1]!] ??= [];
  for (const match of text.matchAll(/^\s*(?:const )?\w+\s+(\w+)\s+= "([^"]*)"/gm))
    enums[match[1]!]?.push(match[2]!);
  for (const match of text.matchAll(/^\s*(?:const )?\w+\s+= (\w+)\((?:"([^"]*)"|v1\.(\w+))\)/gm))
    enums[match[1]!]?.push(match[2] ?? core.constants[match[3]!]!);
}

/** What other packages speak of as v1.Name. */
interface CoreFacts {
  readonly enums: Readonly<Record<string, readonly string[]>>;
  readonly constants: Readonly<Record<string, string>>;
}

function textsOf(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.go'))
    .toSorted()
    .map((file) => readFileSync(join(folder, file), 'utf8'));
}

function coreFacts(folder: string): CoreFacts {
  const enums: Record<string, string[]> = {},
    texts = textsOf(folder);
  for (const text of texts) enumValues(text, { enums, core: { enums: {}, constants: {} } });
  return {
    enums,
    constants: Object.fromEntries(
      texts.flatMap((text) =>
        [...text.matchAll(/^\s*(?:const )?(\w+)\s+\w+\s+= "([^"]*)"/gm)].map((match) => [
          match[1]!,
          match[2]!,
        ]),
      ),
    ),
  };
}

/** Fields of the core package's enumerations get them under its alias: v1.Protocol. */
function borrowEnums(
  types: readonly string[],
  { enums, core }: { readonly enums: Record<string, string[]>; readonly core: CoreFacts },
): void {
  for (const type of types) {
    const borrowed = core.enums[/^(?:api|core)?v1\.(\w+)$/.exec(type)?.[1] ?? ''];
    if (borrowed) enums[type] ??= [...borrowed];
  }
}

function packageFacts(
  folder: string,
  {
    root,
    named,
    core,
  }: { readonly root: string; readonly named: ReadonlySet<string>; readonly core: CoreFacts },
): PackageFacts {
  const types: Record<string, string> = {};
  const enums: Record<string, string[]> = {};
  const candidates: Record<string, string> = {},
    goTypes: Record<string, string> = {};
  for (const text of textsOf(folder)) {
    const place = { folder: relative(root, folder), imports: importsOf(text), named };
    const tables: FieldTables = { candidates, goTypes, nameOf: (type) => goName(type, place) };
    for (const match of text.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm))
      types[match[1]!] = structFacts(match[1]!, match[2]!, tables);
    enumValues(text, { enums, core });
  }
  borrowEnums(Object.values(candidates), { enums, core });
  return {
    types,
    enums,
    goTypes,
    enumFields: Object.fromEntries(Object.entries(candidates).filter(([, type]) => enums[type])),
  };
}

function main(root: string): void {
  const facts: Record<string, PackageFacts> = {},
    named = namedTypes(root);
  const folders = new Set(
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter(
        (entry) =>
          entry.isFile() &&
          /^types.*\.go$|^(controller_ref|meta|watch|type|micro_time|time|intstr)\.go$/.test(entry.name),
      )
      .map((entry) => entry.parentPath),
  );
  const core = coreFacts(join(root, 'api/core/v1'));
  for (const folder of [...folders].toSorted()) {
    const found = packageFacts(folder, { root, named, core });
    // Those that show nothing in JSON are no API.
    if (Object.values(found.types).some((fields) => fields !== ''))
      facts[definitionPrefix(folder.slice(root.length).replace(/^\//, ''))] = found;
  }
  writeFileSync(join(dirname(import.meta.filename), 'go-facts.json'), `${JSON.stringify(facts, null, 1)}\n`);
}

main(process.argv[2] ?? '');
